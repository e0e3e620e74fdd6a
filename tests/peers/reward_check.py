"""Scores of a reward model folder by transformers, as JSON on standard output.

Usage: reward_check.py DIR ROWS    ROWS: JSON lists of token ids; scored alone, and padded in one batch
"""

import json
import sys

import torch
import transformers

transformers.logging.set_verbosity_error()
folder, rows = sys.argv[1], json.loads(sys.argv[2])
model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager")
model = model.float().eval()
pad = model.config.pad_token_id
width = max(map(len, rows))
padded = torch.tensor([row + [pad] * (width - len(row)) for row in rows])
mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
with torch.no_grad():
    alone = [model(torch.tensor([row])).logits.item() for row in rows]
    together = model(padded, attention_mask=mask).logits[:, 0].tolist()
print(json.dumps({"class": type(model).__name__, "alone": alone, "together": together}))
