"""Answers requests (a JSON object a line on stdin, a JSON object a line on stdout) about adapters, by PEFT.

make    wraps a base folder by a LoraConfig, fills the adapter (with `scale`, beside what PEFT begins it with) and
        saves it; says which modules it took, what it trains, its logits, and those of `merge_and_unload`
load    loads an adapter folder over its base and says its logits
train   loads an adapter folder and trains it: losses, gradient norms; saves the result
"""

import json
import sys

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


def train(request):
    model = PeftModel.from_pretrained(base_of(request), request["adapter"], is_trainable=True)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=request["lr"], betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    tokens = torch.tensor([request["ids"]])
    losses, norms = [], []
    model.eval()  # no dropout
    for _ in range(request["steps"]):
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
