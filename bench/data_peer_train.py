"""Hugging Face `tokenizers` trains a byte-level BPE on the documents of a JSONL file."""

import json
import os
import time

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def documents(path):
    with open(path, encoding="utf-8") as rows:
        for row in rows:
            yield json.loads(row)["text"]


def run(options):
    tokenizer = Tokenizer(models.BPE())
    if options["pattern"] == "gpt2":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=options["vocab_size"],
        min_frequency=2,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    started = time.perf_counter()
    tokenizer.train_from_iterator(documents(options["file"]), trainer)
    seconds = time.perf_counter() - started
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    if "merges" in options:
        with open(options["merges"], "w") as out:
            json.dump([merge if isinstance(merge, list) else merge.split(" ") for merge in merges], out)
    return {
        "seconds": seconds,
        "amount": os.path.getsize(options["file"]),
        "notes": {"merges": len(merges)},
    }
