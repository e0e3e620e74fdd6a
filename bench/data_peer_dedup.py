"""MinHash signatures by datasketch or rensa, of shingles (or, with `hashes`, of hashes of shingles) that were made
beforehand: CPU time of their own work alone."""

import json
import re
import statistics
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


def sketch_hashes(sets, permutations):
    """Seconds that rensa's R-MinHash takes for all sets at once, of hashes in one array."""
    import numpy as np
    import rensa

    hashed = [np.array(hashes, dtype=np.uint64) for hashes in rensa.RMinHash.hash_token_sets(sets)]
    borders = np.cumsum([0, *map(len, hashed)], dtype=np.uint64)
    flat = np.concatenate(hashed)
    seconds = []
    for _ in range(6):
        started = time.process_time()
        rensa.RMinHash.digest_matrix_from_flat_token_hashes(flat, borders, permutations, 1)
        seconds.append(time.process_time() - started)
    return statistics.median(seconds[1:])  # as ours, after the first


def run(options):
    length = options["shingle"]
    with open(options["file"], encoding="utf-8") as rows:
        texts = [json.loads(row)["text"] for row in rows]
    sketch = sketches(options)
    amount = sum(len(text.encode()) for text in texts)
    started = time.process_time()
    sets = [shingles_of(text, length) for text in texts]
    shingled = time.process_time()
    if options.get("hashes"):
        seconds = sketch_hashes(sets, options["permutations"])
    else:
        for shingles in sets:
            sketch(shingles)
        seconds = time.process_time() - shingled
    notes = {"documents": len(texts), "shingling_seconds": round(shingled - started, 2)}
    return {"seconds": seconds, "amount": amount, "notes": notes}
