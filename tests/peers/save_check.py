"""What transformers makes of a folder that anneal has saved, as JSON on standard output.

Usage: save_check.py logits DIR            logits for the ids in DIR/tokens.json, end-of-text ids, tied or not
       save_check.py chat DIR MESSAGES     ids of a rendered chat, number of parameters, id of EOS
"""

import json
import sys
from pathlib import Path

import torch
import transformers

transformers.logging.set_verbosity_error()


def logits(folder):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").float().eval()
    tokens = torch.tensor([json.loads((Path(folder) / "tokens.json").read_text())])
    with torch.no_grad():
        values = model(tokens).logits[0]
    tied = model.get_output_embeddings().weight.data_ptr() == model.get_input_embeddings().weight.data_ptr()
    return {"logits": values.flatten().tolist(), "eos": model.generation_config.eos_token_id, "tied": tied}


def chat(folder, messages):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    text = tokenizer.apply_chat_template(json.loads(Path(messages).read_text()), tokenize=False)
    return {
        "ids": tokenizer(text, add_special_tokens=False)["input_ids"],
        "parameters": sum(p.numel() for p in model.parameters()),
        "eos": tokenizer.eos_token_id,
    }


command, *arguments = sys.argv[1:]
print(json.dumps({"logits": logits, "chat": chat}[command](*arguments)))
