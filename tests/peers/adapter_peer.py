"""Answers requests (a JSON object a line on stdin, a JSON object a line on stdout) about adapters, by PEFT.

make    wraps a base folder by a LoraConfig, fills the adapter (with `scale`, beside what PEFT begins it with) and
        saves it; says which modules it took, what it trains, its logits, and those of `merge_and_unload`
load    loads an adapter folder over its base and says its logits
train   loads an adapter folder and trains it: losses, gradient norms; saves the result. `dropout` says what each
        step drops: its `seeds`, and the `modules` in their order, as the engine draws them
"""

import json
import sys

import numpy as np
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
torch.set_num_threads(1)


def base_of(request):
    kind = "SequenceClassification" if request.get("classifier") else "CausalLM"
    options = {"num_labels": 1} if request.get("classifier") else {}
    loader = getattr(transformers, f"AutoModelFor{kind}")
    return loader.from_pretrained(request["base"], attn_implementation="eager", **options).float()


def numbers(model, request):
    """Logits at every position, or the score of every position of a classifier."""
    model.eval()
    tokens = torch.tensor([request["ids"]])
    with torch.no_grad():
        if request.get("classifier"):
            inner = model.get_base_model() if isinstance(model, PeftModel) else model
            values = inner.score(inner.model(tokens).last_hidden_state)
        else:
            values = model(tokens).logits
    return values.flatten().tolist()


def make(request):
    torch.manual_seed(request["seed"])
    model = get_peft_model(base_of(request), LoraConfig(**request["config"]))
    with torch.no_grad():
        for _, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter += request["scale"] * torch.randn_like(parameter)
    model.save_pretrained(request["out"])
    prefix = "base_model.model."
    modules = {
        name.removeprefix(prefix): [module.r["default"], module.scaling["default"]]
        for name, module in model.named_modules()
        if isinstance(module, LoraLayer)
    }
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    reply = {"modules": modules, "trained": trained, "logits": numbers(model, request)}
    return {**reply, "merged": numbers(model.merge_and_unload(), request)}


def load(request):
    return {"logits": numbers(PeftModel.from_pretrained(base_of(request), request["adapter"]), request)}


def philox(key, counters):
    """Philox4x32-10 (Salmon et al. 2011): counters [n, 4] to numbers [n, 4]."""
    c = [counters[:, i].astype(np.uint64) for i in range(4)]
    low = np.uint64(0xFFFFFFFF)
    keys = [key & 0xFFFFFFFF, key >> 32]
    for _ in range(10):
        p0, p1 = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        high = [p >> np.uint64(32) for p in (p0, p1)]
        c = [high[1] ^ c[1] ^ np.uint64(keys[0]), p1 & low, high[0] ^ c[3] ^ np.uint64(keys[1]), p0 & low]
        keys = [(keys[0] + 0x9E3779B9) & 0xFFFFFFFF, (keys[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return np.stack(c, 1)


class EngineDropout(torch.nn.Module):
    """Drops what the engine drops of module number `module`; element (row, column) by its own random number."""

    def __init__(self, p, module):
        super().__init__()
        self.p, self.module, self.seed = p, module, None

    def forward(self, x):
        if not self.training:
            return x
        rows, columns = x.shape[-2:]
        blocks = -(-columns // 4)
        counters = np.zeros((rows * blocks, 4))
        counters[:, 0] = np.tile(np.arange(blocks), rows)
        counters[:, 1] = np.repeat(np.arange(rows), blocks)
        counters[:, 3] = self.module
        drawn = philox(self.seed, counters).reshape(rows, -1)[:, :columns]
        kept = torch.from_numpy(drawn >= int(np.float64(np.float32(self.p)) * 2**32))
        return torch.where(kept, x / (1 - self.p), 0.0)


def replace_dropout(model, names):
    drops = []
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            own = names.index(name.removeprefix("base_model.model."))
            drops.append(EngineDropout(module.lora_dropout["default"].p, own))
            module.lora_dropout["default"] = drops[-1]
    return drops


def train(request):
    model = PeftModel.from_pretrained(base_of(request), request["adapter"], is_trainable=True)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=request["lr"], betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    tokens = torch.tensor([request["ids"]])
    losses, norms = [], []
    dropout = request.get("dropout")
    drops = replace_dropout(model, dropout["modules"]) if dropout else []
    model.train(bool(dropout))
    for step in range(request["steps"]):
        for each in drops:
            each.seed = dropout["seeds"][step]
        loss = model(tokens, labels=tokens).loss
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(parameters, 1.0).item())
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    model.save_pretrained(request["out"])
    return {"losses": losses, "norms": norms, "logits": numbers(model, request)}


for line in sys.stdin:
    request = json.loads(line)
    try:
        answer = {"make": make, "load": load, "train": train}[request["op"]](request)
    except Exception as error:  # told to the test, which fails with it
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
