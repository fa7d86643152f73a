#!/usr/bin/env bash
# transformers 5.24.0: the experts of GPT-OSS take `router_indices` and `routing_weights` by their signature, which
# `inspect` shows and `help` prints, but the way of computing them that a new model uses unless told otherwise,
# `grouped_mm`, hands all arguments on to a function that calls them `top_k_index` and `top_k_weights`.  So a
# call by the names of the signature works with `eager` alone, and a call by the other names with `grouped_mm` alone.
# By position both work: whoever wraps or replaces such a module should pass arguments so.
# Seen: "grouped_mm: by its names TypeError, by the others fine; eager: by its names fine, by the others TypeError".
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.24.0 2>"$work/pip.log" ||
    { cat "$work/pip.log"; exit 1; }
cat >"$work/try.py" <<'PY'
"""Call the experts of a tiny GPT-OSS by either pair of names."""
import inspect
import sys

import torch
import transformers

OWN = ("router_indices", "routing_weights")
OTHER = ("top_k_index", "top_k_weights")
config = transformers.GptOssConfig(
    vocab_size=96,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=1,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    num_local_experts=4,
    num_experts_per_tok=2,
)
model = transformers.GptOssForCausalLM(config).to(torch.bfloat16)
experts = model.model.layers[0].mlp.experts
assert tuple(inspect.signature(type(experts).forward).parameters)[2:] == OWN
states = torch.ones((3, 32), dtype=torch.bfloat16)
given = torch.tensor([[0, 1]] * 3), torch.full((3, 2), 0.5, dtype=torch.bfloat16)


def called(names):
    try:
        with torch.no_grad():
            experts(states, **dict(zip(names, given)))
    except TypeError:
        return "TypeError"
    return "fine"


said = []
assert model.config._experts_implementation == "grouped_mm"
for way in ("grouped_mm", "eager"):
    model.set_experts_implementation(way)
    with torch.no_grad():
        experts(states, *given)
    said.append(f"{way}: by its names {called(OWN)}, by the others {called(OTHER)}")
print("; ".join(said))
expected = [
    "grouped_mm: by its names TypeError, by the others fine",
    "eager: by its names fine, by the others TypeError",
]
sys.exit(0 if said == expected else "the behaviour has changed")
PY
"$work/env/bin/python" "$work/try.py"
