"""Who is given which part: everything once, whatever workers do, and neighbours to one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from safety_receipts.runner.pool.order import next_part


def test_a_worker_goes_on_where_it_is() -> None:
    assert next_part({3, 4, 9}, 3, [8]) == 4


def test_the_second_worker_begins_in_the_middle() -> None:
    assert next_part(set(range(1, 11)), None, [0]) == 6


def test_a_stretch_that_nobody_comes_to_is_begun_at_its_beginning() -> None:
    assert next_part({5, 6, 7}, None, [1]) == 5


def test_whoever_has_finished_takes_the_second_half_of_what_another_comes_to() -> None:
    assert next_part({4, 5, 6, 7}, 11, [3]) == 6


@given(st.integers(1, 5), st.integers(1, 40), st.data())
def test_every_part_is_given_once(workers: int, parts: int, data: st.DataObject) -> None:
    waiting, last = set(range(parts)), [None] * workers
    given_: list[int] = []
    while waiting:
        who = data.draw(st.integers(0, workers - 1))
        others = [one for number, one in enumerate(last) if number != who]
        key = next_part(waiting, last[who], others)
        waiting.remove(key)
        last[who] = key  # type: ignore[call-overload]
        given_.append(key)
    assert sorted(given_) == list(range(parts))


def test_two_workers_at_one_pace_each_take_a_half() -> None:
    """So that each computes the beginnings of its own half alone."""
    waiting, last, jumps = set(range(20)), [None, None], 0
    while waiting:
        for who in (0, 1):
            if waiting:
                key = next_part(waiting, last[who], [last[1 - who]])
                jumps += last[who] is not None and key != last[who] + 1
                waiting.remove(key)
                last[who] = key
    assert jumps == 0
