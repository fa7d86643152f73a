"""From a point of the plan to the token ids of its prompt.

Pure in what it is given: a verifier who holds the artifacts renders the same prompts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.events.grid import blocks, planned_point, shows_examples
from safety_receipts.receipts.model.base import ConditionId, QueryId
from safety_receipts.receipts.model.demonstrations import (
    DemonstrationKind,
    PlannedCondition,
    ShownContext,
    is_drawn,
)
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.runner.prompts.chat_format import prompt_digest
from safety_receipts.runner.prompts.contexts import messages
from safety_receipts.runner.prompts.demonstrations import (
    Demonstration,
    DemonstrationList,
    DrawKey,
    demonstration_list,
    gap_turns,
    shown_labels,
)
from safety_receipts.runner.prompts.prefix_tree import PromptTokens
from safety_receipts.runner.prompts.template_probe import Conversation, probed, probed_tool
from safety_receipts.runner.prompts.texts import PromptTexts
from safety_receipts.runner.prompts.thoughts import opened_by
from safety_receipts.runner.templates.chat_template import AlteredMessageError
from safety_receipts.runner.templates.markup import MARKUP_TRIALS
from safety_receipts.runner.templates.messages import Message
from safety_receipts.runner.templates.own_words import template_words
from safety_receipts.runner.templates.skeletons import ContentDependenceError, SkeletonKeeper
from safety_receipts.runner.templates.turn_end import TURN_END_TRIAL

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


_STAND_INS = (Demonstration("stand-in", DemonstrationKind.BENIGN, "How so?", "Like this."),)
"""Shown where no row of a corpus is meant."""


@dataclass(frozen=True, slots=True)
class PointConversation:
    """What is said in a prompt, before the chat template makes it one."""

    messages: Sequence[Message]
    """The messages."""
    shown: Sequence[Demonstration]
    """The demonstrations and gap turns in them, in order."""
    query: str
    """The query, the last thing said."""


def number_shown(condition: PlannedCondition) -> int:
    """Return how many demonstrations a condition shows, refusal examples with them."""
    return condition.n_harmful + condition.n_benign + condition.context.n_refusal


def with_template_words(plan: PlanPredicate, texts: PromptTexts) -> PlanPredicate:
    """Return a plan that states what its chat template says of its own.

    Without, where the template cannot show what the plan asks for, which ends in an error before
    anything is run.  Whether stand-ins that are drawn from the event's seed, which is not known
    yet, make the same of it is found then.
    """
    try:
        words = Renderer(plan, texts, Sha256("0" * 64)).template_words()
    except UsageError:
        return plan
    prompt = plan.prompt.model_copy(update={"template_words": words})
    return plan.model_copy(update={"prompt": prompt})


class Renderer:
    """Renders the points of one plan.

    Args:
        plan: The plan.
        texts: What its prompts are made of.
        seed: The event's seed.
    """

    def __init__(self, plan: PlanPredicate, texts: PromptTexts, seed: Sha256) -> None:
        self.plan = plan
        self.chat = texts.chat
        """Tokenizer and chat template."""
        self.seed = seed
        """The event's seed."""
        self._texts = texts
        self._blocks = blocks(plan)
        self._conditions = {condition.id: condition for condition in plan.conditions}
        self._places = {query: place for place, query in enumerate(plan.query_ids)}
        # Queries of a block are shown the same; draws may come in turn.
        self._list = lru_cache(maxsize=_LISTS_KEPT)(self._make_list)
        prompt = plan.prompt
        self._keeper = SkeletonKeeper(
            texts.chat.template, texts.system, prompt.date, prompt.template_options, seed
        )
        marks = () if prompt.thoughts is None else prompt.thoughts.marks
        # Plans made before the field state none.
        self._words_unchecked = prompt.template_words is not None
        self._opened = lru_cache(maxsize=_TAILS_KEPT)(lambda tail: opened_by(tail, marks))

    def render(self, index: int) -> RenderedPoint:
        """Return point ``index``.

        Raises:
            IndexError: The plan has no such point.
            UsageError: The chat template refuses the conversation, or drops part of it.
        """
        if self._words_unchecked:
            self._check_words()
            self._words_unchecked = False
        condition, query_id, draw = planned_point(self.plan, index)
        key = DrawKey(self.seed, self._blocks[self._places[query_id]], draw)
        labels, _, digest = self._list(condition.id, key)
        conversation = self.conversation(index)
        try:
            tokens = self._tokens(conversation.messages)
        except UsageError as error:
            where = f"condition {condition.id}, query {query_id}, draw {draw}"
            message, hint = error.message, error.hint
            if isinstance(error, (AlteredMessageError, ContentDependenceError)):
                row = self._row(error.content, condition, query_id, conversation.shown)
                if row is not None:
                    message = f"{message}: {row}"
                    hint = "take that row out of its corpus, with `where:`, or correct it"
            raise UsageError(message, file=error.file, place=where, hint=hint) from None
        return self.rendered_before(
            index,
            tokens,
            prompt=prompt_digest(tokens),
            demonstrations=digest if shows_examples(condition) else None,
            labels=labels if is_drawn(condition.ordering) else None,
        )

    def rendered_before(
        self,
        index: int,
        tokens: Sequence[int],
        *,
        prompt: Sha256,
        demonstrations: Sha256 | None,
        labels: str | None,
    ) -> RenderedPoint:
        """Return a point of which is known what rendering finds out; see :class:`RenderedPoint`.

        Raises:
            IndexError: The plan has no such point.
        """
        condition, query_id, draw = planned_point(self.plan, index)
        query = self._query(query_id)
        return RenderedPoint(
            index, condition, query_id, query, draw, labels, demonstrations, tokens, prompt
        )

    def _tokens(self, conversation: Sequence[Message]) -> PromptTokens:
        rendered = self._keeper.rendered(conversation)
        self._check_opened(rendered.tail)
        return self._texts.chat.read(rendered)

    def _row(
        self,
        content: str,
        condition: PlannedCondition,
        query_id: QueryId,
        items: Sequence[Demonstration],
    ) -> str | None:
        """Name the row of a corpus that a message's content is; None: it is none."""
        if content == self._query(query_id):
            return f"query {query_id}"
        for item in items:
            if content in (item.request, item.response):
                source = condition.benign_source or condition.context.gap_source
                pool = self._texts.pools.of(item.kind, source)
                return f"demonstration {item.id} of pool {pool.source}"
        return None

    def check_template(self) -> None:
        """Render every context of the plan, and what a template is tried on, with texts of our own.

        Raises:
            UsageError: The chat template cannot show some contexts, all of which are named; or it
                says something else in the conversations on which it was tried, or in those from
                which the plan states its words.
        """
        self._check_contexts()
        told = Conversation(
            self._texts.system, self.plan.prompt.date, self.plan.prompt.template_options
        )
        for tried in (*MARKUP_TRIALS, TURN_END_TRIAL, tuple(probed(told)), probed_tool(told)):
            try:
                self._texts.chat.template.rendered(tried, told.date, told.options)
            except UsageError:
                continue  # what refuses one of them may show all that is asked for
            self._keeper.rendered(tried)
        self._check_words()

    def template_words(self) -> Sha256 | None:
        """Return the digest of what the chat template writes around messages; None: no words.

        Raises:
            UsageError: It does not write the same whatever is said, or no plain turns.
        """
        skeletons = [
            self._keeper.skeleton(self._with_stand_ins(each.context, number_shown(each)))
            for each in self.plan.conditions
        ]
        return template_words(skeletons, self._texts.chat.template.control)

    def _check_words(self) -> None:
        if self.template_words() != self.plan.prompt.template_words:
            raise UsageError(
                "the chat template writes other text around messages than the plan states",
                file=self._texts.chat.folder,
                hint="use a checkpoint whose template writes the same around every message",
            )

    def _check_contexts(self) -> None:
        refused: dict[str, UsageError] = {}
        for context in self.plan.contexts:
            try:
                self._tokens(self._with_stand_ins(context))
            except UsageError as error:
                refused[context.form.value] = error
        if not refused:
            return
        first = next(iter(refused.values()))
        if len(refused) == len(self.plan.contexts):  # no fault of a context's
            raise first
        names = list(refused)
        why = "; ".join(f"{name}: {error.message}" for name, error in refused.items())
        raise UsageError(
            f"the plan's contexts {why}" if len(names) > 1 else f"the plan's context {why}",
            file=first.file,
            hint=f"leave {' and '.join(names)} out of `forms:` under `contexts:`",
        )

    def moves_system(self) -> bool:
        """Say whether the chat template shows a system message elsewhere than first."""
        prompt = self.plan.prompt
        template = self._texts.chat.template
        return any(
            template.rendered(
                self._with_stand_ins(context), prompt.date, prompt.template_options
            ).moves_system
            for context in self.plan.contexts
        )

    def _with_stand_ins(self, context: ShownContext, shown: int = 1) -> tuple[Message, ...]:
        gap = _STAND_INS * context.gap_turns
        return messages(context, _STAND_INS * shown, "And?", system=self._texts.system, gap=gap)

    def conversation(self, index: int) -> PointConversation:
        """Return what is said in the prompt of point ``index``.

        Raises:
            IndexError: The plan has no such point.
        """
        condition, query_id, draw = planned_point(self.plan, index)
        key = DrawKey(self.seed, self._blocks[self._places[query_id]], draw)
        shown = self._list(condition.id, key)[1].items
        truncation = self.plan.demonstrations.truncation
        gap = gap_turns(self._texts.pools, condition, key, truncation)
        query, system = self._query(query_id), self._texts.system
        said = messages(condition.context, shown, query, system=system, gap=gap)
        return PointConversation(said, (*shown, *gap), query)

    def _check_opened(self, tail: str) -> None:
        """Make sure that responses begin where the plan says: inside a thought, or not."""
        thoughts = self.plan.prompt.thoughts
        if thoughts is not None and self._opened(tail) != thoughts.prompt_opens:
            raise UsageError(
                "the chat template opens a thought after some conversations and not after others",
                file=self._texts.chat.folder,
                hint="fix it under `prompt:` in the plan, with the option that the template has "
                "for that, such as `template_options: {enable_thinking: true}`",
            )

    def shown(self, index: int) -> tuple[str, DemonstrationList]:
        """Return the query of point ``index`` and the demonstrations before it, as texts."""
        condition, query_id, draw = planned_point(self.plan, index)
        key = DrawKey(self.seed, self._blocks[self._places[query_id]], draw)
        return self._query(query_id), self._list(condition.id, key)[1]

    def _make_list(self, id_: ConditionId, key: DrawKey) -> tuple[str, DemonstrationList, Sha256]:
        condition = self._conditions[id_]
        labels = shown_labels(condition, key)
        truncation = self.plan.demonstrations.truncation
        shown = demonstration_list(self._texts.pools, condition, labels, key, truncation)
        return labels, shown, shown.digest

    def _query(self, query_id: QueryId) -> str:
        return self._texts.queries[self._places[query_id]]

    def __iter__(self) -> Iterator[RenderedPoint]:
        return map(self.render, range(self.plan.points))
