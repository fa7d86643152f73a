"""The page as bytes: what is said, what verifies it, and the signed statements themselves.

The same bundle and keys give the same bytes under one version of this program and of zlib.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from safety_receipts.receipts.audit_forms import form_key, public_form
from safety_receipts.receipts.bundle import (
    PLAN,
    POINTS_FILE,
    RECEIPT,
    Bundle,
)
from safety_receipts.receipts.dsse import Envelope
from safety_receipts.receipts.errors import FileAccessError, UsageError
from safety_receipts.receipts.io.files import open_regular
from safety_receipts.receipts.keys import PublicKey, TrustSet
from safety_receipts.receipts.model.audit import AuditPredicate, PublicAuditPredicate
from safety_receipts.receipts.model.plan import EvidenceAccess
from safety_receipts.receipts.model.receipt import EvaluationPredicate
from safety_receipts.receipts.published import published_audits
from safety_receipts.receipts.view.audits import listed_audits
from safety_receipts.receipts.view.names import presentable
from safety_receipts.verify.audit.sealed.audits import AuditSummary
from safety_receipts.verify.integrity import verify_bundle
from safety_receipts.verify.levels.evidence import PointProgress, no_progress
from safety_receipts.verify.levels.times.terms import NOTHING_MORE, TrustTerms
from safety_receipts.verify.page.binding import NumberBinder
from safety_receipts.verify.page.frame import page_body
from safety_receipts.verify.page.markup import Element, el, markup, text_of, words_digest
from safety_receipts.verify.page.script import csp_hash, script, style_sheet
from safety_receipts.verify.page.sealed import Form, SealedDocument, SealedDocuments, pointer
from safety_receipts.verify.page.sections import PageContent
from safety_receipts.verify.verification import Verification

REPORT: Final = "report.html"
"""Name of the page beside what it is of."""
_PAGE: Final = "safety-receipts/page/1"
_LEVEL: Final = 9
_DOCTYPE: Final = b"<!doctype html>\n"
_BEGIN: Final = _DOCTYPE + b'<html lang="en" data-verification='


@dataclass(frozen=True)
class ReportPage:
    """A page that was made."""

    html: bytes
    """The page."""
    verification: Verification
    """What verification found of the bundle."""
    audits: int
    """Results of audits that stand on it."""
    withheld_audits: int
    """Results that only those may see who may hold the evidence."""
    evidence: bool
    """Whether the evidence is embedded."""


def refuse_other_file(path: Path) -> None:
    """Refuse to write a page over anything but a page of this program.

    Raises:
        FileAccessError: There is such a file, or a link.
    """
    if not path.exists() and not path.is_symlink():
        return
    with open_regular(path) as stream:
        if stream.read(len(_BEGIN)) != _BEGIN:
            raise FileAccessError(
                "exists already, and is no page of this program",
                file=path,
                hint="name another file for the page",
            )


def report_page(
    bundle: Bundle,
    evaluators: TrustSet,
    auditors: TrustSet | None = None,
    *,
    with_evidence: bool = False,
    terms: TrustTerms = NOTHING_MORE,
    progress: PointProgress = no_progress,
) -> ReportPage:
    """Return the page of a receipt that no check contradicts.

    Args:
        bundle: The bundle.
        evaluators: Keys trusted to sign plans and receipts; none: the page says so.
        auditors: Keys trusted to sign audits: no other audit stands on the page.
        with_evidence: Embed the evidence lines.
        terms: What is asked of signatures besides whose they are.
        progress: Told how many points are done.

    Raises:
        IntegrityError: A check failed.
        UsageError: The evidence is not public, and was to be embedded.
        FileAccessError, MalformedError: A file is not what it should be.
    """
    verification = verify_bundle(
        bundle,
        evaluators=evaluators,
        auditors=auditors,
        required=terms.required,
        tsa_roots=terms.tsa_roots,
        log=terms.log,
        at=terms.at,
        progress=progress,
    )
    if verification.failed:
        verification.raise_for_failure()
    predicate = bundle.receipt.statement.predicate
    if with_evidence and predicate.evidence.access is not EvidenceAccess.PUBLIC:
        raise UsageError(
            "the evidence of this receipt is held by auditors: no page may hold it",
            hint="leave out --with-evidence",
        )
    audits = _public_audits(bundle, verification, predicate.evidence.access)
    documents = _documents(bundle, audits)
    receipt = presentable(predicate)
    content = PageContent(
        receipt=receipt,
        verification=verification,
        audits=audits,
        other_audits=_others(bundle, verification),
        withheld_audits=_withheld(verification, audits),
        documents=documents,
        binder=_binder(receipt, documents, len(audits), _OF_CONDITIONS),
        table_binder=_binder(receipt, documents, 0, (*_OF_CONDITIONS, "interval")),
        evidence=with_evidence,
    )
    evidence = _evidence(bundle, predicate) if with_evidence else None
    keys = _keys(verification, audits)
    html = _html(content, _data(bundle, audits, keys, evidence))
    return ReportPage(
        html, verification, len(audits), content.withheld_audits, evidence is not None
    )


def _public_audits(
    bundle: Bundle, verification: Verification, access: EvidenceAccess
) -> tuple[AuditSummary, ...]:
    """Return the trusted auditors' results that anybody may see, each in one form."""
    if access is EvidenceAccess.PUBLIC:
        full = {
            form_key(_form(audit))
            for audit in verification.audits
            if isinstance(audit.result, AuditPredicate)
        }
        return tuple(
            audit
            for audit in verification.audits
            if isinstance(audit.result, AuditPredicate) or form_key(audit.result) not in full
        )
    copied = {path.name for path in published_audits(bundle, access, None).copied}
    return tuple(
        audit
        for audit in verification.audits
        if isinstance(audit.result, PublicAuditPredicate) and f"{audit.digest}.dsse.json" in copied
    )


def _others(bundle: Bundle, verification: Verification) -> int:
    """Return how many statements about the receipt nobody signed whose key was given."""
    audits = listed_audits(bundle).audits
    return sum(audit.digest not in verification.trusted_audits for audit in audits)


def _withheld(verification: Verification, audits: Sequence[AuditSummary]) -> int:
    """Return how many results are on the page in no form."""
    keys = {form_key(_form(audit)) for audit in audits}
    return sum(form_key(_form(audit)) not in keys for audit in verification.audits)


def _form(audit: AuditSummary) -> PublicAuditPredicate:
    result = audit.result
    return result if isinstance(result, PublicAuditPredicate) else public_form(result, audit.digest)


def _documents(bundle: Bundle, audits: Iterable[AuditSummary]) -> SealedDocuments:
    return SealedDocuments(
        [
            SealedDocument.of("r", bundle.receipt),
            SealedDocument.of("p", bundle.plan),
            *(_audit(f"a{number}", audit.envelope) for number, audit in enumerate(audits)),
        ]
    )


def _audit(letter: str, envelope: Envelope) -> SealedDocument:
    predicate = json.loads(envelope.payload)["predicate"]
    return SealedDocument(letter, predicate, envelope.digest, envelope.signatures[0].keyid)


_PLACES: Final = (
    "/r/findings",
    "/r/effectMargin",
    "/r/evidence",
    "/r/demonstrations",
    "/r/queries",
    "/r/sampling",
    "/r/judge",
    "/r/judgeAgreement",
    "/r/event",
    "/r/tested",
    "/r/sameQueries",
)
_OF_CONDITIONS: Final = ("complianceRate", "nHarmful", "nBenign")
_NAMES: Final = (
    ("/r/checkpoint/root", Form.TEXT),
    ("/r/checkpoint/name", Form.TEXT),
    ("/r/checkpoint/revision", Form.TEXT),
    ("/r/checkpoint/dtype", Form.TEXT),
    ("/r/judge/digest", Form.PREFIX_16),
    ("/r/evidence/root", Form.PREFIX_16),
    ("/r/event/startedAt", Form.TEXT),
    ("/r/event/finishedAt", Form.TEXT),
    ("/r/prompt/systemPrompt", Form.TEXT),
    ("/r/prompt/templateWords", Form.TEXT),
    ("/r/prompt/date", Form.TEXT),
    ("/r/rejudges/receipt", Form.TEXT),
    ("/r", Form.DIGEST),
    ("/r", Form.KEYID),
)


_SERVERS: Final = ("server", "judgeServer", "secondJudgeServer")
"""Where the environment has accounts of servers."""


def _binder(
    receipt: EvaluationPredicate, documents: SealedDocuments, audits: int, fields: Sequence[str]
) -> NumberBinder:
    conditions = [pointer("r", "conditions", index) for index in range(len(receipt.conditions))]
    places = [
        *_PLACES,
        *(f"{one}/{field}" for one in conditions for field in fields),
        *(pointer("r", "environment", name) for name in _SERVERS),
        *(pointer(f"a{number}") for number in range(audits)),
    ]
    tests = () if receipt.findings is None else receipt.findings.tests
    names = [
        *_NAMES,
        *((f"{one}/id", Form.TEXT) for one in conditions),
        *((pointer("r", "findings", "tests", n, "name"), Form.TEXT) for n in range(len(tests))),
        *((pointer("r", "queries", n, "name"), Form.TEXT) for n in range(len(receipt.queries))),
    ]
    return NumberBinder(documents, places, names)


def _keys(
    verification: Verification, audits: Iterable[AuditSummary]
) -> list[tuple[str, PublicKey]]:
    """Return the trusted keys that signed what is on the page, each once a role.

    Only those whose signatures count: a page knows nothing of the times of a trust file.
    """
    found = {("evaluator", key.keyid): key for key in verification.evaluator_keys}
    for audit in audits:
        found |= {("auditor", key.keyid): key for key in audit.keys}
    return [(role, key) for (role, _), key in found.items()]


def _evidence(bundle: Bundle, predicate: EvaluationPredicate) -> bytes:
    """Return the evidence lines, each with its line feed.

    Raises:
        IntegrityError: They are not those that were sealed any more.
    """
    lines = [line for _, line in bundle.sealed_lines(predicate.evidence)]
    return b"".join(line + b"\n" for line in lines)


def _blob(name: str, data: bytes) -> dict[str, str]:
    packed = gzip.compress(data, _LEVEL, mtime=0)
    return {"name": name, "gzip": base64.b64encode(packed).decode("ascii")}


def _data(
    bundle: Bundle,
    audits: Iterable[AuditSummary],
    keys: Iterable[tuple[str, PublicKey]],
    evidence: bytes | None,
) -> dict[str, Any]:
    return {
        "page": _PAGE,
        "keys": [
            {"role": role, "keyid": key.keyid, "pem": key.pem().decode("ascii")}
            for role, key in keys
        ],
        "plan": _blob(PLAN, bundle.plan_envelope.to_json()),
        "receipt": _blob(RECEIPT, bundle.receipt_envelope.to_json()),
        "audits": [
            _blob(f"{audit.digest}.dsse.json", audit.envelope.to_json()) for audit in audits
        ],
        "evidence": None if evidence is None else _blob(POINTS_FILE, evidence),
    }


def _html(content: PageContent, data: dict[str, Any]) -> bytes:
    style, code = style_sheet(), script()
    embedded = json.dumps(data, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")
    name = text_of(content.documents.show("/r/checkpoint/name", Form.TEXT))
    title = f"Safety receipt: {name}"
    body = page_body(content)
    body = el(
        "body",
        body.children,
        el("script", embedded, type="application/json", id="data"),
        el("script", code),
        data_text=words_digest(body, title),
    )
    policy = (
        f"default-src 'none'; script-src '{csp_hash(code)}'; style-src '{csp_hash(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    head = el(
        "head",
        el("meta", charset="utf-8"),
        Element("meta", (("http-equiv", "Content-Security-Policy"), ("content", policy)), ()),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="referrer", content="no-referrer"),
        el("meta", name="color-scheme", content="light dark"),
        el("title", title),
        el("style", style),
    )
    page = el("html", head, body, lang="en", data_verification="incomplete")
    return _DOCTYPE + markup(page).encode()
