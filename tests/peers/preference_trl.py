"""Preference objectives as TRL computes them: its own methods in float32, behind a model that returns the numbers."""

import os
import types

os.environ["TOKENIZERS_PARALLELISM"] = "false"
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from trl import DPOTrainer, KTOTrainer, RewardTrainer
from trl.experimental.cpo import CPOTrainer
from trl.experimental.gkd import GKDTrainer
from trl.experimental.orpo import ORPOTrainer

from preference_request import cut, numbers, pads

accelerator = Accelerator(cpu=True)


# What TRL's fused head tells of the tokens of answers beside their log-probabilities, by our names.
BESIDE = {"entropy": "entropies", "mean_logits": "mean_logits", "log_sum_sq_probs": "log_sum_squares", "is_top1": "hits"}


def beside():
    padded = {name: pads([torch.tensor(row).float() for row in numbers[own]])[0] for name, own in BESIDE.items()}
    return {**padded, "is_top1": padded["is_top1"] > 0}


class Model(torch.nn.Module):
    """Returns log-probabilities by the first id of what it is asked; `told` beside those of id 1."""

    is_gradient_checkpointing = False

    def __init__(self, by_id, **told):
        super().__init__()
        self.by_id = by_id
        self.told = told

    def forward(self, input_ids=None, **_):
        asked = int(input_ids[0, 0])
        log_probs = self.by_id[asked]
        told = dict.fromkeys(BESIDE, torch.zeros_like(log_probs)) | (self.told if asked == 1 else {})
        return types.SimpleNamespace(log_probs=log_probs, logits=log_probs, **told)


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
    if s["use_weighting"] and "sft" in s["loss_type"]:
        return None
    x = leaf(at)
    rows, mask = pads(cut(x, numbers["chosen"] + numbers["rejected"]))
    reference, _ = pads([torch.tensor(r) for r in numbers["ref_chosen"] + numbers["ref_rejected"]])
    self = trainer(
        DPOTrainer,
        model=Model({1: rows}, **beside()),
        ref_model=Model({1: reference}),
        beta=s["beta"],
        loss_types=s["loss_type"],
        loss_weights=s["loss_weights"],
        ld_alpha=s["ld_alpha"],
        use_weighting=s["use_weighting"],
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
        model=Model({1: rows, 2: kl}, **beside()),
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


def logits(n):
    """What TRL takes the mean of as logits of chosen and rejected answers: here of their tokens alone."""
    rows = [torch.tensor(row) for row in numbers["mean_logits"]]
    return torch.cat(rows[:n]), torch.cat(rows[n:])


def orpo_trl(at, s):
    x = leaf(at)
    n = len(numbers["chosen"])
    parts = cut(x, numbers["chosen"] + numbers["rejected"] + numbers["prompts"])
    nll = -torch.cat(parts[:n] + parts[2 * n :]).mean()
    self = trainer(ORPOTrainer, beta=s["beta"], is_encoder_decoder=False)
    means = torch.stack([p.mean() for p in parts[: 2 * n]])
    self.concatenated_forward = lambda model, batch: (means[:n], means[n:], *logits(n), nll)
    loss, metrics = self.get_batch_loss_metrics(None, {})
    return outcome(loss, x, metrics)


def cpo_trl(at, s):
    x = leaf(at)
    n = len(numbers["chosen"])
    parts = cut(x, numbers["chosen"] + numbers["rejected"])
    logp = torch.stack([p.mean() if s["loss_type"] in ("simpo", "ipo") else p.sum() for p in parts])
    # TRL's forward leaves it out where it has no weight.
    nll = -torch.cat(parts[:n]).mean() if s["cpo_alpha"] > 0 else torch.tensor(0.0)
    fields = {k: s[k] for k in ("loss_type", "alpha", "beta", "label_smoothing", "simpo_gamma", "cpo_alpha")}
    self = trainer(CPOTrainer, **fields)
    self.concatenated_forward = lambda model, batch: (logp[:n], logp[n:], *logits(n), nll)
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


TRL = {
    "dpo": dpo_trl,
    "kto": kto_trl,
    "orpo": orpo_trl,
    "cpo": cpo_trl,
    "reward": reward_trl,
    "distill": distill_trl,
}
