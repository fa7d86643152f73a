"""A plan as tables for a terminal, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.receipts.present.inputs import input_rows, inputs_document, sampling_words
from safety_receipts.runner.checkpoint.sampling_defaults import meaning_of
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.present.judged import judged_document, judged_lines
from safety_receipts.runner.run.dry_run import DrawBlockCost, DryRun

_BEGINNING: Final = 60
"""Characters shown of a system prompt."""


def plan_document(resolved: ResolvedPlan, report: DryRun, digest: Sha256) -> dict[str, Any]:
    """Return what a dry run found, as JSON."""
    plan = resolved.predicate
    counts = report.chosen.counts
    return {
        "plan": str(resolved.file),
        "name": plan.name,
        "digest": digest,
        "checkpoint": _checkpoint(resolved),
        "instrument": plan.instrument,
        "systemPromptMoved": report.moves_system,
        "inputs": {
            **inputs_document(plan),
            "systemPrompt": _system(resolved),
        },
        "queries": _queries(plan),
        "repeatedQueries": {
            "requests": len(plan.same_queries or ()),
            "queries": sum(map(len, plan.same_queries or ())),
            "leftOut": sum(source.repeated_rows or 0 for source in plan.queries),
        },
        "pools": _pools(plan),
        "sampling": _sampling_document(plan),
        "endTokens": _end_tokens(resolved),
        "warnings": [warning.as_json() for warning in resolved.warnings],
        "judge": {"name": plan.judge.name, "digest": plan.judge.digest},
        "judged": judged_document(resolved),
        "points": plan.points,
        "draws": plan.demonstrations.draws,
        "conditions": [
            {
                "id": one.id,
                "points": one.points,
                "meanPromptTokens": round(one.mean, 2),
                "longestPrompt": one.longest,
                "overflowing": one.overflowing,
            }
            for one in counts.conditions
        ],
        "chosen": _choice(report.chosen),
        "alternatives": [_choice(choice) for choice in report.alternatives],
    }


def _checkpoint(resolved: ResolvedPlan) -> dict[str, Any]:
    plan = resolved.predicate
    return {
        "name": plan.checkpoint.name,
        "root": plan.checkpoint.root,
        "files": len(plan.checkpoint.files),
        "parameters": resolved.artifacts.checkpoint.facts.parameters,
        "contextLimit": plan.prompt.context_limit,
        "dtype": plan.checkpoint.dtype.value,
        "quantisation": plan.checkpoint.quantisation,
        "dequantised": plan.checkpoint.dequantised,
    }


def _queries(plan: PlanPredicate) -> list[dict[str, Any]]:
    return [
        {
            "name": source.name,
            "role": source.role.value,
            "selected": source.selected,
            "emptyRows": source.empty_rows,
            "duplicateRows": source.duplicate_rows,
            "digest": source.digest,
        }
        for source in plan.queries
    ]


def _pools(plan: PlanPredicate) -> list[dict[str, Any]]:
    return [
        {
            "name": source.name,
            "kind": source.kind.value,
            "pool": source.pool,
            "decontaminated": source.decontaminated,
            "emptyRows": source.empty_rows,
            "duplicateRows": source.duplicate_rows,
            "digest": source.digest,
        }
        for source in plan.demonstrations.sources
    ]


def _sampling_document(plan: PlanPredicate) -> dict[str, Any]:
    return {
        "method": plan.sampling.method.value,
        "temperature": plan.sampling.temperature,
        "topP": plan.sampling.top_p,
        "topK": plan.sampling.top_k,
        "repetitionPenalty": plan.sampling.repetition_penalty,
        "maxNewTokens": plan.sampling.max_new_tokens,
        "defaultsNotApplied": [
            {"name": one.name, "value": one.value, "meaning": meaning_of(one.name)}
            for one in plan.sampling.defaults_not_applied or ()
        ],
    }


def _end_tokens(resolved: ResolvedPlan) -> list[dict[str, Any]]:
    return [
        {
            "token": end.token,
            "text": end.text,
            "origins": [origin.value for origin in end.origins],
            "removed": end.removed,
        }
        for end in resolved.artifacts.checkpoint.end_tokens.found
    ]


def _choice(choice: DrawBlockCost) -> dict[str, Any]:
    counts = choice.counts
    return {
        "drawBlock": choice.draw_block,
        "distinctLists": choice.distinct_lists,
        "distinctPrompts": counts.distinct,
        "promptTokens": counts.tokens,
        "uniqueTokens": counts.unique,
        "longestPrompt": counts.longest,
        "overflowing": counts.overflowing,
        "estimate": choice.estimate.as_json(),
    }


def draw_plan(document: dict[str, Any], resolved: ResolvedPlan, console: Console) -> None:
    """Draw what a dry run found.

    Args:
        document: What :func:`plan_document` returned.
        resolved: The plan.
        console: Where to.
    """
    checkpoint = document["checkpoint"]
    if document["instrument"]:
        console.print("TEST INSTRUMENT: this checkpoint is not a real model.", style="bold")
    head = Table.grid(padding=(0, 2))
    head.add_column(style="bold", no_wrap=True)
    head.add_column(overflow="fold")
    rows = [
        ("plan", f"{document['name']}  ({document['plan']})"),
        ("digest", document["digest"]),
        (
            "checkpoint",
            f"{checkpoint['name']}, {checkpoint['parameters']:,} parameters{_stored(checkpoint)}, "
            f"context {checkpoint['contextLimit']:,}, root {checkpoint['root'][:16]}…",
        ),
        *_inputs(document, resolved.predicate),
        *_sampling(document["sampling"]),
        ("end tokens", "; ".join(_end(end) for end in document["endTokens"])),
        ("judge", f"{document['judge']['name']}, {document['judge']['digest'][:16]}…"),
        ("points", f"{document['points']:,} (draws a query: {document['draws']})"),
    ]
    for name, value in rows:
        head.add_row(name, printable(value))
    for line in judged_lines(resolved):
        name, _, said = line.partition(": ")
        head.add_row(name, printable(said))
    console.print(head)
    if document["systemPromptMoved"]:
        console.print(
            "system prompt: the chat template shows it after the demonstrations, not first"
        )
    console.print()
    console.print(_conditions(document))
    console.print()
    console.print(_costs(document))
    _closing(document, console)


def _sampling(sampling: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield how tokens are chosen, and what the checkpoint's files state besides."""
    yield "sampling", sampling_words(sampling)
    label = "not applied"
    for one in sampling["defaultsNotApplied"]:
        yield label, f"{one['name']} = {one['value']} of the checkpoint: {one['meaning']}"
        label = ""


def _system(resolved: ResolvedPlan) -> dict[str, Any] | None:
    """Return the system prompt: its digest, how it begins and where it comes from; None: none."""
    digest, text = resolved.predicate.prompt.system_prompt, resolved.artifacts.texts.system
    if digest is None or text is None:
        return None
    return {
        "digest": digest,
        "characters": len(text),
        "begins": printable(" ".join(text[: 4 * _BEGINNING].split()), _BEGINNING),
        "from": f"prompt.system of {resolved.file}",
    }


def _inputs(document: dict[str, Any], plan: PlanPredicate) -> list[tuple[str, str]]:
    """Return what was chosen of rows and prompt, a line each: it decides the rates."""
    system, said = document["inputs"]["systemPrompt"], None
    if system is not None:
        said = f'"{system["begins"]}" ({system["characters"]:,} characters; {system["from"]})'
    return input_rows(plan, said, _repeated(document["repeatedQueries"]))


def _stored(checkpoint: dict[str, Any]) -> str:
    if checkpoint["quantisation"] is None:
        return ""
    back = f", turned into {checkpoint['dtype']}" if checkpoint["dequantised"] else ""
    return f" stored as {checkpoint['quantisation']}{back}"


def _end(end: dict[str, Any]) -> str:
    removed = ", removed" if end["removed"] else ""
    origins = ", ".join(end["origins"])
    return f"{end['text']} ({end['token']}; {origins}{removed})"


def _repeated(repeated: dict[str, int]) -> str:
    if not repeated["requests"]:
        return ""
    return (
        f"{repeated['queries']:,} of them ask {repeated['requests']:,} requests that several "
        "sources have, each one cluster (or queries_repeated: first)"
    )


def _conditions(document: dict[str, Any]) -> Table:
    overflow = any(one["overflowing"] for one in document["conditions"])
    table = Table(title="Conditions", title_justify="left", box=None, pad_edge=False)
    table.add_column("condition", no_wrap=True)
    for name in ("points", "mean tokens", "longest"):
        table.add_column(name, justify="right")
    if overflow:
        table.add_column("too long", justify="right")
    for one in document["conditions"]:
        row = [
            one["id"],
            f"{one['points']:,}",
            f"{one['meanPromptTokens']:,.0f}",
            f"{one['longestPrompt']:,}",
        ]
        table.add_row(*row, *([f"{one['overflowing']:,}"] if overflow else []))
    return table


def _costs(document: dict[str, Any]) -> Table:
    table = Table(title="Cost by draw block", title_justify="left", box=None, pad_edge=False)
    for name in (
        "draw_block",
        "lists",
        "prompts",
        "prompt tokens",
        "unique tokens",
        "at least",
        "unshared",
    ):
        table.add_column(name, justify="right")
    for i, choice in enumerate([document["chosen"], *document["alternatives"]]):
        table.add_row(
            str(choice["drawBlock"]) + ("" if i else " (plan)"),
            f"{choice['distinctLists']:,}",
            f"{choice['distinctPrompts']:,}",
            f"{choice['promptTokens']:,}",
            f"{choice['uniqueTokens']:,}",
            duration(choice["estimate"]["secondsShared"]["total"]),
            duration(choice["estimate"]["seconds"]["total"]),
        )
    return table


def _closing(document: dict[str, Any], console: Console) -> None:
    guess = document["chosen"]["estimate"]
    console.print(
        "lists: demonstration lists per condition; fewer than 20 leave the findings undetermined. "
        "at least, unshared: floors by arithmetic, with shared prefixes computed once and without "
        f"({guess['throughput']['source']}); `receipts run --limit 64` measures.",
        style="dim",
        soft_wrap=not console.is_terminal,
    )
    console.print(
        f"largest context: {guess['largestContext']:,} of "
        f"{document['checkpoint']['contextLimit']:,} tokens, "
        f"{guess['largestContextBytes'] / 2**20:,.1f} MiB of keys and values"
    )
    sealed = document["sealed"]
    if sealed is None:
        console.print("not sealed; seal it with --seal --key KEY --out BUNDLE")
    else:
        console.print(f"sealed into {printable(sealed['bundle'])}", soft_wrap=True)


def duration(seconds: float) -> str:
    """Return a span of time for people."""
    if seconds < 1:
        return "< 1 s"
    if seconds < 120:
        return f"{seconds:,.0f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"
