"""Modules of a model that compute in another way for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch

Compute = Callable[..., Any]
"""What a module computes."""
TOLERANCE: Final = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
"""Most that a result may differ, as a share of it: two roundings of the format against one."""


class OtherForwards:
    """Modules that are given another ``forward``; no class is changed.

    Who extends this finds them.
    """

    def __init__(self) -> None:
        self._found: list[tuple[Any, Compute]] = []

    def __len__(self) -> int:
        return len(self._found)

    @contextmanager
    def used(self) -> Iterator[None]:
        """Have the model use them; its own code is put back at the end."""
        for module, compute in self._found:
            module.forward = compute
        try:
            yield
        finally:
            for module, _ in self._found:
                del module.forward


def near(found: torch.Tensor, expected: torch.Tensor, tolerance: float) -> bool:
    """Say whether a result has the shape and format of another, and nearly its numbers.

    Args:
        found: The result.
        expected: The other.
        tolerance: Most that any number may differ, as a share of the largest.
    """
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return False
    return bool((found - expected).abs().max() <= tolerance * expected.abs().max())
