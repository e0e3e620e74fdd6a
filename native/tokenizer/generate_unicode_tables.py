"""Writes unicode_classes.h or unicode_nfc.h: what Hugging Face `tokenizers` takes each code point for.

Everything is read off the library itself rather than off a copy of the Unicode database, because equality with it is
what counts, and its parts follow different versions: its regular expressions, the Digits and Punctuation
pre-tokenizers, and the NFC normalizer. Run with the Python environment of the peer tests:

    for part in classes nfc; do
      $ANNEAL_PEERS_PYTHON native/tokenizer/generate_unicode_tables.py $part > native/tokenizer/unicode_$part.h
    done
"""

import re
import sys
import unicodedata
from pathlib import Path

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, models
from tokenizers.normalizers import NFC, NFD
from tokenizers.pre_tokenizers import Digits, Punctuation, Split

# One bit each, in the order of char_classes.h.
CLASSES = [r"[\p{Lu}\p{Lt}]", r"\p{Ll}", r"[\p{Lm}\p{Lo}]", r"\p{M}", r"\p{N}", r"\s", r"\p{P}", r"\p{S}"]
POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
SEPARATOR = "\x01"  # in none of the classes
BLOCK = 4096
HANGUL = range(0xAC00, 0xD7A4)


def blocks():
    for start in range(0, len(POINTS), BLOCK):
        yield [c for c in POINTS[start : start + BLOCK] if chr(c) != SEPARATOR]


def members(pattern):
    """All code points that the pattern removes from a text of all characters."""
    remover = Split(Regex(pattern), "removed")
    found = set()
    for points in blocks():
        kept = {c for word, _ in remover.pre_tokenize_str(SEPARATOR.join(map(chr, points))) for c in word}
        found.update(c for c in points if chr(c) not in kept)
    return found


def isolated(pre_tokenizer):
    """All code points that the pre-tokenizer cuts off from a text of all characters."""
    found = set()
    for points in blocks():
        words = pre_tokenizer.pre_tokenize_str(SEPARATOR.join(map(chr, points)))
        found.update(ord(word) for word, _ in words if len(word) == 1 and word != SEPARATOR)
    return found


def word_characters():
    """What counts as part of a word beside an added token with single_word: the token is not found there."""
    tokenizer = Tokenizer(models.WordLevel({"unknown": 0}, unk_token="unknown"))
    tokenizer.add_tokens([AddedToken("<x>", normalized=False, single_word=True)])
    token = tokenizer.token_to_id("<x>")
    encoded = tokenizer.encode_batch([chr(c) + "<x>" for c in POINTS])
    return {c for c, encoding in zip(POINTS, encoded) if token not in encoding.ids}


def ranges(points):
    """Sorted code points as inclusive ranges."""
    out = []
    for point in sorted(points):
        if out and out[-1][1] == point - 1:
            out[-1][1] = point
        else:
            out.append([point, point])
    return out


def array(head, cells):
    print(f"\ninline constexpr {head} = {{")
    line = ""
    for cell in cells:
        if len(line) + len(cell) > 108:
            print(line)
            line = ""
        line += cell
    print(line + "\n};")


def class_runs():
    of = [0] * 0x110000
    for bit, pattern in enumerate(CLASSES):
        for point in members(pattern):
            of[point] |= 1 << bit
    runs = []
    for value in of:
        if runs and runs[-1][1] == value:
            runs[-1][0] += 1
        else:
            runs.append([1, value])
    return [f"{length},{value}," for length, value in runs]


def canonical():
    """Full decompositions, pairs that compose, and combining classes, less the Hangul that arithmetic gives."""
    nfc, nfd = NFC(), NFD()
    decompositions, pairs = {}, {}
    for point in POINTS:
        text = nfd.normalize_str(chr(point))
        if text == chr(point) or point in HANGUL:
            continue
        parts = [ord(c) for c in text]
        decompositions[point] = parts
        # The last pair that composes to this character: what is left of it after its first character.
        first = nfc.normalize_str(text[:-1])
        if nfc.normalize_str(text) == chr(point) and len(first) == 1:
            pairs[ord(first), parts[-1]] = point
    classes = {}
    for point in POINTS:
        value = unicodedata.combining(chr(point))
        if value == 0:
            continue
        # U+0345 has the highest class: a mark goes before it if, to the library, it has a class at all.
        if value == 240 or nfd.normalize_str("\u0345" + chr(point)) == chr(point) + "\u0345" != "\u0345" + chr(point):
            classes[point] = value
        elif nfd.normalize_str("\u0345" + chr(point))[-1] == "\u0345":  # decomposes, and then moves
            classes[point] = value
    return decompositions, pairs, classes


def version_17():
    """The same of ../data/unicode_normalization.inc."""
    text = (Path(__file__).parent / "../data/unicode_normalization.inc").read_text()
    classes, decompositions, pairs = (
        [[int(cell, 16) for cell in row.split(",")] for row in re.findall(r"\{([^{}]+)\}", table)]
        for table in text.split("\n};")[:3]
    )
    return (
        {point: parts for point, *parts in decompositions},
        {(first, second): composed for first, second, composed in pairs},
        {point: value for first, last, value in classes for point in range(first, last + 1)},
    )


def newer():
    """Code points that Unicode 17 decomposes, composes or orders, and the library does not know."""
    theirs, ours = canonical(), version_17()
    points = {point for of, known in ((ours[0], theirs[0]), (ours[2], theirs[2])) for point in of if point not in known}
    points |= {composed for pair, composed in ours[1].items() if pair not in theirs[1]}
    less = (
        {point: parts for point, parts in ours[0].items() if point not in points},
        {pair: composed for pair, composed in ours[1].items() if composed not in points},
        {point: value for point, value in ours[2].items() if point not in points},
    )
    assert less == theirs, "the library has more than an older version of Unicode"
    return points


def write_classes():
    print("/// Inclusive.\nstruct Range {\n  uint32_t first, last;\n};")
    print("\n/// Length and class bits of each run of code points, from 0 on.", end="")
    array("uint32_t kClassRuns[]", class_runs())
    for name, points in [
        ("kDigits", isolated(Digits(True))),
        ("kPunctuation", isolated(Punctuation("isolated"))),
        ("kWordCharacters", word_characters()),
    ]:
        array(f"Range {name}[]", [f"{{{first:#x},{last:#x}}}," for first, last in ranges(points)])


def write_nfc():
    print("/// What is in the tables of ../data and newer than the library's version of Unicode.", end="")
    array("Range kNewer[]", [f"{{{first:#x},{last:#x}}}," for first, last in ranges(newer())])


def main(part):
    print("// Generated by generate_unicode_tables.py from tokenizers " + tokenizers.__version__ + "; do not edit.")
    include = "<cstdint>" if part == "classes" else '"tokenizer/unicode_classes.h"'
    print(f"// clang-format off\n#pragma once\n\n#include {include}\n\nnamespace anneal::unicode {{\n")
    {"classes": write_classes, "nfc": write_nfc}[part]()
    print("\n}  // namespace anneal::unicode")


if __name__ == "__main__":
    main(sys.argv[1])
