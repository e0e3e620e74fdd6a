"""Preference objectives stated in PyTorch from the published formulas, and as TRL computes them.

stdin: JSON {numbers, cases: [{objective, settings, at}]}; stdout: for each case {formula: {loss, gradient}, trl: null |
{loss, gradient, metrics}}. The formulas are in float64 with autograd; TRL's own methods run in float32 on the same numbers
behind a model that returns them.
"""

import contextlib
import json
import os
import sys
import types

os.environ["TOKENIZERS_PARALLELISM"] = "false"
import torch
import torch.nn.functional as F

torch.set_num_threads(1)
request = json.load(sys.stdin)
numbers = request["numbers"]
F64 = torch.float64


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


# --- the formulas -------------------------------------------------------------------------------------------------


def f_prime(kind, alpha, ratio):
    t = ratio.exp()
    if kind == "reverse_kl" or (kind == "alpha_divergence" and alpha == 1):
        return t.log()
    if kind == "forward_kl":
        return 1 - 1 / t
    if kind == "js_divergence":
        return (2 * t / (t + 1)).log()
    return (t ** (alpha - 1) - 1) / (alpha - 1)


def dpo_formula(x, s):
    n = len(numbers["chosen"])
    parts = cut(x, numbers["chosen"] + numbers["rejected"])
    references = [torch.tensor(r, dtype=F64) for r in numbers["ref_chosen"] + numbers["ref_rejected"]]

    def total(rows, i, of):
        shared = min(len(rows[i]), len(rows[i + n if i < n else i - n]))
        row = of[i]
        return row[:shared].sum() + (1 if s["ld_alpha"] is None else s["ld_alpha"]) * row[shared:].sum()

    policy = torch.stack([total(parts, i, parts) for i in range(2 * n)])
    reference = torch.stack([total(parts, i, references) for i in range(2 * n)])
    lengths = torch.tensor([float(len(p)) for p in parts], dtype=F64)
    ratio = policy - reference
    score = f_prime(s["f_divergence_type"], s["f_alpha_divergence_coef"], ratio)
    c, r = score[:n], score[n:]
    rc, rr = ratio[:n], ratio[n:]
    lc, lr = lengths[:n], lengths[n:]
    beta, e = s["beta"], s["label_smoothing"]
    sigma = torch.sigmoid
    logistic = lambda z: -(1 - e) * sigma(z).log() - e * sigma(-z).log()
    z = beta * (c - r)
    loss = 0
    for kind, weight in zip(s["loss_type"], s["loss_weights"]):
        if kind == "sigmoid":
            value = -sigma(z).log()
        elif kind == "sigmoid_norm":
            value = -sigma(beta * (c / lc - r / lr)).log()
        elif kind == "hinge":
            value = torch.clamp(1 - z, min=0)
        elif kind == "ipo":
            value = (c / lc - r / lr - 1 / (2 * beta)) ** 2
        elif kind == "exo_pair":
            q = torch.stack([sigma(z), 1 - sigma(z)])
            p = torch.tensor([1 - e, e], dtype=F64).unsqueeze(1)
            value = (q * (q / p).log()).sum(0)
        elif kind == "nca_pair":
            value = -sigma(beta * rc).log() - 0.5 * (1 - sigma(beta * rc)).log() - 0.5 * (1 - sigma(beta * rr)).log()
        elif kind == "robust":
            value = ((1 - e) * -sigma(z).log() - e * -sigma(-z).log()) / (1 - 2 * e)
        elif kind == "bco_pair":
            value = -sigma(beta * rc).log() - (1 - sigma(beta * rr)).log()
        elif kind == "sppo_hard":
            value = (rc - 1 / (2 * beta)) ** 2 + (rr + 1 / (2 * beta)) ** 2
        elif kind == "aot":
            u = (policy[:n] - policy[n:]).sort().values
            v = (reference[:n] - reference[n:]).sort().values
            value = logistic(beta * (u - v))
        elif kind == "aot_unpaired":
            value = logistic(beta * (rc.sort().values - rr.sort().values))
        elif kind == "apo_zero":
            value = -sigma(beta * rc) + sigma(beta * rr) + 1
        elif kind == "apo_down":
            value = sigma(beta * rc) - sigma(beta * (rc - rr)) + 1
        elif kind == "discopop":
            m = sigma(z / s["discopop_tau"])
            value = m * (-z).exp() + (1 - m) * (1 + (-z).exp()).log()
        elif kind == "sft":
            tokens = torch.cat(parts[:n])
            value = -tokens.mean()
        loss = loss + weight * value.mean()
    return loss


def answers_ratio(x):
    parts = cut(x, numbers["chosen"] + numbers["rejected"])
    references = numbers["ref_chosen"] + numbers["ref_rejected"]
    return torch.stack([p.sum() - sum(r) for p, r in zip(parts, references)])


def kto_formula(x, s):
    n = len(numbers["chosen"])
    ratio = answers_ratio(x)
    kl = sum(sum(a) - sum(b) for a, b in zip(numbers["mismatched"], numbers["ref_mismatched"])) / n
    z0 = max(0.0, kl) if s["loss_type"] == "kto" else 0.0
    value_d = torch.sigmoid(s["beta"] * (ratio[:n] - z0))
    value_u = torch.sigmoid(s["beta"] * (z0 - ratio[n:]))
    weights = torch.tensor([s["desirable_weight"]] * n + [s["undesirable_weight"]] * n, dtype=F64)
    return (weights - weights * torch.cat([value_d, value_u])).mean()


def bco_formula(x, s):
    n = len(numbers["chosen"])
    reward = s["beta"] * answers_ratio(x)
    good = -torch.sigmoid(reward[:n] - s["delta"]).log()
    bad = -torch.sigmoid(-(reward[n:] - s["delta"])).log() * torch.tensor(s["weights"], dtype=F64)
    return torch.cat([good, bad]).mean()


def orpo_formula(x, s):
    n = len(numbers["chosen"])
    parts = cut(x, numbers["chosen"] + numbers["rejected"] + numbers["prompts"])
    odds = [p.mean().exp() / (1 - p.mean().exp()) for p in parts[: 2 * n]]
    ratio = torch.stack([odds[i] / odds[n + i] for i in range(n)])
    nll = -torch.cat(parts[:n] + parts[2 * n :]).mean()
    return nll + s["beta"] * -torch.sigmoid(ratio.log()).log().mean()


def cpo_formula(x, s):
    n = len(numbers["chosen"])
    parts = cut(x, numbers["chosen"] + numbers["rejected"])
    logp = torch.stack([p.mean() if s["loss_type"] in ("simpo", "ipo") else p.sum() for p in parts])
    reward = logp if s["alpha"] == 0 else (1 - logp.exp() ** -s["alpha"]) / s["alpha"]
    d = reward[:n] - reward[n:]
    beta, e = s["beta"], s["label_smoothing"]
    if s["loss_type"] == "hinge":
        value = torch.clamp(1 - beta * d, min=0)
    elif s["loss_type"] == "ipo":
        value = (d - 1 / (2 * beta)) ** 2
    else:
        z = beta * d - (s["simpo_gamma"] if s["loss_type"] == "simpo" else 0)
        value = -(1 - e) * torch.sigmoid(z).log() - e * torch.sigmoid(-z).log()
    return value.mean() - s["cpo_alpha"] * torch.cat(parts[:n]).mean()


def reward_formula(x, s):
    total, at = 0, 0
    for ranking, size, margin in zip(s["rankings"], s["sizes"], s["margins"]):
        v = x[at : at + size]
        at += size
        for t, tier in enumerate(ranking[:-1]):
            below = [j for later in ranking[t + 1 :] for j in later]
            for i in tier:
                own = v[i] - (margin or 0)
                total = total - (own.exp() / (own.exp() + v[below].exp().sum())).log()
        total = total + s["center_rewards_coefficient"] * (2 * v[[i for tier in ranking for i in tier]].mean()) ** 2
    return total / len(s["sizes"])


def distill_formula(x, s):
    def full(values):
        values = torch.as_tensor(values, dtype=F64).reshape(-1, s["k"])
        if not s["rest"]:
            return values.softmax(1)
        return torch.cat([values.exp(), 1 - values.exp().sum(1, keepdim=True)], 1)

    q, p = full(x), full(s["teacher"])
    kl = lambda a, b: (a * (a / b).log()).sum()
    beta = s["beta"]
    if beta == 0:
        value = kl(p, q)
    elif beta == 1:
        value = kl(q, p)
    else:
        m = beta * p + (1 - beta) * q
        value = beta * kl(p, m) + (1 - beta) * kl(q, m)
    return value / len(q)


# --- TRL ----------------------------------------------------------------------------------------------------------

from accelerate import Accelerator
from trl import DPOTrainer, KTOTrainer, RewardTrainer
from trl.experimental.cpo import CPOTrainer
from trl.experimental.gkd import GKDTrainer
from trl.experimental.orpo import ORPOTrainer

accelerator = Accelerator(cpu=True)


class Model(torch.nn.Module):
    """Returns log-probabilities by the first id of what it is asked."""

    is_gradient_checkpointing = False

    def __init__(self, by_id):
        super().__init__()
        self.by_id = by_id

    def forward(self, input_ids=None, **_):
        log_probs = self.by_id[int(input_ids[0, 0])]
        zeros = torch.zeros_like(log_probs)
        return types.SimpleNamespace(
            log_probs=log_probs,
            entropy=zeros,
            mean_logits=zeros,
            is_top1=zeros > 0,
            log_sum_sq_probs=zeros,
            logits=log_probs,
        )


def trainer(kind, **fields):
    self = kind.__new__(kind)
    metrics = {"train": {}, "eval": {}}

    class Lists(dict):
        def __missing__(self, key):
            self[key] = []
            return self[key]

    fields = {
        "accelerator": accelerator,
        "precompute_ref_logps": False,
        "use_weighting": False,
        "aux_loss_enabled": False,
        "_total_train_tokens": 0,
        "_tp_size": 1,
        "_metrics": {mode: Lists() for mode in metrics},
        **fields,
    }
    for name, value in fields.items():
        setattr(self, name, value)
    return self


def outcome(loss, x, metrics):
    loss.backward()
    return {"loss": loss.item(), "gradient": x.grad.tolist(), "metrics": metrics}


def leaf(at):
    return torch.tensor(at, dtype=torch.float32, requires_grad=True)


def last(self):
    return {name: values[-1] for name, values in self._metrics["train"].items() if isinstance(values[-1], float)}


def inputs_of(mask, marker):
    """Ids of a batch whose completion mask, shifted by one, is `mask`."""
    whole = F.pad(mask, (1, 0)).long()
    ids = torch.full_like(whole, marker)
    return ids, whole


def dpo_trl(at, s):
    x = leaf(at)
    rows, mask = pads(cut(x, numbers["chosen"] + numbers["rejected"]))
    reference, _ = pads([torch.tensor(r) for r in numbers["ref_chosen"] + numbers["ref_rejected"]])
    self = trainer(
        DPOTrainer,
        model=Model({1: rows}),
        ref_model=Model({1: reference}),
        beta=s["beta"],
        loss_types=s["loss_type"],
        loss_weights=s["loss_weights"],
        ld_alpha=s["ld_alpha"],
        f_divergence_type=s["f_divergence_type"],
        f_alpha_divergence_coef=s["f_alpha_divergence_coef"],
        label_smoothing=s["label_smoothing"],
        args=types.SimpleNamespace(discopop_tau=s["discopop_tau"], gradient_checkpointing_kwargs=None),
    )
    ids, whole = inputs_of(mask, 1)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "completion_mask": whole}
    return outcome(self._compute_loss(self.model, batch, False), x, last(self))


def kto_trl(at, s):
    x = leaf(at)
    rows, mask = pads(cut(x, numbers["chosen"] + numbers["rejected"]))
    reference, _ = pads([torch.tensor(r) for r in numbers["ref_chosen"] + numbers["ref_rejected"]])
    kl, kl_mask = pads([torch.tensor(r) for r in numbers["mismatched"]])
    kl_reference, _ = pads([torch.tensor(r) for r in numbers["ref_mismatched"]])
    self = trainer(
        KTOTrainer,
        model=Model({1: rows, 2: kl}),
        ref_model=Model({1: reference, 2: kl_reference}),
        beta=s["beta"],
        loss_type=s["loss_type"],
        calculate_KL=s["loss_type"] == "kto",
        desirable_weight=s["desirable_weight"],
        undesirable_weight=s["undesirable_weight"],
        args=types.SimpleNamespace(gradient_checkpointing_kwargs=None),
    )
    ids, whole = inputs_of(mask, 1)
    kl_ids, kl_whole = inputs_of(kl_mask, 2)
    n = len(numbers["chosen"])
    batch = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "completion_mask": whole,
        "KL_input_ids": kl_ids,
        "KL_attention_mask": torch.ones_like(kl_ids),
        "KL_completion_mask": kl_whole,
        "label": torch.tensor([True] * n + [False] * n),
    }
    metrics = lambda: {k: v for k, v in last(self).items() if s["loss_type"] == "kto" or k != "kl"}
    loss = self._compute_loss(self.model, batch, False)
    return outcome(loss, x, metrics())


def orpo_trl(at, s):
    x = leaf(at)
    n = len(numbers["chosen"])
    parts = cut(x, numbers["chosen"] + numbers["rejected"] + numbers["prompts"])
    nll = -torch.cat(parts[:n] + parts[2 * n :]).mean()
    self = trainer(ORPOTrainer, beta=s["beta"], is_encoder_decoder=False)
    means = torch.stack([p.mean() for p in parts[: 2 * n]])
    marks = torch.zeros(n, 2, 3)
    self.concatenated_forward = lambda model, batch: (means[:n], means[n:], marks, marks, nll)
    loss, metrics = self.get_batch_loss_metrics(None, {})
    return outcome(loss, x, metrics)


def cpo_trl(at, s):
    x = leaf(at)
    n = len(numbers["chosen"])
    parts = cut(x, numbers["chosen"] + numbers["rejected"])
    logp = torch.stack([p.mean() if s["loss_type"] in ("simpo", "ipo") else p.sum() for p in parts])
    nll = -torch.cat(parts[:n]).mean()
    marks = torch.zeros(n, 2, 3)
    fields = {k: s[k] for k in ("loss_type", "alpha", "beta", "label_smoothing", "simpo_gamma", "cpo_alpha")}
    self = trainer(CPOTrainer, **fields)
    self.concatenated_forward = lambda model, batch: (logp[:n], logp[n:], marks, marks, nll)
    loss, metrics = self.get_batch_loss_metrics(None, {})
    return outcome(loss, x, metrics)


def reward_trl(at, s):
    if any(ranking != [[0], [1]] for ranking in s["rankings"]):
        return None
    x = leaf(at)
    values = torch.cat([x[0::2], x[1::2]]).unsqueeze(1)
    center = s["center_rewards_coefficient"]
    self = trainer(RewardTrainer, args=types.SimpleNamespace(center_rewards_coefficient=center))
    self.model = Model({1: values})
    batch = {"input_ids": torch.ones(1, 1), "attention_mask": torch.ones(1, 1)}
    if s["margins"][0] is not None:
        batch["margin"] = torch.tensor(s["margins"])
    return outcome(self.compute_loss(self.model, batch), x, last(self))


def distill_trl(at, s):
    """TRL takes logits of all tokens: where there are others, their bucket is one more token."""
    x = leaf(at)

    def full(values):
        values = values.reshape(-1, s["k"])
        if not s["rest"]:
            return values
        p = values.exp()
        return torch.cat([p, 1 - p.sum(1, keepdim=True)], 1).log()

    loss = GKDTrainer.generalized_jsd_loss(
        full(x).unsqueeze(0),
        full(torch.tensor(s["teacher"])).unsqueeze(0),
        labels=torch.zeros(1, len(at) // s["k"], dtype=torch.long),
        beta=s["beta"],
    )
    return outcome(loss, x, {})


FORMULAS = {
    "dpo": dpo_formula,
    "kto": kto_formula,
    "bco": bco_formula,
    "orpo": orpo_formula,
    "cpo": cpo_formula,
    "reward": reward_formula,
    "distill": distill_formula,
}
TRL = {
    "dpo": dpo_trl,
    "kto": kto_trl,
    "orpo": orpo_trl,
    "cpo": cpo_trl,
    "reward": reward_trl,
    "distill": distill_trl,
}

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
