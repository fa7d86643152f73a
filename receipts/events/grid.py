"""The grid: condition ids, label strings, and the order of points.

All of it follows from the plan alone, so that sealing and verifying share one rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import assert_never

from safety_receipts.receipts.canonical import Sha256, event_seed, tagged_digest
from safety_receipts.receipts.model.base import ConditionId, QueryId, SourceName
from safety_receipts.receipts.model.demonstrations import (
    ContextForm,
    Ordering,
    PlannedCondition,
    ShownContext,
)
from safety_receipts.receipts.model.plan import PlanPredicate

BASELINE = ConditionId("h0-b0")
"""Id of the zero-demonstration condition in the default context."""


def condition_id(
    n_harmful: int,
    n_benign: int,
    ordering: Ordering | None = None,
    *,
    benign_source: SourceName | None = None,
    prefix_number: int | None = None,
    context: ContextForm | None = None,
) -> ConditionId:
    """Return the readable id of a condition.

    Args:
        n_harmful: Harmful demonstrations.
        n_benign: Benign demonstrations.
        ordering: Ordering rule; None where at most one of the two kinds is shown.
        benign_source: Benign source, where it is not the plan's default.
        prefix_number: 1-based place of the response prefix in the plan, where there is one.
        context: Context form, where it is not the plan's default.
    """
    parts = [f"h{n_harmful}-b{n_benign}"]
    if ordering is not None:
        parts.append(ordering.value)
    if benign_source is not None:
        parts.append(f"src:{benign_source}")
    if prefix_number is not None:
        parts.append(f"pre:{prefix_number}")
    if context is not None:
        parts.append(f"ctx:{context.value}")
    return ConditionId("-".join(parts))


def fixed_labels(
    ordering: Ordering | None, n_harmful: int, n_benign: int, n_refusal: int = 0
) -> str | None:
    """Return the label string of an ordering rule, or None for ``random``.

    The last letter is nearest the query.  The paper does not say where odd remainders
    fall; here the extra benign of ``middle`` comes first, ``interleave`` spreads the
    harmful evenly with one in last place, and refusal examples precede everything.
    """
    match ordering:
        case Ordering.RANDOM:
            return None
        case Ordering.PREFIX:
            mixed = "h" * n_harmful + "b" * n_benign
        case Ordering.SUFFIX | None:
            mixed = "b" * n_benign + "h" * n_harmful
        case Ordering.MIDDLE:
            before = -(-n_benign // 2)
            mixed = "b" * before + "h" * n_harmful + "b" * (n_benign - before)
        case Ordering.INTERLEAVE:
            total = n_harmful + n_benign
            mixed = "".join(
                "h" if (i + 1) * n_harmful // total > i * n_harmful // total else "b"
                for i in range(total)
            )
        case _:
            assert_never(ordering)
    return "r" * n_refusal + mixed


def random_labels(seed: Sha256, condition: PlannedCondition, block: int, draw: int) -> str:
    """Return the label string of one draw under ``random`` ordering.

    A Fisher–Yates shuffle of the ``suffix`` string: for i = n − 1 … 1, swap i with
    SHA-256(JCS ["safety-receipts/order/1", seed, condition id, block, draw, i]) mod (i + 1).
    Refusal examples stay in front.

    Args:
        seed: The event's seed.
        condition: A condition with ``random`` ordering.
        block: The query's place in the pooled list div draw block.
        draw: Which sampling.
    """
    letters = list("b" * condition.n_benign + "h" * condition.n_harmful)
    for i in range(len(letters) - 1, 0, -1):
        digest = tagged_digest("safety-receipts/order/1", seed, condition.id, block, draw, i)
        j = int.from_bytes(digest, "big") % (i + 1)
        letters[i], letters[j] = letters[j], letters[i]
    return "r" * condition.context.n_refusal + "".join(letters)


def seed_of(plan: PlanPredicate, plan_digest: Sha256, beacon_value: str | None) -> Sha256:
    """Return the seed of a plan's event.

    Where recorded responses are judged again it is that of the event that generated them.

    Args:
        plan: The plan.
        plan_digest: Its own digest.
        beacon_value: The beacon's value, where the plan names a round.
    """
    original = plan_digest if plan.rejudges is None else plan.rejudges.plan
    return event_seed(original, beacon_value)


def blocks(plan: PlanPredicate) -> Sequence[int]:
    """Return, for each query of the pooled list, the block whose draws it shares."""
    size = plan.demonstrations.draw_block
    count = len(plan.query_ids)
    if size == "all":
        return [0] * count
    return [place // size for place in range(count)]


def distinct_lists(plan: PlanPredicate) -> int:
    """Return the number of demonstration lists a condition sees: blocks × draws."""
    return (blocks(plan)[-1] + 1) * plan.demonstrations.draws


def planned_points(plan: PlanPredicate) -> Iterator[tuple[PlannedCondition, int, QueryId, int]]:
    """Yield (condition, place of the query, query id, draw) in plan order."""
    draws = range(plan.demonstrations.draws)
    for condition in plan.conditions:
        for place, query in enumerate(plan.query_ids):
            for draw in draws:
                yield condition, place, query, draw


def planned_point(plan: PlanPredicate, index: int) -> tuple[PlannedCondition, QueryId, int]:
    """Return condition, query id and draw of point ``index``.

    Raises:
        IndexError: The plan has no such point.
    """
    draws = plan.demonstrations.draws
    if not 0 <= index < len(plan.conditions) * len(plan.query_ids) * draws:
        raise IndexError(index)
    rest, draw = divmod(index, draws)
    place, query = divmod(rest, len(plan.query_ids))
    return plan.conditions[place], plan.query_ids[query], draw


def source_of(query: QueryId) -> SourceName:
    """Return the query source that an id names."""
    return SourceName(query.partition("/")[0])


def shows_draws(condition: PlannedCondition) -> bool:
    """Say whether the prompt depends on the draw: without examples, every draw is one prompt."""
    return shows_examples(condition) or condition.context.gap_turns > 0


def shows_examples(condition: PlannedCondition) -> bool:
    """Say whether the condition shows demonstrations or refusal examples."""
    return bool(condition.n_harmful + condition.n_benign + condition.context.n_refusal)


def default_context() -> ShownContext:
    """Return plain user and assistant turns."""
    return ShownContext(
        form=ContextForm.TURNS, role=None, template=None, gap_turns=0, gap_source=None, n_refusal=0
    )
