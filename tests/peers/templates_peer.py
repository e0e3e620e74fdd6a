"""Renders chats with templates as `transformers` does: a request as JSON on stdin, the answers as JSON on stdout.

templates  name -> text; null: those that come with TRL
chats      name -> {messages, tools}
names      what templates may use beside them (bos_token, ...)
Answers: templates by name, and by template and chat the text, the text with the generation prompt, and the text within
each `generation` block; or the error.
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
    rendered = {
        name: {key: render(template, chat, request["names"]) for key, chat in request["chats"].items()}
        for name, template in templates.items()
    }
    print(json.dumps({"templates": templates, "rendered": rendered}))
