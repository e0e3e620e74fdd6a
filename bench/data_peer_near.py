"""Near duplicates by datasketch's or rensa's MinHash and LSH: CPU time from texts to the documents that go."""

import json
import os
import time

from data_peer_dedup import shingles_of


class Sets:
    """Sets of documents; the root is the first."""

    def __init__(self, size):
        self.parents = list(range(size))

    def root(self, i):
        while self.parents[i] != i:
            self.parents[i] = i = self.parents[self.parents[i]]
        return i

    def join(self, a, b):
        a, b = self.root(a), self.root(b)
        self.parents[max(a, b)] = min(a, b)

    def others(self):
        return [i for i in range(len(self.parents)) if self.root(i) != i]


def by_datasketch(sets, options):
    """Candidates as they are, and those whose signatures agree as well."""
    from datasketch import MinHash, MinHashLSH

    permutations = options["permutations"]
    index = MinHashLSH(num_perm=permutations, params=(options["bands"], options["rows"]))
    sketches, candidates, verified = [], Sets(len(sets)), Sets(len(sets))
    for i, shingles in enumerate(sets):
        sketch = MinHash(num_perm=permutations)
        sketch.update_batch([shingle.encode() for shingle in shingles])
        for other in index.query(sketch):
            candidates.join(i, other)
            if sketch.jaccard(sketches[other]) >= options["threshold"]:
                verified.join(i, other)
        index.insert(i, sketch, check_duplication=False)
        sketches.append(sketch)
    return {"": candidates.others(), "-verified": verified.others()}


def by_rensa(sets, options):
    from rensa import RMinHashDeduplicator

    permutations = options["permutations"]
    index = RMinHashDeduplicator(options["threshold"], permutations, True, options["bands"], 1)
    kept = index.add_pairs((str(i), shingles) for i, shingles in enumerate(sets))
    return {"-verified": [i for i, stays in enumerate(kept) if not stays]}


def run(options):
    with open(options["file"], encoding="utf-8") as rows:
        texts = [json.loads(row)["text"] for row in rows]
    started = time.process_time()
    sets = [shingles_of(text, options["shingle"]) for text in texts]
    shingled = time.process_time()
    dropped = {"datasketch": by_datasketch, "rensa": by_rensa}[options["peer"]](sets, options)
    ended = time.process_time()
    for suffix, documents in dropped.items():
        with open(os.path.join(options["dir"], options["peer"] + suffix + ".json"), "w") as file:
            json.dump(documents, file)
    return {
        "seconds": ended - started,
        "amount": sum(len(text.encode()) for text in texts),
        "notes": {"shingling": round(shingled - started, 2)},
    }
