"""A transformers model whose forward pass attends to prefixes that many rows share.

Tokens of many rows lie one after the other in one sequence, so that everything but attention
(projections, feed-forward parts, experts, norms) computes each token once and no padding.
Attention is replaced, through transformers' own registry of attention functions and an extra
keyword of ``forward``: no model's code is changed.  A token attends to the segments above its
row, whose keys and values are stored once, each as one product over all tokens that read it,
and to its row's own tokens (:mod:`runner.engines.prefix.prefix_memory`); the parts are merged
(:mod:`runner.engines.prefix.attention`).

A forward pass is described by one of three contexts:

* ``SegmentPass``: tokens of one segment, which see the segments above and each other;
* ``ReadingPass``: the own tokens of several rows, as far as rows share them only once
  (both :mod:`runner.engines.prefix.reading`, which says why they may end before the model does);
* :class:`StepPass`: the newest token of every row, or ``PackedStepPass`` where attention is one
  grouped call a layer (:mod:`runner.engines.prefix.packed_step`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from safety_receipts.runner.engines.prefix.attention import Kernel, Terms, attend, merge
from safety_receipts.runner.engines.prefix.grouped import Route
from safety_receipts.runner.engines.prefix.prefix_memory import OwnCache, Segment

ATTENTION = "receipts_shared_prefix"
"""Name under which the attention function is registered with transformers."""

Positions = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SegmentRead:
    """Tokens of a pass that read a segment."""

    segment: Segment
    """The segment."""
    level: int
    """How many segments stand above it: those of one level are read by different tokens."""
    first: int
    """The first token that reads it."""
    last: int
    """The token after the last."""
    upto: int
    """How many of the segment's tokens they read."""


@dataclass(frozen=True, slots=True)
class PassSetting:
    """What all passes of a model have in common."""

    windows: tuple[int | None, ...]
    """For each layer the tokens of its sliding window; None: full attention."""
    reuses: bool
    """Whether any layer reuses the keys and values of another."""
    kernel: Kernel
    """How attention is computed."""
    device: torch.device
    """Where."""
    routes: set[Route] = field(default_factory=set)
    """Which ways of computing grouped calls were taken so far."""
    keepers: int | None = None
    """Layers up to the last that keeps keys and values of its own; None: all of them."""


@dataclass(frozen=True, slots=True)
class Layer:
    """What one layer of a pass is given."""

    query: torch.Tensor
    """[1, H, N, D]."""
    key: torch.Tensor
    """[K, N, D]."""
    value: torch.Tensor
    """[K, N, E]."""
    terms: Terms
    """How it attends."""
    window: int | None
    """Tokens of its sliding window; None: full attention."""
    place: int
    """The layer whose keys and values these are."""
    new: bool
    """Whether they are to be kept: a layer that reuses another's keeps nothing."""


class Pass(ABC):
    """What attention needs to know of one forward pass.

    Args:
        setting: The model's.
        positions: int64 [N], positions of its tokens.
        reads: Which tokens read which segments.
    """

    def __init__(
        self, setting: PassSetting, positions: Positions, reads: Sequence[SegmentRead]
    ) -> None:
        self.positions = positions
        """Where the pass began, on the host."""
        self.placed = torch.from_numpy(positions).to(setting.device)
        """int64 [N], positions of its tokens, on the device."""
        self.kernel = setting.kernel
        """How attention is computed."""
        self._setting = setting
        levels: dict[int, list[tuple[int, SegmentRead]]] = {}
        for number, read in enumerate(reads):
            if read.upto and read.last > read.first:
                levels.setdefault(read.level, []).append((number, read))
        self._levels = list(levels.values())
        self._masks: dict[tuple[int, int], tuple[int, torch.Tensor | None]] = {}
        self._keys: dict[int, tuple[int, torch.Tensor]] = {}

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        terms: Terms,
    ) -> torch.Tensor:
        """Return attention of one layer, [1, N, H, E].

        Args:
            layer: The layer.
            query: [1, H, N, D].
            key: [1, K, N, D].
            value: [1, K, N, E].
            terms: How the layer attends.
        """
        given = self._given(layer, query, key, value, terms)
        return self._attend(given)

    def _given(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        terms: Terms,
    ) -> Layer:
        place = layer
        if self._setting.reuses:
            # A layer that reuses the keys of another is given that layer's very tensor, which
            # is held here so that no other can take its name.
            place, _ = self._keys.setdefault(id(key), (layer, key))
        window = self._setting.windows[layer]
        return Layer(query, key[0], value[0], terms, window, place, new=place == layer)

    def _attend(self, given: Layer) -> torch.Tensor:
        """Return attention of one layer, [1, N, H, E]."""
        own, own_sum = self._own(given)
        outs, sums = [own], [own_sum]
        for level in self._levels:
            found = [
                (read, *part)
                for number, read in level
                if (part := self._read(number, read, given)) is not None
            ]
            if len(found) == 1 and found[0][0].last - found[0][0].first == len(self.placed):
                outs.append(found[0][1])
                sums.append(found[0][2])
            elif found:
                outs.append(torch.zeros_like(own))
                sums.append(torch.full_like(own_sum, -torch.inf))
                for read, out, sum_ in found:
                    outs[-1][:, read.first : read.last] = out
                    sums[-1][:, read.first : read.last] = sum_
        merged = merge(outs, sums, given.terms.sink)
        return merged.to(given.query.dtype).transpose(0, 1)[None]

    def _read(
        self, number: int, read: SegmentRead, layer: Layer
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Return attention to a segment, [H, n, E] and [H, n]; None: nobody sees any of it."""
        first, mask = self._seen(number, read, layer.window)
        if first >= read.upto:
            return None
        keys, values = read.segment.view(layer.place, first, read.upto)
        query = layer.query[:, :, read.first : read.last].to(keys.dtype)
        out, sum_ = attend(query, keys, values, layer.terms, mask=mask)
        return out[0], sum_[0]

    @abstractmethod
    def _own(self, layer: Layer) -> tuple[torch.Tensor, torch.Tensor]:
        """Keep new states; return attention to a row's own tokens, [H, N, E] and [H, N]."""

    def _seen(
        self, number: int, read: SegmentRead, window: int | None
    ) -> tuple[int, torch.Tensor | None]:
        """Return the first token of a segment that any reader sees, and who sees which."""
        if window is None:
            return 0, None
        if (number, window) not in self._masks:
            lowest, highest = self._reach(read)
            start = read.segment.start
            # A key at position k is seen from position p if k > p − window.
            first = max(0, lowest - window + 1 - start)
            mask = None
            if first < read.upto and highest - window + 1 - start > first:
                keys = torch.arange(start + first, start + read.upto, device=self.placed.device)
                mask = keys > self.placed[read.first : read.last, None] - window
                mask = mask[None, None]
            self._masks[number, window] = (first, mask)
        return self._masks[number, window]

    def _reach(self, read: SegmentRead) -> tuple[int, int]:
        """Return positions that none of a segment's readers stands before or after."""
        readers = self.positions[read.first : read.last]
        return int(readers.min()), int(readers.max())


@dataclass(frozen=True, slots=True)
class StepRows:
    """The rows of decode steps, before the first of these."""

    slots: NDArray[np.int64]
    """int64 [N], the cache's row of each token."""
    columns: NDArray[np.int64]
    """int64 [N], the columns of the newest tokens that are there: those of the next step follow
    them."""
    positions: Positions
    """int64 [N], their positions."""
    reads: Sequence[SegmentRead]
    """Which tokens read which segments."""


class StepPass(Pass):
    """The newest token of each of some rows, step after step.

    Made once for a layout of rows: a step only moves tensors that are on the device already,
    so it neither uploads anything nor waits for the device.

    Args:
        setting: The model's.
        cache: What the rows keep.
        rows: The rows.
    """

    def __init__(self, setting: PassSetting, cache: OwnCache, rows: StepRows) -> None:
        super().__init__(setting, rows.positions, rows.reads)
        device = setting.device
        self._cache = cache
        self._slots = torch.from_numpy(rows.slots).to(device)
        self._columns = torch.from_numpy(rows.columns).to(device)
        self._all = len(rows.slots) == cache.rows
        self._longest = int(rows.columns.max()) + 1
        self._steps = 0
        self._own_masks: dict[int | None, torch.Tensor] = {}

    def advance(self, moving: torch.Tensor) -> None:
        """Move to the next step, before its forward pass.

        Args:
            moving: bool [N] on the device, which rows go on to their next position and column.
                A row that has ended stays and writes over its last column.
        """
        self.placed = self.placed + moving
        self._columns = self._columns + moving
        self._steps += 1
        self._longest = min(self._longest + 1, self._cache.columns)
        self._masks.clear()
        self._keys.clear()
        self._own_masks.clear()

    def _reach(self, read: SegmentRead) -> tuple[int, int]:
        if self.placed.device.type == "cpu":
            placed = self.placed[read.first : read.last]
            return int(placed.min()), int(placed.max())
        # Bounds, as the device is not waited for: a row may have stayed, or moved every time.
        lowest, highest = super()._reach(read)
        return lowest, highest + self._steps

    def _own(self, layer: Layer) -> tuple[torch.Tensor, torch.Tensor]:
        keys, values = self._cache.layer(layer.place, layer.key, layer.value)
        if layer.new:
            keys[self._slots, :, self._columns] = layer.key.transpose(0, 1).to(keys.dtype)
            values[self._slots, :, self._columns] = layer.value.transpose(0, 1).to(values.dtype)
        queries = layer.query[0].transpose(0, 1)[:, :, None]
        if not self._all:
            # Rows that have ended are still in the cache; their results are not looked at.
            queries = queries.new_zeros((self._cache.rows, *queries.shape[1:])).index_copy(
                0, self._slots, queries
            )
        keys, values = keys[:, :, : self._longest], values[:, :, : self._longest]
        mask = self._mask(layer.window)
        out, sum_ = attend(queries.to(keys.dtype), keys, values, layer.terms, mask=mask)
        if not self._all:
            out, sum_ = out[self._slots], sum_[self._slots]
        return out[:, :, 0].transpose(0, 1), sum_[:, :, 0].transpose(0, 1)

    def _mask(self, window: int | None) -> torch.Tensor:
        """Return which columns each row of the cache sees, bool [rows, 1, 1, columns]."""
        if window is not None and window >= self._longest:
            window = None
        if window not in self._own_masks:
            columns = torch.arange(self._longest, device=self._slots.device)
            newest = self._columns[:, None]
            seen = columns <= newest
            if window is not None:
                seen &= columns > newest - window
            if not self._all:
                # An ended row sees one column, so that nothing is undefined.
                every = columns[None].expand(self._cache.rows, -1) == 0
                seen = every.index_copy(0, self._slots, seen)
            self._own_masks[window] = seen[:, None, None]
        return self._own_masks[window]


def _attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    _mask: torch.Tensor | None,
    *,
    shared_prefix: Pass,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attend; in the form in which transformers' models call attention functions."""
    del sliding_window  # the configuration's layers say it for models that do not pass it on
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    terms = Terms(scale, softcap, s_aux, shared_prefix.kernel)
    return shared_prefix.attend(int(module.layer_idx), query, key, value, terms), None


def _no_mask(*_: Any, **__: Any) -> None:
    return None


AttentionInterface.register(ATTENTION, _attention)
AttentionMaskInterface.register(ATTENTION, _no_mask)
