"""PyTorch's side of the benchmarks: answers requests on stdin. Usage: torch_worker.py THREADS

The model is transformers' Llama, eager, float32, with PyTorch's own fused attention and fused AdamW.
"""

import json
import re
import sys
import time
from pathlib import Path

import torch
import transformers

torch.set_num_threads(int(sys.argv[1]))
MODEL = json.loads(Path(__file__).with_name("model_110m.json").read_text())
model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**MODEL, tie_word_embeddings=True))
optimizer = None


def train_step(request):
    global optimizer
    model.train()
    optimizer = optimizer or torch.optim.AdamW(
        model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True
    )
    ids = torch.randint(MODEL["vocab_size"], (request["sequences"], request["length"]))
    start = time.perf_counter()
    optimizer.zero_grad()
    model(input_ids=ids, labels=ids).loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return time.perf_counter() - start


def generate(request):
    model.eval()
    ids = torch.randint(3, MODEL["vocab_size"], (request["prompts"], request["prompt_length"]))
    start = time.perf_counter()
    model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        min_new_tokens=request["new_tokens"],
        max_new_tokens=request["new_tokens"],
        do_sample=False,
        pad_token_id=0,
    )
    return time.perf_counter() - start


def matrix_speed():
    """FLOP/s of large products by PyTorch's own BLAS: the median of several."""
    a, b = torch.rand(1536, 1536), torch.rand(1536, 1536)
    times = []
    for _ in range(8):
        start = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - start)
    return 2 * 1536**3 / sorted(times)[4]


for line in sys.stdin:
    asked = json.loads(line)
    seconds, value = 0.0, 0.0
    if asked["work"] == "train_step":
        seconds = train_step(asked)
    elif asked["work"] == "generate":
        seconds = generate(asked)
    else:
        value = matrix_speed()
    peak = int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024
    print(json.dumps({"seconds": seconds, "value": value, "peak_bytes": peak}), flush=True)
