"""Hugging Face `tokenizers` or `tiktoken` encodes the documents of a JSONL file, on one thread."""

import array
import hashlib
import json
import time

PATTERNS = {
    "ByteLevel": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s",
    "Sequence": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$"
    r"|\s*[\r\n]|\s+(?!\S)|\s",
}
GROUP = 256


def tokenizers_encoder(folder):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(folder + "/tokenizer.json")
    tokenizer.encode_special_tokens = True
    return lambda texts: [
        encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    ]


def tiktoken_encoder(folder):
    """As OpenAI's own encodings are made: the expressions are tiktoken's faster spellings of the same language."""
    import tiktoken
    from tokenizers.pre_tokenizers import ByteLevel

    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in printable]
    byte_of = {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(rest)}
    assert set(byte_of) == set(ByteLevel.alphabet())
    with open(folder + "/tokenizer.json") as file:
        content = json.load(file)
    special = {token["content"]: token["id"] for token in content["added_tokens"]}
    ranks = {
        bytes(byte_of[c] for c in token): token_id
        for token, token_id in content["model"]["vocab"].items()
        if token not in special
    }
    encoding = tiktoken.Encoding(
        "bench",
        pat_str=PATTERNS[content["pre_tokenizer"]["type"]],
        mergeable_ranks=ranks,
        special_tokens=special,
    )
    return lambda texts: encoding.encode_ordinary_batch(texts, num_threads=1)


def run(options):
    make = {"tokenizers": tokenizers_encoder, "tiktoken": tiktoken_encoder}[options["library"]]
    encode = make(options["folder"])
    with open(options["file"], encoding="utf-8") as rows:
        texts = [json.loads(row)["text"] for row in rows]
    digest, seconds, tokens = hashlib.sha256(), 0.0, 0
    for start in range(0, len(texts), GROUP):
        group = texts[start : start + GROUP]
        started = time.process_time()
        rows = encode(group)
        seconds += time.process_time() - started
        for ids in rows:
            digest.update(array.array("i", ids).tobytes())
            tokens += len(ids)
    amount = sum(len(text.encode()) for text in texts)
    return {"seconds": seconds, "amount": amount, "notes": {"tokens": tokens, "ids": digest.hexdigest()}}
