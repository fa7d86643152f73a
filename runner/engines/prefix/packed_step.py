"""Decode steps whose attention is one grouped call a layer, whatever segments the rows read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from safety_receipts.runner.engines.prefix.grouped import (
    Route,
    Sequences,
    attend_grouped,
    route_of,
    sum_places,
)
from safety_receipts.runner.engines.prefix.layout import (
    RowPlaces,
    StepLayout,
    StretchRead,
    build_layout,
)
from safety_receipts.runner.engines.prefix.pool import PooledRows, PooledSegment
from safety_receipts.runner.engines.prefix.prefix_memory import OwnCache
from safety_receipts.runner.engines.prefix.shared_prefix import (
    Layer,
    Pass,
    PassSetting,
    SegmentRead,
    StepPass,
    StepRows,
)


class PackedStepPass(Pass):
    """The newest token of each of some rows, step after step; as ``StepPass``, over a pool.

    A step moves tensors that are on the device already: it uploads nothing and waits for
    nothing.  What the layers of one kind have in common is computed once a step.

    Args:
        setting: The model's.
        cache: What the rows keep.
        rows: The rows; all segments that they read are in the cache's pool.
    """

    def __init__(self, setting: PassSetting, cache: PooledRows, rows: StepRows) -> None:
        super().__init__(setting, rows.positions, ())
        slots, columns = rows.slots, rows.columns
        self._pool = cache.pool
        self._reads = [_stretch(read) for read in rows.reads]
        self._rows = RowPlaces(cache.bases[slots], columns, rows.positions, cache.rooms[slots])
        device = setting.device
        self._newest = torch.from_numpy(self._rows.bases + columns).to(device)
        # The moves of each row, the steps, and nothing.
        self._moved = torch.zeros(len(slots) + 2, dtype=torch.int32, device=device)
        self._counting = torch.tensor([True, False], device=device)
        self._kinds: dict[tuple[int | None, int], _Kind] = {}
        self._stretches: dict[tuple[int | None, int], _Stretches] = {}
        self._sinks: dict[int, torch.Tensor] = {}

    def advance(self, moving: torch.Tensor) -> None:
        """Move to the next step, before its forward pass.

        Args:
            moving: bool [N] on the device, which rows go on to their next position and column.
                A row that has ended stays and writes over its last column; its results are not
                to be looked at.
        """
        self.placed = self.placed + moving
        self._newest = self._newest + moving
        self._moved = self._moved + torch.cat([moving, self._counting])
        self._keys.clear()
        self._stretches.clear()

    def _own(self, layer: Layer) -> tuple[torch.Tensor, torch.Tensor]:
        raise NotImplementedError("own columns are read together with the segments")

    def _attend(self, given: Layer) -> torch.Tensor:
        keys, values = self._pool.layer(given.place, given.key, given.value)
        if given.new:
            for target, new in ((keys, given.key), (values, given.value)):
                target.index_copy_(0, self._newest, new.transpose(0, 1).to(target.dtype))
        route = route_of(keys.device, keys.dtype, keys.shape[2], values.shape[2])
        self._setting.routes.add(route)
        heads, (_, groups, size) = given.query.shape[1], keys.shape
        each = heads // groups
        seen = self._seen_by(given.window, each, groups, route)
        queries = given.query[0].reshape(groups, each, -1, size).permute(2, 1, 0, 3)
        packed = queries.index_select(0, seen.kind.rows).view(-1, groups, size)
        out, lse = attend_grouped(
            (packed.to(keys.dtype), keys, values), seen.sequences, given.terms, route
        )
        merged = _merge(out, lse, seen, self._sink(given, groups))
        number = given.query.shape[2]
        # Heads of one key-value head stand together again.
        result = given.query.new_empty((number, groups, each, values.shape[2]))
        result.copy_(merged.transpose(1, 2))
        return result.view(1, number, heads, -1)

    def _sink(self, given: Layer, groups: int) -> torch.Tensor | None:
        """Return the logits of a layer's attention sinks, fp32 [each, K]; None: it has none."""
        sink = given.terms.sink
        if sink is not None and given.place not in self._sinks:
            self._sinks[given.place] = sink.view(groups, -1).t().float()
        return None if sink is None else self._sinks[given.place]

    def _seen_by(self, window: int | None, each: int, groups: int, route: Route) -> _Stretches:
        """Return what layers of a kind see at this step."""
        if (window, each) not in self._stretches:
            if (window, each) not in self._kinds:
                layout = build_layout(self._rows, self._reads, window, each)
                self._kinds[window, each] = _Kind.of(layout, each, self.placed.device)
            self._stretches[window, each] = self._kinds[window, each].at(self._moved)
        seen = self._stretches[window, each]
        if route is Route.EFFICIENT:
            seen = seen.with_sums(groups)
        return seen


def _stretch(read: SegmentRead) -> StretchRead:
    segment = read.segment
    assert isinstance(segment, PooledSegment)
    return StretchRead(segment.place, segment.start, read.first, read.last, read.upto)


@dataclass(frozen=True, slots=True)
class _Kind:
    """A layout on the device, for layers with one window and one number of heads by group."""

    layout: StepLayout
    bounds: list[int]
    """Queries of a key-value head, before each sequence."""
    rows: torch.Tensor
    """int64 [U]."""
    bounds_there: torch.Tensor
    bases: torch.Tensor
    ends: torch.Tensor
    moves: torch.Tensor
    least: torch.Tensor
    most: torch.Tensor
    places: torch.Tensor | None
    """int64 [P · N]; None: they are in order."""
    parts: torch.Tensor | None
    """int64 [P, N]; None: each sees something."""
    shape: tuple[int, int]
    """P and N."""
    most_queries: int
    sums: dict[int, torch.Tensor]
    """Where the memory-efficient kernel leaves sums, by number of key-value heads."""

    @classmethod
    def of(cls, layout: StepLayout, each: int, device: torch.device) -> _Kind:
        def there(numbers: NDArray[np.int64], dtype: torch.dtype = torch.int32) -> torch.Tensor:
            return torch.from_numpy(np.ascontiguousarray(numbers)).to(device, dtype)

        bounds = layout.bounds * each
        return cls(
            layout,
            bounds.tolist(),
            there(layout.rows, torch.int64),
            there(bounds),
            there(layout.bases),
            there(layout.ends),
            there(layout.moves, torch.int64),
            there(layout.least),
            there(layout.most),
            None if layout.in_order else there(layout.places.ravel(), torch.int64),
            there(layout.parts, torch.int64) if layout.may_miss else None,
            (layout.places.shape[0], layout.places.shape[1]),
            layout.longest * each,
            {},
        )

    def at(self, moved: torch.Tensor) -> _Stretches:
        """Return where the stretches are, given what ``moves`` moves by, int32 [N + 2]."""
        ends = torch.clamp(self.ends + moved[self.moves], self.least, self.most)
        # A kernel is never given a sequence without a key: what it then returns is hidden.
        starts = self.bases + torch.minimum(ends[0], self.most[1] - 1)
        lengths = ends[1] - ends[0]
        hidden = None
        if self.parts is not None:
            hidden = (lengths <= 0)[self.parts][..., None, None]  # the last is of no part
        used = lengths[:-1].clamp_min(1)
        return _Stretches(
            self,
            Sequences(self.bounds_there, starts, used, self.most_queries, self.layout.reach),
            hidden,
        )


@dataclass(frozen=True, slots=True)
class _Stretches:
    """What rows see at a step."""

    kind: _Kind
    sequences: Sequences
    hidden: torch.Tensor | None
    """bool [P, N, 1, 1], parts that are not there or see nothing; None: all see something."""

    def with_sums(self, groups: int) -> _Stretches:
        """Return the same for the memory-efficient kernel."""
        kind, now = self.kind, self.sequences
        if groups not in kind.sums:
            found = sum_places(kind.bounds, kind.most_queries, groups)
            kind.sums[groups] = torch.tensor(found, device=now.starts.device)
        sequences = Sequences(
            now.bounds,
            now.starts,
            now.used,
            now.most_queries,
            now.most_keys,
            kind.sums[groups],
        )
        return _Stretches(kind, sequences, self.hidden)


def _merge(
    out: torch.Tensor, lse: torch.Tensor, seen: _Stretches, sink: torch.Tensor | None
) -> torch.Tensor:
    """Join the parts of each row, fp32 [N, each, K, E].

    Args:
        out: [U · each, K, E].
        lse: fp32 [K, U · each].
        seen: Where the parts of each row are.
        sink: fp32 [each, K], logit of each head's attention sink; None: there is none.
    """
    groups, size = out.shape[1:]
    parts, number = seen.kind.shape
    each = out.shape[0] // len(seen.kind.rows)
    out, lse = out.view(-1, each, groups, size), lse.view(groups, -1, each)
    if seen.kind.places is not None:
        out, lse = out.index_select(0, seen.kind.places), lse.index_select(1, seen.kind.places)
    if parts == 1 and sink is None:
        return out
    out = out.view(parts, number, each, groups, size)
    sums = lse.view(groups, parts, number, each).permute(1, 2, 3, 0)
    if seen.hidden is not None:
        sums = sums.masked_fill(seen.hidden, -torch.inf)
    if sink is not None:
        sums = torch.cat([sums, sink.expand(1, number, -1, -1)])
    weights = torch.softmax(sums, 0)[:parts, ..., None]
    return (out * weights).sum(0)


def step_pass(
    setting: PassSetting, cache: OwnCache | PooledRows, rows: StepRows
) -> StepPass | PackedStepPass:
    """Return the pass of decode steps that suits a cache; arguments as for either kind."""
    if isinstance(cache, PooledRows):
        return PackedStepPass(setting, cache, rows)
    return StepPass(setting, cache, rows)
