"""Small checkpoints whose weights are stored quantised, as large ones are published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

FP8_LARGEST = 448.0
"""Largest number of the format E4M3."""


def configure(folder: Path, quantisation: dict[str, Any]) -> None:
    """Write a quantisation into the configuration of a saved model."""
    path = folder / "config.json"
    document = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**document, "quantization_config": quantisation}), "utf-8")


def store_as_mxfp4(folder: Path) -> None:
    """Store the experts of a saved GPT-OSS model as blocks of 4-bit numbers with a scale each."""
    weights = load_file(folder / "model.safetensors")
    stored = {}
    generator = torch.Generator().manual_seed(3)
    for name, tensor in weights.items():
        if not name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            stored[name] = tensor.to(torch.bfloat16)
            continue
        experts, rows, columns = tensor.shape
        assert rows % 32 == 0, "a block has 32 numbers"
        blocks, scales = (experts, columns, rows // 32, 16), (experts, columns, rows // 32)
        bounds = ((blocks, 0, 256, "_blocks"), (scales, 118, 124, "_scales"))
        for shape, low, high, ending in bounds:
            numbers = torch.randint(low, high, shape, generator=generator)
            stored[name + ending] = numbers.to(torch.uint8)
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    kept = ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens"]
    configure(folder, {"quant_method": "mxfp4", "modules_to_not_convert": [*kept, "lm_head"]})


def store_as_fp8(folder: Path) -> dict[str, torch.Tensor]:
    """Store the projections of a saved model in FP8, one scale each; return what they stand for."""
    weights = load_file(folder / "model.safetensors")
    stored, meant = {}, {}
    for name, tensor in weights.items():
        if not name.endswith("_proj.weight"):
            stored[name] = meant[name] = tensor.to(torch.bfloat16)
            continue
        scale = tensor.abs().amax() / FP8_LARGEST
        packed = (tensor / scale).to(torch.float8_e4m3fn)
        stored[name], stored[f"{name}_scale_inv"] = packed, scale.reshape(1, 1)
        meant[name] = packed.to(torch.float32) * scale
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    block = {"weight_block_size": [128, 128], "activation_scheme": "dynamic"}
    configure(folder, {"quant_method": "fp8", "fmt": "e4m3", **block})
    return meant
