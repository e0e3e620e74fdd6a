"""Answers one request (JSON on stdin, JSON on stdout) with what datatrove's filters say of documents.

documents, filter (gopher_quality, gopher_repetition, c4, fineweb, c4_badwords), options -> for each [reason or null,
text]; for c4_badwords also lists (words by language) and languages (of the documents; null: not known). A text with
characters that Python's Unicode has not yet is judged "unknown characters" there.

datatrove cuts English into words with spaCy, which is not there; it gets instead the words of docs/cleaning.md, written
down once more here as an expression. Sentences are those of datatrove's own splitter for languages without a model. Its
lists of bad words, which it would download, it gets from the request.
"""

import json
import os
import sys
import tempfile
import unicodedata

import regex
from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4BadWordsFilter,
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.pipeline.filters import c4_filters
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


def bad_words_filter(lists, options):
    folder = tempfile.TemporaryDirectory()  # goes with the process
    for language, words in lists.items():
        with open(os.path.join(folder.name, language), "w", encoding="utf-8") as file:
            file.writelines(word + "\n" for word in words)

    def path_of(url, **_):
        return os.path.join(folder.name, url.rsplit("/", 1)[1])

    c4_filters.cached_asset_path_or_download = path_of
    return C4BadWordsFilter(fail_on_missing_language=False, **options)


def judge(filter_, text, language=None):
    document = Document(text=text, id="0", metadata={} if language is None else {"language": language})
    result = filter_.filter(document)
    kept, reason = result if isinstance(result, tuple) else (result, None)
    return [None if kept else reason, document.text]


def main():
    request = json.load(sys.stdin)
    documents = request["documents"]
    if request["filter"] == "c4_badwords":
        filter_ = bad_words_filter(request["lists"], request["options"])
    else:
        filter_ = FILTERS[request["filter"]](language=Words(), **request["options"])
    languages = request.get("languages", [None] * len(documents))
    verdicts = [judge(filter_, text, language) for text, language in zip(documents, languages)]
    if request["filter"] == "c4_badwords":
        for verdict in verdicts:
            if any(unicodedata.category(c) == "Cn" for c in verdict[1]):
                verdict[0] = "unknown characters"
    json.dump(verdicts, sys.stdout)


if __name__ == "__main__":
    main()
