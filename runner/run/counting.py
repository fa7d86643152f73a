"""All prompts of a plan, rendered once: to be counted, and to be run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.errors import MalformedError
from safety_receipts.receipts.events.grid import source_of
from safety_receipts.receipts.model.base import ConditionId, QueryId
from safety_receipts.receipts.model.checkpoint import ContextOverflow, overflows
from safety_receipts.runner.prompts.prefix_tree import PrefixTree
from safety_receipts.runner.prompts.rendering import RenderedPoint, Renderer
from safety_receipts.runner.run.execute import overflow_error


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


@dataclass(frozen=True)
class RenderedPlan:
    """All prompts of a plan."""

    points: tuple[RenderedPoint, ...]
    """In plan order; their prompts stand in one prefix tree, so that tokens they share take
    memory once."""
    counts: PromptCounts
    """Their lengths."""


def render_points(renderer: Renderer, indices: Iterable[int]) -> list[RenderedPoint]:
    """Render some points of a plan; their prompts stand in one prefix tree."""
    tree = PrefixTree()
    points = map(renderer.render, indices)
    return [replace(point, tokens=tree.add(point.tokens)) for point in points]


def render_plan(renderer: Renderer, watch: Callable[[int, int], None]) -> RenderedPlan:
    """Render every prompt of a plan and count it.

    Args:
        renderer: Renders them.
        watch: Told how many points are counted, and of how many.

    Raises:
        IncompleteError: A prompt leaves no room for the longest response, and the plan says
            abort.
        MalformedError: Two queries of a source become one prompt.
        UsageError: The chat template cannot show what the plan asks for.
    """
    renderer.check_template()
    plan = renderer.plan
    fitting, too_long = PrefixTree(), PrefixTree()
    points: list[RenderedPoint] = []
    conditions = []
    per_condition = plan.points // len(plan.conditions)
    for number, condition in enumerate(plan.conditions):
        lengths = []
        before = too_long.prompts
        prompts = _Prompts()
        for index in range(number * per_condition, (number + 1) * per_condition):
            point = renderer.render(index)
            prompts.check(point, condition.id)
            length = len(point.tokens)
            lengths.append(length)
            tree = fitting
            if overflows(length, plan.sampling.max_new_tokens, plan.prompt.context_limit):
                if plan.prompt.context_overflow is ContextOverflow.ABORT:
                    raise overflow_error(point, plan)
                tree = too_long
            points.append(replace(point, tokens=tree.add(point.tokens)))
            watch(index + 1, plan.points)
        conditions.append(
            ConditionLength(
                id=condition.id,
                points=len(lengths),
                mean=sum(lengths) / len(lengths),
                longest=max(lengths),
                overflowing=too_long.prompts - before,
            )
        )
    counts = PromptCounts(
        points=plan.points,
        distinct=fitting.distinct,
        tokens=fitting.total,
        unique=fitting.unique,
        longest=fitting.longest,
        overflowing=too_long.prompts,
        conditions=tuple(conditions),
    )
    return RenderedPlan(tuple(points), counts)


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
