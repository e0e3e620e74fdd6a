"""Signatures, or bands and rows, as datasketch gives them; a request on stdin, the reply on stdout."""

import json
import sys

from datasketch import MinHash
from datasketch.lsh import _optimal_param


def signature(shingles, permutations, scheme):
    sketch = MinHash(num_perm=permutations, seed=1, scheme=scheme)
    for shingle in shingles:
        sketch.update(shingle.encode())
    return [int(value) for value in sketch.hashvalues]


request = json.load(sys.stdin)
if request["work"] == "signatures":
    reply = [
        signature(shingles, request["permutations"], request["scheme"]) for shingles in request["shingles"]
    ]
else:
    reply = [_optimal_param(case["threshold"], case["permutations"], 0.5, 0.5) for case in request["cases"]]
json.dump(reply, sys.stdout)
