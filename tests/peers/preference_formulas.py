"""Preference objectives by the published formulas, in float64: losses of `numbers`, by autograd differentiable."""

import torch
import torch.nn.functional as F

from preference_request import cut, numbers

F64 = torch.float64


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
    pair_weight = torch.ones(n, dtype=F64)
    if s["use_weighting"]:
        squares = [torch.tensor(row, dtype=F64) for row in numbers["log_sum_squares"]]
        aligned = torch.stack([(p.detach() - q).mean().exp() for p, q in zip(parts, squares)])
        pair_weight = aligned[:n] * aligned[n:]
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
            # A mean over all tokens; each answer by the weight of its pair.
            value = -torch.stack([p.sum() for p in parts[:n]]) * n / lc.sum()
        loss = loss + weight * (pair_weight * value).mean()
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


FORMULAS = {
    "dpo": dpo_formula,
    "kto": kto_formula,
    "bco": bco_formula,
    "orpo": orpo_formula,
    "cpo": cpo_formula,
    "reward": reward_formula,
    "distill": distill_formula,
}
