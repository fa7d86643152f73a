"""How a run is cut: units of points in plan order.

A unit is generated, judged and committed as one; an unfinished one is redone whole.  Its
borders depend on the plan alone, so a run that was killed meets the engine with the same
batches as one that was not.
"""

from __future__ import annotations

from collections.abc import Iterator

UNIT_POINTS = 64

BATCH_RULE = "plan-order-64/1"
"""Name of the rule: 64 consecutive points of the plan's order form a unit.  Within a unit the
engine sorts by length and cuts by memory, which the receipt's memory class names."""


def units(points: int) -> Iterator[range]:
    """Yield the indices of each unit, in order.

    Args:
        points: Number of points of the plan.
    """
    for start in range(0, points, UNIT_POINTS):
        yield range(start, min(start + UNIT_POINTS, points))
