"""What an evaluator chose that decides a rate: rows, system prompt, date, template options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from safety_receipts.receipts.io.text import printable, value_text
from safety_receipts.receipts.model.checkpoint import Prompt
from safety_receipts.receipts.model.demonstrations import DemonstrationSource, QuerySource
from safety_receipts.receipts.model.plan import EvaluationSetup

_MOST: Final = 8
"""Most filters or options that are written out; a hostile document may hold any number."""
_LONGEST: Final = 60
"""Characters shown of a value."""


def taken(corpus: QuerySource | DemonstrationSource) -> int:
    """Return how many rows of a corpus are asked, or can be shown."""
    return corpus.selected if isinstance(corpus, QuerySource) else corpus.pool


def left_out(corpus: QuerySource | DemonstrationSource) -> dict[str, int]:
    """Return how many rows of a corpus are not used, by reason; those that the filter left first.

    A document that contradicts itself may state more rows than there are; the filter's share is
    never below 0.
    """
    dropped = {"empty": corpus.empty_rows, "duplicate": corpus.duplicate_rows}
    if isinstance(corpus, QuerySource):
        dropped["repeated"] = corpus.repeated_rows or 0
    else:
        dropped["decontaminated"] = corpus.decontaminated
    filtered = corpus.rows - taken(corpus) - sum(dropped.values())
    return {"filtered": max(0, filtered), **dropped}


_REASONS: Final = {
    "filtered": "that the filter leaves out",
    "empty": "without a text",
    "duplicate": "that repeat an earlier one",
    "repeated": "that an earlier source asks",
    "decontaminated": "that are queries",
}


def filter_words(where: Mapping[str, str]) -> str:
    """Return a filter as people say it: ``lang = en and level = 3``; empty: none."""
    return " and ".join(_assigned(where))


def _assigned(values: Mapping[str, Any]) -> Iterator[str]:
    for place, (name, value) in enumerate(values.items()):
        if place == _MOST:
            yield f"{len(values) - _MOST:,} more"
            return
        yield f"{printable(name, _LONGEST)} = {printable(value_text(value), _LONGEST)}"


def share_words(corpus: QuerySource | DemonstrationSource) -> str:
    """Return the rows that are used: ``85 of 240 rows, where lang = en``."""
    of = "" if taken(corpus) == corpus.rows else f" of {corpus.rows:,}"
    where = f", where {filter_words(corpus.where)}" if corpus.where else ""
    return f"{taken(corpus):,}{of} rows{where}"


def row_words(corpus: QuerySource | DemonstrationSource) -> str:
    """Return :func:`share_words` and, in brackets, how many rows are left out, and why."""
    dropped = [f"{n:,} {_REASONS[reason]}" for reason, n in left_out(corpus).items() if n]
    return share_words(corpus) + (f" (left out: {', '.join(dropped)})" if dropped else "")


def input_rows(
    setup: EvaluationSetup, system: str | None, repeated: str = ""
) -> list[tuple[str, str]]:
    """Return labels and texts of all of it, a line for each source.

    Args:
        setup: The plan, or the receipt.
        system: What is said of the system prompt; None: there is none.
        repeated: What is said of requests that several sources ask; empty: nothing.
    """
    prompt = setup.prompt
    queries = [
        f"{source.name}, {source.role.value.replace('_', ' ')}: {row_words(source)}"
        for source in setup.queries
    ]
    shown = [
        f"{source.name}, {source.kind.value}: {row_words(source)}"
        for source in setup.demonstrations.sources
    ]
    options = ", ".join(_assigned(prompt.template_options)) or "none"
    return [
        *_labelled("queries", [*queries, repeated] if repeated else queries),
        ("system prompt", system or "none given; a template may add its own"),
        ("template", f"options: {options}; date: {prompt.date or 'none'}{_own_words(prompt)}"),
        *_labelled("demonstrations", shown or ["none"]),
    ]


def _own_words(prompt: Prompt) -> str:
    """Return that a template says something around messages, if a plan states it."""
    if prompt.template_words is None:
        return ""
    return f"; it has words of its own around messages, SHA-256 {prompt.template_words}"


def _labelled(label: str, lines: Sequence[str]) -> list[tuple[str, str]]:
    return [("" if place else label, line) for place, line in enumerate(lines)]


def sampling_words(sampling: Mapping[str, Any]) -> str:
    """Return how tokens are chosen: ``seeded, T = 1.0, at most 24 new tokens``.

    Args:
        sampling: The fields of a plan's ``sampling``, by their names in the document.
    """
    named = {"T": "temperature", "top-p": "topP", "top-k": "topK"}
    told = [f"{name} = {sampling[field]}" for name, field in named.items() if sampling.get(field)]
    if penalty := sampling.get("repetitionPenalty"):
        told.append(f"repetition penalty {penalty}")
    longest = f"at most {sampling['maxNewTokens']:,} new tokens"
    return ", ".join([sampling["method"], *told, longest])


def filtered_words(setup: EvaluationSetup) -> str | None:
    """Return which corpora a filter chose rows of, the first in words; None: none."""
    corpora: list[QuerySource | DemonstrationSource] = [
        *setup.queries,
        *setup.demonstrations.sources,
    ]
    chosen = [corpus for corpus in corpora if corpus.where]
    if not chosen:
        return None
    first = chosen[0]
    more = f" (and {len(chosen) - 1} more)" if len(chosen) > 1 else ""
    return f"{first.name}: {share_words(first)}{more}"
