"""All prompts of a plan, rendered once: to be counted, and to be run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.errors import MalformedError
from safety_receipts.receipts.events.grid import source_of
from safety_receipts.receipts.model.base import ConditionId, QueryId
from safety_receipts.receipts.model.checkpoint import ContextOverflow, overflows
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.runner.prompts.prefix_tree import PrefixTree, TreePrompt
from safety_receipts.runner.prompts.rendering import RenderedPoint, Renderer
from safety_receipts.runner.run.ahead.packed import PackedPoints
from safety_receipts.runner.run.ahead.portions import points_of, portions_of, rendered_portions
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
    portions: list[bytes]
    """The same as it is kept in a file (:mod:`runner.run.ahead.kept`), until it is."""


def render_points(renderer: Renderer, indices: Iterable[int]) -> list[RenderedPoint]:
    """Render some points of a plan; their prompts stand in one prefix tree."""
    tree = PrefixTree()
    points = map(renderer.render, indices)
    return [replace(point, tokens=tree.add(point.tokens)) for point in points]


def render_plan(
    renderer: Renderer,
    watch: Callable[[int, int], None],
    *,
    kept: Sequence[bytes] | None = None,
    processes: int | None = None,
) -> RenderedPlan:
    """Render every prompt of a plan and count it.

    Args:
        renderer: Renders them.
        watch: Told how many points are counted, and of how many.
        kept: What was rendered before; None: nothing was.
        processes: Most processes to render in; None: as many as there are cores.

    Raises:
        IncompleteError: A prompt leaves no room for the longest response, and the plan says
            abort.
        MalformedError: Two queries of a source become one prompt.
        UsageError: The chat template cannot show what the plan asks for.
    """
    renderer.check_template()
    plan, done = renderer.plan, 0

    def more(points: int) -> None:
        nonlocal done
        done += points
        watch(done, plan.points)

    portions = portions_of(plan)
    packed: Iterable[bytes] = (
        rendered_portions(renderer, portions, more, processes) if kept is None else kept
    )
    counting, found = _Counting(plan), []
    for portion, data in zip(portions, packed, strict=True):
        found.append(data)
        points = points_of(plan, portion)
        for point in PackedPoints.from_bytes(data).unpack(renderer, points):
            counting.add(point)
        if kept is not None:
            more(len(points))
    return counting.finished(found)


class _Counting:
    """Takes the points of a plan in any order, and counts them.

    Args:
        plan: The plan.
    """

    def __init__(self, plan: PlanPredicate) -> None:
        self._plan = plan
        self._fitting, self._too_long = PrefixTree(), PrefixTree()
        self._points: list[RenderedPoint | None] = [None] * plan.points
        self._prompts = {condition.id: _Prompts() for condition in plan.conditions}

    def add(self, point: RenderedPoint) -> None:
        """Take a point.

        Raises:
            IncompleteError: It is too long, and the plan says abort.
            MalformedError: Another query's prompt is the same.
        """
        plan, tree = self._plan, self._fitting
        self._prompts[point.condition.id].check(point, point.condition.id)
        if self._overflows(point):
            if plan.prompt.context_overflow is ContextOverflow.ABORT:
                raise overflow_error(point, plan)
            tree = self._too_long
        self._points[point.index] = replace(point, tokens=tree.add(point.tokens))

    def _overflows(self, point: RenderedPoint) -> bool:
        plan = self._plan
        return overflows(len(point.tokens), plan.sampling.max_new_tokens, plan.prompt.context_limit)

    def finished(self, portions: list[bytes]) -> RenderedPlan:
        """Return all points, which have come, with their counts."""
        plan, fitting, too_long = self._plan, self._fitting, self._too_long
        points = tuple(point for point in self._points if point is not None)
        for tree in (fitting, too_long):  # as if they had come in plan order
            prompts = [point.tokens for point in points if isinstance(point.tokens, TreePrompt)]
            tree.order(prompt for prompt in prompts if prompt.tree is tree)
        each = plan.points // len(plan.conditions)
        conditions = tuple(
            self._of_condition(condition.id, points[number * each : (number + 1) * each])
            for number, condition in enumerate(plan.conditions)
        )
        counts = PromptCounts(
            points=plan.points,
            distinct=fitting.distinct,
            tokens=fitting.total,
            unique=fitting.unique,
            longest=fitting.longest,
            overflowing=too_long.prompts,
            conditions=conditions,
        )
        return RenderedPlan(points, counts, portions)

    def _of_condition(self, id_: ConditionId, points: Sequence[RenderedPoint]) -> ConditionLength:
        lengths = [len(point.tokens) for point in points]
        return ConditionLength(
            id=id_,
            points=len(lengths),
            mean=sum(lengths) / len(lengths),
            longest=max(lengths),
            overflowing=sum(map(self._overflows, points)),
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
