"""Experts of a layer in few operators, where transformers' grouped way takes five more.

It sorts a batch's tokens by expert, multiplies group by group, weighs, brings them back into order
and adds up.  Here offsets of groups come from one search in the sorted numbers, tokens go back by
the order of the order, and weighing and adding up are one product.  Gates are the model's own code.

Which modules are computed so is found by a trial on the device with the model's own weights; one
that gives something else keeps its own code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch

from safety_receipts.runner.engines.operators.replacing import (
    TOLERANCE,
    Compute,
    OtherForwards,
    near,
)

_ROWS: Final = 8
_CHOSEN: Final = 2
_GROUPED: Final = "grouped_mm"
"""What transformers calls the way that this stands in for."""


class GroupedExperts(OtherForwards):
    """The experts of a model, in few operators.

    Args:
        model: A transformers model on its device.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        multiply = getattr(torch.nn.functional, "grouped_mm", None)
        if multiply is None or getattr(model.config, "_experts_implementation", None) != _GROUPED:
            return
        with torch.inference_mode():
            for module in model.modules():
                if _is_plain(module) and _agrees(experts := _Experts.of(module, multiply)):
                    self._found.append((module, experts))


def _is_plain(module: Any) -> bool:
    """Say whether a module holds experts with gates as transformers' grouped way takes them."""
    weights = [getattr(module, name, None) for name in ("gate_up_proj", "down_proj")]
    return (
        all(isinstance(one, torch.nn.Parameter) and one.ndim == 3 for one in weights)
        and module.down_proj.dtype == torch.bfloat16  # what grouped products are made for
        and "forward" not in vars(module)  # given to the instance by somebody else
        and hasattr(module, "_apply_gate")
        and getattr(module, "has_gate", False)
        and not getattr(module, "has_post_expert_norm", True)
        and not getattr(module, "_is_expert_parallel", True)
        and isinstance(getattr(module, "is_transposed", None), bool)
        and isinstance(getattr(module, "num_experts", None), int)
    )


@dataclass(frozen=True)
class _Experts:
    """Computes the experts of a module."""

    module: Any
    multiply: Compute
    numbers: torch.Tensor
    """int64 [E], the experts."""

    @classmethod
    def of(cls, module: Any, multiply: Compute) -> _Experts:
        """Return what computes a module's experts by grouped products."""
        numbers = torch.arange(module.num_experts, device=module.down_proj.device)
        return cls(module, multiply, numbers)

    def __call__(self, *arguments: Any, **named: Any) -> torch.Tensor:
        if named or len(arguments) != 3:
            found: torch.Tensor = type(self.module).forward(self.module, *arguments, **named)
            return found
        return self._weighed(*arguments)

    def _weighed(
        self, states: torch.Tensor, chosen: torch.Tensor, weights: torch.Tensor
    ) -> torch.Tensor:
        """Return the weighed sum of what the chosen experts make of each token.

        Args:
            states: [N, H].
            chosen: int64 [N, k], numbers of experts.
            weights: [N, k].
        """
        number, each = chosen.shape
        experts, order = chosen.reshape(-1).sort()
        ends = torch.searchsorted(experts, self.numbers, right=True, out_int32=True)
        found = self._product("gate_up_proj", states[order // each], experts, ends)
        found = self._product("down_proj", self.module._apply_gate(found), experts, ends)
        found = found[order.argsort()].view(number, each, -1)
        if weights.dtype == found.dtype:
            return torch.bmm(weights[:, None], found)[:, 0]
        return (found * weights[..., None]).sum(1).to(states.dtype)

    def _product(
        self, name: str, states: torch.Tensor, experts: torch.Tensor, ends: torch.Tensor
    ) -> torch.Tensor:
        weight = getattr(self.module, name)
        if not self.module.is_transposed:
            weight = weight.transpose(-2, -1)
        found: torch.Tensor = self.multiply(states, weight, offs=ends)
        if self.module.has_bias:
            found += getattr(self.module, f"{name}_bias")[experts]
        return found


def _agrees(experts: _Experts) -> bool:
    """Say whether a module's own code gives the same."""
    module, weight = experts.module, experts.module.down_proj
    width = weight.shape[-1] if module.is_transposed else weight.shape[-2]
    draw = torch.Generator().manual_seed(19)
    states = torch.randn((_ROWS, width), generator=draw).to(weight.device, weight.dtype)
    scores = torch.rand((_ROWS, module.num_experts), generator=draw)
    weights, chosen = scores.topk(min(_CHOSEN, module.num_experts), -1)
    given = (states, chosen.to(weight.device), weights.to(weight.device, weight.dtype))
    try:
        expected, found = module(*given), experts(*given)
    except (RuntimeError, NotImplementedError, TypeError, ValueError):
        return False
    return near(found, expected, TOLERANCE[weight.dtype])
