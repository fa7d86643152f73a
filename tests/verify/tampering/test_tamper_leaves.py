"""Leaves of sealed documents, changed: by somebody else, and by a dishonest evaluator.

Every field that a receipt states of its own is changed in turn; what it restates from its plan, and
the other documents, are sampled.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from audit_statements import AUDITOR, announce, report
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from tampering import edit_lines

from safety_receipts import schemas
from safety_receipts.receipts.bundle import AUDITS, POINTS_FILE, RESPONSES_FILE, Bundle
from safety_receipts.receipts.canonical import canonical_bytes
from safety_receipts.receipts.dsse import Envelope, sign
from safety_receipts.receipts.keys import Signer, TrustSet
from safety_receipts.receipts.model.check import CheckLevel, CheckStatus
from safety_receipts.receipts.model.plan import EvaluationSetup
from safety_receipts.receipts.model.point import Point, RestrictedRecord
from safety_receipts.receipts.model.statement import (
    AuditStatement,
    EvaluationStatement,
    PlanStatement,
)
from safety_receipts.verify.integrity import verify_bundle
from safety_receipts.verify.verification import Verification

Path_ = tuple[str | int, ...]
Field = tuple[str, ...]

GOOD = Bundle(Path(__file__).parents[2] / "golden" / "0.1" / "good" / "ed25519")
RECEIPT: dict[str, Any] = json.loads(GOOD.receipt_envelope.payload)
PLAN: dict[str, Any] = json.loads(GOOD.plan_envelope.payload)
SEVERAL = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

EVALUATORS_WORD = (
    ("predicate", "event", "id"),
    ("predicate", "event", "startedAt"),
    ("predicate", "event", "finishedAt"),
    ("predicate", "event", "restarts"),
    ("predicate", "event", "retries"),
    ("predicate", "event", "discarded"),
    ("predicate", "event", "looks"),
    ("predicate", "environment", "tool"),
    ("predicate", "environment", "device"),
    ("predicate", "environment", "driver"),
    ("predicate", "environment", "platform"),
    ("predicate", "environment", "python"),
    ("predicate", "environment", "torch"),
    ("predicate", "environment", "transformers"),
    ("predicate", "environment", "attention"),
    ("predicate", "environment", "memoryClass"),
    ("predicate", "environment", "packages"),
)
"""What only the evaluator can know: nothing in evidence or plan contradicts another value.
The threat model lists the same."""

CANDIDATES: tuple[Any, ...] = (
    "x",
    "h0-b0",
    "0.500000",
    "0.500001",
    "12.34",
    "0.25",
    "1" * 64,
    "2026-01-01T00:00:30Z",
    "2026-01-02",
    "bh",
    "suffix",
    {"joint": None},
    3,
    True,
    False,
    None,
)


def leaves(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    """Yield the paths of all leaves; an empty object or array is one."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, list) and value:
        for i, item in enumerate(value):
            yield from leaves(item, (*path, i))
    else:
        yield path


def fields(document: Any) -> dict[Field, list[Path_]]:
    """Return the leaves by their field: a path without its numbers."""
    found: dict[Field, list[Path_]] = {}
    for path in leaves(document):
        found.setdefault(tuple(s for s in path if isinstance(s, str)), []).append(path)
    return found


def changed(document: dict[str, Any], path: Path_, model: type[BaseModel]) -> dict[str, Any]:
    """Return a copy with one leaf changed, to a value that fits the model if there is one.

    Models and schemas take the same, as the tests of documents show; models are faster.
    """
    result = copy.deepcopy(document)
    parent: Any = result
    for step in path[:-1]:
        parent = parent[step]
    old = parent[path[-1]]
    near = _beyond_rounding(old) if "findings" in path else _near(old)
    for new in [*_other_members(old), *near, *CANDIDATES]:
        if type(new) is type(old) and new == old:
            continue
        parent[path[-1]] = new
        if _fits(result, model):
            return result
    parent[path[-1]] = "nothing fits here but what stood here"
    return result


def _fits(document: Any, model: type[BaseModel]) -> bool:
    try:
        model.model_validate_json(json.dumps(document), by_alias=True, by_name=False)
    except ValidationError:
        return False
    return True


def _near(old: Any) -> Iterator[Any]:
    if isinstance(old, bool):
        yield not old
    elif isinstance(old, int):
        yield old + 1
        yield old - 1
    elif isinstance(old, str) and old:
        last = old[-1]
        yield old[:-1] + ("1" if last == "0" else "0")
        yield old[:-1] + ("h" if last == "b" else "b")
        yield old + "x"
    elif isinstance(old, dict):
        yield {"x": "y"}
    elif isinstance(old, list):
        yield ["x"]


def _beyond_rounding(old: Any) -> Iterator[Any]:
    """Fitted numbers may differ by their rounding: change a digit that counts."""
    digits = re.fullmatch(r"(-?[0-9]+\.0*)([0-9])([0-9]*)", old) if isinstance(old, str) else None
    if digits is None:
        yield from _near(old)
    else:
        before, digit, after = digits.groups()
        yield f"{before}{'1' if digit == '0' else '0' if digit == '1' else '1'}{after}"
        yield f"{before}{'5' if digit != '5' else '7'}{after}"


def _other_members(old: Any) -> Iterator[str]:
    for name in ("evaluation-statement", "plan-statement", "point"):
        for definition in schemas.load_schema(name).get("$defs", {}).values():
            if old in definition.get("enum", []):
                yield from definition["enum"]


def failed(bundle: Bundle, evaluator: Signer, wanted: CheckLevel) -> list[str]:
    """Return the names of the checks that fail."""
    verification = verify_bundle(bundle, evaluators=TrustSet([evaluator.public]), wanted=wanted)
    return [c.name for c in verification.checks if c.status is CheckStatus.FAILED]


def sealed(*, plan: Envelope | None = None, receipt: Envelope | None = None) -> Bundle:
    """Return the good bundle with another envelope; the rest is parsed once for all."""
    bundle = Bundle(GOOD.folder)
    bundle.plan_envelope = plan or GOOD.plan_envelope
    bundle.receipt_envelope = receipt or GOOD.receipt_envelope
    if plan is None:
        bundle.plan = GOOD.plan
    if receipt is None:
        bundle.receipt = GOOD.receipt
    return bundle


def old_signature(document: dict[str, Any], original: Envelope) -> Envelope:
    """Return a document under the signature of what it was made from."""
    return Envelope(canonical_bytes(document), original.signatures)


@pytest.fixture(scope="module")
def evaluator(make_golden: ModuleType) -> Signer:
    """Who signed the good bundle."""
    return make_golden.EVALUATOR


# The receipt

FIELDS = fields(RECEIPT)
RESTATED = {field.alias for field in EvaluationSetup.model_fields.values()}
"""What a receipt restates from its plan: one check compares it as a whole."""
SECTIONS = sorted({field[:1] if field[0] != "predicate" else field[:2] for field in FIELDS})
OWN = [field for field in FIELDS if field[1:2] == () or field[1] not in RESTATED]


def section_id(path: Path_) -> str:
    """Return a path as a test id."""
    return "/".join(map(str, path))


def assert_caught_or_word(path: Path_, evaluator: Signer) -> None:
    """Sign a changed receipt with the true key: what can be derived is caught, and no more."""
    false = changed(RECEIPT, path, EvaluationStatement)
    wanted = CheckLevel.BOUND if "judgeAgreement" in path else CheckLevel.CONSISTENT
    found = failed(sealed(receipt=sign(false, evaluator)), evaluator, wanted)
    own_word = any(path[: len(prefix)] == prefix for prefix in EVALUATORS_WORD)
    assert bool(found) != own_word, (path, found)


def test_the_honest_bundle_has_no_failed_check(evaluator: Signer) -> None:
    assert failed(sealed(), evaluator, CheckLevel.BOUND) == []
    assert len(SECTIONS) > 20
    assert len(OWN) > 150


def assert_unsigned(path: Path_, evaluator: Signer) -> None:
    """Leave the old signature: level authentic fails, whatever the leaf."""
    false = changed(RECEIPT, path, EvaluationStatement)
    bundle = sealed(receipt=old_signature(false, GOOD.receipt_envelope))
    assert "receipt-signature" in failed(bundle, evaluator, CheckLevel.AUTHENTIC), path


@pytest.mark.parametrize("section", SECTIONS, ids=section_id)
def test_a_leaf_changed_by_somebody_else(section: Field, evaluator: Signer) -> None:
    [path, *_] = next(paths for field, paths in FIELDS.items() if field[: len(section)] == section)
    assert_unsigned(path, evaluator)


@pytest.mark.parametrize("field", OWN, ids=section_id)
def test_a_field_of_the_receipt_s_own_changed_by_the_evaluator(
    field: Field, evaluator: Signer
) -> None:
    """Everything that can be derived is caught; fields of many leaves are changed in one of them,
    not the same one for all.
    """
    paths = FIELDS[field]
    assert_caught_or_word(paths[OWN.index(field) * 7 % len(paths)], evaluator)


@pytest.mark.parametrize("section", [s for s in SECTIONS if s[-1] in RESTATED], ids=section_id)
def test_a_section_restated_from_the_plan_changed_by_the_evaluator(
    section: Field, evaluator: Signer
) -> None:
    [path, *_] = next(paths for field, paths in FIELDS.items() if field[:2] == section)
    assert_caught_or_word(path, evaluator)


@SEVERAL
@given(st.sampled_from(list(FIELDS)).flatmap(lambda field: st.sampled_from(FIELDS[field])))
def test_any_leaf_of_the_receipt_changed(evaluator: Signer, path: Path_) -> None:
    assert_caught_or_word(path, evaluator)
    assert_unsigned(path, evaluator)


# The plan

PLAN_FIELDS = fields(PLAN)
PLAN_SECTIONS = sorted(
    {field[:1] if field[0] != "predicate" else field[:2] for field in PLAN_FIELDS}
)


def assert_plan_caught(path: Path_, evaluator: Signer) -> None:
    """Whoever signs a changed plan: the receipt names the digest of the plan that was run."""
    false = changed(PLAN, path, PlanStatement)
    own = failed(sealed(plan=sign(false, evaluator)), evaluator, CheckLevel.AUTHENTIC)
    assert "plan-digest" in own, path
    other = sealed(plan=old_signature(false, GOOD.plan_envelope))
    assert "plan-signature" in failed(other, evaluator, CheckLevel.AUTHENTIC), path


@pytest.mark.parametrize("section", PLAN_SECTIONS, ids=section_id)
def test_a_section_of_the_plan_changed(section: Field, evaluator: Signer) -> None:
    [path, *_] = next(
        paths for field, paths in PLAN_FIELDS.items() if field[: len(section)] == section
    )
    assert_plan_caught(path, evaluator)


@SEVERAL
@given(st.sampled_from(list(PLAN_FIELDS)).flatmap(lambda f: st.sampled_from(PLAN_FIELDS[f])))
def test_any_leaf_of_the_plan_changed(evaluator: Signer, path: Path_) -> None:
    assert_plan_caught(path, evaluator)


# Evidence lines and restricted records

POINT = next(GOOD.points()).to_wire()
RECORD = next(GOOD.responses()).to_wire()


def edit(bundle: Path, file: str, number: int, change: Callable[[Any], Any]) -> None:
    """Change one line of a file of the good bundle."""

    def change_lines(lines: list[bytes]) -> list[bytes]:
        lines[number] = canonical_bytes(change(json.loads(lines[number])))
        return lines

    (bundle / file).write_bytes((GOOD.folder / file).read_bytes())
    edit_lines(bundle, change_lines, file)


def with_file_of(bundle: Path) -> Bundle:
    """Return a changed bundle whose plan and receipt are the good one's."""
    result = sealed()
    result.folder = bundle
    return result


@SEVERAL
@given(number=st.integers(0, 263), path=st.sampled_from(list(leaves(POINT))))
@example(number=40, path=("outcome",))
def test_any_leaf_of_an_evidence_line_changed(
    bundle: Path, evaluator: Signer, number: int, path: Path_
) -> None:
    """The receipt states the root of the lines."""
    edit(bundle, POINTS_FILE, number, lambda line: changed(line, path, Point))
    found = failed(with_file_of(bundle), evaluator, CheckLevel.CONSISTENT)
    assert any(name.startswith("evidence-") for name in found), found


@SEVERAL
@given(number=st.integers(0, 263), path=st.sampled_from(list(leaves(RECORD))))
@example(number=40, path=("text",))
def test_any_leaf_of_a_restricted_record_changed(
    bundle: Path, evaluator: Signer, number: int, path: Path_
) -> None:
    """The evidence line commits to the record, its salt included."""
    edit(bundle, RESPONSES_FILE, number, lambda line: changed(line, path, RestrictedRecord))
    assert failed(with_file_of(bundle), evaluator, CheckLevel.BOUND) == ["commitments"]


# Audits

START = announce(GOOD.receipt_envelope.digest)
AUDIT = report(GOOD.receipt_envelope.digest, START.digest)
AUDIT_SECTIONS = fields(json.loads(AUDIT.payload))


def audited(bundle: Path, evaluator: Signer, *envelopes: Envelope) -> Verification:
    """Verify the good bundle with these audits, trusting the auditor."""
    folder = bundle / AUDITS
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    for envelope in envelopes:
        (folder / f"{envelope.digest}.dsse.json").write_bytes(envelope.to_json())
    return verify_bundle(
        with_file_of(bundle),
        evaluators=TrustSet([evaluator.public]),
        auditors=TrustSet([AUDITOR.public]),
        wanted=CheckLevel.AUTHENTIC,
    )


def of_audits(verification: Verification) -> list[CheckStatus]:
    """Return what became of announcement and result."""
    return [c.status for c in verification.checks if c.level is CheckLevel.REPLAYED]


@SEVERAL
@given(st.sampled_from(list(AUDIT_SECTIONS)).flatmap(lambda f: st.sampled_from(AUDIT_SECTIONS[f])))
def test_any_leaf_of_an_audit_changed_by_somebody_else(
    bundle: Path, evaluator: Signer, path: Path_
) -> None:
    """It counts no longer, and harms nothing; the announcement then has no result."""
    document = json.loads(AUDIT.payload)
    false = old_signature(changed(document, path, AuditStatement), AUDIT)
    statuses = of_audits(audited(bundle, evaluator, START, false))
    assert statuses == [CheckStatus.NOT_CHECKED] * 2


def test_an_audit_as_it_was_signed_counts(bundle: Path, evaluator: Signer) -> None:
    assert of_audits(audited(bundle, evaluator, START, AUDIT)) == [CheckStatus.PASSED] * 2


# Fields that are unknown or missing


def test_an_unknown_field_is_reported_and_ignored(evaluator: Signer) -> None:
    statement = copy.deepcopy(RECEIPT)
    statement["predicate"]["event"]["weather"] = "rain"
    bundle = sealed(receipt=sign(statement, evaluator))
    verification = verify_bundle(bundle, evaluators=TrustSet([evaluator.public]))
    assert verification.level is CheckLevel.CONSISTENT
    [check] = [c for c in verification.checks if c.name == "receipt-schema"]
    assert "$.predicate.event.weather" in check.detail


@pytest.mark.parametrize("place", [(), ("subject", 0), ("predicate",)])
def test_a_missing_field(place: Path_, evaluator: Signer) -> None:
    statement = copy.deepcopy(RECEIPT)
    parent: Any = statement
    for step in place:
        parent = parent[step]
    for key in list(parent):
        value = parent.pop(key)
        bundle = sealed(receipt=sign(statement, evaluator))
        assert failed(bundle, evaluator, CheckLevel.AUTHENTIC) == ["receipt-schema"], key
        parent[key] = value
