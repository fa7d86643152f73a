#!/usr/bin/env bash
# transformers 5.24.0 (torch 2.13.0): once a model folder has a generation_config.json, `generate` takes
# its end token from there alone.  A generation_config.json without `eos_token_id` therefore switches
# off the `eos_token_id` that config.json states, and the model talks on to the token limit; without the
# file the very same folder stops.  Merges and fine-tunes publish such folders.
# Seen: "no generation_config.json: [3]", "one without eos_token_id: [3, 4, 5, 6, 7, 8]".
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check \
    transformers==5.24.0 torch==2.13.0 numpy safetensors 2>"$work/pip.log" || { cat "$work/pip.log"; exit 1; }
cat >"$work/try.py" <<'PY'
"""A model that counts upwards, saved twice: its end token is 3."""
import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

folder = Path(sys.argv[1])
size = 16
config = LlamaConfig(
    vocab_size=size, hidden_size=size, intermediate_size=8, num_hidden_layers=1,
    num_attention_heads=2, num_key_value_heads=2, head_dim=8, tie_word_embeddings=False,
    bos_token_id=None, pad_token_id=0, eos_token_id=3,
)
model = LlamaForCausalLM(config)
with torch.no_grad():
    for name, weight in model.named_parameters():
        weight.fill_(1.0 if "norm" in name else 0.0)
    model.model.embed_tokens.weight.copy_(torch.eye(size))
    model.lm_head.weight.copy_(torch.roll(torch.eye(size), 1, 0))
model.save_pretrained(folder)


def said() -> list[int]:
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    out = loaded.generate(torch.tensor([[2]]), max_new_tokens=6, do_sample=False)
    return out[0, 1:].tolist()


(folder / "generation_config.json").unlink()
without = said()
(folder / "generation_config.json").write_text(json.dumps({"pad_token_id": 0}))
silent = said()
print(f"no generation_config.json: {without}")
print(f"one without eos_token_id: {silent}")
sys.exit(0 if (without, silent) == ([3], [3, 4, 5, 6, 7, 8]) else "the behaviour has changed")
PY
"$work/env/bin/python" "$work/try.py" "$work/model" 2>"$work/log" || { tail -5 "$work/log"; exit 1; }
