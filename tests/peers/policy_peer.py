"""Answers requests (a JSON list on stdin, a JSON list on stdout) with values and gradients of the objectives of
reinforcement learning, in PyTorch with autograd and double precision.

grpo, rloo             TRL's own `_compute_loss` of GRPOTrainer and RLOOTrainer, fed the log-probabilities as leaves
grpo_statement         GRPO's loss types and GSPO as published, over padded tensors
ppo_statement          PPO's losses and TRL's metrics of them
rollout_statement      rewards by token, generalised advantage estimates, whitening, REINFORCE++
advantages_statement   GRPO's and RLOO's advantages, with completions that nothing has scored
"""

import json
import sys
from collections import defaultdict
from types import SimpleNamespace

import torch

torch.set_default_dtype(torch.float64)


def pad(values, lengths):
    """Values end to end as [completions, longest]; zeros behind."""
    rows = torch.split(torch.tensor(values, dtype=torch.float64), lengths)
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


def mask_of(lengths):
    return pad([1.0] * sum(lengths), lengths)


def flat(tensor, mask):
    return tensor[mask.bool()].tolist()


def leaves(request):
    lengths = request["lengths"]
    names = ["logProbs", "entropies"]
    return [pad(request[name], lengths).requires_grad_() for name in names] + [mask_of(lengths)]


class Accelerator:
    num_processes = 1
    sync_gradients = True

    def gather(self, value):
        return value

    def reduce(self, value, reduction="sum"):
        return value


def trainer_of(request, log_probs, entropies):
    options = request["options"]
    own = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *a, **k: (log_probs, entropies, None),
        model=SimpleNamespace(training=True),
        accelerator=Accelerator(),
        _metrics={"train": defaultdict(list)},
        aux_loss_enabled=False,
        epsilon_low=options["low"],
        epsilon_high=options["high"],
        current_gradient_accumulation_steps=1,
    )
    if request["op"] == "grpo":
        own.top_entropy_quantile = 1.0
        own.off_policy_mask_threshold = None
        own.importance_sampling_level = options["level"]
        own.beta = options["beta"]
        own.loss_type = options["lossType"]
        own.use_vllm = False
        own.vllm_importance_sampling_correction = False
        own.max_completion_length = request["maxCompletionLength"]
        own._entropy_bonus_enabled = options["entropyCoef"] != 0
        own.use_adaptive_entropy = False
        own.entropy_coef = options["entropyCoef"]
        own.args = SimpleNamespace(
            delta=options.get("delta"),
            use_bias_correction_kl=False,
            steps_per_generation=request["stepsPerGeneration"],
        )
    return own


def trl_loss(request):
    if request["op"] == "grpo":
        from trl.trainer.grpo_trainer import GRPOTrainer as Trainer
    else:
        from trl.trainer.rloo_trainer import RLOOTrainer as Trainer
    lengths = request["lengths"]
    log_probs, entropies, mask = leaves(request)
    first = torch.tensor([0, *lengths[:-1]]).cumsum(0)
    inputs = {
        "prompt_ids": torch.zeros(len(lengths), 1, dtype=torch.long),
        "prompt_mask": torch.ones(len(lengths), 1, dtype=torch.long),
        "completion_ids": torch.zeros_like(mask, dtype=torch.long),
        "completion_mask": mask,
        "advantages": torch.tensor(request["advantages"], dtype=torch.float64)[first],
        "old_per_token_logps": pad(request["oldLogProbs"], lengths),
        "old_logps": (pad(request["oldLogProbs"], lengths) * mask).sum(1),
        "ref_per_token_logps": pad(request["referenceLogProbs"], lengths),
        "num_items_in_batch": torch.tensor(float(request["tokensPerGeneration"])),
    }
    own = trainer_of(request, log_probs, entropies)
    loss = Trainer._compute_loss(own, own.model, inputs)
    loss.backward()
    return {
        "loss": loss.item(),
        "logProbs": flat(log_probs.grad, mask),
        "entropies": flat(torch.zeros_like(mask) if entropies.grad is None else entropies.grad, mask),
        "metrics": {name: sum(values) / len(values) for name, values in own._metrics["train"].items()},
    }


def grpo_statement(request):
    lengths, options = request["lengths"], request["options"]
    log_probs, entropies, mask = leaves(request)
    old, reference, advantages = (
        pad(request[name], lengths) for name in ["oldLogProbs", "referenceLogProbs", "advantages"]
    )
    log_ratio = log_probs - old
    if options["level"] == "sequence":
        log_ratio = ((log_ratio * mask).sum(1) / mask.sum(1)).unsqueeze(1).expand_as(mask)
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - options["low"], 1 + options["high"])
    if options.get("delta") is not None:
        ratio = ratio.clamp(max=options["delta"])
    per_token = -torch.minimum(ratio * advantages, clipped * advantages)
    back = reference - log_probs
    per_token = per_token + options["beta"] * (back.exp() - back - 1)
    step = request["step"]
    if options["lossType"] == "grpo":
        loss = ((per_token * mask).sum(1) / mask.sum(1)).sum() / step["completions"]
    else:
        divisor = {
            "bnpo": step["tokens"],
            "dr_grpo": step["completions"] * step["maxCompletionLength"],
            "dapo": step["tokensPerStep"],
        }[options["lossType"]]
        loss = (per_token * mask).sum() / divisor
    loss = loss - options["entropyCoef"] * (entropies * mask).sum() / step["tokens"]
    loss.backward()
    return {
        "loss": loss.item(),
        "logProbs": flat(log_probs.grad, mask),
        "entropies": flat(torch.zeros_like(mask) if entropies.grad is None else entropies.grad, mask),
    }


def ppo_statement(request):
    lengths, options = request["lengths"], request["options"]
    log_probs, entropies, mask = leaves(request)
    values = pad(request["values"], lengths).requires_grad_()
    old, advantages, old_values, returns = (
        pad(request[name], lengths) for name in ["oldLogProbs", "advantages", "oldValues", "returns"]
    )

    def mean(x):
        return (x * mask).sum() / mask.sum()

    ratio = (log_probs - old).exp()
    clip = options["cliprange"]
    unclipped, held = -advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip)
    policy = mean(torch.maximum(unclipped, held))
    clip = options["cliprangeValue"]
    near = torch.clamp(values, old_values - clip, old_values + clip)
    free, bound = (values - returns) ** 2, (near - returns) ** 2
    value = 0.5 * mean(torch.maximum(free, bound))
    loss = policy + options["vfCoef"] * value - options["entropyCoef"] * mean(entropies)
    loss.backward()
    return {
        "loss": loss.item(),
        "logProbs": flat(log_probs.grad, mask),
        "entropies": flat(entropies.grad, mask),
        "values": flat(values.grad, mask),
        "metrics": {
            "policy/approxkl_avg": mean(0.5 * (log_probs - old) ** 2).item(),
            "policy/clipfrac_avg": mean((held > unclipped).double()).item(),
            "policy/entropy_avg": mean(entropies).item(),
            "loss/policy_avg": policy.item(),
            "loss/value_avg": value.item(),
            "val/clipfrac_avg": mean((bound > free).double()).item(),
            "val/ratio": mean(ratio).item(),
            "val/ratio_var": torch.var(ratio[mask.bool()], correction=0).item(),
        },
    }


def rollout_statement(request):
    """Rewards by token, GAE, whitening and REINFORCE++ as in the papers, by recursion over padded columns."""
    lengths = request["lengths"]
    mask = mask_of(lengths)
    log_probs, reference, values = (
        pad(request[name], lengths) for name in ["logProbs", "referenceLogProbs", "values"]
    )
    d = log_probs - reference
    estimates = {"k1": d, "k2": d**2 / 2, "k3": (-d).exp() - 1 + d}
    rewards = -request["klCoef"] * estimates[request["klEstimator"]] * mask
    ends = torch.tensor(lengths) - 1
    rewards[torch.arange(len(lengths)), ends] += torch.tensor(request["scores"])

    def whiten(x, shift):
        inside = x[mask.bool()]
        mean, var = inside.mean(), inside.var()
        white = (x - mean) * torch.rsqrt(var + 1e-8)
        return white if shift else white + mean

    if request["whitenRewards"]:
        rewards = whiten(rewards, False) * mask
    values = values * mask
    gamma, lam = request["gamma"], request["lam"]
    columns, last = [], 0
    for t in reversed(range(mask.shape[1])):
        ahead = values[:, t + 1] if t + 1 < mask.shape[1] else 0.0
        delta = rewards[:, t] + gamma * ahead - values[:, t]
        last = delta + gamma * lam * last
        columns.append(last)
    advantages = torch.stack(columns[::-1], dim=1)
    returns = advantages + values
    togo = rewards.flip(1).cumsum(1).flip(1)
    return {
        "rewards": flat(rewards, mask),
        "advantages": flat(whiten(advantages, True), mask),
        "returns": flat(returns, mask),
        "reinforce": flat(whiten(togo, True), mask),
    }


def advantages_statement(request):
    """GRPO's and RLOO's advantages with NaN for completions that nothing has scored."""
    rewards = torch.tensor([float("nan") if r is None else r for r in request["rewards"]])
    grouped = rewards.view(-1, request["groupSize"])

    def deviation(x, **where):
        known = ~torch.isnan(x)
        mean = torch.nanmean(x, keepdim=True, **where)
        return (torch.nansum((x - mean) ** 2, keepdim=True, **where) / (known.sum(keepdim=True, **where) - 1)).sqrt()

    centred = grouped - torch.nanmean(grouped, dim=1, keepdim=True)
    group = centred / (deviation(grouped, dim=1) + 1e-4)
    batch = centred / (deviation(rewards, dim=0) + 1e-4)
    counts = (~torch.isnan(grouped)).sum(1, keepdim=True)
    rloo = grouped - (torch.nansum(grouped, 1, keepdim=True) - grouped) / (counts - 1)
    spread = rloo.flatten()
    normal = (spread - torch.nanmean(spread)) / (deviation(spread, dim=0) + 1e-4)

    def numbers(x):
        return torch.nan_to_num(x.flatten(), nan=0.0).tolist()

    return {
        "none": numbers(centred),
        "group": numbers(group),
        "batch": numbers(batch),
        "rloo": numbers(rloo),
        "normalized": numbers(normal),
    }


OPERATIONS = {
    "grpo": trl_loss,
    "rloo": trl_loss,
    "grpo_statement": grpo_statement,
    "ppo_statement": ppo_statement,
    "rollout_statement": rollout_statement,
    "advantages_statement": advantages_statement,
}

if __name__ == "__main__":
    json.dump([OPERATIONS[request["op"]](request) for request in json.load(sys.stdin)], sys.stdout)
