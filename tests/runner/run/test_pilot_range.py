"""What a pilot says of the whole run: from its prompts' tree, up to all points at its pace."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Literal

import pytest
from running import Study

from safety_receipts.runner.plan.sealed import renderer_of
from safety_receipts.runner.prompts.prefix_tree import in_one_tree
from safety_receipts.runner.run.counting import render_plan, render_points
from safety_receipts.runner.run.pilot import Pilot, tree_part

PILOT = Pilot(
    points=10,
    outcomes=Counter(),
    reasons={},
    messages=(),
    tokens=0,
    seconds=5.0,
    at_limit=0,
    generated=10,
    enough=0,
    tree_part=0.25,
)


def test_the_range_goes_from_the_tree_to_the_points() -> None:
    assert PILOT.whole_run_seconds(400) == 200
    assert PILOT.whole_run_seconds_shared(400) == 50
    served = replace(PILOT, enough=16)
    assert served.whole_run_seconds_shared(400) is None
    assert served.whole_run_seconds_shared(10) == 1.25


@pytest.mark.parametrize("block", [1, 4, "all"])
@pytest.mark.parametrize("number", [8, 32])
def test_the_tree_of_all_prompts_is_foreseen_from_a_few(
    study: Study, block: int | Literal["all"], number: int
) -> None:
    written = study(queries=24, experiments=("fixed_harmful: {harmful: [0, 4, 8], benign: [0]}",))
    shown = written.predicate.demonstrations.model_copy(update={"draw_block": block})
    plan = written.predicate.model_copy(update={"demonstrations": shown})
    renderer = renderer_of(replace(written, predicate=plan), None)
    few = render_points(renderer, [place * plan.points // number for place in range(number)])
    counts = render_plan(renderer, lambda _, __: None).counts
    tree = in_one_tree([point.tokens for point in few])[0].tree
    true = (counts.unique / counts.points) / (tree.unique / number)
    # Rather more: conditions share beginnings, too, which is not counted.
    assert true <= tree_part(plan, few) <= 2.5 * true
    assert tree_part(plan, few) <= 1
