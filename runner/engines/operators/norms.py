"""Root-mean-square norms in one operator each, where a model's own code takes eight.

transformers' models write the norm out, in fp32: eight passes over the activations, twice a
layer or more often.  In a decode step that is a share of all traffic, and a third of all
operators.  torch has the norm as one.  Which norms it computes is found by a trial on the device
with the model's own weights; a norm that it does not match keeps its own code, and no model's
class is changed: the instances are given another ``forward`` for a while.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import torch

from safety_receipts.runner.engines.operators.replacing import TOLERANCE, Compute, OtherForwards

_ROWS: Final = 8


class FusedNorms(OtherForwards):
    """The norms of a model that torch computes in one operator.

    Args:
        model: A transformers model on its device.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        with torch.inference_mode():
            for module in model.modules():
                norm = _fused(module, model.dtype, model.device)
                if norm is not None:
                    self._found.append((module, norm))


def _fused(module: Any, dtype: torch.dtype, device: torch.device) -> Compute | None:
    """Return what computes a norm in one operator; None: it is no such norm."""
    if not type(module).__name__.endswith("RMSNorm"):
        return None
    epsilon = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    weight = getattr(module, "weight", None)
    own = "forward" in vars(module)  # given to the instance by somebody else
    if own or not isinstance(epsilon, float) or next(module.children(), None) is not None:
        return None
    width = 64 if weight is None else weight.numel()
    draw = torch.Generator().manual_seed(19)
    given = torch.randn((_ROWS, width), generator=draw).to(device, dtype)
    given *= torch.logspace(-2, 2, _ROWS).to(device, dtype)[:, None]
    expected = module(given)
    if expected.shape != given.shape:
        return None
    norm = partial(_rms_norm, weight=None if weight is None else weight.detach(), epsilon=epsilon)
    apart = (norm(given).float() - expected.float()).abs()
    near = bool((apart <= TOLERANCE[dtype] * expected.float().abs()).all())
    return norm if near else None


def _rms_norm(states: torch.Tensor, *, weight: torch.Tensor | None, epsilon: float) -> torch.Tensor:
    return torch.nn.functional.rms_norm(states, states.shape[-1:], weight, epsilon)
