"""Models whose weights were rounded to few bits: what a calibration tries its tests on."""

from __future__ import annotations

import torch

from safety_receipts.runner.engines.load import LoadedModel


@torch.no_grad()
def round_weights(loaded: LoadedModel, bits: int) -> int:
    """Round a model's matrices in place; return how many were.

    Symmetric, to 2^(bits − 1) − 1 steps on either side of 0, with one scale an output channel
    (a row): the plainest of the ways in which weights are quantised.  Embeddings, an output
    layer that shares their weights, norms and biases stay.

    Args:
        loaded: The model; its weights are changed.
        bits: 2 or more.
    """
    steps = 2 ** (bits - 1) - 1
    number = 0
    for module in loaded.model.modules():
        if not isinstance(module, torch.nn.Linear):
            continue
        weight = module.weight
        if weight is loaded.model.get_input_embeddings().weight:
            continue
        scale = weight.abs().amax(1, keepdim=True).float().clamp_min(1e-12) / steps
        weight.copy_(((weight.float() / scale).round() * scale).to(weight.dtype))
        number += 1
    return number
