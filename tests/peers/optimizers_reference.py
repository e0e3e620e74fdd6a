"""Twenty steps of each optimiser on a small Llama by PyTorch, for optimizers.test.ts.

Usage: optimizers_reference.py DIR...

Each folder holds a `request.json`: the model's configuration, the sequences, the optimiser and its settings. Written
beside it: `weights.bin` and `trained.bin` (all tensors end to end as float32 in the order of `index.json`) and
`losses.json`, the loss of each step.

AdamW, SGD, Adafactor and Muon are those of torch.optim. Lion and AdamW with 8-bit states, which it lacks, are stated
here from their papers.
"""

import json
import math
import sys
from pathlib import Path

import torch
from model_reference import build, mean_loss, write_tensors


class Lion(torch.optim.Optimizer):
    """Chen et al. 2023, algorithm 2."""

    def __init__(self, params, lr, betas, weight_decay):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for p in group["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                update = torch.sign(beta1 * m + (1 - beta1) * p.grad)
                p -= group["lr"] * (update + group["weight_decay"] * p)
                m.copy_(beta2 * m + (1 - beta2) * p.grad)


def dynamic_map(signed):
    """Dettmers et al. 2022, section 1.3: decades whose values are the middles of equal parts; 0 and 1."""
    values = [0.0, 1.0]
    for decade in range(7):
        parts = (64 if signed else 128) >> decade
        edges = torch.linspace(0.1, 1, parts + 1, dtype=torch.float64)
        middles = ((edges[:-1] + edges[1:]) / 2 * 10.0**-decade).tolist()
        values += middles
        if signed:
            values += [-value for value in middles]
    assert len(values) == 256
    return torch.tensor(sorted(values), dtype=torch.float64)


class Quantized:
    """A tensor in 8 bits by blocks of 256."""

    def __init__(self, like, signed):
        self.map, self.shape = dynamic_map(signed), like.shape
        self.write(torch.zeros(like.shape, dtype=torch.float64))

    def write(self, values):
        flat = values.flatten()
        blocks = torch.nn.functional.pad(flat, (0, -len(flat) % 256)).view(-1, 256)
        self.scales = blocks.abs().amax(dim=1, keepdim=True)
        normal = blocks / self.scales.clamp(min=1e-300)
        above = torch.searchsorted(self.map, normal.contiguous()).clamp(1, 255)
        nearer_below = normal - self.map[above - 1] <= self.map[above] - normal
        self.codes = torch.where(nearer_below, above - 1, above)

    def read(self):
        values = self.map[self.codes] * self.scales
        return values.flatten()[: math.prod(self.shape)].view(self.shape)


class AdamW8bit(torch.optim.Optimizer):
    """AdamW whose moments live in 8 bits between steps; tensors below 4096 elements are left to torch.optim.AdamW."""

    def __init__(self, params, lr, betas, eps, weight_decay):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})
        self.steps = 0

    @torch.no_grad()
    def step(self):
        self.steps += 1
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for p in group["params"]:
                state = self.state[p]
                if not state:
                    state.update(m=Quantized(p, True), v=Quantized(p, False))
                grad = p.grad.double()
                m = beta1 * state["m"].read() + (1 - beta1) * grad
                v = beta2 * state["v"].read() + (1 - beta2) * grad**2
                state["m"].write(m)
                state["v"].write(v)
                m_hat, v_hat = m / (1 - beta1**self.steps), v / (1 - beta2**self.steps)
                p *= 1 - group["lr"] * group["weight_decay"]
                p -= (group["lr"] * m_hat / (v_hat.sqrt() + group["eps"])).float()


class Several:
    """Optimisers of disjoint parameters, as one."""

    def __init__(self, *optimizers):
        self.optimizers = optimizers

    def step(self):
        for optimizer in self.optimizers:
            optimizer.step()


def groups(named, settings):
    """Matrices decay, vectors do not; factors on the learning rate by name."""
    return [
        {
            "params": [p],
            "lr": settings["lr"] * settings["factors"].get(name, 1.0),
            "weight_decay": settings["weight_decay"] if p.dim() > 1 else 0.0,
        }
        for name, p in named
    ]


def make(named, s):
    def adamw(some):
        return torch.optim.AdamW(groups(some, s), betas=(s["beta1"], s["beta2"]), eps=s["eps"])

    if s["name"] == "adamw":
        return adamw(named)
    if s["name"] == "sgd":
        return torch.optim.SGD(groups(named, s), momentum=s["momentum"], nesterov=s["nesterov"])
    if s["name"] == "adafactor":
        return torch.optim.Adafactor(groups(named, s), beta2_decay=s["beta2_decay"], d=s["clip_threshold"])
    if s["name"] == "lion":
        return Lion(groups(named, s), lr=s["lr"], betas=(s["beta1"], s["beta2"]), weight_decay=0.0)
    if s["name"] == "adamw_8bit":
        is_small = lambda item: item[1].numel() < 4096 or item[0] == "model.embed_tokens.weight"
        large = [item for item in named if not is_small(item)]
        assert large, "nothing would be quantised"
        quantized = AdamW8bit(groups(large, s), s["lr"], (s["beta1"], s["beta2"]), s["eps"], 0.0)
        return Several(quantized, adamw([item for item in named if is_small(item)]))
    assert s["name"] == "muon"
    matrices = [(n, p) for n, p in named if p.dim() == 2 and n.startswith("model.layers.")]
    hidden = {n for n, _ in matrices}
    # PyTorch's rounds to bfloat16 before the Newton-Schulz steps; the algorithm is compared in float32.
    torch.Tensor.bfloat16 = lambda tensor: tensor.clone()
    muon = torch.optim.Muon(
        groups(matrices, s), momentum=s["momentum"], nesterov=s["nesterov"], adjust_lr_fn=s["adjust_lr"]
    )
    return Several(muon, adamw([(n, p) for n, p in named if n not in hidden]))


def answer(out):
    request = json.loads((out / "request.json").read_text())
    model = build(request)
    named = list(model.named_parameters())
    parameters = [parameter for _, parameter in named]
    write_tensors(out / "weights.bin", parameters)
    (out / "index.json").write_text(json.dumps([{"name": n, "shape": list(p.shape)} for n, p in named]))
    settings = request["optimizer"]
    optimizer = make(named, settings)
    losses = []
    for _ in range(settings["steps"]):
        model.zero_grad()
        loss = mean_loss(model, request["sequences"])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, settings["max_grad_norm"])
        optimizer.step()
        losses.append(loss.item())
    write_tensors(out / "trained.bin", parameters)
    (out / "losses.json").write_text(json.dumps(losses))


if __name__ == "__main__":
    for folder in sys.argv[1:]:
        answer(Path(folder))
