"""What a dry run found as facts, tables and remarks."""

from __future__ import annotations

from collections.abc import Iterator

from safety_receipts.receipts.findings.fits.clusters import FEWEST_QUERIES
from safety_receipts.receipts.model.plan import Hypothesis, PlanPredicate
from safety_receipts.receipts.model.receipt import LIMIT_MEANINGS
from safety_receipts.receipts.view.inputs import input_rows, sampling_words
from safety_receipts.receipts.view.numerals import counted
from safety_receipts.receipts.view.servers import (
    SERVER_LIMITS,
    SERVER_NAMES,
    ServedWork,
    planned_rows,
)
from safety_receipts.receipts.view.tables import Column, ColumnKind, Fact, Row, Table
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.view.documents.plan import (
    CheckpointPart,
    ChoicePart,
    EndTokenPart,
    PlanDocument,
    PrimaryPart,
    RepeatedQueries,
    SamplingPart,
    SupposedRatePart,
)
from safety_receipts.runner.view.judged import judged_lines

PLAN_INSTRUMENT = "TEST INSTRUMENT: this checkpoint is not a real model."
"""What is said of a test instrument before all else."""
SYSTEM_PROMPT_MOVED = (
    "system prompt: the chat template shows it after the demonstrations, not first"
)
"""What is said where a template shows the system prompt elsewhere than first."""


def plan_facts(document: PlanDocument, resolved: ResolvedPlan) -> list[Fact]:
    """Return what would be run.

    Args:
        document: What a dry run of the plan found.
        resolved: The plan.
    """
    checkpoint = document.checkpoint
    facts = [
        ("plan", f"{document.name}  ({document.plan})"),
        ("digest", document.digest),
        (
            "checkpoint",
            f"{checkpoint.name}, {checkpoint.parameters:,} parameters{_stored(checkpoint)}, "
            f"context {checkpoint.context_limit:,}, root {checkpoint.root[:16]}…",
        ),
        *_inputs(document, resolved.predicate),
        *_sampling(document.sampling),
        ("end tokens", "; ".join(map(_end, document.end_tokens))),
        ("judge", f"{document.judge.name}, {document.judge.digest[:16]}…"),
        *_servers(document),
        ("points", f"{document.points:,} (draws a query: {document.draws})"),
        *_primary(document.primary, resolved.predicate.effect_margin),
    ]
    for line in judged_lines(resolved):
        name, _, said = line.partition(": ")
        facts.append((name, said))
    return [Fact.of(name, text) for name, text in facts]


def _inputs(document: PlanDocument, plan: PlanPredicate) -> list[tuple[str, str]]:
    """Return what was chosen of rows and prompt, a line each: it decides the rates."""
    system, said = document.inputs.system_prompt, None
    if system is not None:
        said = f'"{system.begins}" ({system.characters:,} characters; {system.origin})'
    return input_rows(plan, said, _repeated(document.repeated_queries))


def _servers(document: PlanDocument) -> Iterator[tuple[str, str]]:
    """Yield which servers would answer, and the limits that follow from that alone."""
    for server in document.servers:
        yield from planned_rows(SERVER_NAMES[server.asked_for], server, server.address)
    label = "limits"
    for limit in document.limits:
        if limit in SERVER_LIMITS:
            yield label, f"{limit.value}: {LIMIT_MEANINGS[limit]}"
            label = ""


def _sampling(sampling: SamplingPart) -> Iterator[tuple[str, str]]:
    """Yield how tokens are chosen, and what the checkpoint's files state besides."""
    yield "sampling", sampling_words(sampling.to_wire())
    label = "not applied"
    for one in sampling.defaults_not_applied:
        yield label, f"{one.name} = {one.value} of the checkpoint: {one.meaning}"
        label = ""


def _primary(part: PrimaryPart, margin: str) -> Iterator[tuple[str, str]]:
    """Yield what the primary hypothesis can be decided by."""
    lists = "each with its own demonstrations" if part.lists is None else f"{part.lists:,} lists"
    yield (
        "primary",
        f"{part.hypothesis.value}: {counted(part.conditions, 'condition')}, "
        f"{counted(part.queries, 'query', 'queries')}, {lists}",
    )
    if part.undecided is not None:
        yield "", part.undecided
        return
    found = [one for one in part.supposed if one.detectable is not None]
    if not found:
        return
    joint = part.hypothesis is Hypothesis.JOINT
    sizes = ", ".join(f"{_size(one.detectable, joint=joint)} {_at(one)}" for one in found)
    what = "a β2 of" if joint else "a difference of two rates of"
    yield "power .8", f"finds {what} {sizes}"
    if joint:
        shown = ", ".join(f"{(one.none_shown or 0) * 100:.0f} % {_at(one)}" for one in found)
        yield "", f"shows none within ±{margin}, where β2 is 0: in {shown} of studies"
    few = [
        one
        for one in found
        if one.informative_queries is not None and one.informative_queries < FEWEST_QUERIES
    ]
    if few:
        yield (
            "",
            f"{_at(few[-1])} only about {few[-1].informative_queries:.0f} queries would give both "
            f"outcomes; with fewer than {FEWEST_QUERIES} the effect has no size",
        )
    yield "", "planning figures: at supposed compliance rates, as if points were independent"


def _at(one: SupposedRatePart) -> str:
    return f"at {one.rate * 100:.0f} %"


def _size(detectable: float | None, *, joint: bool) -> str:
    size = detectable or 0.0
    return f"±{size:.2f}" if joint else f"{size * 100:.1f} points"


def _stored(checkpoint: CheckpointPart) -> str:
    if checkpoint.quantisation is None:
        return ""
    back = f", turned into {checkpoint.dtype.value}" if checkpoint.dequantised else ""
    return f" stored as {checkpoint.quantisation}{back}"


def _end(end: EndTokenPart) -> str:
    removed = ", removed" if end.removed else ""
    origins = ", ".join(origin.value for origin in end.origins)
    return f"{end.text} ({end.token}; {origins}{removed})"


def _repeated(repeated: RepeatedQueries) -> str:
    if not repeated.requests:
        return ""
    return (
        f"{repeated.queries:,} of them ask {repeated.requests:,} requests that several sources "
        "have, each one cluster (or queries_repeated: first)"
    )


def length_table(document: PlanDocument) -> Table:
    """Return prompt lengths by condition."""
    overflow = any(one.overflowing for one in document.conditions)
    names = ["points", "mean tokens", "longest", *(["too long"] if overflow else [])]
    rows = []
    for one in document.conditions:
        cells = [
            one.id,
            f"{one.points:,}",
            f"{one.mean_prompt_tokens:,.0f}",
            f"{one.longest_prompt:,}",
        ]
        rows.append(Row((*cells, *([f"{one.overflowing:,}"] if overflow else []))))
    columns = (Column("condition"), *(Column(name, ColumnKind.MEASURE) for name in names))
    return Table("Conditions", columns, tuple(rows))


def cost_table(document: PlanDocument) -> Table:
    """Return what each draw block costs and does to the findings, the plan's own first."""
    names = ("draw_block", "lists", "prompt tokens", "unique tokens", "time", "findings")
    return Table(
        "Cost by draw block",
        tuple(Column(name, ColumnKind.MEASURE) for name in names),
        (
            _cost(document.chosen, " (plan)"),
            *(_cost(choice, "") for choice in document.alternatives),
        ),
    )


def _cost(choice: ChoicePart, whose: str) -> Row:
    guess, sampled = choice.estimate, choice.sampled_points is not None
    return Row(
        (
            f"{choice.draw_block}{whose}",
            f"{choice.distinct_lists:,}",
            f"about {_round(choice.prompt_tokens)}" if sampled else f"{choice.prompt_tokens:,}",
            _about_unique(choice) if sampled else f"{choice.unique_tokens:,}",
            duration_range(guess.seconds_shared.total, guess.seconds_batched.total),
            "undetermined"
            if choice.degrees_of_freedom is None
            else f"df {choice.degrees_of_freedom:,}",
        )
    )


def _about_unique(choice: ChoicePart) -> str:
    fewest, most = _round(choice.unique_tokens_fewest), _round(choice.unique_tokens_most)
    about = f"about {_round(choice.unique_tokens)}"
    return about if fewest == most else f"{about} ({fewest} – {most})"


def _round(tokens: int) -> str:
    """Return a number of tokens with three digits."""
    if tokens < 1_000:
        return str(tokens)
    digits = len(str(tokens)) - 3
    rounded = round(tokens, -digits)
    return f"{rounded / 1e6:,.3g} M" if 1_000_000 <= rounded < 1e9 else f"{rounded:,}"


def cost_remarks(document: PlanDocument) -> list[str]:
    """Return what each draw block does to the findings, and what the columns mean."""
    served = any(one.asked_for is ServedWork.RESPONSES for one in document.servers)
    whose = " The times are this machine's, not the server's." if served else ""
    choices = (document.chosen, *document.alternatives)
    sampled = max((one.sampled_points or 0 for one in choices), default=0)
    about = (
        f" about: estimated from {sampled:,} points, within three standard errors."
        if sampled
        else ""
    )
    return [
        *(f"draw_block {choice.draw_block}: {choice.findings}" for choice in choices),
        "lists: demonstration lists per condition; df: degrees of freedom of the findings. "
        "time: by arithmetic, from the least that any engine needs to this one's batches at the "
        f"device's full speed ({document.chosen.estimate.throughput.source}), which models "
        f"seldom reach; `receipts run --limit 64` measures.{about}{whose}",
    ]


def context_words(document: PlanDocument) -> str:
    """Return how much of the model's context the longest prompt and response take."""
    guess = document.chosen.estimate
    return (
        f"largest context: {guess.largest_context:,} of {document.checkpoint.context_limit:,} "
        f"tokens, {guess.largest_context_bytes / 2**20:,.1f} MiB of keys and values"
    )


def sealed_words(document: PlanDocument) -> str:
    """Return whether the plan was sealed."""
    if document.sealed is None:
        return "not sealed; seal it with --seal --key KEY --out BUNDLE"
    return f"sealed into {document.sealed.bundle}"


def duration(seconds: float) -> str:
    """Return a span of time for people."""
    if seconds < 1:
        return "< 1 s"
    if seconds < 120:
        return f"{seconds:,.0f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"


def duration_range(least: float, most: float) -> str:
    """Return a range of time for people, one span where both ends read alike."""
    ends = duration(least), duration(most)
    return ends[0] if ends[0] == ends[1] else " – ".join(ends)
