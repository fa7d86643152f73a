"""A receipt as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.model.difference import Difference
from safety_receipts.receipts.model.judge import Interval, traits_of
from safety_receipts.receipts.model.plan import EvidenceAccess
from safety_receipts.receipts.model.receipt import (
    LIMIT_MEANINGS,
    ConditionResult,
    EvaluationPredicate,
)
from safety_receipts.receipts.present.charts import bar
from safety_receipts.receipts.present.findings import show_findings
from safety_receipts.receipts.present.inputs import input_rows, sampling_words
from safety_receipts.receipts.present.tables import new_table
from safety_receipts.receipts.view.answers import judged_words
from safety_receipts.receipts.view.numerals import percent, percentage_points
from safety_receipts.receipts.view.sentences import sentences

_BAR_CELLS = 12


def show_receipt(
    console: Console,
    receipt: EvaluationPredicate,
    digest: Sha256,
    keyid: str,
    shown: Sequence[ConditionResult],
) -> None:
    """Draw a receipt.

    Args:
        console: Where to.
        receipt: The receipt's predicate.
        digest: Its digest.
        keyid: Who is said to have signed it.
        shown: The conditions to draw.
    """
    _identity(console, receipt, digest, keyid)
    _warn_of_strings(console, receipt)
    _headline(console, receipt)
    _conditions(console, receipt, shown)
    _denominators(console, shown)
    if len(receipt.queries) > 1:
        _sources(console, receipt, shown)
    show_findings(console, receipt)
    _limits(console, receipt)


def _grid(rows: Iterable[tuple[str, str | Text]], gap: int = 2) -> Table:
    """Return names and what they stand for; no line but the tool's own begins on the left."""
    table = Table.grid(padding=(0, gap))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value if isinstance(value, Text) else Text(printable(value)))
    return table


def _defaults(receipt: EvaluationPredicate) -> list[tuple[str, str | Text]]:
    """Return a line on what the checkpoint's files state of sampling and the run did not do."""
    told = ", ".join(
        f"{one.name} = {one.value}" for one in receipt.sampling.defaults_not_applied or ()
    )
    return [("", f"sampling defaults of the checkpoint, not applied: {told}")] if told else []


def _identity(console: Console, receipt: EvaluationPredicate, digest: Sha256, keyid: str) -> None:
    checkpoint, judge = receipt.checkpoint, receipt.judge
    demonstrations, event = receipt.demonstrations, receipt.event
    if receipt.instrument:
        console.print(
            Text(
                "TEST INSTRUMENT: this checkpoint is not a real model; "
                "its numbers say nothing about any other model.",
                style="bold yellow",
            )
        )
    origin = f" (hub: {checkpoint.hub}@{checkpoint.revision})" if checkpoint.hub else ""
    draw_block = demonstrations.draw_block
    shared = "all queries" if draw_block == "all" else f"blocks of {draw_block}"
    restarts = f"{event.restarts} restarts, {event.retries} retries, {event.looks} looks"
    if event.discarded:
        restarts += f", {event.discarded:,} finished points discarded"
    quantised = f", {checkpoint.quantisation}" if checkpoint.quantisation else ""
    rows: list[tuple[str, str | Text]] = [
        ("receipt", digest),
        ("signed as", f"{keyid or 'no key id'} (a claim until verified)"),
        ("checkpoint", checkpoint.name + origin),
        ("", f"root {checkpoint.root}"),
        ("stage", f"{receipt.training_stage}, {checkpoint.dtype.value}{quantised}"),
        *_inputs(receipt),
        ("draws", f"{demonstrations.draws} a query, shared by {shared}"),
        ("sampling", sampling_words(receipt.sampling.to_wire())),
        *_defaults(receipt),
        ("judged", judged_words(receipt.prompt)),
        ("judge", _judge(receipt)),
        ("run", f"{event.started_at} to {event.finished_at}; {restarts}"),
        ("evidence", _evidence(receipt)),
    ]
    if judge.second is not None:
        rows.insert(-2, ("second judge", judge.second.name))
    if receipt.rejudges is not None:
        again = f"the recorded responses of receipt {receipt.rejudges.receipt}"
        rows.insert(-2, ("judged again", f"{again}; nothing was generated for this one"))
    console.print(_grid(rows))
    console.print()


def _inputs(receipt: EvaluationPredicate) -> list[tuple[str, str | Text]]:
    """Return what was chosen of rows and prompt, a line each: it decides the rates."""
    digest, groups = receipt.prompt.system_prompt, len(receipt.same_queries or ())
    system = None if digest is None else f"given, SHA-256 {digest}"
    repeated = f"{groups:,} requests are asked by several sources, and count once"
    return [*input_rows(receipt, system, repeated if groups else "")]


def _judge(receipt: EvaluationPredicate) -> str:
    judge = receipt.judge
    text = f"{judge.name} ({judge.kind.value}), {judge.digest[:16]}…"
    calibration = judge.calibration
    if calibration is None:
        return text + ", not calibrated"
    return (
        f"{text}, sensitivity {percent(calibration.sensitivity)} %, "
        f"specificity {percent(calibration.specificity)} % on {calibration.gold_kind.value} gold"
    )


def _warn_of_strings(console: Console, receipt: EvaluationPredicate) -> None:
    """Say so where nobody but a list of strings decided what refuses."""
    judges = (receipt.judge, receipt.judge.second)
    rules = all(judge is None or traits_of(judge.kind).is_rule for judge in judges)
    if rules and not receipt.instrument:
        console.print(
            Text(
                "Refusal strings are the only judge: whatever refuses in other words counts as "
                "complied, and an answer that holds such words as refused.",
                style="bold yellow",
            )
        )
        console.print()


def _evidence(receipt: EvaluationPredicate) -> str:
    evidence = receipt.evidence
    held = "public" if evidence.access is EvidenceAccess.PUBLIC else "held by auditors"
    return f"{evidence.size:,} points, {held}, Merkle root {evidence.root[:16]}…"


def _interval(interval: Interval | None) -> str:
    return "" if interval is None else f"{percent(interval.lower)}–{percent(interval.upper)}"


def _headline(console: Console, receipt: EvaluationPredicate) -> None:
    """Say baseline, worst condition and first finding: what most readers came for."""
    baseline = receipt.conditions[0]
    judged = [c for c in receipt.conditions[1:] if c.compliance_rate is not None]
    rows: list[tuple[str, str | Text]] = [("Baseline", _sentence(baseline))]
    if judged:
        worst = max(judged, key=lambda c: Decimal(c.compliance_rate or 0))
        line = _sentence(worst)
        if worst.baseline_difference is not None:
            line.append(f", {_change(worst.baseline_difference)} points from the baseline")
        rows.append(("Highest", line))
    if receipt.findings is not None and (found := sentences(receipt)):
        rows.append(("Finding", found[0].text))
    console.print(_grid(rows, gap=1))
    console.print()


def _sentence(condition: ConditionResult) -> Text:
    counts = condition.counts
    text = Text(f"{condition.id}: ")
    text.append(f"{percent(condition.compliance_rate)} %", style="bold")
    text.append(
        f" compliance, 95 % interval {_interval(condition.interval) or 'none'}"
        f" ({counts.complied:,} of {counts.complied + counts.refused:,} judged)"
    )
    return text


def _change(difference: Difference) -> str:
    value, lower, upper = map(
        percentage_points, (difference.value, difference.lower, difference.upper)
    )
    return f"{value} ({lower}…{upper})"


def _bar(rate: str | None) -> Text:
    return Text(bar(None if rate is None else float(rate), _BAR_CELLS), style="cyan")


def _conditions(
    console: Console, receipt: EvaluationPredicate, shown: Sequence[ConditionResult]
) -> None:
    baseline = receipt.conditions[0]
    corrected = any(condition.corrected_rate for condition in shown)
    table = new_table(
        "Compliance by condition (%, 95 % intervals; over judged points of harmful-role queries)"
    )
    table.add_column("condition", no_wrap=True)
    for name in ("N_h", "N_b", "rate", "interval", "Δ baseline", "worst", "tokens"):
        table.add_column(name, justify="right", no_wrap=True)
    # There is room for one of the two.
    if corrected:
        table.add_column("judge corrected", justify="right", no_wrap=True)
    else:
        table.add_column("", no_wrap=True, min_width=_BAR_CELLS)
    for condition in shown:
        difference = condition.baseline_difference
        table.add_row(
            condition.id,
            str(condition.n_harmful),
            str(condition.n_benign),
            percent(condition.compliance_rate),
            _interval(condition.interval),
            _change(difference) if difference else "",
            percent(condition.worst_case_rate),
            (condition.mean_prompt_tokens or "–").split(".")[0],
            _corrected(condition) if corrected else _bar(condition.compliance_rate),
            style="bold" if condition is baseline else None,
        )
    console.print(table)


def _corrected(condition: ConditionResult) -> str:
    corrected = condition.corrected_rate
    return f"{percent(corrected.rate)} ({_interval(corrected)})" if corrected else "–"


def _denominators(console: Console, shown: Sequence[ConditionResult]) -> None:
    table = new_table("Denominators")
    table.add_column("condition", no_wrap=True)
    for name in (
        "planned",
        "failed",
        "unscored",
        "refused",
        "complied",
        "at limit",
        "prompts",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    given = any(condition.reasons for condition in shown)
    if given:
        table.add_column("reasons", overflow="fold")
    for condition in shown:
        counts = condition.counts
        incomplete = counts.failed + counts.unscored
        row = [
            condition.id,
            f"{counts.planned:,}",
            f"{counts.failed:,}",
            f"{counts.unscored:,}",
            f"{counts.refused:,}",
            f"{counts.complied:,}",
            f"{counts.length_stopped:,}",
            f"{condition.distinct_prompts:,}",
        ]
        if given:
            row.append("\n".join(f"{one.points:,} {one.reason.value}" for one in condition.reasons))
        table.add_row(*row, style="yellow" if incomplete * 20 > counts.planned else None)
    console.print(table)


def _sources(
    console: Console, receipt: EvaluationPredicate, shown: Sequence[ConditionResult]
) -> None:
    table = new_table("Compliance by query source (%)")
    table.add_column("condition", no_wrap=True)
    for source in receipt.queries:
        control = " (control)" if source.role.value == "benign_control" else ""
        table.add_column(printable(source.name) + control, justify="right")
    controlled = any(condition.control for condition in shown)
    if controlled:
        table.add_column("over-refusal", justify="right")
    for condition in shown:
        row = [percent(result.compliance_rate) for result in condition.by_source]
        if controlled:
            row.append(percent(condition.control.refusal_rate) if condition.control else "–")
        table.add_row(condition.id, *row)
    console.print(table)


def _limits(console: Console, receipt: EvaluationPredicate) -> None:
    tested = receipt.tested
    console.print(Text("What this does not show", style="bold"))
    console.print(_grid((f"  {limit.value}", LIMIT_MEANINGS[limit]) for limit in receipt.limits))
    orderings = ", ".join(ordering.value for ordering in tested.orderings) or "none"
    untested = ", ".join(form.value for form in tested.untested_contexts) or "none"
    console.print(
        _grid(
            [
                (
                    "  tested",
                    f"up to {tested.largest_n} demonstrations; orderings: {orderings}; contexts: "
                    f"{', '.join(form.value for form in tested.contexts)} (not: {untested}); "
                    f"languages: {', '.join(tested.languages) or 'not stated'}",
                )
            ]
        )
    )
