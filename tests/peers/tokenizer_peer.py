"""Answers one request (JSON on stdin, JSON on stdout) with what Hugging Face `tokenizers` and `transformers` do.

train   documents, pattern, merges, min_frequency, special_tokens -> merges as pairs of strings; with `folder` instead
        of the pattern, words are split as its tokenizer.json says
train_characters  folder, documents, vocab_size, min_frequency, special_tokens, digits -> the same over characters,
        normalized as its tokenizer.json says, words beginning at spaces
encode  folder, texts -> ids by tokenizers' own loading of tokenizer.json, their decoding, and AutoTokenizer's ids
chat    folder, chats, generation_prompt -> apply_chat_template's text, and the spans of assistant text if asked
"""

import json
import sys

# The expressions as published for GPT-2 (by ByteLevel itself), and for cl100k and Llama 3.
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def train(request):
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    if "folder" in request:
        tokenizer.pre_tokenizer = Tokenizer.from_file(request["folder"] + "/tokenizer.json").pre_tokenizer
    elif request["pattern"] == "gpt2":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(WORDS), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    trainer = trainers.BpeTrainer(
        vocab_size=256 + len(request["special_tokens"]) + request["merges"],
        min_frequency=request["min_frequency"],
        special_tokens=request["special_tokens"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(request["documents"], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return {"vocab": model["vocab"], "merges": model["merges"]}


def train_characters(request):
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(byte_fallback=True))
    tokenizer.normalizer = Tokenizer.from_file(request["folder"] + "/tokenizer.json").normalizer
    words = pre_tokenizers.Split(Regex("\u2581*[^\u2581]+|\u2581+"), "isolated")
    steps = [words, pre_tokenizers.Digits(individual_digits=True)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps if request["digits"] else steps[:1])
    trainer = trainers.BpeTrainer(
        vocab_size=request["vocab_size"],
        min_frequency=request["min_frequency"],
        special_tokens=request["special_tokens"] + [f"<0x{byte:02X}>" for byte in range(256)],
        show_progress=False,
    )
    tokenizer.train_from_iterator(request["documents"], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return {"vocab": model["vocab"], "merges": model["merges"]}


def encode(request):
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    own = Tokenizer.from_file(request["folder"] + "/tokenizer.json")
    auto = AutoTokenizer.from_pretrained(request["folder"])
    ids = [own.encode(text, add_special_tokens=False).ids for text in request["texts"]]
    return {
        "ids": ids,
        "text": [own.decode(row, skip_special_tokens=False) for row in ids],
        "auto_ids": [auto.encode(text, add_special_tokens=False) for text in request["texts"]],
        "auto_text": [auto.decode(row) for row in ids],
        "eos": auto.eos_token_id,
        "bos": auto.bos_token_id,
        "size": len(auto),
        "fast": auto.is_fast,
    }


def chat(request):
    from transformers import AutoTokenizer

    auto = AutoTokenizer.from_pretrained(request["folder"])
    out = []
    for messages in request["chats"]:
        row = {
            "text": auto.apply_chat_template(messages, tokenize=False, add_generation_prompt=False),
            "prompt": auto.apply_chat_template(messages[:-1], tokenize=False, add_generation_prompt=True),
        }
        if request["mask"]:
            encoded = auto.apply_chat_template(
                messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
            )
            row["ids"] = encoded["input_ids"]
            row["mask"] = encoded["assistant_masks"]
        out.append(row)
    return out


if __name__ == "__main__":
    request = json.load(sys.stdin)
    print(json.dumps({"train": train, "train_characters": train_characters, "encode": encode, "chat": chat}[request["task"]](request)))
