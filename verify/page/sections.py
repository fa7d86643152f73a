"""The sections of a page, in the order in which a reader needs them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from safety_receipts.receipts.model.check import CheckLevel
from safety_receipts.receipts.model.findings import Effect
from safety_receipts.receipts.model.plan import EvidenceAccess
from safety_receipts.receipts.model.receipt import EvaluationPredicate
from safety_receipts.receipts.view.finding_tables import Section, finding_sections
from safety_receipts.receipts.view.sentences import NOTHING_TESTED, sentences
from safety_receipts.receipts.view.summary import (
    INSTRUMENT,
    identity_facts,
    judge_warning,
    limit_facts,
    tested_fact,
)
from safety_receipts.receipts.view.tables import Fact
from safety_receipts.verify.audit.sealed.audits import AuditSummary
from safety_receipts.verify.page.audits import NONE_HERE, audit_cards
from safety_receipts.verify.page.binding import NumberBinder
from safety_receipts.verify.page.figures import figures
from safety_receipts.verify.page.markup import Element, Node, el
from safety_receipts.verify.page.sealed import Form, SealedDocuments, pointer
from safety_receipts.verify.page.tables import ConditionTables, framed, written
from safety_receipts.verify.subject import highest_condition, is_instrument
from safety_receipts.verify.verification import Verification
from safety_receipts.verify.verified import verify_command


@dataclass(frozen=True)
class PageContent:
    """What a page is made from: verified statements, and what verification found."""

    receipt: EvaluationPredicate
    """The receipt, with names fit to be drawn."""
    verification: Verification
    """What verification found."""
    audits: tuple[AuditSummary, ...]
    """Trusted auditors' results that stand on the page, in the order of its documents."""
    other_audits: int
    """Files of audits in the bundle that no key which was given has signed."""
    withheld_audits: int
    """Results that only those may see who may hold the evidence."""
    documents: SealedDocuments
    """Values of the signed statements."""
    binder: NumberBinder
    """Knows where numbers of sentences come from."""
    table_binder: NumberBinder
    """Knows where numbers of the findings' tables come from."""
    evidence: bool
    """Whether the evidence is embedded."""


def sections(content: PageContent) -> list[Element]:
    """Return the sections of a page."""
    made = (
        _decided(content),
        _found(content),
        _pictures(content),
        _conditions(content),
        _details(content),
        _evaluated(content),
        _limits(content),
        _without_us(content),
    )
    return [section for section in made if section is not None]


def masthead(content: PageContent) -> Element:
    """Return what the page is of: before all else that it is of no real model, where it is not."""
    documents = content.documents
    alarm = el("p", INSTRUMENT, class_="alarm") if is_instrument(content.receipt) else None
    warning = judge_warning(content.receipt)
    return el(
        "header",
        alarm,
        el(
            "p", "Safety receipt: how demonstrations in the prompt change refusals", class_="kicker"
        ),
        el("h1", documents.show("/r/checkpoint/name", Form.TEXT)),
        el(
            "p",
            "Training stage ",
            documents.show("/r/trainingStage", Form.TEXT, "strong"),
            ", evaluation ",
            documents.show("/p/name", Form.TEXT),
            ", finished ",
            documents.show("/r/event/finishedAt", Form.TEXT),
            ".",
            class_="lead",
        ),
        el("p", warning, class_="warning") if warning is not None else None,
    )


def _section(name: str, title: str, *content: Node | Sequence[Node] | None) -> Element:
    heading = el("h2", title, id=f"{name}-heading", data_fixed=True)
    return el("section", heading, content_of(content), id=name, aria_labelledby=f"{name}-heading")


def content_of(parts: Sequence[Node | Sequence[Node] | None]) -> list[Node]:
    """Return parts, some of which are several or none, as one list."""
    found: list[Node] = []
    for part in parts:
        if part is None:
            continue
        found += [part] if isinstance(part, str | Element) else part
    return found


_LEVELS: Final = {
    CheckLevel.NONE: (
        "No key was given when this page was made: nobody vouches for who signed these numbers."
    ),
    CheckLevel.AUTHENTIC: (
        "When this page was made, a key that its maker trusts had signed plan and receipt. The "
        "evidence was not at hand: the numbers are what that key signed."
    ),
    CheckLevel.CONSISTENT: (
        "When this page was made, a key that its maker trusts had signed plan and receipt, and "
        "every number followed from the evidence."
    ),
}
_KEY_NOTE: Final = (
    "A page can carry any key. Compare the key with one that you have from the evaluator by "
    "another way, and give it to the form above: the verdict turns green only then."
)


def _decided(content: PageContent) -> Element:
    documents, verification = content.documents, content.verification
    level = verification.level
    said = _LEVELS.get(level, _LEVELS[CheckLevel.CONSISTENT])
    signer = el(
        "p",
        "Receipt ",
        documents.show("/r", Form.DIGEST, "code"),
        ", signed as ",
        documents.show("/r", Form.KEYID, "code"),
        ". ",
        _KEY_NOTE,
        class_="note",
    )
    cards = audit_cards(content.audits, documents, content.binder)
    notes = []
    if content.withheld_audits:
        number = f"{content.withheld_audits:,}"
        words = " further results of audits are for those who may hold the evidence."
        notes.append(el("p", el("span", number, data_fixed=True), words, class_="note"))
    if content.other_audits:
        number = f"{content.other_audits:,}"
        words = " further files of audits lie in the bundle, of keys that were not given."
        notes.append(el("p", el("span", number, data_fixed=True), words, class_="warning"))
    if unfinished := verification.unfinished_audits:
        number = f"{len(unfinished):,}"
        words = " audits were announced, and no result of them is here."
        notes.append(el("p", el("span", number, data_fixed=True), words, class_="warning"))
    return _section(
        "decision",
        "What was decided, and by whom",
        el("p", said),
        signer,
        cards or el("p", NONE_HERE, class_="warning"),
        notes,
    )


_EFFECTS: Final = {
    Effect.DILUTION: "plain",
    Effect.AMPLIFICATION: "bad",
    Effect.NONE: "plain",
    Effect.MIXED: "doubtful",
    Effect.UNDETERMINED: "doubtful",
}


def _found(content: PageContent) -> Element:
    found = sentences(content.receipt)
    findings = content.receipt.findings
    told = [
        el(
            "li",
            el("strong" if one.primary else "span", content.binder.told(one.text, *_NEAR)),
            " " if one.aside else None,
            el("span", content.binder.told(one.aside, *_NEAR), class_="aside")
            if one.aside
            else None,
            class_="primary" if one.primary else None,
        )
        for one in found
    ]
    nothing = "No findings are claimed." if findings is None else NOTHING_TESTED
    return _section(
        "findings",
        "What was found",
        el("div", list(_numbers(content)), class_="cards"),
        el("ul", told, class_="findings") if told else el("p", nothing),
    )


_NEAR: Final = ("/r/effectMargin", "/r/findings", "/r/conditions")


def _numbers(content: PageContent) -> Iterator[Element]:
    """Yield the numbers that most readers come for."""
    receipt, documents = content.receipt, content.documents
    yield _rate_card("Without demonstrations", 0, content)
    highest = highest_condition(receipt)
    if highest is not None:
        yield _rate_card("Highest of all conditions", receipt.conditions.index(highest), content)
    findings = receipt.findings
    if findings is not None and findings.joint is not None:
        place = pointer("r", "findings", "joint")
        number: list[Node] = ["Benign demonstrations at fixed harmful ones"]
        if findings.joint.clustered is not None:
            beta = documents.show(f"{place}/clustered/beta2", Form.SIGNED)
            number += [el("span", ": β2 ", data_fixed=True), beta]
        word = documents.show(f"{place}/effect", Form.TEXT, class_="big")
        tone = _EFFECTS[findings.joint.effect]
        yield el("div", el("h3", "Finding"), word, el("p", number), class_=f"card {tone}")
    controls = [
        (one.control.refusal_rate, index)
        for index, one in enumerate(receipt.conditions)
        if one.control is not None and one.control.refusal_rate is not None
    ]
    if controls:
        _, index = max(controls)
        place = pointer("r", "conditions", index)
        yield el(
            "div",
            el("h3", "Highest over-refusal of benign controls"),
            el(
                "p",
                documents.show(f"{place}/control/refusalRate", Form.PERCENT),
                " %",
                class_="big",
            ),
            el("p", "under ", documents.show(f"{place}/id", Form.TEXT)),
            class_="card",
        )
    yield el(
        "div",
        el("h3", "Evaluation points"),
        el("p", documents.show("/r/evidence/size", Form.COUNT), class_="big"),
        el(
            "p",
            documents.show("/r/conditions", Form.LENGTH),
            " conditions, judged by ",
            documents.show("/r/judge/name", Form.TEXT),
        ),
        class_="card",
    )


def _rate_card(title: str, index: int, content: PageContent) -> Element:
    documents, place = content.documents, pointer("r", "conditions", index)
    one = content.receipt.conditions[index]
    lines: list[Node] = [
        el("p", documents.show(f"{place}/complianceRate", Form.PERCENT), " %", class_="big")
    ]
    if one.interval is not None:
        lines.append(
            el(
                "p",
                "compliance, ",
                documents.show(f"{place}/interval/level", Form.LEVEL),
                " interval ",
                documents.show(f"{place}/interval/lower", Form.PERCENT),
                "–",
                documents.show(f"{place}/interval/upper", Form.PERCENT),
                " %",
            )
        )
    lines.append(
        el(
            "p",
            documents.show(f"{place}/counts/complied", Form.COUNT),
            " complied, ",
            documents.show(f"{place}/counts/refused", Form.COUNT),
            " refused under ",
            documents.show(f"{place}/id", Form.TEXT),
        )
    )
    return el("div", el("h3", title), lines, class_="card")


def _pictures(content: PageContent) -> Element | None:
    drawn = figures(content.receipt, content.documents)
    if not drawn:
        return None
    note = el("p", "Every number in the charts stands in the tables below.", class_="note")
    return _section("charts", "In pictures", el("div", drawn, class_="charts"), note)


def _conditions(content: PageContent) -> Element:
    tables = ConditionTables(content.receipt, content.documents)
    return _section(
        "conditions",
        "Every condition",
        el(
            "p",
            "N_h harmful and N_b benign demonstrations stand in the prompt before the query. ",
            "“At most” counts every point without a judged refusal as compliance.",
        ),
        tables.rates(),
        tables.sources(),
        tables.denominators(),
    )


_ACCOUNTS: Final = {
    "server": "/r/environment/server",
    "judge's server": "/r/environment/judgeServer",
    "second judge's server": "/r/environment/secondJudgeServer",
}
"""Where what is said of servers comes from, by the name of the first line."""

_PLACES: Final = {
    "total": ("/r/findings/total", "/r/findings/tests"),
    "slopes": ("/r/findings/joint", "/r/findings/jointInOtherOrders", "/r/findings/sources"),
    "orderings": ("/r/findings/orderings", "/r/conditions"),
    "formats": ("/r/findings/formats",),
    "contexts": ("/r/findings/contexts",),
    "tests": ("/r/findings/tests",),
}


def _details(content: PageContent) -> Element | None:
    made = [part for one in finding_sections(content.receipt) for part in _finding(one, content)]
    return _section("tests", "The findings in numbers", made) if made else None


def _finding(section: Section, content: PageContent) -> Iterator[Element]:
    near = _PLACES[section.name.value]
    if section.name.value == "total":
        yield _totals(content)
    elif section.table is not None:
        yield written(f"finding-{section.name.value}", section.table, content.table_binder, *near)
    for remark in section.remarks:
        if all(isinstance(part, str) for part in remark):
            text = "".join(part for part in remark if isinstance(part, str))
            yield el("p", content.binder.told(text, *near), class_="note")


def _totals(content: PageContent) -> Element:
    """Return the table of the total-count finding, with the rates of each total."""
    receipt, documents = content.receipt, content.documents
    index = {one.id: number for number, one in enumerate(receipt.conditions)}
    finding = None if receipt.findings is None else receipt.findings.total
    rows = []
    for number, row in enumerate(() if finding is None else finding.rows):
        place = pointer("r", "findings", "total", "rows", number)
        known = sorted(
            (index[id_] for id_ in row.conditions if id_ in index),
            key=lambda each: receipt.conditions[each].n_harmful,
        )
        rates: list[Node] = []
        for each in known:
            here = pointer("r", "conditions", each, "complianceRate")
            rates += [" " if rates else "", documents.show(here, Form.PERCENT)]
        cells = [
            documents.show(f"{place}/{field}", form, "td", within=place, class_="number")
            for field, form in (
                ("chiSquare", Form.STATISTIC),
                ("df", Form.PLAIN),
                ("pAsPublished", Form.P),
                ("f", Form.STATISTIC),
                ("p", Form.P),
            )
        ]
        total = documents.show(f"{place}/total", Form.COUNT, "th", within=place, scope="row")
        rows.append(el("tr", total, el("td", rates), cells, data_in=place))
    heads = [("N", False), ("compliance %, harmful share rising", False)]
    heads += [(name, True) for name in ("χ² published", "df", "p", "F clustered", "p")]
    title = "Same number of demonstrations, different harmful shares"
    return framed("finding-total", title, heads, rows)


def _evaluated(content: PageContent) -> Element:
    receipt = content.receipt
    digest = content.verification.receipt_digest
    assert digest is not None  # a page is made of receipts that were read
    facts = identity_facts(receipt, digest, content.documents.text("/r", Form.KEYID))
    return _section("evaluated", "What was evaluated, and how", _facts(facts, content))


def _facts(facts: Sequence[Fact], content: PageContent) -> Element:
    made: list[Node] = []
    near = "/r"
    for fact in facts:
        text = "".join(words.text for words in fact.text)
        if fact.name:
            made.append(el("dt", fact.name))
            near = _ACCOUNTS.get(fact.name, "/r")
        # What a server claims is whatever it likes: its digits are no other value's.
        told = content.binder.told(text, near, named=near == "/r")
        made.append(el("dd", el("bdi", told)))
    return el("dl", made)


def _limits(content: PageContent) -> Element:
    receipt = content.receipt
    meant = [
        el(
            "li",
            el("strong", fact.name.replace("-", " ")),
            ": ",
            "".join(w.text for w in fact.text),
        )
        for fact in limit_facts(receipt)
    ]
    tested = content.binder.told("".join(w.text for w in tested_fact(receipt).text), "/r/tested")
    return _section(
        "limits", "What this does not show", el("ul", meant), el("p", "Tested: ", tested, ".")
    )


def _without_us(content: PageContent) -> Element:
    held = content.receipt.evidence.access is EvidenceAccess.PUBLIC
    evidence = (
        "The evidence is public: one line for each point, without requests or responses. "
        if held
        else "The evidence is held by auditors: who may have it can work out every number again. "
    )
    command = verify_command(content.receipt, evidence=True, audits=bool(content.audits))
    return _section(
        "check",
        "How to check this without this page",
        el(
            "p",
            evidence,
            "Take the bundle and the evaluator’s public key, and run:",
        ),
        el("pre", el("code", command)),
        el(
            "p",
            "The formats are documented, so that another verifier can be written. This page is "
            "made again from the bundle by: ",
            el("code", "receipts report BUNDLE --trust KEY.pub"),
            ". Whether the model really gave these answers is what an audit is for: ",
            el("code", "receipts audit"),
            " replays points that are drawn after the fact.",
        ),
    )
