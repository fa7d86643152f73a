"""Schedules: an example by hand, and properties of any prompts."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_receipts.runner.engines.prefix.schedule import (
    BatchRow,
    BatchSize,
    Schedule,
    ScheduledRequest,
    build_schedule,
    reading_groups,
)
from safety_receipts.runner.prompts.prefix_tree import PrefixTree


def schedule_of(
    prompts: Sequence[Sequence[int]],
    *,
    room: int = 10**9,
    max_rows: int = 10**9,
    chunk: int = 10**9,
    share_tokens: int = 4,
    tail: int = 0,
    grown: int = 0,
) -> Schedule:
    """Return a schedule; a batch has room for so many tokens, each segment's once."""
    tree = PrefixTree()
    return build_schedule(
        [ScheduledRequest(tree.add(prompt), tail, grown) for prompt in prompts],
        fits=lambda size: size.shared + size.rows * size.columns <= room,
        max_rows=max_rows,
        chunk=chunk,
        share_tokens=share_tokens,
    )


def spelt(schedule: Schedule, row: BatchRow) -> list[int]:
    """Return the prompt that a row computes, from what the schedule says of it."""
    segment, own = schedule.own(row)
    parts = [schedule.parts[part] for part in [*schedule.chain(segment), *own]]
    assert all(part.segment for part in parts[: len(parts) - len(own)])
    assert not any(part.segment for part in parts[len(parts) - len(own) :])
    starts = [part.start for part in parts]
    assert starts == [0, *(part.end for part in parts)][: len(starts)]
    last = schedule.asks[row.ask].prompt[-1]
    return [token for part in parts for token in part.tokens.tolist()] + [last]


def test_an_example_by_hand() -> None:
    shown = list(range(10, 20))
    prompts = [
        [1, 50],  # nothing shown
        [1, *shown, 50],
        [1, *shown, 51],
        [1, *shown, *shown, 50, 60],
        [1, *shown, *shown, 50, 61],
        [1, *shown, *shown, 70, 71],
    ]
    schedule = schedule_of(prompts, share_tokens=8)
    described = [(p.start, p.tokens.tolist(), p.rows, p.segment) for p in schedule.parts]
    # That 50 follows twice saves one token: less than a read of its own is worth.
    assert described == [
        (0, [1], range(6), True),
        (1, shown, range(1, 6), True),
        (11, shown, range(3, 6), True),
        (21, [50], range(3, 5), False),
        (21, [70], range(5, 6), False),
    ]
    assert [row.ask for row in schedule.rows] == [0, 1, 2, 3, 4, 5]
    assert schedule.batches == (range(6),)
    assert schedule.segments(range(1, 3)) == [0, 1]
    # The tree, and nothing twice.
    assert schedule.prompt_tokens() == (1 + 10 + 10) + (1 + 1 + 1) + (1 + 1 + 1) + (1 + 1)


def test_a_prompt_asked_about_twice_is_read_once_but_for_its_last_token() -> None:
    schedule = schedule_of([[1, 2, 3, 4, 5]] * 3, share_tokens=8)
    (part,) = schedule.parts
    assert (part.tokens.tolist(), part.segment, part.rows) == ([1, 2, 3, 4], True, range(3))
    assert schedule.prompt_tokens() == 4 + 3


def test_a_prompt_that_another_begins_with_ends_before_its_last_token() -> None:
    schedule = schedule_of([[1, 2, 3], [1, 2, 3, 4, 5], [7]])
    assert [part.tokens.tolist() for part in schedule.parts] == [[1, 2], [3], [4]]
    assert [spelt(schedule, row) for row in schedule.rows] == [[1, 2, 3], [1, 2, 3, 4, 5], [7]]
    assert schedule.rows[2].part == -1


def test_what_is_longer_than_a_pass_is_a_segment_even_for_one_row() -> None:
    schedule = schedule_of([list(range(30)), [50, 51]], chunk=16)
    assert [part.segment for part in schedule.parts] == [True, False]


def test_prompts_of_two_trees_are_refused() -> None:
    asks = [ScheduledRequest(PrefixTree().add([1, 2]), 0, 0) for _ in range(2)]
    with pytest.raises(ValueError, match="one tree"):
        build_schedule(asks, fits=lambda _: True, max_rows=4, chunk=4)


def test_nothing_asked_gives_nothing() -> None:
    schedule = schedule_of([])
    assert (schedule.parts, schedule.rows, schedule.batches) == ((), (), ())


def test_deep_trees_need_no_recursion() -> None:
    prompts = [list(range(length)) for length in range(1, sys.getrecursionlimit() + 200)]
    schedule = schedule_of(prompts)
    assert len(schedule.rows) == len(prompts)


PROMPTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9), max_size=24)


@given(
    prompts=PROMPTS,
    limits=st.fixed_dictionaries(
        {
            "max_rows": st.integers(1, 6),
            "share_tokens": st.integers(1, 12),
            "chunk": st.integers(1, 6),
            "room": st.integers(6, 40),
            "tail": st.integers(0, 2),
        }
    ),
)
def test_any_prompts_are_scheduled_whole_and_in_bounds(
    prompts: list[list[int]], limits: dict[str, int]
) -> None:
    schedule = schedule_of(prompts, **limits, grown=2)
    # Every prompt is in one row or too large alone, and its row computes it.
    assert sorted([*(row.ask for row in schedule.rows), *schedule.too_large]) == list(
        range(len(prompts))
    )
    assert [spelt(schedule, row) for row in schedule.rows] == [
        prompts[row.ask] for row in schedule.rows
    ]
    # Batches are all rows, in order.
    assert [row for batch in schedule.batches for row in batch] == list(range(len(schedule.rows)))
    assert all(0 < len(batch) <= limits["max_rows"] for batch in schedule.batches)
    for number, part in enumerate(schedule.parts):
        assert part.above < number
        assert len(part.tokens)
        if part.segment and part.above >= 0:
            assert schedule.parts[part.above].segment
        if len(part.tokens) > limits["chunk"]:
            assert part.segment
        below = [i for i, row in enumerate(schedule.rows) if number in _ancestors(schedule, row)]
        assert below == list(part.rows)
    for batch in schedule.batches:
        rows = [schedule.rows[i] for i in batch]
        wanted = {part for row in rows for part in schedule.chain(schedule.own(row)[0])}
        assert schedule.segments(batch) == sorted(wanted)
        shared = sum(len(schedule.parts[part].tokens) for part in wanted)
        own = [sum(len(schedule.parts[p].tokens) for p in schedule.own(row)[1]) for row in rows]
        assert shared + len(rows) * (max(own) + limits["tail"] + 1 + 2) <= limits["room"]


def _ancestors(schedule: Schedule, row: BatchRow) -> set[int]:
    found, part = set(), row.part
    while part >= 0:
        found.add(part)
        part = schedule.parts[part].above
    return found


@given(prompts=PROMPTS, share_tokens=st.integers(1, 12))
def test_the_tree_is_computed_once_and_no_token_more_than_a_row_needs(
    prompts: list[list[int]], share_tokens: int
) -> None:
    """In one batch: the tree, and the last token again of each prompt that ends inside it."""
    schedule = schedule_of(prompts, share_tokens=share_tokens)
    tree = PrefixTree()
    for prompt in prompts:
        tree.add(prompt)
    again = tree.prompts - tree.distinct
    again += len({tuple(p) for p in prompts if any(q[: len(p)] == p != q for q in prompts)})
    assert schedule.prompt_tokens() == tree.unique + again


@given(lengths=st.lists(st.integers(0, 9), max_size=20), chunk=st.integers(1, 20))
def test_reading_groups_are_all_rows_and_each_fits_a_pass(lengths: list[int], chunk: int) -> None:
    groups = list(reading_groups(lengths, chunk))
    assert [row for group in groups for row in group] == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or len(group) * max(lengths[i] for i in group) <= chunk
    for one, other in pairwise(groups):  # no group could have taken the next row
        longest = max(lengths[i] for i in [*one, other.start])
        assert longest * (len(one) + 1) > chunk


def test_a_batch_is_measured_by_its_largest_row() -> None:
    seen: list[BatchSize] = []

    def fits(size: BatchSize) -> bool:
        seen.append(size)
        return True

    tree = PrefixTree()
    prompts = [[1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 7], [1, 2, 3, 4, 8]]
    asks = [
        ScheduledRequest(tree.add(p), tail, g)
        for p, tail, g in zip(prompts, (0, 2, 0), (5, 1, 9), strict=True)
    ]
    build_schedule(asks, fits=fits, max_rows=8, chunk=64, share_tokens=8)
    assert seen[-1] == BatchSize(
        rows=3, shared=4, columns=10, kept=7 + 4 + 10, read=3, scored=5, levels=1
    )
