"""What a receipt is of, its headline, and what it does not show: facts by name."""

from __future__ import annotations

from decimal import Decimal

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.model.judge import Judge, traits_of
from safety_receipts.receipts.model.plan import EvidenceAccess
from safety_receipts.receipts.model.receipt import (
    LIMIT_MEANINGS,
    ConditionResult,
    EvaluationPredicate,
)
from safety_receipts.receipts.view.answers import judged_words
from safety_receipts.receipts.view.conditions import difference_words, rate_interval_words
from safety_receipts.receipts.view.inputs import input_rows, sampling_words
from safety_receipts.receipts.view.numerals import counted, percent
from safety_receipts.receipts.view.sentences import sentences
from safety_receipts.receipts.view.servers import server_rows
from safety_receipts.receipts.view.tables import Fact, Tone, Words

INSTRUMENT = (
    "TEST INSTRUMENT: this checkpoint is not a real model; its numbers say nothing about any other "
    "model."
)
"""What is said of a test instrument before all else."""

_STRINGS = (
    "Refusal strings are the only judge: whatever refuses in other words counts as complied, and "
    "an answer that holds such words as refused."
)


def identity_facts(receipt: EvaluationPredicate, digest: Sha256, keyid: str) -> list[Fact]:
    """Return what was evaluated, how, and by whom.

    Args:
        receipt: The receipt's predicate.
        digest: Its digest.
        keyid: Who is said to have signed it; empty: nobody is named.
    """
    checkpoint, judge = receipt.checkpoint, receipt.judge
    origin = f" (hub: {checkpoint.hub}@{checkpoint.revision})" if checkpoint.hub else ""
    quantised = f", {checkpoint.quantisation}" if checkpoint.quantisation else ""
    facts = [
        ("receipt", digest),
        ("signed as", f"{keyid or 'no key id'} (a claim until verified)"),
        ("checkpoint", checkpoint.name + origin),
        ("", f"root {checkpoint.root}"),
        ("stage", f"{receipt.training_stage}, {checkpoint.dtype.value}{quantised}"),
        *_inputs(receipt),
        ("draws", _draws(receipt)),
        ("sampling", sampling_words(receipt.sampling.to_wire())),
        *_defaults(receipt),
        ("judged", judged_words(receipt.prompt)),
        ("judge", judge_words(judge)),
    ]
    if judge.second is not None:
        facts.append(("second judge", judge.second.name))
    if receipt.rejudges is not None:
        again = f"the recorded responses of receipt {receipt.rejudges.receipt}"
        facts.append(("judged again", f"{again}; nothing was generated for this one"))
    facts += server_rows(receipt.environment)
    facts += [("run", _run(receipt)), ("evidence", _evidence(receipt))]
    return [Fact.of(name, text) for name, text in facts]


def _inputs(receipt: EvaluationPredicate) -> list[tuple[str, str]]:
    """Return what was chosen of rows and prompt, a line each: it decides the rates."""
    digest, groups = receipt.prompt.system_prompt, len(receipt.same_queries or ())
    system = None if digest is None else f"given, SHA-256 {digest}"
    repeated = f"{groups:,} requests are asked by several sources, and count once"
    return input_rows(receipt, system, repeated if groups else "")


def _draws(receipt: EvaluationPredicate) -> str:
    demonstrations = receipt.demonstrations
    block = demonstrations.draw_block
    shared = "all queries" if block == "all" else f"blocks of {block}"
    return f"{demonstrations.draws} a query, shared by {shared}"


def _defaults(receipt: EvaluationPredicate) -> list[tuple[str, str]]:
    """Return a line on what the checkpoint's files state of sampling and the run did not do."""
    told = ", ".join(
        f"{one.name} = {one.value}" for one in receipt.sampling.defaults_not_applied or ()
    )
    return [("", f"sampling defaults of the checkpoint, not applied: {told}")] if told else []


def judge_words(judge: Judge) -> str:
    """Return a judge with its identity, and how far it can be believed."""
    text = f"{judge.name} ({judge.kind.value}), {judge.digest[:16]}…"
    calibration = judge.calibration
    if calibration is None:
        return text + ", not calibrated"
    return (
        f"{text}, sensitivity {percent(calibration.sensitivity)} %, "
        f"specificity {percent(calibration.specificity)} % on {calibration.gold_kind.value} gold"
    )


def _run(receipt: EvaluationPredicate) -> str:
    event = receipt.event
    restarts = (
        f"{counted(event.restarts, 'restart')}, {counted(event.retries, 'retry', 'retries')}, "
        f"{counted(event.looks, 'look at rates', 'looks at rates')}"
    )
    if event.discarded:
        restarts += f", {event.discarded:,} finished points discarded"
    return f"{event.started_at} to {event.finished_at}; {restarts}"


def _evidence(receipt: EvaluationPredicate) -> str:
    evidence = receipt.evidence
    held = "public" if evidence.access is EvidenceAccess.PUBLIC else "held by auditors"
    return f"{evidence.size:,} points, {held}, Merkle root {evidence.root[:16]}…"


def judge_warning(receipt: EvaluationPredicate) -> str | None:
    """Return a warning where nobody but a list of strings decided what refuses; else None."""
    judges = (receipt.judge, receipt.judge.second)
    rules = all(judge is None or traits_of(judge.kind).is_rule for judge in judges)
    return _STRINGS if rules and not receipt.instrument else None


def headline_facts(receipt: EvaluationPredicate) -> list[Fact]:
    """Return baseline, highest condition and first finding: what most readers came for."""
    baseline = receipt.conditions[0]
    judged = [c for c in receipt.conditions[1:] if c.compliance_rate is not None]
    facts = [Fact("Baseline", _rate(baseline))]
    if judged:
        worst = max(judged, key=lambda c: Decimal(c.compliance_rate or 0))
        difference = worst.baseline_difference
        more = ""
        if difference is not None:
            more = f", {difference_words(difference)} points from the baseline"
        facts.append(Fact("Highest", (*_rate(worst), Words(more))))
    if receipt.findings is not None and (found := sentences(receipt)):
        facts.append(Fact.of("Finding", found[0].text))
    return facts


def _rate(condition: ConditionResult) -> tuple[Words, ...]:
    counts = condition.counts
    return (
        Words(f"{condition.id}: "),
        Words(f"{percent(condition.compliance_rate)} %", Tone.STRONG),
        Words(
            f" compliance, 95 % interval {rate_interval_words(condition.interval) or 'none'}"
            f" ({counts.complied:,} of {counts.complied + counts.refused:,} judged)"
        ),
    )


def limit_facts(receipt: EvaluationPredicate) -> list[Fact]:
    """Return what a receipt does not show, by the limit's code."""
    return [Fact.of(limit.value, LIMIT_MEANINGS[limit]) for limit in receipt.limits]


def tested_fact(receipt: EvaluationPredicate) -> Fact:
    """Return the region that was tested."""
    tested = receipt.tested
    orderings = ", ".join(ordering.value for ordering in tested.orderings) or "none"
    untested = ", ".join(form.value for form in tested.untested_contexts) or "none"
    return Fact.of(
        "tested",
        f"up to {tested.largest_n} demonstrations; orderings: {orderings}; contexts: "
        f"{', '.join(form.value for form in tested.contexts)} (not: {untested}); "
        f"languages: {', '.join(tested.languages) or 'not stated'}",
    )
