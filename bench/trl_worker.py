"""The peers' side of the alignment benchmarks: each line on stdin is one step.

Usage: trl_worker.py WORK.json DIR THREADS

TRL's trainers run as they are, with PyTorch's fused AdamW, float32 and no recomputation of activations (their quickest
setting here); a callback holds them between steps. LoRA is PEFT in a plain loop, generation is transformers' `generate`.
"""

import copy
import json
import os
import re
import sys
import time
import warnings
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
# Libraries print: what the driver reads goes through a channel of its own.
ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

import datasets
import torch
import transformers
from transformers import TrainerCallback

WORK = json.loads(Path(sys.argv[1]).read_text())
DIR = sys.argv[2]
torch.set_num_threads(int(sys.argv[3]))
transformers.logging.set_verbosity_error()
datasets.disable_progress_bars()
warnings.filterwarnings("ignore", category=FutureWarning)
PAD, EOS = 0, 1
model = transformers.LlamaForCausalLM(
    transformers.LlamaConfig(
        **WORK["model"], tie_word_embeddings=True, pad_token_id=PAD, eos_token_id=EOS, bos_token_id=None
    )
)


def answer(seconds):
    peak = int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024
    print(json.dumps({"seconds": seconds, "value": 0, "peak_bytes": peak}), file=ANSWERS, flush=True)


def asked():
    return sys.stdin.readline() != ""


class Turns(TrainerCallback):
    """Answers when a step is done, and waits until the next one is asked for."""

    def __init__(self):
        self.start = time.perf_counter()

    def on_step_end(self, args, state, control, **kwargs):
        answer(time.perf_counter() - self.start)
        if not asked():
            control.should_training_stop = True
        self.start = time.perf_counter()
        return control


def tokenizer():
    """One word for each id."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["<pad>", "</s>"] + [f"t{i}" for i in range(2, WORK["model"]["vocab_size"])]
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<pad>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", eos_token="</s>")


def text(ids):
    return "".join(f" t{i}" for i in ids if i != EOS)


SETTINGS = {
    "output_dir": DIR,
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "max_steps": 1_000_000,
    "learning_rate": 1e-6,
    "report_to": "none",
    "logging_strategy": "no",
    "save_strategy": "no",
    "disable_tqdm": True,
    "optim": "adamw_torch_fused",
}


def dpo():
    from trl import DPOConfig, DPOTrainer

    rows = [{name: text(ids) for name, ids in pair.items()} for pair in WORK["pairs"]]
    trainer = DPOTrainer(
        model,
        ref_model=copy.deepcopy(model),
        args=DPOConfig(**SETTINGS, per_device_train_batch_size=WORK["batch"], beta=0.1, max_length=None),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=tokenizer(),
        callbacks=[Turns()],
    )
    for row, pair in zip(trainer.train_dataset, WORK["pairs"]):
        lengths = [len(row[f"{name}_ids"]) for name in ("prompt", "chosen", "rejected")]
        assert lengths == [len(pair[name]) for name in ("prompt", "chosen", "rejected")], lengths
    trainer.train()


def grpo():
    from trl import GRPOConfig, GRPOTrainer

    samples = WORK["samples"]
    trainer = GRPOTrainer(
        model,
        reward_funcs=lambda completions, **_: [float(len(set(c.split()))) for c in completions],
        args=GRPOConfig(
            **SETTINGS,
            per_device_train_batch_size=WORK["batch"] * samples,
            num_generations=samples,
            max_completion_length=WORK["newTokens"],
            steps_per_generation=1,
            beta=0.0,
            shuffle_dataset=False,
        ),
        train_dataset=datasets.Dataset.from_list([{"prompt": text(ids)} for ids in WORK["prompts"]]),
        processing_class=tokenizer(),
        callbacks=[Turns()],
    )
    trainer.train()


def lora():
    import peft

    config = peft.LoraConfig(r=WORK["rank"], lora_alpha=2 * WORK["rank"], target_modules="all-linear")
    adapted = peft.get_peft_model(model, config)
    adapted.train()
    trained = [p for p in adapted.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-6, weight_decay=0.0, fused=True)
    while True:
        ids = torch.randint(WORK["model"]["vocab_size"], (WORK["sequences"], WORK["length"]))
        start = time.perf_counter()
        optimizer.zero_grad()
        adapted(input_ids=ids, labels=ids).loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        answer(time.perf_counter() - start)
        if not asked():
            return


def generate():
    model.eval()
    encoded = [torch.tensor(ids) for ids in WORK["prompts"]]
    longest = max(len(ids) for ids in encoded)
    ids = torch.stack([torch.nn.functional.pad(i, (longest - len(i), 0), value=PAD) for i in encoded])
    mask = torch.stack([torch.nn.functional.pad(torch.ones_like(i), (longest - len(i), 0)) for i in encoded])
    while True:
        start = time.perf_counter()
        model.generate(
            ids,
            attention_mask=mask,
            num_return_sequences=WORK["samples"],
            min_new_tokens=WORK["newTokens"],
            max_new_tokens=WORK["newTokens"],
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            pad_token_id=PAD,
        )
        answer(time.perf_counter() - start)
        if not asked():
            return


if asked():
    {"dpo": dpo, "grpo": grpo, "lora": lora, "generate": generate}[WORK["task"]]()
