"""Points held to their plan, one at a time and in order; sealing and verifying share this."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.events.grid import (
    blocks,
    random_labels,
    shows_draws,
    shows_examples,
    source_of,
)
from safety_receipts.receipts.findings.counts.observations import Observer
from safety_receipts.receipts.model.base import ConditionId, QueryId, SourceName
from safety_receipts.receipts.model.checkpoint import ContextOverflow, overflows
from safety_receipts.receipts.model.demonstrations import PlannedCondition, is_drawn
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.receipts.model.point import (
    OF_THOUGHTS,
    Finish,
    Outcome,
    Point,
    Reason,
    RestrictedRecord,
)

_Planned = tuple[int, PlannedCondition, int, QueryId, SourceName, int]
"""Index, condition, place of the query, query, source, draw."""


def _planned(plan: PlanPredicate) -> Iterator[_Planned]:
    """Yield what the plan says of each point, in plan order."""
    queries = [(place, query, source_of(query)) for place, query in enumerate(plan.query_ids)]
    index = 0
    for condition in plan.conditions:
        for place, query, source in queries:
            for draw in range(plan.demonstrations.draws):
                yield index, condition, place, query, source, draw
                index += 1


@dataclass
class FirstProblems:
    """The first problem of each kind, or None."""

    order: str | None = None
    """A point is not the one planned at its place."""
    labels: str | None = None
    """Labels or prefix flags do not follow from plan and seed."""
    endings: str | None = None
    """Token counts or reasons contradict the plan, or the way the point ended."""

    def first(self) -> str | None:
        """Return any problem."""
        return self.order or self.labels or self.endings


@dataclass
class PointChecker:
    """Holds points to a coherent plan, and collects what is computed from them.

    Args:
        plan: The plan.
        seed: The event's seed.
    """

    plan: PlanPredicate
    seed: Sha256
    problems: FirstProblems = field(default_factory=FirstProblems)

    def __post_init__(self) -> None:
        self.observer = Observer(self.plan)
        self._planned = _planned(self.plan)
        self._blocks = blocks(self.plan)
        self._max_new_tokens = self.plan.sampling.max_new_tokens
        self._context_limit = self.plan.prompt.context_limit
        self._may_overflow = self.plan.prompt.context_overflow is ContextOverflow.FAIL_POINT
        self._has_channels = self.plan.prompt.judged_channel is not None
        self._has_thoughts = self.plan.prompt.tells_thoughts
        self._same_prompt = {c.id for c in self.plan.conditions if not shows_draws(c)}
        self._plain = {
            c.id
            for c in self.plan.conditions
            if not is_drawn(c.ordering) and c.response_prefix is None
        }
        self._first_length = 0
        self._labels: dict[tuple[int, int], str] = {}
        self._labels_of: PlannedCondition | None = None

    def check(self, point: Point) -> bool:
        """Check the next point; say whether the plan has another point at all.

        After a point out of order only the order is known to be wrong: the others are not
        collected, and not held to anything.
        """
        planned = next(self._planned, None)
        if planned is None:
            return False
        index, condition, place, query, source, draw = planned
        problems = self.problems
        if problems.order is not None:
            return True
        if (
            point.index != index
            or point.query != query
            or point.draw != draw
            or point.condition != condition.id
            or point.source != source
        ):
            problems.order = (
                f"line {index + 1} should be point {index}: {condition.id}, {query}, draw {draw}; "
                f"it is {point.index}: {point.condition}, {point.query}, draw {point.draw}, "
                f"source {point.source}"
            )
            return True
        self.observer.add(point)
        # Most conditions have neither random labels nor prefixes, and most lines say so.
        plain = point.labels is None and point.prefix_adopted is None
        if not (plain and condition.id in self._plain) and problems.labels is None:
            problems.labels = self._label_problem(point, condition, place)
        if problems.endings is None:
            problems.endings = self._ending_problem(point)
        return True

    def _label_problem(self, point: Point, condition: PlannedCondition, place: int) -> str | None:
        if is_drawn(condition.ordering):
            if point.labels != self._random_labels(condition, self._blocks[place], point.draw):
                return f"line {point.index + 1}: labels do not follow from the plan's seed"
        elif point.labels is not None:
            return f"line {point.index + 1}: labels are given, but the condition fixes the order"
        wanted = condition.response_prefix is not None and point.outcome is not Outcome.FAILED
        if (point.prefix_adopted is not None) != wanted:
            return (
                f"line {point.index + 1}: prefixAdopted is for a demonstrated prefix and a response"
            )
        return None

    def _random_labels(self, condition: PlannedCondition, block: int, draw: int) -> str:
        if condition is not self._labels_of:
            self._labels, self._labels_of = {}, condition
        key = (block, draw)
        if key not in self._labels:
            self._labels[key] = random_labels(self.seed, condition, block, draw)
        return self._labels[key]

    def _ending_problem(self, point: Point) -> str | None:
        tokens, limit = point.response_tokens, self._max_new_tokens
        finish = point.finish
        too_long = overflows(point.prompt_tokens, limit, self._context_limit)
        if finish is Finish.STOP:
            good = 1 <= tokens <= limit and not too_long
        elif finish is Finish.LENGTH:
            good = tokens == limit and not too_long
        elif finish is Finish.ERROR:
            good = tokens == 0 and not too_long
        else:
            good = tokens == 0 and too_long and self._may_overflow
        if not good:
            return (
                f"line {point.index + 1}: {point.prompt_tokens} prompt and {tokens} response "
                f"tokens do not go with finish {point.finish.value} and the plan's limits"
            )
        if point.condition in self._same_prompt:
            if point.draw == 0:
                self._first_length = point.prompt_tokens
            elif point.prompt_tokens != self._first_length:
                return f"line {point.index + 1}: the same prompt has another length"
        if point.reason is Reason.EMPTY_FINAL and not self._has_channels:
            return f"line {point.index + 1}: {point.reason.value} without a judged channel"
        if point.reason in OF_THOUGHTS and not self._has_thoughts:
            return f"line {point.index + 1}: {point.reason.value} where no thoughts are told apart"
        return None


class PromptChecker:
    """Holds the prompts of records, in plan order, to be equal or different as they must.

    Args:
        conditions: The plan's.
    """

    def __init__(self, conditions: Iterable[PlannedCondition]) -> None:
        conditions = tuple(conditions)
        self._same = {c.id for c in conditions if not shows_draws(c)}
        self._shown = {c.id for c in conditions if shows_examples(c)}
        self._condition: ConditionId | None = None
        self._query_of: dict[tuple[str, Sha256], QueryId] = {}
        self._first: RestrictedRecord | None = None

    def problem(self, record: RestrictedRecord) -> str | None:
        """Return what is wrong with the next record, or None."""
        if record.condition != self._condition:
            self._condition, self._query_of = record.condition, {}
        if (record.demonstrations is not None) != (record.condition in self._shown):
            return "a digest of demonstrations is given exactly where some are shown"
        if record.condition in self._same:
            if record.draw == 0:
                self._first = record
            elif self._first is not None and record.prompt != self._first.prompt:
                return "the prompt differs from the one it repeats"
        # Within a source no request is there twice, so no prompt can be.
        key = (record.query.partition("/")[0], record.prompt)
        if self._query_of.setdefault(key, record.query) != record.query:
            return "two queries have the same prompt"
        return None
