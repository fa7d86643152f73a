"""Cutting requests into batches under a bound on memory."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_receipts.runner.checkpoint.model_facts import Architecture, KvLayer, Widths
from safety_receipts.runner.engines.batches import (
    MemoryDemand,
    MemoryModel,
    cut_batches,
)
from safety_receipts.runner.engines.prefix.schedule import BatchSize

ARCHITECTURE = Architecture(
    model_type="llama",
    context_limit=10_000,
    kv_layers=(KvLayer(64, None), KvLayer(64, 16), KvLayer(0, None)),
    widths=Widths(hidden=32, feed_forward=64, queries=64, heads=4, vocabulary=100),
    alone=False,
    quantisation=None,
)
MEMORY = MemoryModel(ARCHITECTURE, number_bytes=2, eager=False, chunk_logits=2**18, kept_bytes=2)
LOADS = st.builds(
    lambda read, new: MemoryDemand(read, read + new, 1), st.integers(1, 300), st.integers(0, 100)
)


def joint(loads: list[MemoryDemand]) -> MemoryDemand:
    return MemoryDemand(
        max(load.read for load in loads),
        max(load.grown for load in loads),
        max(load.scored for load in loads),
    )


@given(
    loads=st.lists(LOADS, max_size=40),
    bound=st.integers(0, 3_000_000),
    max_rows=st.integers(1, 8),
)
def test_batches_hold_every_request_that_fits_and_stay_within_the_bound(
    loads: list[MemoryDemand], bound: int, max_rows: int
) -> None:
    batches, too_large = cut_batches(loads, MEMORY, bound, max_rows)
    assert sorted([i for batch in batches for i in batch] + too_large) == list(range(len(loads)))
    for i in too_large:
        assert MEMORY.batch_bytes(1, loads[i]) > bound
    for batch in batches:
        assert len(batch) <= max_rows
        assert MEMORY.batch_bytes(len(batch), joint([loads[i] for i in batch])) <= bound


@given(loads=st.lists(LOADS, min_size=1, max_size=30), seed=st.randoms())
def test_the_order_of_the_requests_does_not_change_the_lengths_in_batches(
    loads: list[MemoryDemand], seed: object
) -> None:
    shuffled = list(loads)
    seed.shuffle(shuffled)  # type: ignore[attr-defined]
    first, _ = cut_batches(loads, MEMORY, 500_000, 5)
    second, _ = cut_batches(shuffled, MEMORY, 500_000, 5)
    assert [[loads[i] for i in b] for b in first] == [[shuffled[i] for i in b] for b in second]


def test_a_bound_gives_the_batch_sizes_it_pays_for() -> None:
    load = MemoryDemand(50, 69, 1)
    for rows in (1, 3, 7):
        bound = MEMORY.batch_bytes(rows, load)
        assert [len(b) for b in cut_batches([load] * 14, MEMORY, bound, 64)[0]] == {
            1: [1] * 14,
            3: [3, 3, 3, 3, 2],
            7: [7, 7],
        }[rows]
        fewer, _ = cut_batches([load] * 14, MEMORY, bound - 1, 64)
        assert max(map(len, fewer), default=0) == rows - 1


def test_a_window_bounds_what_a_layer_keeps_and_shared_layers_keep_nothing() -> None:
    assert ARCHITECTURE.kv_values(10) == 10 * 128
    assert ARCHITECTURE.kv_values(1000) == 1000 * 64 + 16 * 64


@pytest.mark.parametrize(
    "larger",
    [
        (5, MemoryDemand(50, 69, 1)),
        (4, MemoryDemand(51, 69, 1)),
        (4, MemoryDemand(50, 70, 1)),
        (4, MemoryDemand(50, 69, 2)),
    ],
)
def test_more_of_anything_takes_more_memory(larger: tuple[int, MemoryDemand]) -> None:
    base = MEMORY.batch_bytes(4, MemoryDemand(50, 69, 1))
    assert MEMORY.batch_bytes(*larger) > base
    eager = replace(MEMORY, eager=True)
    assert eager.batch_bytes(4, MemoryDemand(50, 69, 1)) > base
    single = replace(MEMORY, number_bytes=4)
    assert base < single.batch_bytes(4, MemoryDemand(50, 69, 1)) <= 2 * base


def test_in_a_pool_rows_do_not_pay_for_the_longest_of_them() -> None:
    pooled = replace(MEMORY, pooled=True)
    ragged = BatchSize(
        rows=40, shared=500, columns=6000, kept=6000 + 39 * 300, read=40, scored=40, levels=2
    )
    even = replace(ragged, kept=40 * 6000)
    assert pooled.shared_batch_bytes(ragged, 64) < MEMORY.shared_batch_bytes(ragged, 64) / 5
    values = 2 * (64 + 64)  # bytes a token, both layers that keep any
    least = values * (500 + 6000 + 39 * 300)
    assert least < pooled.shared_batch_bytes(ragged, 64)
    assert MEMORY.shared_batch_bytes(even, 64) == MEMORY.shared_batch_bytes(ragged, 64)
    apart = pooled.shared_batch_bytes(even, 64) - pooled.shared_batch_bytes(ragged, 64)
    assert abs(apart - values * 39 * 5700) <= values * 256
