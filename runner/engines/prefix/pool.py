"""One pool of keys and values a layer: the segments of a batch, then what its rows keep.

Every token lies somewhere in the pool, [tokens, K, D] a layer, so kernels for sequences of
different lengths read all of them in one call.  A row has as much room as it can come to need,
not as much as the longest row of its batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from safety_receipts.runner.engines.prefix.prefix_memory import KeepRead, LayerStates, Segment

_GRAIN: Final = 256
"""Pools have room for a multiple of so many tokens, so that batches of about one size need one."""


def pool_tokens(kept: int) -> int:
    """Return how many tokens a pool has room for that so many are to be kept in."""
    return -(-kept // _GRAIN) * _GRAIN


class KeyPool(LayerStates):
    """Keys and values of tokens: a layer's keys are [tokens, K, D], its values [tokens, K, E]."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = 0
        """How many it has room for."""

    def resize(self, tokens: int, kept: int) -> None:
        """Make room for a batch, layer by layer, so that no pool stands beside another.

        Args:
            tokens: How many there is to be room for.
            kept: How many of the first ones stay.
        """
        self.tokens = tokens
        for layer in [i for i, (key, _) in self._layers.items() if len(key) != tokens]:
            stay = [one[:kept].clone() for one in self._layers.pop(layer)]
            key, value = (one.new_zeros((tokens, *one.shape[1:])) for one in stay)
            key[:kept], value[:kept] = stay
            self._layers[layer] = (key, value)

    def read(self, layer: int, first: int, last: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return keys [1, K, S, D] and values [1, K, S, E] of some tokens."""
        key, value = self._layers[layer]
        return key[first:last].transpose(0, 1)[None], value[first:last].transpose(0, 1)[None]

    def move(self, source: int, target: int, number: int) -> None:
        """Move tokens towards the beginning."""
        for tensors in self._layers.values():
            for tensor in tensors:
                tensor[target : target + number] = tensor[source : source + number].clone()

    def _shape(self, heads: int, size: int) -> tuple[int, ...]:
        return (self.tokens, heads, size)


class PooledSegment(Segment):
    """A segment in a pool.

    Args:
        start: Position of its first token.
        length: Its tokens.
        pool: Where it is kept.
        place: The pool's token that its first one is.
    """

    def __init__(self, start: int, length: int, pool: KeyPool, place: int) -> None:
        super().__init__(start, length)
        self.place = place
        self._pool = pool

    def write(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> None:
        """Keep the next tokens' keys [K, N, D] and values [K, N, E]."""
        first = self.place + self.filled
        kept = self._pool.layer(layer, key, value)
        for target, new in zip(kept, (key, value), strict=True):
            target[first : first + new.shape[1]] = new.transpose(0, 1)

    def view(self, layer: int, first: int, last: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return keys [1, K, S, D] and values [1, K, S, E] of some of its tokens."""
        return self._pool.read(layer, self.place + first, self.place + last)

    def move(self, place: int) -> None:
        """Go to another place, nearer the beginning of the pool."""
        if place != self.place:
            self._pool.move(self.place, place, self.filled)
            self.place = place


class PooledRows:
    """What the rows of a batch keep for themselves, each in a room of its own size.

    Args:
        pool: Where.
        place: The pool's token at which the first row's room begins.
        rooms: Tokens that each row comes to keep, at most.
    """

    def __init__(self, pool: KeyPool, place: int, rooms: Sequence[int]) -> None:
        self.pool = pool
        self.rooms = np.asarray(rooms, np.int64)
        """int64 [rows]."""
        self.bases = place + np.cumsum(self.rooms) - self.rooms
        """int64 [rows], the pool's token that each row's column 0 is."""

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.bases)

    def reading(self, rows: range, held: NDArray[np.bool_], device: torch.device) -> KeepRead:
        """Return what keeps the states that a pass reads; see :class:`OwnCache`."""
        columns = np.flatnonzero(held)
        row, column = np.divmod(columns, held.shape[1])
        places = torch.from_numpy(self.bases[rows.start + row] + column).to(device)
        picked = torch.from_numpy(columns).to(device)

        def keep(layer: int, keys: torch.Tensor, values: torch.Tensor) -> None:
            kept = self.pool.layer(layer, keys[0], values[0])
            for target, new in zip(kept, (keys, values), strict=True):
                flat = new.transpose(1, 2).reshape(-1, new.shape[1], new.shape[3])
                target.index_copy_(0, places, flat.index_select(0, picked).to(target.dtype))

        return keep

    def select(self, rows: torch.Tensor) -> None:
        """Keep only some rows (int64 indices)."""
        left = rows.cpu().numpy()
        self.rooms, self.bases = self.rooms[left], self.bases[left]
