"""Answers one request (JSON rows on stdin, JSON on stdout) with what TRL's own functions make of rows.

pairs: is_conversational, maybe_extract_prompt and unpair_preference_dataset of each; chats: maybe_convert_to_chatml
"""

import json
import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
from datasets import Dataset
from trl.data_utils import (
    is_conversational,
    maybe_convert_to_chatml,
    maybe_extract_prompt,
    unpair_preference_dataset,
)

request = json.load(sys.stdin)
pairs = []
for row in request["pairs"]:
    extracted = maybe_extract_prompt(row)
    unpaired = unpair_preference_dataset(Dataset.from_list([extracted]))
    pairs.append(
        {
            "conversational": is_conversational(row),
            "extracted": {key: extracted[key] for key in ("prompt", "chosen", "rejected")},
            "unpaired": unpaired.to_list(),
        }
    )
json.dump({"pairs": pairs, "chats": [maybe_convert_to_chatml(row) for row in request["chats"]]}, sys.stdout)
