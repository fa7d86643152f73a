#!/usr/bin/env bash
# llama.cpp's server (xllamacpp 2026.10.11549): a context of 64 tokens that it is started with (`n_ctx`, the program's
# `--ctx-size`) becomes 256, the next multiple of that.  It says 256 of itself and answers a prompt of 100 tokens, which
# whoever set the limit meant it to refuse; that of a model asked for 300 is 512.
# Seen: "asked for 64: 256 tokens, a prompt of 100 is answered" and "asked for 300: 512 tokens".
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check xllamacpp==2026.10.11549 gguf==0.19.0 \
    2>"$work/pip.log" || { cat "$work/pip.log"; exit 1; }
cat >"$work/model.py" <<'PY'
"""Write a Llama of one layer with random weights."""
import sys

import gguf
import numpy as np

vocabulary, width, heads, inner = 64, 32, 2, 64
writer = gguf.GGUFWriter(sys.argv[1], "llama")
writer.add_context_length(4096)
writer.add_embedding_length(width)
writer.add_block_count(1)
writer.add_feed_forward_length(inner)
writer.add_head_count(heads)
writer.add_head_count_kv(heads)
writer.add_layer_norm_rms_eps(1e-5)
writer.add_rope_dimension_count(width // heads)
writer.add_vocab_size(vocabulary)
writer.add_tokenizer_model("gpt2")
writer.add_tokenizer_pre("gpt-2")
writer.add_token_list([chr(ord("!") + i) for i in range(vocabulary - 1)] + ["<end>"])
writer.add_token_types([1] * (vocabulary - 1) + [3])
writer.add_token_merges(['! "'])
writer.add_bos_token_id(vocabulary - 1)
writer.add_eos_token_id(vocabulary - 1)
source = np.random.default_rng(0)
shapes = {"token_embd": (vocabulary, width), "output": (vocabulary, width)}
for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
    shapes[f"blk.0.{part}"] = (width, width)
for part, shape in (("gate", (inner, width)), ("up", (inner, width)), ("down", (width, inner))):
    shapes[f"blk.0.ffn_{part}"] = shape
for name, shape in shapes.items():
    writer.add_tensor(f"{name}.weight", source.standard_normal(shape).astype(np.float32))
for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
    writer.add_tensor(f"{name}.weight", np.ones(width, np.float32))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
PY
cat >"$work/try.py" <<'PY'
"""Start the server with a context; print that which it says it has, and whether it answers 100 tokens."""
import json
import os
import sys
import time
import traceback
from urllib.error import URLError
from urllib.request import Request, urlopen

import xllamacpp

settings = xllamacpp.CommonParams()
settings.model.path, settings.n_ctx = sys.argv[1], int(sys.argv[2])
settings.hostnames, settings.port, settings.n_parallel = ["127.0.0.1"], 0, 1
settings.n_gpu_layers, settings.cpuparams.n_threads = 0, 1
server = xllamacpp.Server(settings)
address = server.listening_address


def asked(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    for _ in range(300):
        try:
            request = Request(address + path, data, {"Content-Type": "application/json"})
            with urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except URLError:  # it does not listen yet
            time.sleep(0.2)
    raise TimeoutError


try:
    said = asked("/props")["default_generation_settings"]["n_ctx"]
    reply = asked("/completion", {"prompt": [5] * 100, "n_predict": 1, "temperature": 0})
    print(said, "answered" if reply["tokens_evaluated"] == 100 else "cut", flush=True)
except Exception:
    traceback.print_exc()
os._exit(0)  # its threads would be waited for
PY
"$work/env/bin/python" "$work/model.py" "$work/model.gguf"
read -r small small_prompt < <("$work/env/bin/python" "$work/try.py" "$work/model.gguf" 64 2>/dev/null)
read -r other _ < <("$work/env/bin/python" "$work/try.py" "$work/model.gguf" 300 2>/dev/null)
echo "asked for 64: $small tokens, a prompt of 100 is $small_prompt"
echo "asked for 300: $other tokens"
[[ "$small/$small_prompt/$other" == "256/answered/512" ]] || { echo "the behaviour has changed"; exit 1; }
