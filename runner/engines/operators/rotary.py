"""Rotary position embeddings in few operators, where a model's own code takes ten or fourteen.

transformers' models rotate queries and keys apart, half by half, with a function of their module
called ``apply_rotary_pos_emb``.  Side by side they take four operators: they are joined, multiplied
by the cosines, rolled by half a head, and multiplied by the sines, of which the first half is
negative, and added.  Cosines and sines are brought into that form once a pass, not once a layer.

What a model's function does is found by a trial on the device; one that does something else (pairs
of neighbours, part of a head) is left alone.  Nothing of the model's module is changed: a layer is
given a ``forward`` of the same code that finds another function by that name.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from types import FunctionType, MethodType
from typing import Any, Final

import torch

from safety_receipts.runner.engines.operators.replacing import TOLERANCE, OtherForwards, near

_NAME: Final = "apply_rotary_pos_emb"
_PAIR, _SINGLE = ("q", "k", "cos", "sin"), ("x", "cos", "sin")
"""The first arguments of such a function: of queries and keys, or of either."""
_TABLES: Final = 4
"""Pairs of cosines and sines that are kept: a model has one for each kind of attention."""
_BEHIND: Final = {"unsqueeze_dim": 2}
"""How a function of either is told that heads lie behind tokens."""
_ROWS, _HEADS, _GROUPS = 5, 4, 2


class FusedRotary(OtherForwards):
    """The attention layers of a model that rotate in few operators.

    Args:
        model: A transformers model on its device.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        tables = _Tables()

        @cache
        def other(forward: FunctionType, size: int) -> FunctionType | None:
            return _with_few_operators(forward, size, tables, model.dtype, model.device)

        with torch.inference_mode():
            for module in model.modules():
                forward = inspect.unwrap(type(module).forward)
                size = getattr(module, "head_dim", None)
                if "forward" in vars(module) or not isinstance(size, int) or size % 2:
                    continue
                if isinstance(forward, FunctionType) and (found := other(forward, size)):
                    self._found.append((module, MethodType(found, module)))


def _with_few_operators(
    forward: FunctionType, size: int, tables: _Tables, dtype: torch.dtype, device: torch.device
) -> FunctionType | None:
    """Return the same code with another function to rotate by; None: it rotates otherwise."""
    own = forward.__globals__.get(_NAME)
    if _NAME not in forward.__code__.co_names or not callable(own):
        return None
    tried = _Rotary(own, size, tables, frozenset({dtype, torch.float32}))
    formats = frozenset(one for one in tried.formats if tried.agrees(dtype, one, device))
    if not formats:
        return None
    rotary = replace(tried, formats=formats)
    found = FunctionType(
        forward.__code__,
        {**forward.__globals__, _NAME: rotary.function},
        forward.__name__,
        forward.__defaults__,
        forward.__closure__,
    )
    found.__kwdefaults__ = forward.__kwdefaults__
    return found


class _Tables:
    """Cosines and sines as they are multiplied by, of the last few that were asked for."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], tuple[torch.Tensor, ...]] = {}

    def of(self, cos: torch.Tensor, sin: torch.Tensor, size: int) -> tuple[torch.Tensor, ...]:
        """Return cosines and signed sines, [B, 1, T, size].

        Args:
            cos: [B, T, size], or [B, T, size / 2]: both halves of a head have the same.
            sin: As ``cos``.
            size: Of a head.
        """
        key = (id(cos), id(sin))
        if key not in self._known:
            if len(self._known) == _TABLES:
                self._known.pop(next(iter(self._known)))
            one, other = (cos, cos) if cos.shape[-1] < size else cos.chunk(2, -1)
            first, second = (sin, sin) if sin.shape[-1] < size else sin.chunk(2, -1)
            joined = torch.cat([one, other], -1), torch.cat([-first, second], -1)
            # The tensors themselves as well, so that nobody else is given their ids.
            self._known[key] = (cos, sin, *(each.unsqueeze(1) for each in joined))
        return self._known[key][2:]


@dataclass(frozen=True)
class _Rotary:
    """What rotates in few operators, or as a model's own function where that is asked for more."""

    own: Callable[..., Any]
    size: int
    """Of a head."""
    tables: _Tables
    formats: frozenset[torch.dtype]
    """Of cosines and sines: others are left to the model's own function."""

    @property
    def function(self) -> Callable[..., Any]:
        """What takes the arguments of the model's own function."""
        return self._both if self._names()[:4] == _PAIR else self._one

    def _names(self) -> tuple[str, ...]:
        try:
            return tuple(inspect.signature(self.own).parameters)
        except (TypeError, ValueError):
            return ()

    def _both(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        *more: Any,
        **options: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        apart = q.dtype != k.dtype or q.shape[-2:] != k.shape[-2:]
        if more or options or apart or not self._fits(q, cos, sin):
            found: tuple[torch.Tensor, torch.Tensor] = self.own(q, k, cos, sin, *more, **options)
            return found
        turned = self._turned(torch.cat([q, k], 1), cos, sin)
        return turned[:, : q.shape[1]], turned[:, q.shape[1] :]

    def _one(
        self,
        x: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        *more: Any,
        **options: Any,
    ) -> torch.Tensor:
        if more or options not in ({}, _BEHIND) or not self._fits(x, cos, sin):
            found: torch.Tensor = self.own(x, cos, sin, *more, **options)
            return found
        return self._turned(x, cos, sin, behind=options == _BEHIND)

    def _fits(self, states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> bool:
        return (
            states.shape[-1] == self.size
            and cos.shape == sin.shape
            and cos.dtype == sin.dtype
            and cos.dtype in self.formats
            and cos.ndim == 3
            and cos.shape[-1] in (self.size, self.size // 2)
        )

    def _turned(
        self, states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, *, behind: bool = False
    ) -> torch.Tensor:
        cosines, sines = self.tables.of(cos, sin, self.size)
        if behind:
            cosines, sines = cosines.transpose(1, 2), sines.transpose(1, 2)
        turned = torch.addcmul(states * cosines, states.roll(self.size // 2, -1), sines)
        return turned.to(states.dtype)

    def agrees(self, dtype: torch.dtype, table: torch.dtype, device: torch.device) -> bool:
        """Say whether the model's own function takes such tensors and gives the same.

        Args:
            dtype: Of queries and keys.
            table: Of cosines and sines.
            device: The model's.
        """
        if self._names()[:4] != _PAIR and self._names()[:3] != _SINGLE:
            return False
        tried = [self._tried(dtype, table, device, width) for width in (self.size, self.size // 2)]
        return True in tried and False not in tried

    def _tried(
        self, dtype: torch.dtype, table: torch.dtype, device: torch.device, width: int
    ) -> bool | None:
        """Say whether both agree on tables of so many columns; None: it takes no such tables."""
        draw = torch.Generator().manual_seed(19)

        def random(*shape: int, as_: torch.dtype) -> torch.Tensor:
            return torch.randn(shape, generator=draw).to(device, as_)

        tables = [random(1, _ROWS, width, as_=table) for _ in range(2)]
        both = self._names()[:4] == _PAIR
        heads = (_HEADS, _GROUPS) if both else (_HEADS,)
        states = [random(1, one, _ROWS, self.size, as_=dtype) for one in heads]
        asked: list[tuple[list[torch.Tensor], dict[str, int]]] = [(states, {})]
        if not both:
            asked.append(([states[0].transpose(1, 2)], _BEHIND))
        for given, options in asked:
            try:
                expected = self.own(*given, *tables, **options)
            except (RuntimeError, ValueError, IndexError):
                return None
            if not _agree(self.function(*given, *tables, **options), expected):
                return False
        return True


def _agree(found: Any, expected: Any) -> bool:
    if isinstance(expected, torch.Tensor):
        found, expected = (found,), (expected,)
    pairs = zip(found, expected, strict=True)
    return all(near(one, other, TOLERANCE[other.dtype]) for one, other in pairs)
