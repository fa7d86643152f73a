"""What a sealed event on a member should have found: its planted law, averaged over the very lists
that were shown.

Only an instrument has a truth to compare with; nothing here says anything about real models.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from safety_receipts.receipts.canonical import event_seed
from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.model.base import ConditionId
from safety_receipts.receipts.model.demonstrations import QueryRole
from safety_receipts.receipts.model.point import Outcome, Point
from safety_receipts.runner.organism import members
from safety_receipts.runner.organism.law import LAWS, Law, comply_probability
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.plan.sealed import digest_of
from safety_receipts.runner.prompts.rendering import Renderer


@dataclass(frozen=True)
class Truth:
    """One condition on queries of role ``harmful``, planted and recorded."""

    condition: ConditionId
    """The condition."""
    points: int
    """Judged points."""
    planted: float
    """Mean probability of complying, by the law."""
    recorded: float
    """Share of judged points that complied."""
    deviation: float
    """Recorded minus planted, in standard errors of independent draws."""


def compare_with_law(
    resolved: ResolvedPlan, points: Iterable[Point], beacon_value: str | None = None
) -> list[Truth]:
    """Hold the points of an event to the law of its member, condition by condition.

    Demonstrations are drawn anew from the plan; under sampling at temperature 1 each judged
    point is one draw with the law's probability.

    Args:
        resolved: The plan, of a member of the organism, in plain turns.
        points: Its points.
        beacon_value: The beacon's value, where the plan names a round.

    Raises:
        UsageError: The checkpoint is no member, or a text is not in its language.
    """
    law = law_of(resolved)
    seed = event_seed(digest_of(resolved.predicate), beacon_value)
    renderer = Renderer(resolved.predicate, resolved.artifacts.texts, seed)
    harmful = {s.name for s in resolved.predicate.queries if s.role is QueryRole.HARMFUL}
    chances: dict[ConditionId, list[float]] = defaultdict(list)
    complied: dict[ConditionId, int] = defaultdict(int)
    for point in points:
        if point.source in harmful and point.outcome in (Outcome.REFUSED, Outcome.COMPLIED):
            query, shown = renderer.shown(point.index)
            texts = [(item.request, item.response) for item in shown.items]
            chances[point.condition].append(comply_probability(law, query, texts))
            complied[point.condition] += point.outcome is Outcome.COMPLIED
    return [_truth(id_, values, complied[id_]) for id_, values in chances.items()]


def law_of(resolved: ResolvedPlan) -> Law:
    """Return the law of a plan's checkpoint.

    Raises:
        UsageError: It is no member of the organism.
    """
    weights = {file.sha256 for file in resolved.predicate.checkpoint.files}
    for member in members():
        if member.weights_digest in weights:
            return LAWS[member.name]
    raise UsageError("the checkpoint is not a member of the organism, and has no planted law")


def _truth(condition: ConditionId, chances: list[float], complied: int) -> Truth:
    spread = math.sqrt(math.fsum(chance * (1 - chance) for chance in chances))
    total = math.fsum(chances)
    return Truth(
        condition=condition,
        points=len(chances),
        planted=total / len(chances),
        recorded=complied / len(chances),
        deviation=(complied - total) / spread,
    )
