"""Reference numbers of a small model from transformers and PyTorch, for model.test.ts.

Usage: model_reference.py DIR...

Each folder holds a `request.json`: the family and its configuration, the sequences, and the optimiser's settings.
Written beside it: `weights.bin`, `gradients.bin` (mean cross-entropy of all next tokens), `trained.bin` (after the steps),
each with all tensors end to end as float32 in the order of `index.json`; `logits.bin` with the logits of each
sequence, alone and without padding, end to end; `losses.json` with the loss and gradient norm of each step.
"""

import json
import sys
from pathlib import Path

import torch
import transformers

FAMILIES = {
    "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
    "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
    "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM),
    "starcoder2": (transformers.Starcoder2Config, transformers.Starcoder2ForCausalLM),
}


def build(request):
    config_class, model_class = FAMILIES[request["family"]]
    model = model_class(config_class(**request["config"], attn_implementation="eager")).float().eval()
    generator = torch.Generator().manual_seed(request["seed"])
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            is_norm_weight = "norm" in name and name.endswith("weight")
            # Far from the usual start, so that no term of a gradient hides behind another.
            parameter.copy_(1 + 0.2 * noise if is_norm_weight else 0.15 * noise)
    return model


def mean_loss(model, sequences):
    total, count = 0.0, 0
    for ids in sequences:
        logits = model(input_ids=torch.tensor([ids])).logits[0, :-1]
        total = total + torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="sum")
        count += len(ids) - 1
    return total / count


def write_tensors(path, tensors):
    with open(path, "wb") as file:
        for tensor in tensors:
            file.write(tensor.detach().contiguous().numpy().tobytes())


def answer(out):
    request = json.loads((out / "request.json").read_text())
    model = build(request)
    named = list(model.named_parameters())
    parameters = [parameter for _, parameter in named]
    write_tensors(out / "weights.bin", parameters)
    (out / "index.json").write_text(json.dumps([{"name": n, "shape": list(p.shape)} for n, p in named]))
    with torch.no_grad():
        write_tensors(out / "logits.bin", [model(input_ids=torch.tensor([ids])).logits for ids in request["sequences"]])
    mean_loss(model, request["sequences"]).backward()
    write_tensors(out / "gradients.bin", [parameter.grad for parameter in parameters])

    settings = request["optimizer"]
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.dim() > 1], "weight_decay": settings["weight_decay"]},
            {"params": [p for p in parameters if p.dim() == 1], "weight_decay": 0.0},
        ],
        lr=settings["lr"],
        betas=(settings["beta1"], settings["beta2"]),
        eps=settings["eps"],
    )
    steps = []
    for _ in range(settings["steps"]):
        optimizer.zero_grad()
        loss = mean_loss(model, request["sequences"])
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, settings["max_grad_norm"])
        optimizer.step()
        steps.append({"loss": loss.item(), "gradNorm": norm.item()})
    write_tensors(out / "trained.bin", parameters)
    (out / "losses.json").write_text(json.dumps(steps))


if __name__ == "__main__":
    for folder in sys.argv[1:]:
        answer(Path(folder))
