"""Decode steps over a pool: against attention over each row's whole context, in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from safety_receipts.runner.engines.prefix import grouped, layout
from safety_receipts.runner.engines.prefix.attention import Kernel, Terms
from safety_receipts.runner.engines.prefix.grouped import (
    Route,
    Sequences,
    attend_grouped,
    route_of,
    sum_places,
)
from safety_receipts.runner.engines.prefix.packed_step import PackedStepPass, step_pass
from safety_receipts.runner.engines.prefix.pool import (
    KeyPool,
    PooledRows,
    PooledSegment,
    pool_tokens,
)
from safety_receipts.runner.engines.prefix.shared_prefix import (
    PassSetting,
    SegmentRead,
    StepRows,
)

CPU = torch.device("cpu")
SIZE = 4


@dataclass
class Study:
    """Rows below segments of several levels, in a pool filled with random numbers."""

    groups: int
    each: int
    lengths: list[int]
    """Tokens of each segment, by level: one of the first, two of the second, …"""
    own: list[int]
    """Own tokens of each row."""
    depths: list[int]
    """How many levels each row reads."""
    windows: tuple[int | None, ...]

    def __post_init__(self) -> None:
        draw = torch.Generator().manual_seed(len(self.own) + 7 * sum(self.lengths))
        self.draw = draw
        self.pool = KeyPool()
        rows = len(self.own)
        segments: list[PooledSegment] = []
        self.reads: list[SegmentRead] = []
        self.chains: list[list[PooledSegment]] = [[] for _ in range(rows)]
        start = place = 0
        for level, length in enumerate(self.lengths):
            for part in range(level + 1):
                members = [r for r in range(rows) if r * (level + 1) // rows == part]
                # Readers of a segment follow each other: those that end above stand apart, and
                # where they stand between others, these end there too.
                readers = [
                    r for r in members if self.depths[r] > level and len(self.chains[r]) == level
                ]
                if readers != list(range(readers[0], readers[-1] + 1)) if readers else True:
                    continue
                segment = PooledSegment(start, length, self.pool, place)
                place += length
                segments.append(segment)
                first, last = readers[0], readers[-1] + 1
                self.reads.append(SegmentRead(segment, level, first, last, length))
                for row in readers:
                    self.chains[row].append(segment)
            start += length
        # A row's positions follow the segments that it reads.
        self.positions = np.array(
            [sum(s.length for s in c) + n - 1 for c, n in zip(self.chains, self.own, strict=True)]
        )
        for row, chain in enumerate(self.chains):
            for before, after in pairwise(chain):
                assert after.start == before.start + before.length, row
        rooms = [n + 6 for n in self.own]
        self.pool.resize(pool_tokens(place + sum(rooms)), 0)
        self.cache = PooledRows(self.pool, place, rooms)
        for layer in range(len(self.windows)):
            for tensor in self.pool.layer(layer, self.states(), self.states()):
                tensor.normal_(generator=draw)

    @property
    def rows(self) -> StepRows:
        return StepRows(
            np.arange(len(self.own)), np.array(self.own) - 1, self.positions, self.reads
        )

    def states(self, number: int = 1, heads: int | None = None) -> torch.Tensor:
        shape = (heads or self.groups, number, SIZE)
        return torch.randn(shape, generator=self.draw)

    def expected(
        self, layer: int, row: int, query: torch.Tensor, steps: int, terms: Terms
    ) -> torch.Tensor:
        """Return what a row's query sees, [H, E]; its new token is in the pool."""
        places: list[int] = []
        positions: list[int] = []
        for segment in self.chains[row]:
            places += range(segment.place, segment.place + segment.length)
            positions += range(segment.start, segment.start + segment.length)
        columns = self.own[row] + steps
        base = int(self.cache.bases[row])
        places += range(base, base + columns)
        newest = int(self.positions[row]) + steps
        positions += range(newest + 1 - columns, newest + 1)
        window = self.windows[layer]
        seen = [
            place
            for place, position in zip(places, positions, strict=True)
            if window is None or position > newest - window
        ]
        keys, values = (tensor[seen].double() for tensor in self.pool._layers[layer])
        heads = torch.arange(self.groups * self.each) // self.each
        scores = torch.einsum("hd,shd->hs", query.double(), keys[:, heads]) * terms.scale
        if terms.softcap is not None:
            scores = terms.softcap * torch.tanh(scores / terms.softcap)
        if terms.sink is not None:
            scores = torch.cat([scores, terms.sink.double()[:, None]], 1)
        weights = torch.softmax(scores, 1)[:, : len(seen)]
        return torch.einsum("hs,shd->hd", weights, values[:, heads]).float()


def studies() -> st.SearchStrategy[Study]:
    def made(data: tuple[Any, ...]) -> Study:
        (groups, each), lengths, rows, windows = data
        own, depths = [n for n, _ in rows], [min(d, len(lengths)) for _, d in rows]
        return Study(groups, each, lengths, own, depths, windows)

    rows = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 3)), min_size=1, max_size=7)
    return st.tuples(
        st.sampled_from([(1, 1), (2, 1), (2, 3)]),
        st.lists(st.integers(1, 14), max_size=3),
        rows,
        st.sampled_from([(None,), (None, 5), (3, 11), (25, None, 2)]),
    ).map(made)


@contextmanager
def small_stretches() -> Iterator[None]:
    """Stretches are cut, told apart and shared out at lengths that tests can afford."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "BLOCK_QUERIES", 4)
        patch.setattr(layout, "STRETCH_KEYS", 6)
        patch.setattr(layout, "WINDOW_SPREAD", 4)
        yield


@settings(deadline=None, max_examples=150)
@given(
    study=studies(),
    capped=st.booleans(),
    sunk=st.booleans(),
    steps=st.lists(st.lists(st.booleans(), min_size=7, max_size=7), min_size=1, max_size=6),
)
def test_every_row_that_moves_sees_its_context_and_nothing_else(
    study: Study, capped: bool, sunk: bool, steps: list[list[bool]]
) -> None:
    """Segments of several levels, windows, sinks, caps, and rows that ended."""
    with small_stretches():
        check_steps(study, steps, capped=capped, sunk=sunk)


def check_steps(study: Study, steps: list[list[bool]], *, capped: bool, sunk: bool) -> None:
    rows, heads = len(study.own), study.groups * study.each
    setting = PassSetting(study.windows, False, Kernel.GROUPED, CPU)
    pass_ = step_pass(setting, study.cache, study.rows)
    sink = study.states(1, heads)[:, 0, 0] if sunk else None
    terms = Terms(0.5, 3.0 if capped else None, sink, Kernel.GROUPED)
    alive = [True] * rows
    for number, moving in enumerate(steps, start=1):
        alive = [old and new for old, new in zip(alive, moving, strict=False)]
        pass_.advance(torch.tensor(alive))
        for layer in range(len(study.windows)):
            query = torch.randn((1, heads, rows, SIZE), generator=study.draw)
            key, value = study.states(rows)[None], study.states(rows)[None]
            found = pass_.attend(layer, query, key, value, terms)
            assert found.shape == (1, rows, heads, SIZE)
            for row in range(rows):
                if not alive[row]:
                    continue
                place = int(study.cache.bases[row]) + study.own[row] + number - 1
                kept = study.pool._layers[layer]
                assert torch.equal(kept[0][place], key[0, :, row])
                assert torch.equal(kept[1][place], value[0, :, row])
                expected = study.expected(layer, row, query[0, :, row], number, terms)
                torch.testing.assert_close(found[0, row], expected, rtol=1e-5, atol=1e-5)
    assert setting.routes == {Route.WRITTEN}


def test_rows_write_into_their_own_rooms_alone() -> None:
    study = Study(2, 1, [5], [3, 1, 4], [1, 1, 1], (None,))
    setting = PassSetting((None,), False, Kernel.GROUPED, CPU)
    pass_ = step_pass(setting, study.cache, study.rows)
    assert isinstance(pass_, PackedStepPass)
    before = study.pool._layers[0][0].clone()
    states = study.states(3)[None]
    for moving in ([True, True, True], [True, False, True]):
        pass_.advance(torch.tensor(moving))
        pass_.attend(0, study.states(3)[None], states, states, Terms(1.0))
    changed = (study.pool._layers[0][0] != before).flatten(1).any(1).nonzero()[:, 0].tolist()
    first, second, third = study.cache.bases.tolist()
    assert changed == [first + 3, first + 4, second + 1, third + 4, third + 5]


def test_a_segment_is_read_once_and_what_a_window_leaves_single_rows_by_them() -> None:
    study = Study(1, 1, [3000], [10, 40, 30], [1, 1, 1], (1024,))
    rows = layout.RowPlaces(
        study.cache.bases, np.array(study.own) - 1, study.positions, study.cache.rooms
    )
    (segment,) = study.chains[0]
    reads = [layout.StretchRead(segment.place, 0, 0, 3, 3000)]
    full = layout.build_layout(rows, reads, None, 4)
    assert full.in_order
    assert not full.may_miss
    assert full.bounds.tolist() == [0, 3, 4, 5, 6]
    made = layout.build_layout(rows, reads, 1024, 4)
    # What all three see, what the first and the third see before it, and the rows' own.
    assert made.rows.tolist() == [0, 1, 2, 0, 2, 0, 1, 2]
    assert made.ends[:, :3].T.tolist() == [[2016, 3000], [1986, 2016], [2006, 2016]]


def sequences(bounds: list[int], starts: list[int], used: list[int], heads: int) -> Sequences:
    def whole(numbers: list[int]) -> torch.Tensor:
        return torch.tensor(numbers, dtype=torch.int32)

    most = max(b - a for a, b in pairwise(bounds))
    sums = torch.tensor(sum_places(bounds, most, heads))
    return Sequences(whole(bounds), whole([*starts, 0]), whole(used), most, max(used), sums)


def stand_in(spoil: Callable[[torch.Tensor], torch.Tensor] = lambda out: out) -> Any:
    """Return what has the memory-efficient kernel's signature and padding, written out."""

    def kernel(query: Any, key: Any, value: Any, bias: Any, *rest: Any, **options: Any) -> Any:
        bounds, starts, most, keys, dropout, causal, sums = rest
        assert (bias, dropout, causal, sums) == (None, 0.0, 0, True)
        given = Sequences(bounds, starts, options["seqlen_k"], most, keys)
        terms = Terms(options["scale"])
        states = (query[0], key[0], value[0])
        out, lse = attend_grouped(states, given, terms, Route.WRITTEN)
        padded = torch.full((len(bounds) - 1, lse.shape[0], -(-most // 32) * 32), torch.nan)
        for i, (first, last) in enumerate(pairwise(bounds)):
            padded[i, :, : last - first] = lse[:, first:last]
        return spoil(out)[None], padded

    return kernel


def test_a_kernel_that_is_wrong_or_missing_on_a_device_is_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # torch's flash kernel for packed sequences is not there on a CPU.
    monkeypatch.setattr(grouped, "_EFFICIENT", stand_in())
    assert grouped._first_sound(CPU, torch.bfloat16, 64, 64) is Route.EFFICIENT
    monkeypatch.setattr(grouped, "_EFFICIENT", stand_in(lambda out: out * 1.2))
    with pytest.raises(ValueError, match=r"flash: .*efficient: results are .* off"):
        grouped._first_sound(CPU, torch.bfloat16, 64, 64)
    monkeypatch.setattr(grouped, "_EFFICIENT", stand_in(lambda out: out * torch.nan))
    with pytest.raises(ValueError, match="efficient: results are inf off"):
        grouped._first_sound(CPU, torch.float32, 512, 512)
    assert route_of(CPU, torch.float32, 64, 64) is Route.WRITTEN
    with pytest.raises(ValueError, match="runs on mps"):
        route_of(torch.device("mps"), torch.float32, 64, 64)


def test_fused_kernels_do_not_cap_scores() -> None:
    states = (torch.zeros(2, 1, 8),) * 3
    given = sequences([0, 2], [0], [2], 1)
    with pytest.raises(ValueError, match="caps"):
        attend_grouped(states, given, Terms(1.0, softcap=2.0), Route.FLASH)


@pytest.mark.parametrize("route", [Route.FLASH, Route.EFFICIENT])
@pytest.mark.parametrize(("heads", "size"), [(8, 128), (1, 64), (4, 256)])
def test_torchs_kernels_take_these_shapes_on_cuda(route: Route, heads: int, size: int) -> None:
    """By torch's own description of them: there need be no such device."""
    bounds = [0, 4, 132, 136]
    with FakeTensorMode():
        cuda = torch.device("cuda:0")
        states = tuple(
            torch.empty((n, heads, size), dtype=torch.bfloat16, device=cuda)
            for n in (bounds[-1], 500, 500)
        )
        given = Sequences(
            torch.empty(4, dtype=torch.int32, device=cuda),
            torch.empty(4, dtype=torch.int32, device=cuda),
            torch.empty(3, dtype=torch.int32, device=cuda),
            128,
            300,
            torch.empty(heads * bounds[-1], dtype=torch.int64, device=cuda),
        )
        out, lse = attend_grouped(states, given, Terms(0.1), route)  # type: ignore[arg-type]
    assert (out.shape, out.dtype) == ((bounds[-1], heads, size), torch.bfloat16)
    assert (lse.shape, lse.dtype) == ((heads, bounds[-1]), torch.float32)


def test_pools_keep_what_stays_when_they_are_resized_or_closed_up() -> None:
    pool = KeyPool()
    pool.resize(pool_tokens(300), 0)
    assert pool.tokens == 512
    segments = [PooledSegment(0, 100, pool, 0), PooledSegment(100, 40, pool, 100)]
    states = [torch.randn(2, one.length, 3) for one in segments]
    for segment, state in zip(segments, states, strict=True):
        segment.write(0, state, state)
        segment.filled = segment.length
    segments[1].move(10)  # over its own beginning, and over what was dropped
    pool.resize(pool_tokens(60), 50)
    assert pool.layer(0, states[0], states[0])[0].shape == (256, 2, 3)
    key, value = segments[1].view(0, 0, 40)
    assert torch.equal(key[0], states[1])
    assert torch.equal(value[0], states[1])
