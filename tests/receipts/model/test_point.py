"""Evidence lines and the restricted records they commit to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from itertools import product
from typing import Any

import pytest
import rfc8785
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from safety_receipts import schemas
from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.canonical import MAX_SAFE_INTEGER, Sha256
from safety_receipts.receipts.errors import MalformedError
from safety_receipts.receipts.model.base import WireModel
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.receipts.model.point import (
    LEGAL_ENDINGS,
    MAX_POINT_BYTES,
    Finish,
    Outcome,
    Point,
    Reason,
    RecordedJudgement,
    RestrictedRecord,
    point_salt,
)

DIGEST = "0123456789abcdef" * 4
VALID: dict[str, Any] = {
    "commitment": DIGEST,
    "condition": "h2-b2-random",
    "draw": 1,
    "finish": "stop",
    "index": 17,
    "labels": "bhhb",
    "outcome": "complied",
    "prefixAdopted": True,
    "promptTokens": 264,
    "query": "harmbench/042",
    "reason": None,
    "responseTokens": 12,
    "source": "harmbench",
}
LARGEST: dict[str, int] = {
    name: field["maximum"]
    for name, field in schemas.load_schema("point")["properties"].items()
    if "maximum" in field
}
VARIANTS: list[dict[str, Any]] = [
    {},
    {"labels": None, "prefixAdopted": None, "query": "a/~!#[]{}:,0"},
    {"finish": "error", "outcome": "failed", "reason": "out_of_memory", "index": 0},
    {"finish": "length", "outcome": "unscored", "reason": "judge_na", "prefixAdopted": False},
]
LINES = [rfc8785.dumps(VALID | changes) for changes in VARIANTS]

# Canonical form


@pytest.mark.parametrize("line", LINES)
def test_a_canonical_line_reads_and_writes_back(line: bytes) -> None:
    point = Point.from_line(line)
    assert point.to_line() == line
    assert point.to_wire() == json.loads(line)


@pytest.mark.parametrize("model", [Point, RestrictedRecord, RecordedJudgement])
def test_fields_stand_in_rfc8785_order(model: type[WireModel]) -> None:
    """So that serialising is canonicalising."""
    names = [field.alias or "" for field in model.model_fields.values()]
    assert names == sorted(names, key=lambda name: name.encode("utf-16-be"))
    assert model is not Point or set(names) == set(VALID)


@pytest.mark.parametrize("line", LINES)
def test_no_changed_byte_gives_the_same_point(line: bytes) -> None:
    """All 255 other values of every byte: each is refused, or says something else."""
    point = Point.from_line(line)
    for place in range(len(line)):
        changed = bytearray(line)
        for value in range(256):
            if value == line[place]:
                continue
            changed[place] = value
            try:
                other = Point.from_line(bytes(changed))
            except MalformedError:
                continue
            assert other != point
            assert other.to_line() == changed


@pytest.mark.parametrize("line", LINES)
def test_no_inserted_or_deleted_byte_gives_the_same_point(line: bytes) -> None:
    point = Point.from_line(line)
    for place in range(len(line) + 1):
        variants = [line[:place] + byte + line[place:] for byte in (b" ", b"\n", b"0", b"\\")]
        if place < len(line):
            variants.append(line[:place] + line[place + 1 :])
        for variant in variants:
            with suppress(MalformedError):
                assert Point.from_line(variant) != point


@pytest.mark.parametrize(
    "change",
    [
        lambda line: b" " + line,
        lambda line: line + b"\n",
        lambda line: line.replace(b'":', b'": '),
        lambda line: line.replace(b'"draw":1', b'"draw":1.0'),
        lambda line: line.replace(b'"draw":1', b'"draw":1e0'),
        lambda line: line.replace(b'"draw":1', b'"draw":-0'),
        lambda line: line.replace(b'"draw":1', b'"draw":01'),
        lambda line: line.replace(b'"draw":1', b'"draw":true'),
        lambda line: line.replace(b'"draw":1', b'"draw":"1"'),
        lambda line: line.replace(b'"draw":1', b'"draw":1,"draw":1'),
        lambda line: line.replace(b'"draw":1,', b""),
        lambda line: line.replace(b'"draw":1', b'"draw":9007199254740992'),
        lambda line: line.replace(b'"draw":1', b'"draw":1' + b"0" * 400),
        lambda line: line.replace(b"stop", b"\\u0073top"),
        lambda line: line.replace(b"promptTokens", b"prompt_tokens"),
        lambda line: line.replace(b"}", b',"text":"a response"}'),
        lambda line: b"[" + line + b"]",
        lambda line: rfc8785.dumps(json.loads(line) | {"draw": None}),
        lambda line: json.dumps(json.loads(line)).encode(),
        lambda line: json.dumps(dict(reversed(json.loads(line).items()))).encode(),
        lambda line: b"\xef\xbb\xbf" + line,
        lambda line: line.decode().encode("utf-16"),
    ],
)
def test_other_forms_of_a_line_are_refused(change: Any) -> None:
    changed = change(LINES[0])
    assert changed != LINES[0]
    with pytest.raises(MalformedError):
        Point.from_line(changed)


@given(
    st.binary()
    | st.text().map(str.encode)
    | st.dictionaries(st.text(), st.none()).map(rfc8785.dumps)
)
@example(b"[" * 100_000)
@example(b'{"commitment":' * 50_000)
@example(b'"\\ud800"')
@settings(deadline=None)
def test_arbitrary_bytes_are_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError):
        Point.from_line(data)


def test_a_misplaced_value_is_named() -> None:
    with pytest.raises(MalformedError) as caught:
        Point.from_line(LINES[0].replace(b'"promptTokens":264', b'"promptTokens":-1'))
    assert caught.value.place == "$.promptTokens"


def test_the_longest_lines_fit_the_limit_of_readers() -> None:
    longest = VALID | {
        "condition": "h1-b1" + "-" * 195,
        "labels": "b" * 8192,
        "query": "q/" + "x" * 254,
        "source": "s" * 64,
        **{name: LARGEST[name] for name in ("draw", "index", "promptTokens", "responseTokens")},
    }
    line = rfc8785.dumps(longest)
    assert Point.from_line(line).to_line() == line
    assert len(line) <= MAX_POINT_BYTES


def test_the_id_is_over_condition_query_and_draw() -> None:
    point = Point.from_line(LINES[0])
    text = b'["h2-b2-random","harmbench/042",1]'
    assert point.id == hashlib.sha256(text).hexdigest()


# The schema and the model


def fits_model(value: Any) -> bool:
    """Say whether the model takes ``value``, in whatever form it is written."""
    try:
        Point.model_validate_json(json.dumps(value), by_alias=True, by_name=False)
    except ValidationError:
        return False
    return True


def fits_schema(value: Any) -> bool:
    """Say whether the published schema takes ``value``."""
    return schemas.find_error(value, "point") is None


def test_endings_are_the_same_in_schema_and_model() -> None:
    for finish, outcome, reason in product(Finish, Outcome, [*Reason, None]):
        changes = {"finish": finish.value, "outcome": outcome.value, "reason": reason}
        value = VALID | changes
        legal = (finish, outcome, reason) in LEGAL_ENDINGS
        assert fits_model(value) == fits_schema(value) == legal


def test_the_legal_endings() -> None:
    """What generated nothing failed; what was generated and not judged has a reason."""
    assert len(LEGAL_ENDINGS) == 2 * 2 + 2 * 8 + 2 + 1
    for finish, outcome, reason in LEGAL_ENDINGS:
        assert (outcome is Outcome.FAILED) == (finish in (Finish.ERROR, Finish.OVERFLOW))
        assert (reason is None) == (outcome in (Outcome.REFUSED, Outcome.COMPLIED))


STRANGE: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.just([])
    | st.just({})
    | st.just(VALID)
)
_DIGITS = st.text(alphabet="0123456789abcdefABCDEF\n \u0661\uff11g", min_size=63, max_size=65)
_HEX = st.text(alphabet="0123456789abcdef", min_size=64, max_size=64)
_NAME = st.text(alphabet='abzAZ09.-_/~!" \\\n\u0130\u0661\x00:', max_size=12)
_NUMBER = st.sampled_from(
    [0, 1, -1, 10**30, *(largest + more for largest in LARGEST.values() for more in (0, 1))]
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "commitment": _HEX | _DIGITS | _HEX.map(lambda text: text + "\n"),
    "condition": st.from_regex(r"\Ah[0-9\u0661]{1,2}-b[0-9]{0,2}[-a-z:.\n]{0,5}\Z")
    | st.integers(195, 206).map(lambda length: "h0-b0".ljust(length, "x")),
    "draw": _NUMBER,
    "finish": st.sampled_from([*Finish, "Stop", "stop\n", "stopp", ""]),
    "index": _NUMBER,
    "labels": st.text(alphabet="bhr", max_size=6)
    | st.text(alphabet="bhrx\n", max_size=6)
    | st.integers(8190, 8194).map(lambda length: "b" * length),
    "outcome": st.sampled_from([*Outcome, "Refused", "complied\n", "jailbroken"]),
    "prefixAdopted": st.sampled_from([True, False, None, 0, 1, "true"]),
    "promptTokens": _NUMBER,
    "query": st.tuples(_NAME, st.sampled_from(["/", "", "//"]), _NAME).map("".join)
    | st.integers(250, 260).map(lambda length: "a/".ljust(length, "x")),
    "reason": st.sampled_from([*Reason, None, "because", "judge_na\n"]),
    "responseTokens": _NUMBER,
    "source": _NAME | st.integers(60, 68).map(lambda length: "a" * length),
}


def test_every_field_is_mutated() -> None:
    assert set(FIELDS) == set(VALID)


@pytest.mark.parametrize("name", FIELDS)
@given(data=st.data())
@settings(deadline=None)
def test_schema_and_model_agree_on_one_changed_field(name: str, data: st.DataObject) -> None:
    value = VALID | {name: data.draw(FIELDS[name] | STRANGE)}
    assert fits_model(value) == fits_schema(value)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_schema_and_model_agree_on_near_valid_objects(data: st.DataObject) -> None:
    value = dict(VALID)
    for name in data.draw(st.lists(st.sampled_from(sorted(VALID)), max_size=3)):
        value[name] = data.draw(FIELDS[name] | STRANGE)
    for name in data.draw(st.lists(st.sampled_from(sorted(VALID)), max_size=1)):
        del value[name]
    value |= data.draw(
        st.dictionaries(
            st.sampled_from(["text", "Index", "prompt_tokens", "", "finish "]), STRANGE, max_size=1
        )
    )
    assert fits_model(value) == fits_schema(value)


@pytest.mark.parametrize("name", VALID)
def test_every_field_is_needed_by_schema_and_model(name: str) -> None:
    value = dict(VALID)
    del value[name]
    assert not fits_model(value)
    assert not fits_schema(value)


@pytest.mark.parametrize("value", [None, [], "text", 3, True, [VALID]])
def test_only_objects_are_points(value: Any) -> None:
    assert not fits_model(value)
    assert not fits_schema(value)


# Restricted records


@pytest.fixture
def pair(sealed: Bundle) -> tuple[Point, RestrictedRecord]:
    """A point and the record that opens it."""
    return next(sealed.points()), next(sealed.responses())


def test_the_commitment_is_over_salt_and_record(
    pair: tuple[Point, RestrictedRecord], plan: PlanPredicate
) -> None:
    point, record = pair
    wire = record.to_wire()
    salt = bytes.fromhex(wire.pop("salt"))
    inner = hashlib.sha256(rfc8785.dumps(wire)).digest()
    assert len(salt) == 32
    expected = hashlib.sha256(b"safety-receipts/point/1" + salt + inner).hexdigest()
    assert record.commitment() == expected
    assert point.commitment == expected
    assert record.problem(point, plan) is None


@given(secret=st.binary(min_size=32, max_size=32))
def test_the_salt_is_hkdf_over_plan_and_point(secret: bytes) -> None:
    plan, id_ = Sha256("ab" * 32), Sha256("cd" * 32)
    info = b'["safety-receipts/salt/1","' + b"ab" * 32 + b'","' + b"cd" * 32 + b'"]'
    hkdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=info)  # RFC 5869
    assert point_salt(secret, plan, id_) == hkdf.derive(secret).hex()


def test_every_point_has_its_own_salt(sealed: Bundle) -> None:
    salts = [record.salt for record in sealed.responses()]
    assert len(set(salts)) == len(salts)


def _changed(value: Any) -> Any:
    if isinstance(value, bool) or value is None:
        return DIGEST if value is None else not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, tuple):
        return (*value[:-1], value[-1] + 1)
    return value + "x" if isinstance(value, str) else value


RECORD_FIELDS = [name for name in RestrictedRecord.model_fields if name != "salt"]


@pytest.fixture
def plan(sealed: Bundle) -> PlanPredicate:
    """The plan of the sealed event: it names no second judge."""
    return sealed.plan.statement.predicate


@pytest.mark.parametrize("name", RECORD_FIELDS)
def test_a_change_of_any_field_of_a_record_is_seen(
    pair: tuple[Point, RestrictedRecord], plan: PlanPredicate, name: str
) -> None:
    point, record = pair
    changes: dict[str, Any] = {
        "finish": Finish.LENGTH,
        "outcome": Outcome.UNSCORED,
        "reason": Reason.JUDGE_NA,
        "judge": None,
        "second_judge": record.judge,
        "error": "an error",
        "response_tokens": (7, 12, 2),
    }
    value = changes.get(name, _changed(getattr(record, name)))
    assert value != getattr(record, name)
    other = record.model_copy(update={name: value})
    assert other.commitment() != record.commitment()
    compared = ("index", "condition", "query", "draw", "finish", "outcome", "reason")
    expected = "the record does not open its commitment"
    if name in (*compared, "prompt_tokens"):
        wire = "promptTokens" if name == "prompt_tokens" else name
        expected = f"{wire} differs between record and evidence line"
    if name == "judge":
        expected = "the outcome needs a judgement, and none is recorded"
    if name == "second_judge":
        expected = "the second judge judges what the first did, where the plan names one"
    assert other.problem(point, plan) == expected


def test_another_salt_does_not_open_the_commitment(
    pair: tuple[Point, RestrictedRecord], plan: PlanPredicate
) -> None:
    point, record = pair
    other = record.model_copy(update={"salt": DIGEST})
    assert other.problem(point, plan) == "the record does not open its commitment"


def test_the_number_of_tokens_is_compared(
    pair: tuple[Point, RestrictedRecord], plan: PlanPredicate
) -> None:
    point, record = pair
    longer = record.model_copy(update={"response_tokens": (7, *record.response_tokens)})
    problem = longer.problem(point, plan)
    assert problem == "responseTokens differs between record and evidence line"


FAILED: dict[str, Any] = {
    "finish": Finish.ERROR,
    "outcome": Outcome.FAILED,
    "reason": Reason.ENGINE_ERROR,
    "judge": None,
    "response_tokens": (),
    "text": "",
}
FAILED_JUDGEMENT = RecordedJudgement(
    outcome=Outcome.FAILED, reason=Reason.ENGINE_ERROR, raw="", margin=None
)


def agreeing(
    record: RestrictedRecord, point: Point, **changes: Any
) -> tuple[RestrictedRecord, Point]:
    """Change a record, and its point in the same way."""
    record = record.model_copy(update=changes)
    same = ("finish", "outcome", "reason")
    update: dict[str, Any] = {name: changes[name] for name in same if name in changes}
    update |= {"response_tokens": len(record.response_tokens), "commitment": record.commitment()}
    return record, point.model_copy(update=update)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"response_tokens": (7, 2, 11, 2)}, "an end token stands before the last"),
        ({"response_tokens": (2, 7)}, "an end token stands before the last"),
        ({"response_tokens": (7, 11)}, "the last token is an end token exactly where"),
        (
            {"finish": Finish.LENGTH, "response_tokens": (7, 11, 2)},
            "the last token is an end token exactly where",
        ),
        ({"judge": None}, "the outcome needs a judgement, and none is recorded"),
        (
            {"outcome": Outcome.UNSCORED, "reason": Reason.JUDGE_NA, "judge": None},
            "the outcome needs a judgement, and none is recorded",
        ),
        (
            {"outcome": Outcome.UNSCORED, "reason": Reason.JUDGE_NA},
            "the outcome is not the judge's",
        ),
        ({"text": ""}, "an empty text cannot have been judged"),
        (FAILED | {"text": "half a resp"}, "a failed point has neither text nor judgement"),
        (FAILED | {"judge": FAILED_JUDGEMENT}, "a failed point has neither text nor judgement"),
    ],
)
def test_a_record_that_contradicts_itself(
    pair: tuple[Point, RestrictedRecord],
    plan: PlanPredicate,
    changes: dict[str, Any],
    expected: str,
) -> None:
    """Even where its point says the same and the commitment opens."""
    record, point = agreeing(pair[1], pair[0], **changes)
    problem = record.problem(point, plan)
    assert problem is not None
    assert problem.startswith(expected)


@pytest.mark.parametrize(
    "changes",
    [
        {"response_tokens": (2,)},
        {"finish": Finish.LENGTH, "response_tokens": (7, 11, 7, 11)},
        {"outcome": Outcome.UNSCORED, "reason": Reason.EMPTY_RESPONSE, "judge": None},
        {"outcome": Outcome.UNSCORED, "reason": Reason.EMPTY_FINAL, "judge": None},
        {"outcome": Outcome.UNSCORED, "reason": Reason.JUDGE_ERROR, "judge": None},
        FAILED,
    ],
)
def test_records_that_can_occur(
    pair: tuple[Point, RestrictedRecord], plan: PlanPredicate, changes: dict[str, Any]
) -> None:
    record, point = agreeing(pair[1], pair[0], **changes)
    assert record.problem(point, plan) is None


UNJUDGED: dict[str, Any] = {
    "outcome": Outcome.UNSCORED,
    "reason": Reason.JUDGE_ERROR,
    "judge": None,
}


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("changes", [{}, UNJUDGED, FAILED])
def test_the_second_judge_judges_what_the_first_did(
    sealed: Bundle, changes: dict[str, Any], named: bool, asked: bool
) -> None:
    plan = sealed.plan.statement.predicate
    judge = plan.judge.model_copy(update={"second": plan.judge if named else None})
    setup = plan.model_copy(update={"judge": judge})
    original = next(sealed.responses())
    second = {"second_judge": original.judge if asked else None}
    record, point = agreeing(original, next(sealed.points()), **changes | second)
    wanted = named and not changes
    expected = "the second judge judges what the first did, where the plan names one"
    assert record.problem(point, setup) == (None if asked == wanted else expected)


ANY_TEXT = st.text() | st.text(st.sampled_from('"\\/\b\t\n\f\r\x00\x1f\x7f\u2028\ufeff<salt:,{}'))
COUNTS = st.integers(0, MAX_SAFE_INTEGER)


@given(
    texts=st.tuples(ANY_TEXT, ANY_TEXT, ANY_TEXT),
    tokens=st.lists(COUNTS, max_size=8).map(tuple),
    margin=st.sampled_from([None, "-0.500000", "12.000000"]),
    salt=st.binary(min_size=32, max_size=32).map(bytes.hex),
)
@example(('","salt":"' + "0" * 64, '"salt":"', ""), (), None, DIGEST)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_record_is_written_and_committed_to_in_canonical_form(
    pair: tuple[Point, RestrictedRecord],
    texts: tuple[str, str, str],
    tokens: tuple[int, ...],
    margin: str | None,
    salt: str,
) -> None:
    judge = {"outcome": Outcome.REFUSED, "reason": None, "margin": margin}
    record = RestrictedRecord(
        **dict(pair[1])
        | {
            "text": texts[0],
            "judge": RecordedJudgement(raw=texts[1], **judge),
            "second_judge": RecordedJudgement(raw=texts[2], **judge),
            "response_tokens": tokens,
            "draw": sum(tokens) % MAX_SAFE_INTEGER,
            "salt": salt,
        }
    )
    wire = record.to_wire()
    assert record.to_line() == rfc8785.dumps(wire)
    assert RestrictedRecord.from_line(record.to_line()) == record
    del wire["salt"]
    inner = hashlib.sha256(rfc8785.dumps(wire)).digest()
    outer = hashlib.sha256(b"safety-receipts/point/1" + bytes.fromhex(salt) + inner)
    assert record.commitment() == outer.hexdigest()


@pytest.mark.parametrize("text", ["\ud800", "a\udfff"])
def test_text_that_no_utf8_spells_is_in_no_record(
    pair: tuple[Point, RestrictedRecord], text: str
) -> None:
    with pytest.raises(ValidationError, match="unicode"):
        RestrictedRecord(**dict(pair[1]) | {"text": text})


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line.replace(b":", b": ", 1),
        lambda line: line[:-1] + b',"text":""}',
        lambda line: line.replace(b'"draw"', b'"dr\\u0061w"'),
        lambda line: line.replace(b'"prompt_tokens"', b'"promptTokens"')[:-1],
    ],
)
def test_a_record_in_another_form_is_refused(
    pair: tuple[Point, RestrictedRecord], change: Callable[[bytes], bytes]
) -> None:
    with pytest.raises(MalformedError):
        RestrictedRecord.from_line(change(pair[1].to_line()))


def test_an_evidence_line_holds_no_word_of_the_response(sealed: Bundle) -> None:
    for line, record in zip(sealed.lines(1000), sealed.responses(), strict=True):
        assert record.salt.encode() not in line
        assert not record.text or record.text.encode() not in line
        assert record.prompt.encode() not in line
