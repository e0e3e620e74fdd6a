"""Trains a small tokenizer of each kind that is not BPE over bytes, into folders of their own, and decodes with them.

stdin (JSON): folder, documents, texts. stdout (JSON): for each kind the decoded ids of the texts (special tokens found),
with and without special tokens.
"""

import json
import os
import sys

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

SPECIALS = ["<pad>", "<unk>", "<s>", "</s>"]
SPACE = "\u2581"


def framed(tokenizer):
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[(t, tokenizer.token_to_id(t)) for t in ("<s>", "</s>")]
    )
    return tokenizer


def unigram(documents):
    """As T5, ALBERT and XLM-R have it."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=600, special_tokens=SPECIALS, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(documents, trainer)
    tokenizer.add_tokens([AddedToken("<mask>", lstrip=True, special=True), AddedToken("<tool>")])
    return framed(tokenizer)


def unigram_bytes(documents):
    """With bytes for what it has no piece for."""
    pieces = json.loads(unigram(documents).to_str())["model"]["vocab"]
    pieces += [[f"<0x{byte:02X}>", -20.0] for byte in range(256)]
    unknown = [piece for piece, _ in pieces].index("<unk>")
    tokenizer = Tokenizer(models.Unigram([tuple(piece) for piece in pieces], unknown, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace(SPACE, " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.add_special_tokens(SPECIALS)
    return tokenizer


def word_piece(documents):
    """As BERT has it, with the lengths that its files ask for."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=800, special_tokens=SPECIALS, show_progress=False)
    tokenizer.train_from_iterator(documents, trainer)
    tokenizer.enable_truncation(16)
    tokenizer.enable_padding(length=16)
    return framed(tokenizer)


def word_level(documents):
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(vocab_size=500, special_tokens=SPECIALS, show_progress=False)
    tokenizer.train_from_iterator(documents, trainer)
    return tokenizer


def clip(documents):
    """BPE over characters, with a mark at the end of each word."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.BPEDecoder("</w>")
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=SPECIALS, end_of_word_suffix="</w>", show_progress=False
    )
    tokenizer.train_from_iterator(documents, trainer)
    return tokenizer


def own_pattern(documents):
    """Byte-level BPE with a split pattern that no family has."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\p{L}+|\p{N}|[^\p{L}\p{N}]+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    return tokenizer


def main():
    request = json.load(sys.stdin)
    reply = {}
    for make in (unigram, unigram_bytes, word_piece, word_level, clip, own_pattern):
        folder = os.path.join(request["folder"], make.__name__)
        os.mkdir(folder)
        tokenizer = make(request["documents"])
        tokenizer.save(os.path.join(folder, "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        rows = [tokenizer.encode(text, add_special_tokens=False).ids for text in request["texts"]]
        reply[make.__name__] = {
            "text": [tokenizer.decode(row, skip_special_tokens=False) for row in rows],
            "plain": [tokenizer.decode(row, skip_special_tokens=True) for row in rows],
        }
    print(json.dumps(reply))


if __name__ == "__main__":
    main()
