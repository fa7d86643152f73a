"""How long the prompts of a plan are, exactly: every one is rendered and counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from receipts.canonical import Sha256
from receipts.errors import MalformedError
from receipts.grid import source_of
from receipts.model.base import ConditionId, QueryId
from receipts.model.checkpoint import ContextOverflow, overflows
from runner.execute import overflow_error
from runner.prefix_tokens import PrefixCounter
from runner.rendering import RenderedPoint, Renderer


@dataclass(frozen=True)
class ConditionLength:
    """Prompt lengths of one condition, in tokens."""

    id: ConditionId
    """The condition."""
    points: int
    """Its points."""
    mean: float
    """Mean length."""
    longest: int
    """Greatest length."""
    overflowing: int
    """Points that leave no room for the longest response."""


@dataclass(frozen=True)
class PromptCounts:
    """Prompt lengths of a plan, in tokens."""

    points: int
    """Points of the plan."""
    distinct: int
    """Different prompts."""
    tokens: int
    """Tokens of all prompts, those that overflow left out."""
    unique: int
    """Tokens of their prefix tree: each prefix's token counted once."""
    longest: int
    """Longest prompt that fits."""
    overflowing: int
    """Points that leave no room for the longest response."""
    conditions: tuple[ConditionLength, ...]
    """By condition, in plan order."""


def count_prompts(renderer: Renderer, watch: Callable[[int, int], None]) -> PromptCounts:
    """Render every prompt of a plan and count it.

    Args:
        renderer: Renders them.
        watch: Told how many points are counted, and of how many.

    Raises:
        IncompleteError: A prompt leaves no room for the longest response, and the plan says
            abort.
        MalformedError: Two queries of a source become one prompt.
    """
    plan = renderer.plan
    tree = PrefixCounter()
    conditions = []
    longest = overflowing = 0
    for number, condition in enumerate(plan.conditions):
        per_condition = plan.points // len(plan.conditions)
        lengths, too_long = [], 0
        prompts = _Prompts()
        for index in range(number * per_condition, (number + 1) * per_condition):
            point = renderer.render(index)
            prompts.check(point, condition.id)
            length = len(point.tokens)
            lengths.append(length)
            if overflows(length, plan.sampling.max_new_tokens, plan.prompt.context_limit):
                if plan.prompt.context_overflow is ContextOverflow.ABORT:
                    raise overflow_error(point, plan)
                too_long += 1
            else:
                longest = max(longest, length)
                tree.add(point.tokens)
            watch(index + 1, plan.points)
        overflowing += too_long
        conditions.append(
            ConditionLength(
                id=condition.id,
                points=len(lengths),
                mean=sum(lengths) / len(lengths),
                longest=max(lengths),
                overflowing=too_long,
            )
        )
    return PromptCounts(
        points=plan.points,
        distinct=tree.distinct,
        tokens=tree.total,
        unique=tree.unique,
        longest=longest,
        overflowing=overflowing,
        conditions=tuple(conditions),
    )


class _Prompts:
    """Holds the prompts of a condition to be as different as its queries.

    A tokenizer that cannot spell two requests, or a template that drops them, would turn
    them into one prompt, and points into copies.
    """

    def __init__(self) -> None:
        self._queries: dict[tuple[str, Sha256], QueryId] = {}

    def check(self, point: RenderedPoint, condition: ConditionId) -> None:
        key = (source_of(point.query_id), point.prompt)
        first = self._queries.setdefault(key, point.query_id)
        if first != point.query_id:
            raise MalformedError(
                f"condition {condition}: queries {first} and {point.query_id} become one prompt",
                hint="the tokenizer or the chat template loses what tells them apart",
            )
