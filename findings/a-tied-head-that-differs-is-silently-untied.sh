#!/usr/bin/env bash
# transformers 5.24.0 (torch 2.13.0): config.json says `tie_word_embeddings: true`, and the weights hold an
# output layer that differs from the embedding.  The flag does not win: the stored layer is used, the two
# are left untied, and `model.config.tie_word_embeddings` goes on saying true.  An engine that believes the
# flag runs another model from the same files.
# Seen: "config says tied: True; head is the embedding: False; head is the stored one: True".
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check \
    transformers==5.24.0 torch==2.13.0 numpy safetensors 2>"$work/pip.log" || { cat "$work/pip.log"; exit 1; }
cat >"$work/try.py" <<'PY'
"""A folder whose flag and whose weights say two things."""
import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

folder = Path(sys.argv[1])
torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=16, hidden_size=16, intermediate_size=8, num_hidden_layers=1,
    num_attention_heads=2, num_key_value_heads=2, head_dim=8, tie_word_embeddings=False,
)
model = LlamaForCausalLM(config)
stored = model.lm_head.weight.detach().clone()
model.save_pretrained(folder)
path = folder / "config.json"
path.write_text(json.dumps(json.loads(path.read_text()) | {"tie_word_embeddings": True}))
loaded = AutoModelForCausalLM.from_pretrained(folder)
says = loaded.config.tie_word_embeddings
head, embedding = loaded.lm_head.weight, loaded.model.embed_tokens.weight
tied, kept = torch.equal(head, embedding), torch.equal(head, stored)
print(f"config says tied: {says}; head is the embedding: {tied}; head is the stored one: {kept}")
sys.exit(0 if (says, tied, kept) == (True, False, True) else "the behaviour has changed")
PY
"$work/env/bin/python" "$work/try.py" "$work/model" 2>"$work/log" || { tail -5 "$work/log"; exit 1; }
