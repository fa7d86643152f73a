"""From a point of the plan to the token ids of its prompt.

Pure in what it is given: a verifier who holds the artifacts renders the same prompts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from receipts.canonical import Sha256
from receipts.errors import UsageError
from receipts.grid import blocks, planned_point, shows_examples
from receipts.model.base import ConditionId, QueryId
from receipts.model.demonstrations import Ordering, PlannedCondition
from receipts.model.plan import PlanPredicate
from runner.contexts import Message, messages
from runner.demonstrations import (
    Demonstration,
    DemonstrationList,
    DrawKey,
    demonstration_list,
    gap_turns,
    shown_labels,
)
from runner.plan import Artifacts
from runner.prompts import prompt_digest
from runner.thoughts import opened_by

_LISTS_KEPT = 64
"""Demonstration lists kept for the next queries."""
_TAILS_KEPT = 64
"""Ends of prompts kept that were read before: there is one, or a few."""


@dataclass(frozen=True, slots=True)
class RenderedPoint:
    """One evaluation point, ready for an engine."""

    index: int
    """Place in plan order."""
    condition: PlannedCondition
    """Its condition."""
    query_id: QueryId
    """Id of its query."""
    query: str
    """Text of its query."""
    draw: int
    """Which sampling of demonstrations."""
    labels: str | None
    """Order of the demonstrations under ``random`` ordering; else None."""
    demonstrations: Sha256 | None
    """Digest of the list shown; None where nothing is."""
    tokens: Sequence[int]
    """Token ids of the prompt."""
    prompt: Sha256
    """Their digest."""


@dataclass(frozen=True, slots=True)
class PointConversation:
    """What is said in a prompt, before the chat template makes it one."""

    messages: Sequence[Message]
    """The messages."""
    shown: Sequence[Demonstration]
    """The demonstrations and gap turns in them, in order."""
    query: str
    """The query, the last thing said."""


class Renderer:
    """Renders the points of one plan.

    Args:
        plan: The plan.
        artifacts: What its digests stand for.
        seed: The event's seed.
    """

    def __init__(self, plan: PlanPredicate, artifacts: Artifacts, seed: Sha256) -> None:
        self.plan = plan
        self._artifacts = artifacts
        self._seed = seed
        self._blocks = blocks(plan)
        self._conditions = {condition.id: condition for condition in plan.conditions}
        self._places = {query: place for place, query in enumerate(plan.query_ids)}
        # Queries of a block are shown the same; draws may come in turn.
        self._list = lru_cache(maxsize=_LISTS_KEPT)(self._make_list)
        marks = () if plan.prompt.thoughts is None else plan.prompt.thoughts.marks
        self._opened = lru_cache(maxsize=_TAILS_KEPT)(lambda tail: opened_by(tail, marks))

    def render(self, index: int) -> RenderedPoint:
        """Return point ``index``.

        Raises:
            IndexError: The plan has no such point.
            UsageError: The chat template refuses the conversation, or drops part of it.
        """
        condition, query_id, draw = planned_point(self.plan, index)
        key = DrawKey(self._seed, self._blocks[self._places[query_id]], draw)
        labels, _, digest = self._list(condition.id, key)
        query = self._query(query_id)
        conversation = self.conversation(index).messages
        chat, prompt = self._artifacts.chat, self.plan.prompt
        try:
            rendered = chat.template.rendered(conversation, prompt.date, prompt.template_options)
            self._check_opened(rendered.tail)
            tokens = chat.tokens_of(rendered)
        except UsageError as error:
            where = f"condition {condition.id}, query {query_id}, draw {draw}"
            raise UsageError(error.message, file=error.file, place=where, hint=error.hint) from None
        return RenderedPoint(
            index=index,
            condition=condition,
            query_id=query_id,
            query=query,
            draw=draw,
            labels=labels if condition.ordering is Ordering.RANDOM else None,
            demonstrations=digest if shows_examples(condition) else None,
            tokens=tokens,
            prompt=prompt_digest(tokens),
        )

    def conversation(self, index: int) -> PointConversation:
        """Return what is said in the prompt of point ``index``.

        Raises:
            IndexError: The plan has no such point.
        """
        condition, query_id, draw = planned_point(self.plan, index)
        key = DrawKey(self._seed, self._blocks[self._places[query_id]], draw)
        shown = self._list(condition.id, key)[1].items
        truncation = self.plan.demonstrations.truncation
        gap = gap_turns(self._artifacts.pools, condition, key, truncation)
        query, system = self._query(query_id), self._artifacts.system
        said = messages(condition.context, shown, query, system=system, gap=gap)
        return PointConversation(said, (*shown, *gap), query)

    def _check_opened(self, tail: str) -> None:
        """Make sure that responses begin where the plan says: inside a thought, or not."""
        thoughts = self.plan.prompt.thoughts
        if thoughts is not None and self._opened(tail) != thoughts.prompt_opens:
            raise UsageError(
                "the chat template opens a thought after some conversations and not after others",
                file=self._artifacts.chat.folder,
                hint="fix it under `prompt:` in the plan, with the option that the template has "
                "for that, such as `template_options: {enable_thinking: true}`",
            )

    def shown(self, index: int) -> tuple[str, DemonstrationList]:
        """Return the query of point ``index`` and the demonstrations before it, as texts."""
        condition, query_id, draw = planned_point(self.plan, index)
        key = DrawKey(self._seed, self._blocks[self._places[query_id]], draw)
        return self._query(query_id), self._list(condition.id, key)[1]

    def _make_list(self, id_: ConditionId, key: DrawKey) -> tuple[str, DemonstrationList, Sha256]:
        condition = self._conditions[id_]
        labels = shown_labels(condition, key)
        truncation = self.plan.demonstrations.truncation
        shown = demonstration_list(self._artifacts.pools, condition, labels, key, truncation)
        return labels, shown, shown.digest

    def _query(self, query_id: QueryId) -> str:
        return self._artifacts.queries[self._places[query_id]]

    def __iter__(self) -> Iterator[RenderedPoint]:
        return map(self.render, range(self.plan.points))
