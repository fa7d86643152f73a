"""Canonical bytes, digests, exact decimals."""

from __future__ import annotations

import decimal
import hashlib
import re
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from typing import Any

import pytest
import rfc8785
from hypothesis import example, given, settings
from hypothesis import strategies as st

from safety_receipts.receipts.canonical import (
    MAX_SAFE_INTEGER,
    Sha256,
    canonical_bytes,
    decimal_string,
    event_seed,
    point_id,
    sha256_hex,
    square_root,
    tagged_digest,
)

SAFE_INTEGERS = st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER)
ESCAPES = "".join(map(chr, range(0x20))) + '"\\/\x7f\x80\u2028\u2029\ufeff\U0001f600'


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        # RFC 8785, section 3.2.3 and the test data its appendix points to.
        (
            {
                "\u20ac": "Euro Sign",
                "\r": "Carriage Return",
                "\ufb33": "Hebrew Letter Dalet With Dagesh",
                "1": "One",
                "\U0001f600": "Emoji: Grinning Face",
                "\u0080": "Control",
                "\u00f6": "Latin Small Letter O With Diaeresis",
            },
            '{"\\r":"Carriage Return","1":"One","\u0080":"Control",'
            '"\u00f6":"Latin Small Letter O With Diaeresis","\u20ac":"Euro Sign",'
            '"\U0001f600":"Emoji: Grinning Face","\ufb33":"Hebrew Letter Dalet With Dagesh"}',
        ),
        (
            {"string": '\u20ac$\u000f\nA\'B"\\\\"/', "literals": [None, True, False]},
            '{"literals":[null,true,false],"string":"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}',
        ),
        ([56, {"d": True, "10": None, "1": []}], '[56,{"1":[],"10":null,"d":true}]'),
        (
            {
                "1": {"f": {"f": "hi", "F": 5}, "\n": 56},
                "10": {},
                "": "empty",
                "a": {},
                "111": [{"e": "yes", "E": "no"}],
                "A": {},
            },
            '{"":"empty","1":{"\\n":56,"f":{"F":5,"f":"hi"}},"10":{},'
            '"111":[{"E":"no","e":"yes"}],"A":{},"a":{}}',
        ),
        (
            {
                "peach": "This sorting order",
                "p\u00e9ch\u00e9": "is wrong according to French",
                "p\u00eache": "but canonicalization MUST",
                "sin": "ignore locale",
            },
            '{"peach":"This sorting order","p\u00e9ch\u00e9":"is wrong according to French",'
            '"p\u00eache":"but canonicalization MUST","sin":"ignore locale"}',
        ),
        ({"Unnormalized Unicode": "A\u030a"}, '{"Unnormalized Unicode":"A\u030a"}'),
        ("\b\t\n\f\r\x00\x1f\x7f", '"\\b\\t\\n\\f\\r\\u0000\\u001f\x7f"'),
        ([MAX_SAFE_INTEGER, -MAX_SAFE_INTEGER, 0], "[9007199254740991,-9007199254740991,0]"),
        ((1, True), "[1,true]"),
    ],
)
def test_known_canonical_forms(value: Any, expected: str) -> None:
    assert canonical_bytes(value) == expected.encode("utf-8")


@pytest.mark.parametrize(
    "value",
    [
        0.0,
        1.5,
        float("nan"),
        [1.0],
        (1.0,),
        {"a": [{"b": 2.0}]},
        {"a": {"b": (1, 2.5)}},
        [2**53, 1.0],
        {1: 2.0},
    ],
)
def test_a_float_is_refused_wherever_it_hides(value: Any) -> None:
    with pytest.raises(TypeError, match="a float cannot be sealed"):
        canonical_bytes(value)


@pytest.mark.parametrize(
    "value",
    [2**53, -(2**53), [10**30], "\ud800", {"\udfff": 1}, {"a": "\udc00"}, {1: "a"}, b"bytes"],
)
def test_what_other_readers_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # three kinds of value, three wordings
        canonical_bytes(value)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | SAFE_INTEGERS | st.text(),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=4), inner, max_size=5)
    ),
    max_leaves=20,
)


@given(JSON_VALUES)
@example({"\U00010000": 1, "\uffff": 2})
@example({"a": [{"\U00010000": 1, "\uffff": 2}], "b": "\ud7ff\ue000"})
@example({"": {}, "B": [], "a": ESCAPES, "Z": [True, None, False]})
@settings(deadline=None)
def test_any_value_without_floats_has_its_rfc8785_bytes(value: Any) -> None:
    assert canonical_bytes(value) == rfc8785.dumps(value)


@given(st.text(), st.lists(st.text() | SAFE_INTEGERS | st.none(), max_size=6))
@example("tag", [ESCAPES])
@example("tag", [MAX_SAFE_INTEGER, -MAX_SAFE_INTEGER, None])
@settings(deadline=None)
def test_tagged_digest_is_the_digest_of_the_rfc8785_array(
    tag: str, items: list[str | int | None]
) -> None:
    expected = hashlib.sha256(rfc8785.dumps([tag, *items])).digest()
    assert tagged_digest(tag, *items) == expected


@pytest.mark.parametrize("item", [2**53, -(2**53)])
def test_tagged_digest_refuses_integers_that_others_round(item: int) -> None:
    with pytest.raises(ValueError, match="beyond"):
        tagged_digest("tag", item)


@given(st.text(), st.text(), st.integers(0, MAX_SAFE_INTEGER))
@example(ESCAPES, ESCAPES, 0)
@settings(deadline=None)
def test_point_id_is_the_digest_of_the_rfc8785_array(condition: str, query: str, draw: int) -> None:
    expected = hashlib.sha256(rfc8785.dumps([condition, query, draw])).hexdigest()
    assert point_id(condition, query, draw) == expected


def test_point_id_known_answer() -> None:
    data = b'["h16-b16-suffix","harmbench/042",1]'
    assert point_id("h16-b16-suffix", "harmbench/042", 1) == hashlib.sha256(data).hexdigest()


def test_event_seed_known_answers() -> None:
    plan = Sha256("ab" * 32)
    alone = b'["safety-receipts/seed/1","' + b"ab" * 32 + b'",null]'
    assert event_seed(plan, None) == hashlib.sha256(alone).hexdigest()
    with_beacon = b'["safety-receipts/seed/1","' + b"ab" * 32 + b'","' + b"cd" * 32 + b'"]'
    assert event_seed(plan, "cd" * 32) == hashlib.sha256(with_beacon).hexdigest()


def test_sha256_known_answer() -> None:
    """FIPS 180-2, appendix B.1."""
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_hex(b"abc") == expected


@pytest.mark.parametrize(
    ("value", "places", "expected"),
    [
        (Fraction(1, 2), 0, "0"),
        (Fraction(3, 2), 0, "2"),
        (Fraction(5, 2), 0, "2"),
        (Fraction(-3, 2), 0, "-2"),
        (Fraction(1, 8), 2, "0.12"),
        (Fraction(3, 8), 2, "0.38"),
        (Fraction(-1, 8), 2, "-0.12"),
        (Fraction(1, 2_000_000), 6, "0.000000"),
        (Fraction(3, 2_000_000), 6, "0.000002"),
        (Fraction(1_999_999, 2_000_000), 6, "1.000000"),
        (Fraction(1_999_997, 2_000_000), 6, "0.999998"),
        # Never -0.
        (Fraction(-1, 2), 0, "0"),
        (Fraction(-1, 2_000_000), 6, "0.000000"),
        (0, 6, "0.000000"),
        (1, 6, "1.000000"),
        (-7, 1, "-7.0"),
        (Fraction(1, 3), 6, "0.333333"),
        (Fraction(2, 3), 6, "0.666667"),
        (Fraction(123_456_789, 1000), 2, "123456.79"),
        (10**20, 0, "100000000000000000000"),
    ],
)
def test_decimal_strings(value: Fraction | int, places: int, expected: str) -> None:
    assert decimal_string(value, places) == expected


@given(st.fractions() | st.integers().map(Fraction), st.integers(0, 12))
@settings(deadline=None)
def test_decimal_strings_keep_grammar_and_round_half_even(value: Fraction, places: int) -> None:
    text = decimal_string(value, places)
    fraction = rf"\.[0-9]{{{places}}}" if places else ""
    assert re.fullmatch(rf"-?(0|[1-9][0-9]*){fraction}", text)
    assert not re.fullmatch(r"-[0.]+", text)
    error = abs(Fraction(text) - value) * 10**places
    assert error <= Fraction(1, 2)
    if error == Fraction(1, 2):
        assert int(text[-1]) % 2 == 0


@given(st.integers(-(10**15), 10**15), st.integers(0, 9), st.integers(0, 9))
@settings(deadline=None)
def test_decimal_strings_agree_with_decimal_quantize(digits: int, scale: int, places: int) -> None:
    exact = Decimal(digits).scaleb(-scale)
    expected = exact.quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN)
    expected = expected or abs(expected)  # no -0
    assert decimal_string(Fraction(exact), places) == f"{expected:f}"


@pytest.mark.parametrize(
    ("value", "expected"),
    [(Fraction(0), Fraction(0)), (Fraction(9, 4), Fraction(3, 2)), (Fraction(1), Fraction(1))],
)
def test_exact_square_roots(value: Fraction, expected: Fraction) -> None:
    assert square_root(value) == expected


@given(st.fractions(min_value=Fraction(1, 10**12), max_value=10**12))
@settings(deadline=None)
def test_square_roots_are_right_to_forty_digits(value: Fraction) -> None:
    root = square_root(value)
    assert abs(root * root / value - 1) <= Fraction(1, 10**38)


def test_square_roots_do_not_depend_on_the_ambient_decimal_context() -> None:
    expected = square_root(Fraction(2))
    with decimal.localcontext() as context:
        context.prec = 3
        context.rounding = decimal.ROUND_UP
        assert square_root(Fraction(2)) == expected
    assert expected == Fraction("1.414213562373095048801688724209698078570")
