"""Encodes preference pairs as TRL does: a request as JSON on stdin, the answers as JSON on stdout.

folder     of a tokenizer
templates  of chats, by name: the text, or null for one that comes with TRL
rows       {prompt, chosen, rejected, tools, chat_template_kwargs}
Answers, by template and row: prompt_ids, chosen_ids and rejected_ids by DPOTrainer, and where the template marks what the
assistant writes, for each whole side its ids with the mask of assistant_only_loss; or the error.
"""

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

os.environ["HF_HUB_OFFLINE"] = "1"
import trl
from transformers import AutoTokenizer
from trl.data_utils import _tokenize
from trl.trainer.dpo_trainer import DPOTrainer

STOCK = Path(trl.__file__).parent / "chat_templates"


def encoded(tokenizer, row):
    # A list is a dataset to it: it asks for `map` and `filter` alone, which keep what the columns of Arrow would fill up.
    rows = Rows([dict(row)])
    trainer = SimpleNamespace(_tokenizer=tokenizer)
    args = SimpleNamespace(dataset_num_proc=None, max_length=None)
    [pair] = DPOTrainer._prepare_dataset(trainer, rows, tokenizer, args, "train")
    result = {key: pair[key] for key in ("prompt_ids", "chosen_ids", "rejected_ids")}
    if "endgeneration" in tokenizer.chat_template:
        kwargs = {"tools": row.get("tools"), **row.get("chat_template_kwargs", {})}
        for side in ("chosen", "rejected"):
            result[f"{side}_marked"] = {
                key: value
                for key, value in _tokenize(
                    tokenizer, row["prompt"] + row[side], return_assistant_tokens_mask=True, **kwargs
                ).items()
                if key in ("input_ids", "assistant_masks")
            }
    return result


class Rows(list):
    def map(self, function, fn_kwargs=None, **_):
        return Rows({**row, **function(row, **(fn_kwargs or {}))} for row in self)


def attempt(tokenizer, row):
    try:
        return encoded(tokenizer, row)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


request = json.load(sys.stdin)
tokenizer = AutoTokenizer.from_pretrained(request["folder"])
answers = {}
for name, text in request["templates"].items():
    tokenizer.chat_template = (STOCK / f"{name}.jinja").read_text() if text is None else text
    answers[name] = {
        "template": tokenizer.chat_template,
        "rows": [attempt(tokenizer, row) for row in request["rows"]],
    }
print(json.dumps(answers))
