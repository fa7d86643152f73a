"""Modules of a model that compute in another way for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

Compute = Callable[[torch.Tensor], torch.Tensor]
"""What a module computes."""


@contextmanager
def other_forwards(found: Iterable[tuple[Any, Compute]]) -> Iterator[None]:
    """Give modules another ``forward``; no class is changed, and theirs is put back at the end."""
    found = list(found)
    for module, compute in found:
        module.forward = compute
    try:
        yield
    finally:
        for module, _ in found:
            del module.forward
