"""Keys and values: those that rows share, stored once, and those of each row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from safety_receipts.runner.engines.prefix.attention import keeps_fp32

KeepRead = Callable[[int, torch.Tensor, torch.Tensor], None]
"""Keeps a layer's keys [rows, K, T, D] and values [rows, K, T, E] of rows' own tokens."""


def kept_as(states: torch.Tensor) -> torch.dtype:
    """Return the format in which keys or values are kept."""
    return torch.float32 if keeps_fp32(states.device) else states.dtype


class Segment:
    """Keys and values of a segment, stored once.

    Args:
        start: Position of its first token.
        length: Its tokens.
    """

    def __init__(self, start: int, length: int) -> None:
        self.start = start
        self.length = length
        self.filled = 0
        """Tokens computed so far."""
        self._layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def write(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> None:
        """Keep the next tokens' keys [K, N, D] and values [K, N, E]."""
        if layer not in self._layers:
            self._layers[layer] = (self._room(key), self._room(value))
        for kept, new in zip(self._layers[layer], (key, value), strict=True):
            kept[:, self.filled : self.filled + new.shape[1]] = new

    def _room(self, states: torch.Tensor) -> torch.Tensor:
        heads, _, size = states.shape
        return states.new_empty((heads, self.length, size), dtype=kept_as(states))

    def view(self, layer: int, first: int, last: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return keys [1, K, S, D] and values [1, K, S, E] of some of its tokens."""
        key, value = self._layers[layer]
        return key[None, :, first:last], value[None, :, first:last]


class LayerStates(ABC):
    """Keys and values by layer, allocated when a layer's sizes are first seen."""

    def __init__(self) -> None:
        self._layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def layer(
        self, layer: int, key: torch.Tensor, value: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a layer's keys and values, of the form that the class says.

        Args:
            layer: The layer.
            key: [K, N, D], any of its keys: sizes may differ by layer.
            value: [K, N, E], any of its values.
        """
        if layer not in self._layers:
            # Zeros: what no token has yet gets weight 0 or is not seen, but a kernel may read
            # it, and 0 times a number that is not finite would be no 0.
            made = [
                one.new_zeros(self._shape(one.shape[0], one.shape[2]), dtype=kept_as(one))
                for one in (key, value)
            ]
            self._layers[layer] = (made[0], made[1])
        return self._layers[layer]

    @abstractmethod
    def _shape(self, heads: int, size: int) -> tuple[int, ...]:
        """Return the shape of what is kept of a layer's keys, or of its values."""


class OwnCache(LayerStates):
    """Keys and values that rows keep for themselves: column c holds a row's c-th own token.

    A layer's keys are [rows, K, columns, D], and its values [rows, K, columns, E].

    Args:
        rows: Rows.
        columns: Most tokens that a row comes to keep.
    """

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.rows = rows
        self.columns = columns

    def reading(self, rows: range, held: NDArray[np.bool_], _: torch.device) -> KeepRead:
        """Return what keeps the states of rows' own tokens, as a pass reads them.

        Args:
            rows: The rows of the pass.
            held: bool [rows, T], which are tokens: a row's come first.
            _: The device of the states.
        """
        part, length = slice(rows.start, rows.stop), held.shape[1]

        def keep(layer: int, keys: torch.Tensor, values: torch.Tensor) -> None:
            kept = self.layer(layer, keys[0], values[0])
            kept[0][part, :, :length], kept[1][part, :, :length] = keys, values

        return keep

    def _shape(self, heads: int, size: int) -> tuple[int, ...]:
        return (self.rows, heads, self.columns, size)

    def select(self, rows: torch.Tensor) -> None:
        """Keep only some rows (int64 indices)."""
        self.rows = len(rows)
        for layer, (key, value) in self._layers.items():
            self._layers[layer] = (key.index_select(0, rows), value.index_select(0, rows))
