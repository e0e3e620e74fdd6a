"""Renders chats with templates as `transformers` does: a request as JSON on stdin, the answers as JSON on stdout.

templates  name -> text; null: those that come with TRL
chats      name -> {messages, tools}
names      what templates may use beside them (bos_token, ...)
kwargs     a list of further variables (chat_template_kwargs), which chats are rendered with once more each
Answers: templates by name, and by template and chat the text, the text with the generation prompt, and the text within
each `generation` block; or the error. The same with each of kwargs.
"""

import json
import sys
from pathlib import Path


def stock_templates():
    import trl

    folder = Path(trl.__file__).parent / "chat_templates"
    return {path.stem: path.read_text() for path in sorted(folder.glob("*.jinja"))}


def render(template, chat, names):
    from transformers.utils.chat_template_utils import render_jinja_template

    def text(prompt, mask):
        texts, spans = render_jinja_template(
            [chat["messages"]],
            tools=chat.get("tools"),
            chat_template=template,
            add_generation_prompt=prompt,
            return_assistant_tokens_mask=mask,
            **names,
        )
        return texts[0], [texts[0][start:end] for start, end in spans[0]] if mask else []

    try:
        whole, generated = text(False, "endgeneration" in template)
        return {"text": whole, "prompt": text(True, False)[0], "generated": generated}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    request = json.load(sys.stdin)
    templates = request["templates"] or stock_templates()

    def rendered(names):
        return {
            name: {key: render(template, chat, names) for key, chat in request["chats"].items()}
            for name, template in templates.items()
        }

    names = request["names"]
    reply = {
        "templates": templates,
        "rendered": rendered(names),
        "with_kwargs": [rendered(names | kwargs) for kwargs in request.get("kwargs", [])],
    }
    print(json.dumps(reply))
