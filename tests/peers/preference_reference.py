"""Preference objectives stated in PyTorch from the published formulas, and as TRL computes them.

stdin: JSON {numbers, cases: [{objective, settings, at}]}; stdout: for each case {formula: {loss, gradient}, trl: null |
{loss, gradient, metrics}}. The formulas are in float64 with autograd; TRL's own methods run in float32 on the same numbers
behind a model that returns them.
"""

import contextlib
import json
import sys

import torch

from preference_formulas import F64, FORMULAS
from preference_request import request
from preference_trl import TRL

replies = []
for case in request["cases"]:
    point = torch.tensor(case["at"], dtype=F64, requires_grad=True)
    value = FORMULAS[case["objective"]](point, case["settings"])
    value.backward()
    theirs = TRL.get(case["objective"])
    with contextlib.redirect_stdout(sys.stderr):
        trl = theirs(case["at"], case["settings"]) if theirs else None
    replies.append({"formula": {"loss": value.item(), "gradient": point.grad.tolist()}, "trl": trl})
print(json.dumps(replies))
