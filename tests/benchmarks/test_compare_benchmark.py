"""The benchmark of many conditions: it compares what it says, and notices other output."""

from __future__ import annotations

from dataclasses import replace

import compare
import pytest

from safety_receipts.receipts.events.grid import BASELINE, condition_id


def test_the_grid_has_so_many_conditions_and_no_one_twice() -> None:
    for size in (1, 9, 10, 256):
        found = compare.grid(size)
        ids = [condition_id(one.n_harmful, one.n_benign, one.ordering) for one in found]
        assert len(set(ids)) == size
        assert ids[0] == BASELINE


def test_a_small_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert compare.main(["--conditions", "9"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| 9 |")]
    assert [row.split("|")[2].strip() for row in rows] == ["compare", "show"]
    assert all(float(row.split("|")[3]) > 0 for row in rows)


def test_other_output_is_told() -> None:
    cost = compare.Cost(1.0, 10.0, b"one")
    row = compare.Row(9, "show", cost, replace(cost, cpu=10.0))
    assert row.same
    assert compare._table([row], "v1")[1][0][-2:] == ["0.100", "the same"]
    other = replace(row, before=replace(cost, printed=b"two"))
    assert not other.same
    assert compare._table([other], "v1")[1][0][-1] == "DIFFERS"
