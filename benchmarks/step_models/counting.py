"""Counts operators, bytes and host waits of code that runs on tensors without contents.

Under :class:`Counted` tensors are torch's fake ones: shapes, formats and a device, here
``cuda:0``, and no numbers.  Every aten operator that would start a kernel counts once.  Its bytes
are those of the inputs it reads and of the outputs it writes, whether or not a cache would hold
them:

* views, and what only allocates, are free;
* an expanded tensor counts what lies in memory, not its repetitions;
* what picks by index (``index``, ``gather``, ``index_select``, ``embedding``) reads what it
  returns and the indices; what writes by index writes the values, not the whole target;
* fused attention over packed sequences reads the tokens that its lengths name, each once a call
  however many sequences see it: their blocks run side by side and find it in the device's cache,
  as the blocks of one long sequence do;
* torch's ``scaled_dot_product_attention`` is one operator, which reads all it is given.

The lengths are known because integers and booleans are computed for real beside the fake
tensors, as long as they follow from what the host supplied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.weak import WeakIdKeyDictionary

DEVICE = torch.device("cuda:0")
"""The device that is modelled."""
_aten: Any = torch.ops.aten
_FREE = {
    "aten::empty",
    "aten::empty_like",
    "aten::empty_strided",
    "aten::new_empty",
    "aten::new_empty_strided",
    "aten::_reshape_alias",
    "aten::_unsafe_view",
    "aten::sym_size",
    "aten::detach",
    "aten::alias",
    "aten::lift_fresh",
}
"""Start no kernel."""
_WHOLE = {"aten::rms_norm"}
"""One kernel on CUDA, though elsewhere composed of others."""
_PICKED = {"aten::index", "aten::gather", "aten::index_select", "aten::embedding"}
"""Read of their first argument only what they return."""
_PLACED = {"aten::index_put_", "aten::_index_put_impl_", "aten::index_copy_", "aten::scatter_"}
"""Write into their first argument only the values they are given."""
_ONLY_WRITTEN = {"aten::copy_", "aten::fill_", "aten::zero_", "aten::masked_fill_"}
_SEQUENCES = {"aten::_flash_attention_forward", "aten::_efficient_attention_forward"}
_SHADOWED = 2**22
"""Most elements of a tensor that is computed for real."""


@dataclass
class StepCounts:
    """What was counted."""

    operators: int = 0
    """Aten operators that start a kernel."""
    read: int = 0
    """Bytes read."""
    written: int = 0
    """Bytes written."""
    waits: int = 0
    """Times the host waited for the device."""
    uploads: int = 0
    """Tensors copied to the device."""
    by_operator: dict[str, list[int]] = field(default_factory=dict)
    """By name: how often, and bytes."""

    @property
    def bytes(self) -> int:
        """Bytes read and written."""
        return self.read + self.written

    def add(self, name: str, read: int, written: int) -> None:
        """Count an operator."""
        self.operators += 1
        self.read += read
        self.written += written
        entry = self.by_operator.setdefault(name, [0, 0])
        entry[0] += 1
        entry[1] += read + written


def stored_bytes(tensor: torch.Tensor) -> int:
    """Return the bytes that a tensor occupies: repetitions by a stride of 0 count once."""
    number = tensor.element_size()
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        number *= size if stride else min(size, 1)
    return number


class Counted:
    """A world of fake tensors in which operators are counted.

    Use as a context; ``counts`` may be replaced at any time to begin anew.
    """

    def __init__(self) -> None:
        self.counts = StepCounts()
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)
        self.shadows: Any = WeakIdKeyDictionary()  # by identity: tensors compare by element

    @contextmanager
    def __call__(self) -> Iterator[Counted]:
        """Make tensors fake and count."""
        before = FakeTensor.tolist
        # torch's own reads element by element, which would count as many waits.
        FakeTensor.tolist = lambda tensor: self.wait(torch.Tensor.tolist, tensor)
        try:
            with self.fake, _Dispatch(self), _Functions(self):
                yield self
        finally:
            FakeTensor.tolist = before

    def real(self, tensor: Any) -> torch.Tensor | None:
        """Return the contents of a tensor, if they follow from what the host supplied."""
        if not isinstance(tensor, torch.Tensor):
            return None
        return self.shadows.get(tensor) if isinstance(tensor, FakeTensor) else tensor

    def wait(self, func: Any, tensor: torch.Tensor) -> Any:
        """Return what the host reads, or a stand-in where nobody knows it."""
        self.counts.waits += 1
        known = self.real(tensor)
        if known is None:
            with _outside():
                make = torch.ones if tensor.dtype is torch.bool else torch.zeros
                known = make(tuple(tensor.shape), dtype=tensor.dtype)
        with _outside():
            return func(known)


class _Dispatch(TorchDispatchMode):
    def __init__(self, world: Counted) -> None:
        super().__init__()
        self._world = world

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        name = func._schema.name
        if name.startswith("prim::"):
            return func(*args, **given)
        if name not in _WHOLE:
            with self:  # what torch composes of other operators is those operators
                composed = func.decompose(*args, **given)
            if composed is not NotImplemented:
                return composed
        out = func(*args, **given)
        self._shadow(func, args, given, out)
        inputs = [x for x in tree_flatten((args, given))[0] if isinstance(x, torch.Tensor)]
        outputs = [x for x in tree_flatten(out)[0] if isinstance(x, torch.Tensor)]
        if name in _FREE or _is_view(func) or not _on_device([*inputs, *outputs]):
            return out
        if name == "aten::_to_copy" and not all(_on_device([x]) for x in inputs):
            self._world.counts.uploads += 1
            return out
        read, written = self._traffic(name, args, given, (inputs, outputs))
        self._world.counts.add(name, read, written)
        return out

    def _traffic(
        self,
        name: str,
        args: tuple[Any, ...],
        given: dict[str, Any],
        tensors: tuple[list[torch.Tensor], list[torch.Tensor]],
    ) -> tuple[int, int]:
        """Return the bytes that an operator reads and writes, given what goes in and out."""
        inputs, outputs = tensors
        distinct = {id(x): x for x in inputs}
        written = sum(map(stored_bytes, outputs))
        if name in _PICKED:
            distinct.pop(id(args[0]))
            return written + sum(map(stored_bytes, distinct.values())), written
        if name in _PLACED:
            values = (
                args[2] if name.startswith(("aten::index_put", "aten::_index_put")) else args[3]
            )
            distinct.pop(id(args[0]))
            written = stored_bytes(values) if isinstance(values, torch.Tensor) else written
            return sum(map(stored_bytes, distinct.values())), written
        if name in _SEQUENCES:
            tokens = self._tokens(name, args, given)
            if tokens is not None:
                query, key, value = args[:3]
                sizes = [x.shape[-1] * x.shape[-2] * x.element_size() for x in (key, value)]
                return stored_bytes(query) + tokens * sum(sizes), written
        if name in _ONLY_WRITTEN:
            distinct.pop(id(args[0]), None)
        return sum(map(stored_bytes, distinct.values())), written

    def _tokens(self, name: str, args: tuple[Any, ...], given: dict[str, Any]) -> int | None:
        """Return how many tokens of the pool a call sees."""
        flash = name.startswith("aten::_flash")
        used = self._world.real(given["seqused_k" if flash else "seqlen_k"])
        starts = self._world.real(args[4 if flash else 5])
        if used is None or starts is None:
            return None
        with _outside():
            seen = np.zeros(args[1].shape[0 if flash else 1], bool)
            for start, number in zip(starts.tolist(), used.tolist(), strict=False):
                seen[start : start + number] = True
            return int(seen.sum())

    def _shadow(self, func: Any, args: tuple[Any, ...], given: dict[str, Any], out: Any) -> None:
        """Compute integers and booleans for real where their sources are known."""
        outs = [x for x in tree_flatten(out)[0] if isinstance(x, FakeTensor)]
        if not outs or any(x.is_floating_point() or x.numel() > _SHADOWED for x in outs):
            return
        world = self._world
        tensors = [x for x in tree_flatten((args, given))[0] if isinstance(x, torch.Tensor)]
        if any(world.real(x) is None for x in tensors):
            for one in outs:
                world.shadows.pop(one, None)
            return

        def plain(x: Any) -> Any:
            if isinstance(x, torch.Tensor):
                return world.real(x)
            return torch.device("cpu") if isinstance(x, torch.device) else x

        with _outside():
            found = func(*tree_map(plain, args), **tree_map(plain, given))
        for one, real in zip(outs, tree_flatten(found)[0], strict=True):
            world.shadows[one] = real


class _Functions(TorchFunctionMode):
    """Stands in for what torch's own build for CPUs cannot do on a device it does not know."""

    def __init__(self, world: Counted) -> None:
        super().__init__()
        self._world = world

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if func in _BY_OPERATOR:
            return _BY_OPERATOR[func](*args)
        if func is torch.nn.functional.scaled_dot_product_attention:
            return self._attention(*args, **given)
        if func in _READ_BY_HOST and args and _on_device([args[0]]):
            return self._world.wait(func, args[0])
        return func(*args, **given)

    def _attention(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        **_: Any,
    ) -> torch.Tensor:
        out = torch.empty_like(query)
        parts = [query, key, value, *([] if attn_mask is None else [attn_mask])]
        read = sum(map(stored_bytes, parts))
        self._world.counts.add("scaled_dot_product_attention", read, stored_bytes(out))
        return out


_READ_BY_HOST: set[Callable[..., Any]] = {
    torch.Tensor.tolist,
    torch.Tensor.item,
    torch.Tensor.cpu,
    torch.Tensor.numpy,
    torch.Tensor.__bool__,
    torch.Tensor.__int__,
    torch.Tensor.__float__,
    torch.Tensor.nonzero,
}


@contextmanager
def _outside() -> Iterator[None]:
    """Compute on real tensors, uncounted."""
    with (
        torch._C._DisableTorchDispatch(),
        torch._C.DisableTorchFunction(),
        torch.utils._python_dispatch._disable_current_modes(),
    ):
        yield


def _is_view(func: Any) -> bool:
    returned = [one.alias_info for one in func._schema.returns]
    return bool(returned) and all(one is not None and not one.is_write for one in returned)


def _on_device(tensors: Sequence[Any]) -> bool:
    return any(isinstance(x, torch.Tensor) and x.device.type == DEVICE.type for x in tensors)


def _pick(tensor: torch.Tensor, index: Any) -> torch.Tensor:
    """Return what ``tensor[index]`` does, by operators."""
    viewed, indices = _view(tensor, index)
    return _aten.index(viewed, indices) if indices else viewed


def _put(tensor: torch.Tensor, index: Any, value: Any) -> None:
    """Do what ``tensor[index] = value`` does, by operators."""
    viewed, indices = _view(tensor, index)
    if not isinstance(value, torch.Tensor):
        if indices:
            value = torch.full((), value, dtype=tensor.dtype, device=tensor.device)
        else:
            viewed.fill_(value)
            return
    if indices:
        _aten.index_put_(viewed, indices, value)
    else:
        _aten.copy_(viewed, value)


def _view(tensor: torch.Tensor, index: Any) -> tuple[torch.Tensor, list[torch.Tensor | None]]:
    """Return the view that an index's plain parts make, and its tensors by dimension."""
    parts = list(index) if isinstance(index, tuple) else [index]
    if not any(one is Ellipsis for one in parts):  # not "in": tensors compare by element
        parts.append(Ellipsis)
    indices: list[torch.Tensor | None] = []
    dim = 0
    for place, one in enumerate(parts):
        if one is Ellipsis:
            rest = sum(_dimensions(x) for x in parts[place + 1 :])
            count = tensor.dim() - dim - rest
            indices += [None] * count
            dim += count
        elif one is None:
            tensor = tensor.unsqueeze(dim)
            indices.append(None)
            dim += 1
        elif isinstance(one, bool):
            raise NotImplementedError("a bare boolean as an index")
        elif isinstance(one, int):
            tensor = tensor.select(dim, one)
        elif isinstance(one, slice):
            if one != slice(None):
                tensor = _aten.slice(tensor, dim, one.start, one.stop, one.step or 1)
            indices.append(None)
            dim += 1
        else:
            places = torch.as_tensor(one)
            indices.append(places if places.device == tensor.device else places.to(tensor.device))
            dim += places.dim() if places.dtype is torch.bool else 1
    return tensor, indices if any(x is not None for x in indices) else []


def _dimensions(part: Any) -> int:
    if part is None or part is Ellipsis:
        return 0
    if isinstance(part, torch.Tensor) and part.dtype is torch.bool:
        return part.dim()
    return 1


def _contiguous(tensor: torch.Tensor) -> torch.Tensor:
    whole = tensor.is_contiguous()
    return tensor if whole else tensor.clone(memory_format=torch.contiguous_format)


_BY_OPERATOR: dict[Any, Callable[..., Any]] = {
    torch.Tensor.__getitem__: _pick,
    torch.Tensor.__setitem__: _put,
    torch.Tensor.contiguous: _contiguous,
    torch.Tensor.copy_: _aten.copy_,
    torch.Tensor.__invert__: _aten.bitwise_not,
}
