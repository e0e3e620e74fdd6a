"""Answers one request (JSON on stdin, JSON on stdout) with what datatrove's filters say of documents.

documents, filter (gopher_quality, gopher_repetition, c4, fineweb), options -> for each [reason or null, text]

datatrove cuts English into words with spaCy, which is not there; it gets instead the words of docs/cleaning.md, written
down once more here as an expression. Sentences are those of datatrove's own splitter for languages without a model.
"""

import json
import sys

import regex
from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.utils.word_tokenizers import WhitespaceTokenizer

FILTERS = {
    "gopher_quality": GopherQualityFilter,
    "gopher_repetition": GopherRepetitionFilter,
    "c4": C4QualityFilter,
    "fineweb": FineWebQualityFilter,
}

IDEOGRAPH = r"[[\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}]&&[\p{L}\p{M}\p{N}]]"
LETTER = rf"[[\p{{L}}\p{{M}}\p{{N}}]--{IDEOGRAPH}]"
SPACE = r"\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
WORD = regex.compile(
    rf"{IDEOGRAPH}|{LETTER}+(?:(?:['’]|(?<=\p{{N}})[.,](?=\p{{N}})){LETTER}+)*|[^{SPACE}\p{{L}}\p{{M}}\p{{N}}]+",
    regex.V1,
)


class Words(WhitespaceTokenizer):
    def word_tokenize(self, text):
        return WORD.findall(text)


def judge(filter_, text):
    document = Document(text=text, id="0")
    result = filter_.filter(document)
    kept, reason = result if isinstance(result, tuple) else (result, None)
    return [None if kept else reason, document.text]


def main():
    request = json.load(sys.stdin)
    filter_ = FILTERS[request["filter"]](language=Words(), **request["options"])
    json.dump([judge(filter_, text) for text in request["documents"]], sys.stdout)


if __name__ == "__main__":
    main()
