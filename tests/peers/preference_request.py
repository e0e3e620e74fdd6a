"""The request on stdin: numbers of rows by name, and the cases; and helpers for rows that lie end to end."""

import json
import sys

import torch
import torch.nn.functional as F

torch.set_num_threads(1)
request = json.load(sys.stdin)
numbers = request["numbers"]


def cut(values, like):
    parts, at = [], 0
    for row in like:
        parts.append(values[at : at + len(row)])
        at += len(row)
    return parts


def pads(rows):
    """Rows of different lengths as one padded matrix, and its mask."""
    width = max(len(r) for r in rows)
    matrix = torch.stack([F.pad(r, (0, width - len(r))) for r in rows])
    mask = torch.stack([F.pad(torch.ones(len(r)), (0, width - len(r))) for r in rows])
    return matrix, mask
