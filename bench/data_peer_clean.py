"""datatrove's filters of Gopher, C4 and FineWeb, one after the other, on the documents of a JSONL file in memory.

English needs spaCy's words there, which cost more than all else; it gets the words of docs/cleaning.md instead, as in
tests/peers/cleaning_peer.py, so that both sides judge alike.
"""

import json
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../tests/peers"))

from cleaning_peer import Words  # noqa: E402
from datatrove.data import Document  # noqa: E402
from datatrove.pipeline.filters import (  # noqa: E402
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)


def run(options):
    with open(options["file"], encoding="utf-8") as rows:
        texts = [json.loads(row)["text"] for row in rows]
    words = Words()
    filters = [
        GopherRepetitionFilter(language=words),
        GopherQualityFilter(language=words),
        C4QualityFilter(filter_no_terminal_punct=False, language=words),
        FineWebQualityFilter(language=words),
    ]
    started = time.perf_counter()
    documents = (Document(text=text, id=str(i)) for i, text in enumerate(texts))
    for filter_ in filters:
        documents = filter_.run(documents)
    kept = sum(1 for _ in documents)
    seconds = time.perf_counter() - started
    return {
        "seconds": seconds,
        "amount": sum(len(text.encode()) for text in texts),
        "notes": {"kept": kept},
    }
