"""Statements are read by the version that they name, and by no other."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Literal, get_args

import pytest
from pydantic import ConfigDict, ValidationError

from safety_receipts import schemas
from safety_receipts.receipts.documents import versions
from safety_receipts.receipts.documents.generate_schemas import DOCUMENTS, VERSIONS
from safety_receipts.receipts.documents.versions import (
    STATEMENTS,
    StatementVersion,
    predicate_type,
    read_statement,
)
from safety_receipts.receipts.errors import MalformedError
from safety_receipts.receipts.model.base import Name
from safety_receipts.receipts.model.calibration import CalibrationPredicate
from safety_receipts.receipts.model.statement import (
    AUDIT_TYPE,
    CALIBRATION_TYPE,
    EVALUATION_TYPE,
    PLAN_TYPE,
    AuditStatement,
    CalibrationStatement,
    EvaluationStatement,
    PlanStatement,
    Statement,
)

STATEMENT_NAMES = sorted(name for name in DOCUMENTS if name.endswith("-statement"))


def payload(document: Any) -> bytes:
    return json.dumps(document).encode()


def refusal(document: Any, *wanted: Any, **table: Any) -> MalformedError:
    with pytest.raises(MalformedError) as caught:
        read_statement(payload(document), *wanted, file="a/file", **table)
    assert caught.value.file == "a/file"
    assert len(caught.value.one_line().splitlines()) == 1
    return caught.value


@pytest.mark.parametrize("name", STATEMENT_NAMES)
def test_every_statement_is_read_by_its_type(documents: dict[str, Any], name: str) -> None:
    document = documents[name]
    read = read_statement(payload(document), *{one.read for one in STATEMENTS.values()})
    assert type(read.statement) is DOCUMENTS[name]
    assert (read.document, read.unknown) == (document, ())
    assert predicate_type(payload(document)) == document["predicateType"]


def test_the_table_has_every_type_that_a_model_allows_and_no_other() -> None:
    """A new version is a row; a row without a model, or a model without a row, is found here."""
    for uri, version in STATEMENTS.items():
        allowed = get_args(version.written.model_fields["predicate_type"].annotation)
        assert uri in allowed
        assert set(allowed) <= set(STATEMENTS)
        assert DOCUMENTS[version.schema] is version.written
        assert schemas.versions(version.schema)[-1] == VERSIONS[version.schema]
    assert {version.schema for version in STATEMENTS.values()} == set(STATEMENT_NAMES)


def test_a_newer_major_version_is_refused_as_one(documents: dict[str, Any]) -> None:
    newer = documents["plan-statement"] | {"predicateType": "urn:safety-receipts:plan:7"}
    error = refusal(newer, PlanStatement)
    assert error.message == (
        "is of type urn:safety-receipts:plan:7, and this program reads no newer one than "
        "urn:safety-receipts:plan:1"
    )
    assert error.place == "$.predicateType"
    assert error.hint == "read it with a newer version of safety-receipts"


def test_a_newer_audit_is_not_read_as_an_earlier_one(documents: dict[str, Any]) -> None:
    """It may be a refutation in words that nobody here knows."""
    newer = documents["audit-statement"] | {"predicateType": "urn:safety-receipts:audit:3"}
    assert "no newer one than urn:safety-receipts:audit:2" in refusal(newer, AuditStatement).message


@pytest.mark.parametrize(
    "kind",
    [
        "https://in-toto.io/attestation/test-result/v0.1",
        "urn:safety-receipts:audit:0",
        "urn:safety-receipts:audit:01",
        "urn:safety-receipts:audit:2 ",
        "urn:safety-receipts:other:1",
        "URN:safety-receipts:audit:2",
        "",
        "x" * 5000,
        "two\nlines\x1b[31m",
    ],
)
def test_a_type_that_is_not_known_is_refused_as_one(documents: dict[str, Any], kind: str) -> None:
    error = refusal(documents["audit-statement"] | {"predicateType": kind}, AuditStatement)
    assert "which this program does not know: the result of an audit belongs here" in error.message
    assert len(error.message) < 400


@pytest.mark.parametrize("document", [{}, [], None, 3, {"predicateType": 3}])
def test_what_names_no_type_is_no_statement(document: Any) -> None:
    assert refusal(document, PlanStatement).message == (
        "names no predicate type: this is not a plan"
    )
    assert predicate_type(payload(document)) is None


def test_a_statement_of_another_kind_is_named(documents: dict[str, Any]) -> None:
    error = refusal(documents["audit-statement"], PlanStatement, EvaluationStatement)
    assert error.message == "is the result of an audit, and a plan or a receipt belongs here"


# A second version of one document, from its model to the program's.


class _Calibration2(CalibrationPredicate):
    """What a second version might hold: a laboratory is named."""

    laboratory: Name


class _Calibration2Statement(
    Statement[Literal["urn:safety-receipts:calibration:2"], _Calibration2]
):
    """A calibration of the second version."""

    model_config = ConfigDict(title="Calibration statement, version 2")


SECOND = "urn:safety-receipts:calibration:2"


def _upgrade(first: CalibrationStatement) -> _Calibration2Statement:
    """Return a statement of the first version as one of the second."""
    fields = {name: getattr(first.predicate, name) for name in CalibrationPredicate.model_fields}
    return _Calibration2Statement(
        type=first.type,
        subject=first.subject,
        predicate_type="urn:safety-receipts:calibration:2",
        predicate=_Calibration2(**fields, laboratory="not stated"),
    )


@pytest.fixture
def table() -> dict[str, StatementVersion]:
    """The table with a second version of calibrations, to which the first is upgraded."""
    first = STATEMENTS[CALIBRATION_TYPE]
    return {
        **STATEMENTS,
        CALIBRATION_TYPE: replace(first, read=_Calibration2Statement, upgrade=_upgrade),
        SECOND: StatementVersion(
            first.noun, _Calibration2Statement, first.schema, _Calibration2Statement
        ),
    }


def test_a_second_version_is_a_row_and_an_upgrade(
    documents: dict[str, Any], table: dict[str, StatementVersion]
) -> None:
    first = documents["calibration-statement"]
    second = {
        **first,
        "predicateType": SECOND,
        "predicate": {**first["predicate"], "laboratory": "an institute"},
    }
    for document, laboratory in ((first, "not stated"), (second, "an institute")):
        read = read_statement(payload(document), _Calibration2Statement, versions=table)
        assert read.statement.predicate.laboratory == laboratory
        assert read.statement.predicate.judge == first["predicate"]["judge"]
        assert read.unknown == ()
        assert read.document == document


def test_each_version_is_held_to_its_own_fields(
    documents: dict[str, Any], table: dict[str, StatementVersion]
) -> None:
    first = documents["calibration-statement"]
    without = {**first, "predicateType": SECOND}
    assert refusal(without, _Calibration2Statement, versions=table).place is not None
    # What the first version does not know is unknown there, however well the second knows it.
    named = {**first, "predicate": {**first["predicate"], "laboratory": "an institute"}}
    read = read_statement(payload(named), _Calibration2Statement, versions=table)
    assert read.unknown == ("$.predicate.laboratory",)
    assert read.statement.predicate.laboratory == "not stated"


def test_a_third_version_is_newer_than_both(
    documents: dict[str, Any], table: dict[str, StatementVersion]
) -> None:
    third = documents["calibration-statement"] | {
        "predicateType": "urn:safety-receipts:calibration:3"
    }
    assert refusal(third, _Calibration2Statement, versions=table).message.endswith(SECOND)


def test_the_order_of_rows_says_nothing(documents: dict[str, Any]) -> None:
    """An audit of the second version is no longer what everything else is taken for."""
    turned = dict(reversed(STATEMENTS.items()))
    for name in STATEMENT_NAMES:
        models = {one.read for one in turned.values()}
        read = versions.read_statement(payload(documents[name]), *models, versions=turned)
        assert type(read.statement) is DOCUMENTS[name]
    assert {PLAN_TYPE, EVALUATION_TYPE, AUDIT_TYPE} <= set(turned)


@pytest.mark.parametrize("field", ["conditions", "queries", "environment"])
def test_a_million_wrong_items_give_few_errors(documents: dict[str, Any], field: str) -> None:
    """The model judges first, and must not hold an error for every field of every item."""
    document = json.loads(json.dumps(documents["evaluation-statement"]))
    wrong = (
        {"packages": {f"p{i}": 1 for i in range(5000)}} if field == "environment" else [{}] * 5000
    )
    document["predicate"][field] = wrong
    with pytest.raises(ValidationError) as caught:
        EvaluationStatement.model_validate_json(json.dumps(document), by_alias=True, by_name=False)
    assert caught.value.error_count() < 60
    refusal(document, EvaluationStatement)
