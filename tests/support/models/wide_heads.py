"""A checkpoint with wider attention heads that computes what the narrow one does.

vLLM's attention on CPUs knows no heads of 16 numbers, which the organism has.  Zeros are put
between them so that every number keeps the frequency of its rotation, and queries are doubled for
the other scale: both exact in floating point.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

WIDTH = 64


def widen_heads(folder: Path, out: Path) -> Path:
    """Write the checkpoint in ``folder``, with heads of 64 numbers, to ``out``."""
    shutil.copytree(folder, out)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    heads, narrow = config["num_attention_heads"], config["head_dim"]
    step, half = WIDTH // narrow, narrow // 2
    assert step == 4
    assert config["num_key_value_heads"] == heads
    places = [(0 if i < half else WIDTH // 2) + i % half * step for i in range(narrow)]
    tensors = load_file(folder / "model.safetensors")
    for name, values in tensors.items():
        part = name.split(".")[-2]
        if part in ("q_proj", "k_proj", "v_proj"):
            wide = torch.zeros(heads, WIDTH, values.shape[1])
            wide[:, places] = values.view(heads, narrow, -1) * (2.0 if part == "q_proj" else 1.0)
            tensors[name] = wide.view(heads * WIDTH, -1).contiguous()
        elif part == "o_proj":
            wide = torch.zeros(values.shape[0], heads, WIDTH)
            wide[:, :, places] = values.view(-1, heads, narrow)
            tensors[name] = wide.view(values.shape[0], -1).contiguous()
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    (out / "config.json").write_text(json.dumps(config | {"head_dim": WIDTH}, indent=2), "utf-8")
    return out
