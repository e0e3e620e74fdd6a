"""MinHash signatures by datasketch or rensa, of shingles that were made beforehand (CPU time of their own work alone)."""

import json
import re
import time

WORDS = re.compile(r"[^\W_]+")


def shingles_of(text, length):
    words = WORDS.findall(text.lower())
    if not words:
        return []
    return [" ".join(words[i : i + length]) for i in range(max(1, len(words) - length + 1))]


def sketches(options):
    """A function that makes the signature of a list of shingles."""
    permutations = options["permutations"]
    if options["peer"] == "datasketch":
        from datasketch import MinHash

        def sketch(shingles):
            made = MinHash(num_perm=permutations)
            made.update_batch([shingle.encode() for shingle in shingles])
            return made

        return sketch
    import rensa

    kind = rensa.RMinHash if options["peer"] == "rensa R" else rensa.CMinHash

    def sketch(shingles):
        made = kind(num_perm=permutations, seed=1)
        made.update(shingles)
        return made.digest()

    return sketch


def run(options):
    length = options["shingle"]
    with open(options["file"], encoding="utf-8") as rows:
        texts = [json.loads(row)["text"] for row in rows]
    sketch = sketches(options)
    amount = sum(len(text.encode()) for text in texts)
    started = time.process_time()
    sets = [shingles_of(text, length) for text in texts]
    shingled = time.process_time()
    for shingles in sets:
        sketch(shingles)
    seconds = time.process_time() - shingled
    notes = {"documents": len(texts), "shingling_seconds": shingled - started}
    return {"seconds": seconds, "amount": amount, "notes": notes}
