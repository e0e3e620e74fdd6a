"""datatrove does what a `prepare` stage does: JSONL through C4's and Gopher's filters, MinHash near-deduplication, and
tokens in files. Its stages write what the next ones read, as its own examples have it. Words are cut by an expression
(it would use spaCy for English, which is slower)."""

import json
import logging
import os
import shutil
import sys
import tempfile
import time

import datatrove.utils.hashes.xxhash as hashes
import regex
import xxhash
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupBuckets
from datatrove.pipeline.filters import C4QualityFilter, GopherQualityFilter, GopherRepetitionFilter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.tokens import DocumentTokenizer
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.word_tokenizers import WhitespaceTokenizer
from loguru import logger

# Newer versions of xxhash take bytes only.
hashes.xxhash64 = lambda data: xxhash.xxh64_intdigest(data.encode())
hashes.xxhash32 = lambda data: xxhash.xxh32_intdigest(data.encode())

WORD = regex.compile(r"[\p{L}\p{M}\p{N}]+(?:['’][\p{L}\p{M}\p{N}]+)*|[^\s\p{L}\p{M}\p{N}]+")


class Words(WhitespaceTokenizer):
    def word_tokenize(self, text):
        return WORD.findall(text)


def run(options):
    logging.disable(logging.CRITICAL)
    logger.remove()
    work = tempfile.mkdtemp(dir=options["dir"], prefix="peer-")
    at = lambda name: os.path.join(work, name)
    config = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8)
    tasks = workers = int(options["workers"])
    file = options["file"]
    started = time.perf_counter()

    def execute(name, steps, tasks=1):
        LocalPipelineExecutor(
            pipeline=steps, tasks=tasks, workers=min(tasks, workers), logging_dir=at(f"logs-{name}")
        ).run()

    # Its readers share out files, not ranges: as many pieces as workers.
    split(file, at("input"), tasks)
    execute("filters", [
        JsonlReader(at("input")),
        C4QualityFilter(language=Words()),
        GopherRepetitionFilter(language=Words()),
        GopherQualityFilter(language=Words()),
        JsonlWriter(at("filtered"), compression=None),
    ], tasks)
    execute("signatures", [
        JsonlReader(at("filtered")),
        MinhashDedupSignature(output_folder=at("signatures"), config=config, language=Words()),
    ], tasks)
    execute("buckets", [
        MinhashDedupBuckets(input_folder=at("signatures"), output_folder=at("buckets"), config=config)
    ], config.num_buckets)
    execute("clusters", [
        MinhashDedupCluster(input_folder=at("buckets"), output_folder=at("remove"), config=config)
    ])
    execute("tokens", [
        JsonlReader(at("filtered")),
        MinhashDedupFilter(input_folder=at("remove")),
        DocumentTokenizer(
            output_folder=at("tokens"),
            local_working_dir=at("local"),
            tokenizer_name_or_path=os.path.join(options["tokenizer"], "tokenizer.json"),
            eos_token="<|im_end|>",
            shuffle_documents=False,
        ),
    ], tasks)
    seconds = time.perf_counter() - started
    tokens = sum(
        os.path.getsize(os.path.join(folder, name)) // 2
        for folder, _, names in os.walk(at("tokens"))
        for name in names
        if name.endswith(".ds")
    )
    shutil.rmtree(work)
    return {"seconds": seconds, "amount": os.path.getsize(file), "notes": {"tokens": tokens}}


def split(file, folder, pieces):
    os.makedirs(folder)
    outs = [open(os.path.join(folder, f"{i:05}.jsonl"), "wb") for i in range(pieces)]
    with open(file, "rb") as rows:
        for i, row in enumerate(rows):
            outs[i % pieces].write(row)
    for out in outs:
        out.close()


if __name__ == "__main__":
    print(json.dumps(run(json.loads(sys.argv[1]))))
