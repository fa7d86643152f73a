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
tensors, as far as they follow from what the host supplied.  A truth that hangs on other numbers
is taken for true: logits are finite, and no response ends.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import WeakIdKeyDictionary

from step_models.stand_ins import BY_OPERATOR

# It prints the stack of every error, also of those that whoever tries something out expects.
logging.getLogger(FakeTensor.__module__).setLevel(logging.CRITICAL)

DEVICE = torch.device("cuda:0")
"""The device that is modelled."""
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
_PLACED = {
    "aten::index_put_": 2,
    "aten::_index_put_impl_": 2,
    "aten::index_copy_": 3,
    "aten::scatter_": 3,
}
"""Write into their first argument only the values they are given, and which argument those are."""
_ONLY_WRITTEN = {"aten::copy_", "aten::fill_", "aten::zero_", "aten::masked_fill_"}
_FIRST_NOT_READ = _PICKED | _PLACED.keys() | _ONLY_WRITTEN
_SEQUENCES = {
    "aten::_flash_attention_forward": ("seqused_k", 4, 0),
    "aten::_efficient_attention_forward": ("seqlen_k", 5, 1),
}
"""Attention over sequences: its lengths, which argument says where each begins, and the dimension
of the keys that is the tokens'."""
_SHADOWED = 2**22
"""Most elements of a tensor that is computed for real."""
_READ_BY_HOST = {
    torch.Tensor.tolist,
    torch.Tensor.item,
    torch.Tensor.cpu,
    torch.Tensor.numpy,
    torch.Tensor.__bool__,
    torch.Tensor.__int__,
    torch.Tensor.__float__,
    torch.Tensor.nonzero,
}


@dataclass
class StepCounts:
    """What was counted."""

    operators: int = 0
    """Aten operators that start a kernel."""
    bytes: int = 0
    """Bytes read and written."""
    waits: int = 0
    """Times the host waited for the device."""
    uploads: int = 0
    """Tensors copied to the device."""
    by_operator: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By name: how often, and bytes."""

    def add(self, name: str, size: int) -> None:
        """Count an operator that reads and writes so many bytes."""
        self.operators += 1
        self.bytes += size
        number, before = self.by_operator.get(name, (0, 0))
        self.by_operator[name] = (number + 1, before + size)


def stored_bytes(*tensors: torch.Tensor) -> int:
    """Return the bytes that tensors occupy: repetitions by a stride of 0 count once."""
    total = 0
    for tensor in tensors:
        number = tensor.element_size()
        for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
            number *= size if stride else min(size, 1)
        total += number
    return total


class Counted:
    """A world of fake tensors in which operators are counted.

    Use as a context; ``counts`` may be replaced at any time to begin anew.
    """

    def __init__(self) -> None:
        self.counts = StepCounts()
        self._fake = FakeTensorMode(allow_non_fake_inputs=True)
        self._shadows: Any = WeakIdKeyDictionary()  # by identity: tensors compare by element

    @contextmanager
    def __call__(self) -> Iterator[Counted]:
        """Make tensors fake and count."""
        with (
            # torch's own reads element by element, which would count as many waits.
            _replaced(FakeTensor, "tolist", lambda one: self.wait(torch.Tensor.tolist, one)),
            # Asked by transformers where it chooses products of experts; no device answers here.
            _replaced(torch.cuda, "get_device_capability", lambda *_: (9, 0)),
            self._fake,
            _Dispatch(self),
            _Functions(self),
        ):
            yield self

    def real(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """Return the contents of a tensor, if they follow from what the host supplied."""
        if not isinstance(tensor, FakeTensor):
            return tensor
        known: torch.Tensor | None = self._shadows.get(tensor)
        return known

    def wait(self, func: Callable[..., Any], tensor: torch.Tensor) -> Any:
        """Return what the host reads, or a stand-in where nobody knows it."""
        self.counts.waits += 1
        known = self.real(tensor)
        with _outside():
            return func(_assumed(tensor) if known is None else known)

    def shadow(self, func: Any, args: Any, given: Any, out: Any) -> None:
        """Compute integers and booleans for real where their sources are known.

        Args:
            func: An operator.
            args: Its arguments.
            given: Those by name.
            out: What it returned.
        """
        outs = [x for x in tree_leaves(out) if isinstance(x, FakeTensor)]
        if not outs or any(x.is_floating_point() or x.numel() > _SHADOWED for x in outs):
            return
        if any(self.real(x) is None for x in _tensors((args, given))):
            for one in outs:
                self._shadows.pop(one, None)
                if one.dtype is torch.bool:
                    self._shadows[one] = _assumed(one)
            return

        def plain(x: Any) -> Any:
            if isinstance(x, torch.Tensor):
                return self.real(x)
            return torch.device("cpu") if isinstance(x, torch.device) else x

        with _outside():
            found = func(*tree_map(plain, args), **tree_map(plain, given))
        for one, real in zip(outs, tree_leaves(found), strict=True):
            self._shadows[one] = real


class _Dispatch(TorchDispatchMode):
    """Counts operators."""

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
        self._world.shadow(func, args, given, out)
        inputs, outputs = _tensors((args, given)), _tensors(out)
        if name in _FREE or _is_view(func) or not _on_device([*inputs, *outputs]):
            return out
        if name == "aten::_to_copy" and not _on_device(inputs):
            self._world.counts.uploads += 1
        else:
            size = self._read(name, args, given, outputs) + self._written(name, args, outputs)
            self._world.counts.add(name, size)
        return out

    def _written(self, name: str, args: tuple[Any, ...], outputs: list[torch.Tensor]) -> int:
        """Return the bytes that an operator writes."""
        values = args[_PLACED[name]] if name in _PLACED else None
        return stored_bytes(*([values] if isinstance(values, torch.Tensor) else outputs))

    def _read(
        self, name: str, args: tuple[Any, ...], given: dict[str, Any], outputs: list[torch.Tensor]
    ) -> int:
        """Return the bytes that an operator reads, given what goes in and out."""
        tokens = self._tokens(name, args, given) if name in _SEQUENCES else None
        if tokens is not None:
            query, key, value = args[:3]
            sizes = [x.shape[-1] * x.shape[-2] * x.element_size() for x in (key, value)]
            return stored_bytes(query) + tokens * sum(sizes)
        read = {id(x): x for x in _tensors((args, given))}
        if name in _FIRST_NOT_READ:
            read.pop(id(args[0]), None)
        picked = outputs if name in _PICKED else []
        return stored_bytes(*read.values(), *picked)

    def _tokens(self, name: str, args: tuple[Any, ...], given: dict[str, Any]) -> int | None:
        """Return how many tokens of the pool a call sees; None: nobody knows."""
        lengths, begin, dim = _SEQUENCES[name]
        used, starts = self._world.real(given[lengths]), self._world.real(args[begin])
        if used is None or starts is None:
            return None
        with _outside():
            seen = np.zeros(args[1].shape[dim], bool)
            for start, number in zip(starts.tolist(), used.tolist(), strict=False):
                seen[start : start + number] = True
            return int(seen.sum())


class _Functions(TorchFunctionMode):
    """Counts what the host waits for, and calls what stands in for what torch cannot do here."""

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
        if func in BY_OPERATOR:
            return BY_OPERATOR[func](*args)
        if func is torch.nn.functional.scaled_dot_product_attention:
            out = torch.empty_like(args[0])
            parts = {id(x): x for x in _tensors((args, given))}.values()
            self._world.counts.add("scaled_dot_product_attention", stored_bytes(*parts, out))
            return out
        if func in _READ_BY_HOST and args and _on_device(args[:1]):
            return self._world.wait(func, args[0])
        return func(*args, **given)


def _assumed(tensor: torch.Tensor) -> torch.Tensor:
    """Return what stands for contents that nobody knows: true, or 0."""
    with _outside():
        make = torch.ones if tensor.dtype is torch.bool else torch.zeros
        return make(tuple(tensor.shape), dtype=tensor.dtype)


@contextmanager
def _replaced(owner: Any, name: str, stand_in: Callable[..., Any]) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, stand_in)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextmanager
def _outside() -> Iterator[None]:
    """Compute on real tensors, uncounted."""
    with (
        torch._C._DisableTorchDispatch(),
        torch._C.DisableTorchFunction(),
        torch.utils._python_dispatch._disable_current_modes(),
    ):
        yield


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [x for x in tree_leaves(tree) if isinstance(x, torch.Tensor)]


def _is_view(func: Any) -> bool:
    returned = [one.alias_info for one in func._schema.returns]
    return bool(returned) and all(one is not None and not one.is_write for one in returned)


def _on_device(values: Iterable[Any]) -> bool:
    return any(isinstance(x, torch.Tensor) and x.device.type == DEVICE.type for x in values)
