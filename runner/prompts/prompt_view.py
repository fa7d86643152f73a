"""One rendered prompt, for people to look at before anything is sealed.

The prompt is the one that the run will ask, character for character; what is added here is where
each part of it comes from.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from typing import Any

from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.events.grid import planned_points
from safety_receipts.receipts.model.base import ConditionId, QueryId
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.runner.prompts.rendering import PointConversation, Renderer
from safety_receipts.runner.prompts.template_probe import Conversation, TemplateFacts
from safety_receipts.runner.prompts.texts import PromptTexts
from safety_receipts.runner.templates.messages import Role


class TextOrigin(StrEnum):
    """Where a part of a prompt comes from."""

    TEMPLATE = "template"
    """Markup and roles."""
    OWN_PROMPT = "template's own prompt"
    """What the template says to the model of its own."""
    SYSTEM = "system prompt"
    """The plan's."""
    CONTEXT = "context"
    """Texts of the context form, around demonstrations."""
    HARMFUL = "harmful"
    """A harmful demonstration."""
    BENIGN = "benign"
    """A benign demonstration, or a turn of the gap."""
    REFUSAL = "refusal"
    """A refusal example."""
    QUERY = "query"
    """The evaluation query."""
    GENERATION = "generation prompt"
    """What opens the assistant's turn."""


@dataclass(frozen=True, slots=True)
class PromptPart:
    """A stretch of a prompt."""

    origin: TextOrigin
    """Where it comes from."""
    row: str | None
    """Id of the row that a demonstration, or the query, was read from; else None."""
    text: str
    """The stretch, verbatim."""


@dataclass(frozen=True)
class PromptView:
    """A prompt with the origins of its parts."""

    condition: ConditionId
    """The condition."""
    query: QueryId
    """The query."""
    draw: int
    """Which sampling of demonstrations."""
    tokens: int
    """Its length in tokens."""
    context_limit: int
    """Longest context of the model in tokens."""
    parts: tuple[PromptPart, ...]
    """Its parts in order; together they are the prompt."""

    def as_json(self) -> dict[str, Any]:
        """Return the view for ``--json``."""
        return {
            "condition": self.condition,
            "query": self.query,
            "draw": self.draw,
            "promptTokens": self.tokens,
            "contextLimit": self.context_limit,
            "parts": [
                {"origin": part.origin.value, "row": part.row, "text": part.text}
                for part in self.parts
            ],
        }


def first_point_of(plan: PlanPredicate, wanted: str) -> int:
    """Return the index of the first point of a condition, and of a query where one is named.

    Args:
        plan: The plan.
        wanted: ``CONDITION`` or ``CONDITION:QUERY``; the query is its id, with or without the
            name of its source.

    Raises:
        UsageError: There is no such condition or query.
    """
    # Ids of conditions may hold colons, ids of queries anything.
    found = [c.id for c in plan.conditions if wanted == c.id or wanted.startswith(f"{c.id}:")]
    if not found:
        raise UsageError(
            f"the plan has no condition {wanted.partition(':')[0]!r}",
            hint=_alike(wanted.partition(":")[0], [c.id for c in plan.conditions]),
        )
    condition = max(found, key=len)
    query = wanted[len(condition) + 1 :]
    for index, (each, _, query_id, _) in enumerate(planned_points(plan)):
        if each.id == condition and query in ("", query_id, query_id.partition("/")[2]):
            return index
    raise UsageError(f"the plan has no query {query!r}", hint=_alike(query, list(plan.query_ids)))


def _alike(name: str, names: Sequence[str]) -> str:
    # Who leaves out the order of a mixture means one of those that begin alike.
    begun = [each for each in names if name and each.startswith(name)]
    close = begun[:3] or get_close_matches(name, names, n=3, cutoff=0.4) or names[:3]
    return f"name one such as {', '.join(close)}"


def view_prompt(
    renderer: Renderer, texts: PromptTexts, facts: TemplateFacts | None, index: int
) -> PromptView:
    """Return the prompt of a point with the origins of its parts.

    Args:
        renderer: Renders the plan's prompts.
        texts: What they are made of.
        facts: What the template does beside showing messages, where it was tried.
        index: The point.

    Raises:
        UsageError: The chat template refuses the conversation, or drops part of it.
    """
    plan, point = renderer.plan, renderer.render(index)
    said = renderer.conversation(index)
    told = Conversation(texts.system, plan.prompt.date, plan.prompt.template_options)
    template = texts.chat.template
    rendered = template.rendered(said.messages, told.date, told.options)
    closed = template.rendered(said.messages, told.date, told.options, generation_prompt=False)
    tail = len(closed.text) if rendered.text.startswith(closed.text) else rendered.spans[-1][1]
    contents = dict(_contents(said, point.query_id, texts.system))
    own = None if facts is None else facts.own_prompt
    parts: list[PromptPart] = []
    place = 0
    for (start, end), message in zip(rendered.spans, rendered.places, strict=True):
        header = rendered.text[place:start]
        # Everything before the first request that is not the plan's is the template's own.
        first = not any(part.origin in _SHOWN for part in parts)
        parts += _markup(header, own if first else None)
        parts += _inside(rendered.text[start:end], contents[message])
        place = end
    parts += _markup(rendered.text[place:tail], None)
    parts.append(PromptPart(TextOrigin.GENERATION, None, rendered.text[tail:]))
    return PromptView(
        condition=point.condition.id,
        query=point.query_id,
        draw=point.draw,
        tokens=len(point.tokens),
        context_limit=plan.prompt.context_limit,
        parts=tuple(part for part in parts if part.text),
    )


_SHOWN = (
    TextOrigin.CONTEXT,
    TextOrigin.HARMFUL,
    TextOrigin.BENIGN,
    TextOrigin.REFUSAL,
    TextOrigin.QUERY,
)


def _markup(text: str, own: str | None) -> Iterator[PromptPart]:
    """Yield what the template writes around contents, its own prompt apart."""
    lines = [re.escape(line) for line in (own or "").splitlines() if line.strip()]
    match = re.search(r"[\s\S]*?".join(lines), text) if lines else None
    if match is None:
        yield PromptPart(TextOrigin.TEMPLATE, None, text)
        return
    yield PromptPart(TextOrigin.TEMPLATE, None, text[: match.start()])
    yield PromptPart(TextOrigin.OWN_PROMPT, None, match[0])
    yield PromptPart(TextOrigin.TEMPLATE, None, text[match.end() :])


def _contents(
    said: PointConversation, query_id: QueryId, system: str | None
) -> Iterator[tuple[int, list[PromptPart]]]:
    """Yield every message that has content, by its place, with the known texts in it."""
    waiting = [
        PromptPart(TextOrigin(item.kind.value), item.id, text)
        for item in said.shown
        for text in (item.request, item.response)
    ]
    query = PromptPart(TextOrigin.QUERY, query_id.partition("/")[2], said.query)
    last = len(said.messages) - 1
    for place, message in enumerate(said.messages):
        if not message.content.strip():
            continue
        known: list[PromptPart] = []
        if message.role is Role.SYSTEM and system and message.content.startswith(system):
            known.append(PromptPart(TextOrigin.SYSTEM, None, system))
        rest = message.content[len(system) if known and system else 0 :]
        if place == last:
            # Only a context in the same message leaves texts before the query.
            rest = rest[: len(rest) - len(said.query)]
        while waiting and (found := rest.find(waiting[0].text)) >= 0:
            rest = rest[found + len(waiting[0].text) :]
            known.append(waiting.pop(0))
        yield place, [*known, query] if place == last else known


def _inside(text: str, known: Iterable[PromptPart]) -> Iterator[PromptPart]:
    """Yield the parts of a content: the known texts, and what the context has between them."""
    place = 0
    for part in known:
        for spelt in (part.text.strip(), json.dumps(part.text.strip(), ensure_ascii=False)[1:-1]):
            # The query is last, and may be among what stands before it.
            last = part.origin is TextOrigin.QUERY
            found = text.rfind(spelt) if last else text.find(spelt, place)
            if found >= place:
                yield PromptPart(TextOrigin.CONTEXT, None, text[place:found])
                yield PromptPart(part.origin, part.row, text[found : found + len(spelt)])
                place = found + len(spelt)
                break
    yield PromptPart(TextOrigin.CONTEXT, None, text[place:])
