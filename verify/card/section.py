"""The section of a model card: what a receipt says, for somebody who has ten seconds."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from safety_receipts.receipts.model.judge import Interval
from safety_receipts.receipts.model.receipt import LIMIT_MEANINGS, ConditionResult
from safety_receipts.receipts.view.conditions import rate_interval_words
from safety_receipts.receipts.view.names import presentable
from safety_receipts.receipts.view.numerals import NOTHING, percent, percentage_points, point_span
from safety_receipts.receipts.view.sentences import sentences
from safety_receipts.receipts.view.summary import INSTRUMENT, judge_warning
from safety_receipts.verify.card.guarantee import guarantee_words
from safety_receipts.verify.card.markdown import name_span, sentence_text
from safety_receipts.verify.verified import VerifiedReceipt

MOST_SENTENCES: Final = 6
"""More findings than this are left to the receipt."""


def section_lines(verified: VerifiedReceipt, url: str | None) -> list[str]:
    """Return the section as lines of Markdown, without its marks.

    Args:
        verified: The receipt, whose numbers were checked.
        url: Where it lies; None: that is not said.
    """
    receipt = verified.predicate
    lines = ["## Safety receipt: compliance after mixed demonstrations", ""]
    if receipt.instrument:
        lines += [f"**{sentence_text(INSTRUMENT)}**", ""]
    lines += [_about(verified), "", *_table(verified), ""]
    lines += [f"- **{name}**: {text}" for name, text in _facts(verified, url)]
    lines += ["", *_how_to_verify(verified, url)]
    return lines


def _about(verified: VerifiedReceipt) -> str:
    receipt = verified.predicate
    event = receipt.event
    quantised = receipt.checkpoint.quantisation
    how = receipt.checkpoint.dtype.value
    how += "" if quantised is None else f", {name_span(quantised)}"
    days = " to ".join(dict.fromkeys((event.started_at[:10], event.finished_at[:10])))
    return (
        f"Checkpoint {name_span(receipt.checkpoint.name)}, stage "
        f"{name_span(receipt.training_stage)} ({how}), evaluated {days}: how often it complies "
        "with harmful requests after harmful and benign demonstrations, as the judge "
        f"{name_span(receipt.judge.name)} says."
    )


@dataclass(frozen=True)
class _Cells:
    """One row of the table."""

    what: str
    rate: str
    interval: str = NOTHING
    of: str = NOTHING

    def line(self) -> str:
        return f"| {self.what} | {self.rate} | {self.interval} | {self.of} |"


def _table(verified: VerifiedReceipt) -> Iterator[str]:
    yield "| | rate | 95 % interval | of |"
    yield "|---|---:|---:|---:|"
    for cells in _rows(verified):
        yield cells.line()


def _rows(verified: VerifiedReceipt) -> Iterator[_Cells]:
    baseline, *others = verified.predicate.conditions
    yield _compliance("Baseline, without demonstrations", baseline)
    judged = [one for one in others if one.compliance_rate is not None]
    if judged:
        worst = max(judged, key=lambda one: Decimal(one.compliance_rate or 0))
        yield _compliance("Worst condition with demonstrations", worst)
        difference = worst.baseline_difference
        if difference is not None:
            yield _Cells(
                f"Worst condition less baseline, `{worst.id}`",
                f"{percentage_points(difference.value)} points",
                point_span(difference.lower, difference.upper),
            )
    planned = [one for one in verified.predicate.conditions if one.worst_case_rate is not None]
    if planned:
        most = max(planned, key=lambda one: Decimal(one.worst_case_rate or 0))
        yield _Cells(
            f"Highest if all that is not a judged refusal had complied, `{most.id}`",
            f"{percent(most.worst_case_rate)} %",
            of=f"{most.counts.planned:,} planned",
        )
    yield _over_refusal(verified.predicate.conditions)


def _compliance(what: str, condition: ConditionResult) -> _Cells:
    counts = condition.counts
    return _Cells(
        f"{what}, `{condition.id}`",
        _share(condition.compliance_rate),
        _span(condition.interval),
        f"{counts.complied:,} of {counts.complied + counts.refused:,} judged",
    )


def _over_refusal(conditions: tuple[ConditionResult, ...]) -> _Cells:
    asked = [
        (Decimal(one.control.refusal_rate), one.id, one.control)
        for one in conditions
        if one.control is not None and one.control.refusal_rate is not None
    ]
    if not asked:
        return _Cells("Over-refusal of benign requests", "not measured")
    _, where, control = max(asked, key=lambda found: found[0])
    counts = control.counts
    return _Cells(
        f"Highest over-refusal of benign requests, `{where}`",
        _share(control.refusal_rate),
        _span(control.interval),
        f"{counts.refused:,} of {counts.complied + counts.refused:,} judged",
    )


def _share(rate: str | None) -> str:
    return NOTHING if rate is None else f"{percent(rate)} %"


def _span(interval: Interval | None) -> str:
    return rate_interval_words(interval) or NOTHING


def _facts(verified: VerifiedReceipt, url: str | None) -> Iterator[tuple[str, str]]:
    receipt = verified.predicate
    found = sentences(presentable(receipt))
    for sentence in found[:MOST_SENTENCES]:
        yield "Finding", sentence_text(sentence.text)
    if len(found) > MOST_SENTENCES:
        yield "Finding", f"{len(found) - MOST_SENTENCES} more stand in the receipt."
    if not found:
        yield "Finding", "The receipt claims none."
    warning = judge_warning(receipt)
    if warning is not None:
        yield "Judge", sentence_text(warning)
    for words in guarantee_words(verified.verification):
        yield "Audit", words
    yield "Evidence", _evidence(verified)
    for limit in receipt.limits:
        yield "Limit", sentence_text(LIMIT_MEANINGS[limit])
    yield "Receipt", f"`{verified.signed.envelope.digest}`"
    yield "Signed by", f"key `{verified.verification.keyid}`"
    if url is not None:
        yield "Where", f"<{url}>"


def _evidence(verified: VerifiedReceipt) -> str:
    size = f"{verified.predicate.evidence.size:,} points"
    if verified.consistent:
        return f"all numbers were derived again from the outcomes of {size}, whose root is signed."
    return (
        f"the outcomes of {size} are withheld: the numbers are the evaluator's, signed, and were "
        "not counted again."
    )


def _how_to_verify(verified: VerifiedReceipt, url: str | None) -> list[str]:
    verify, check = ["receipts verify BUNDLE"], ["receipts attach BUNDLE README.md --check"]
    keys = "--trust EVALUATOR.pub"
    if verified.verification.audits:
        keys += " --trust-auditor AUDITOR.pub"
    if not verified.consistent:
        verify.append("--level authentic")
    if url is not None:
        check.append(f"--url {shlex.quote(url)}")
    if verified.predicate.instrument:
        verify.append("--allow-instrument")
        check.append("--instrument")
    return [
        "To verify it, take the receipt's folder, and the public keys from where you trust them, "
        "not from beside the receipt:",
        "",
        "```sh",
        " ".join((*verify, keys)),
        " ".join((*check, keys)),
        "```",
    ]
