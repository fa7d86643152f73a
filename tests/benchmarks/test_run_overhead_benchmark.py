"""The benchmark of what a run costs outside the engine, on the smallest plan there is for it."""

from __future__ import annotations

import pytest
import run_overhead
from overhead_parts.study import CONDITIONS, DRAWS, queries_of

POINTS = CONDITIONS * DRAWS


@pytest.mark.long
def test_a_small_one_times_every_stage_and_seals_the_same_twice() -> None:
    found = [
        run_overhead._in_process(run_overhead.Job(POINTS, "all", seconds), run_overhead.ROOT)
        for seconds in (0.0, 0.001)
    ]
    for one in found:
        assert set(one.stages) == {*run_overhead.STAGES, "rendering", "fitting"}
        assert all(one.stages[name] > 0 for name in run_overhead.STAGES)
        assert one.wall > one.engine
    assert found[0].evidence == found[1].evidence
    assert found[1].engine >= 0.001 * POINTS > found[0].engine


def test_points_are_of_whole_queries() -> None:
    with pytest.raises(SystemExit, match="are no multiple"):
        queries_of(POINTS + 1)
