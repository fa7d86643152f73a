"""Products with weights that lie as oneDNN multiplies them fastest.

On a CPU a linear layer's weights are stored row by row, and the library that multiplies brings
them into its own order in every call, or reads them in a worse one.  Done once that saves, on an
AMD CPU with AVX-512 and weights of 1024 × 2816:

===================================  =====  =======  =======  ==========
times as fast                        1 row  16 rows  64 rows  2,048 rows
===================================  =====  =======  =======  ==========
fp32, one thread                     1.05   1.8      1.3      1.1
fp32, two threads                    2.5    2.6      1.5      1.1
bf16, one thread                     2.3    1.3      1.1      1.05
bf16, two threads                    2.3    1.4      1.1      1.03
===================================  =====  =======  =======  ==========

The price is a copy of the weights.  Compiling was tried instead on the same CPU, on workload S of
``benchmarks/engine.py`` with one thread: with ``torch.compile`` of norms and feed-forward layers,
for any number of rows, a run took 4.7 to 5.2 seconds, without either 4.1 to 4.3, packed 3.9 to 4.2.

torch has the operators for compiled models; they are no public interface, so each layer is tried
with its own weights, and one that gives something else, or has no such operator, keeps its own
code.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import torch

from safety_receipts.runner.engines.operators.replacing import Compute, OtherForwards, near

_ROWS: Final = 64
"""Rows that the order of the weights is chosen for; it serves fewer and more as well."""
_TRIED: Final = 3
_TOLERANCE: Final = {torch.float32: 1e-4, torch.bfloat16: 2e-2}
"""Most that a result may differ, as a share of the largest: another order of the same sum."""


class PackedProducts(OtherForwards):
    """The linear layers of a model on a CPU, with a copy of their weights in oneDNN's order.

    Args:
        model: A transformers model.
        most: Bytes that the copies may take; where they would take more, there are none.
    """

    def __init__(self, model: Any, most: int) -> None:
        super().__init__()
        layers = [one for one in model.modules() if _is_plain(one)]
        needed = sum(one.weight.nbytes for one in layers)
        if not torch.backends.mkldnn.is_available() or needed > most:  # type: ignore[no-untyped-call]
            return
        with torch.inference_mode():
            for layer in layers:
                product = _packed(layer)
                if product is not None:
                    self._found.append((layer, product))


def _is_plain(module: Any) -> bool:
    """Say whether a module is a linear layer and nothing more."""
    return (
        type(module) is torch.nn.Linear
        and "forward" not in vars(module)  # given to the instance by somebody else
        and module.weight.device.type == "cpu"
        and module.weight.dtype in _TOLERANCE
    )


def _packed(layer: torch.nn.Linear) -> Compute | None:
    """Return what computes a layer; None: nothing does as its own code does."""
    weight, operators = layer.weight.detach(), torch.ops.mkldnn
    draw = torch.Generator().manual_seed(19)
    given = torch.randn((1, _TRIED, layer.in_features), generator=draw).to(weight.dtype)
    expected = layer(given)
    try:
        packed = operators._reorder_linear_weight(weight, _ROWS)
        product = partial(_product, operators._linear_pointwise, packed, layer.bias)
        found = product(given)
    except (RuntimeError, NotImplementedError, TypeError, AttributeError):
        return None
    return product if near(found, expected, _TOLERANCE[weight.dtype]) else None


def _product(
    operator: Any, weight: torch.Tensor, bias: torch.Tensor | None, states: torch.Tensor
) -> torch.Tensor:
    found: torch.Tensor = operator(states, weight, bias, "none", [], "")
    return found
