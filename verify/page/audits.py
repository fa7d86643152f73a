"""What auditors found, as a page tells it: verdict, scope, guarantee in their own words."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from safety_receipts.receipts.model.audit import AuditVerdict, audit_traits
from safety_receipts.receipts.model.check import CheckStatus
from safety_receipts.receipts.view.numerals import NOTHING
from safety_receipts.verify.audit.sealed.audits import AuditSummary
from safety_receipts.verify.audit.statistics.scope import SLOPE_CLAIM, claim_words
from safety_receipts.verify.page.binding import NumberBinder
from safety_receipts.verify.page.markup import Element, Node, el
from safety_receipts.verify.page.sealed import Form, SealedDocuments, pointer
from safety_receipts.verify.page.tables import framed

_LONGEST_GUARANTEE: Final = 2000
_TONES: Final = {
    AuditVerdict.CONFIRMED: "good",
    AuditVerdict.CONSISTENT_WITH: "good",
    AuditVerdict.REFUTED: "bad",
    AuditVerdict.INCONCLUSIVE: "doubtful",
}
NONE_HERE: Final = (
    "No audit by an auditor whose key was given when this page was made. Nobody but the evaluator "
    "says that the model gave these answers."
)


def audit_cards(
    audits: Sequence[AuditSummary], documents: SealedDocuments, binder: NumberBinder
) -> list[Element]:
    """Return a card for each audit.

    Args:
        audits: Audits by trusted auditors, in the order of the page's documents.
        documents: The values of all documents.
        binder: Knows where numbers come from.
    """
    return [_card(number, audit, documents, binder) for number, audit in enumerate(audits)]


def _card(
    number: int, audit: AuditSummary, documents: SealedDocuments, binder: NumberBinder
) -> Element:
    root = pointer(f"a{number}")
    result = audit.result
    tone = _TONES[result.verdict]
    who: list[Node] = []
    if audit.auditor is not None:
        who = [" by ", el("bdi", audit.auditor, data_fixed=True), " (the auditor's own word)"]
    remarks: list[Node] = []
    traits = audit_traits(result.method)
    if traits.caveat is not None:
        said = f"{traits.how.capitalize()}: {traits.caveat}."
        remarks.append(el("p", said, class_="warning"))
    if not audit.scope.whole:
        remarks.append(el("p", "Not every recorded rate is audited: see the table.", class_="note"))
    if result.slope_tests is not None:
        said = "A slope that is audited as a whole says nothing of a single rate."
        remarks.append(el("p", said, class_="note"))
    if audit.self_audit:
        remarks.append(el("p", "Self-audit: the evaluator's own key signed it.", class_="warning"))
    if audit.status is CheckStatus.FAILED:
        remarks.append(el("p", "This audit does not hold: see receipts verify.", class_="warning"))
    terms = el(
        "p",
        "Error looked for ε = ",
        documents.show(f"{root}/epsilon", Form.PLAIN),
        ", stated risk α = ",
        documents.show(f"{root}/alpha", Form.PLAIN),
        "; ",
        binder.told(audit.scope.words(), root, "/r/evidence"),
        "; " + ("calibrated" if result.calibration else "uncalibrated"),
        ".",
    )
    return el(
        "article",
        el(
            "h3",
            documents.show(f"{root}/verdict", Form.TEXT, class_=f"badge {tone}"),
            " ",
            _of_what(audit),
            who,
        ),
        terms,
        el(
            "blockquote",
            documents.show(f"{root}/guarantee", Form.TEXT, "p", limit=_LONGEST_GUARANTEE),
        ),
        remarks,
        el(
            "details",
            el("summary", "All that was replayed"),
            _tested(number, audit, documents),
        ),
        el(
            "p",
            "Signed as ",
            documents.show(root, Form.KEYID, "code"),
            "; audit ",
            documents.show(root, Form.DIGEST, "code"),
            class_="note",
        ),
        class_=f"card audit {tone}",
    )


def _of_what(audit: AuditSummary) -> str:
    """Return what a verdict is of, in a few words."""
    if audit.scope.whole:
        return "for all recorded rates"
    if audit.result.conditions:
        return "for part of the recorded rates"
    return "for findings, and for no recorded rate"


_COUNTS: Final = ("draws", "contradictions", "hardContradictions")


def _tested(number: int, audit: AuditSummary, documents: SealedDocuments) -> Element:
    """Return what an audit found about each rate, and each slope as a whole."""
    rows = []
    for index, rate in enumerate(audit.result.conditions):
        place = pointer(f"a{number}", "conditions", index)
        what: list[Node] = [documents.show(f"{place}/id", Form.TEXT, within=place)]
        if rate.source is not None:
            what += [" of ", documents.show(f"{place}/source", Form.TEXT, within=place)]
        if rate.control:
            what.append(" (over-refusal of controls)")
        recorded = _number(documents, place, "recordedRate", Form.PERCENT)
        # Where no error of this size is possible nothing has to be drawn, and zero is sealed.
        needless = not Decimal(rate.p_value)
        rows.append(_row(documents, place, what, claim_words(rate), recorded, needless=needless))
    for index in range(len(audit.result.slope_results or ())):
        place = pointer(f"a{number}", "slopeResults", index)
        named: list[Node] = [
            "slope of ",
            documents.show(f"{place}/finding", Form.TEXT, within=place),
        ]
        no_rate = el("td", NOTHING, class_="number")
        rows.append(_row(documents, place, named, SLOPE_CLAIM, no_rate))
    heads = [("rate of", False), ("claim", False)]
    heads += [(name, True) for name in ("rate %", "draws", "against it", "hard", "p")]
    return framed(f"audit-{number}", "What was replayed", [*heads, ("verdict", False)], rows)


def _row(
    documents: SealedDocuments,
    place: str,
    what: Sequence[Node],
    claim: str,
    recorded: Element,
    *,
    needless: bool = False,
) -> Element:
    shown = [recorded, *(_number(documents, place, name, Form.COUNT) for name in _COUNTS)]
    nothing = el("td", "none needed", class_="number")
    shown.append(nothing if needless else _number(documents, place, "pValue", Form.P))
    verdict = documents.show(f"{place}/verdict", Form.TEXT, "td", within=place)
    head = el("th", list(what), scope="row")
    return el("tr", head, el("td", claim), shown, verdict, data_in=place)


def _number(documents: SealedDocuments, place: str, name: str, form: Form) -> Element:
    return documents.show(f"{place}/{name}", form, "td", within=place, class_="number")
