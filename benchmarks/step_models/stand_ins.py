"""What torch's own build for CPUs cannot do on a device that it does not know, by operators.

Indexing and a few methods ask a device's driver before any operator is called, fake tensors or
not.  Each of these does the same by the operators that it comes down to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

_aten: Any = torch.ops.aten


def _pick(tensor: torch.Tensor, index: Any) -> torch.Tensor:
    """Return what ``tensor[index]`` does."""
    viewed, indices = _view(tensor, index)
    return _aten.index(viewed, indices) if indices else viewed


def _put(tensor: torch.Tensor, index: Any, value: Any) -> None:
    """Do what ``tensor[index] = value`` does."""
    viewed, indices = _view(tensor, index)
    if not isinstance(value, torch.Tensor):
        if not indices:
            viewed.fill_(value)
            return
        value = torch.full((), value, dtype=tensor.dtype, device=tensor.device)
    if indices:
        _aten.index_put_(viewed, indices, value)
    else:
        _aten.copy_(viewed, value)


def _view(tensor: torch.Tensor, index: Any) -> tuple[torch.Tensor, list[torch.Tensor | None]]:
    """Return the view that an index's plain parts make, and its tensors by dimension.

    Raises:
        NotImplementedError: A part is a truth.
    """
    parts = list(index) if isinstance(index, tuple) else [index]
    if not any(one is Ellipsis for one in parts):  # not "in": tensors compare by element
        parts.append(Ellipsis)
    taken = sum(one is not None and one is not Ellipsis for one in parts)
    indices: list[torch.Tensor | None] = []
    dim = 0
    for one in parts:
        if isinstance(one, bool):
            raise NotImplementedError("a truth as an index")
        if isinstance(one, int):
            tensor = tensor.select(dim, one)
            taken -= 1
        elif one is None or one is Ellipsis or isinstance(one, slice):
            passed = tensor.dim() - taken if one is Ellipsis else 1
            if one is None:
                tensor = tensor.unsqueeze(dim)
                taken += 1
            elif isinstance(one, slice) and one != slice(None):
                tensor = _aten.slice(tensor, dim, one.start, one.stop, one.step or 1)
            indices += [None] * passed
            dim += passed
        else:
            indices.append(torch.as_tensor(one).to(tensor.device))
            dim += 1
    return tensor, indices if any(x is not None for x in indices) else []


def _contiguous(tensor: torch.Tensor) -> torch.Tensor:
    whole = tensor.is_contiguous()
    return tensor if whole else tensor.clone(memory_format=torch.contiguous_format)


BY_OPERATOR: dict[Any, Callable[..., Any]] = {
    torch.Tensor.__getitem__: _pick,
    torch.Tensor.__setitem__: _put,
    torch.Tensor.contiguous: _contiguous,
    torch.Tensor.copy_: _aten.copy_,
    torch.Tensor.__invert__: _aten.bitwise_not,
}
"""What stands in for each."""
