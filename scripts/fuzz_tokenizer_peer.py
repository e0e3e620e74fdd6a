"""Answers rounds of scripts/fuzz-tokenizer.ts with the ids of Hugging Face `tokenizers`.

A round on stdin: the path of a tokenizer.json and whether special tokens are found, as a line of JSON, then little-endian
uint32: number of texts, bytes of each text, and the texts. On stdout: number of ids of each text, and the ids.
"""

import array
import json
import sys

from tokenizers import Tokenizer

loaded = {}


def numbers(stream, count):
    read = array.array("I")
    read.frombytes(stream.read(4 * count))
    return read


def main():
    stream, out = sys.stdin.buffer, sys.stdout.buffer
    for line in iter(stream.readline, b""):
        request = json.loads(line)
        if request["path"] not in loaded:
            tokenizer = loaded[request["path"]] = Tokenizer.from_file(request["path"])
            tokenizer.no_truncation()
            tokenizer.no_padding()
        tokenizer = loaded[request["path"]]
        tokenizer.encode_special_tokens = not request["specials"]
        (count,) = numbers(stream, 1)
        texts = [stream.read(length).decode() for length in numbers(stream, count)]
        rows = [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
        out.write(array.array("I", map(len, rows)).tobytes())
        for row in rows:
            out.write(array.array("I", row).tobytes())
        out.flush()


if __name__ == "__main__":
    main()
