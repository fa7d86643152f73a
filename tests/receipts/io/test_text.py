"""Text from outside, made safe to print."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safety_receipts.receipts.io.text import printable, spelt_out, value_text

STEERING = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("plain text, {braces} and \\backslash", "plain text, {braces} and \\backslash"),
        ("Grüße, 世界 \U0001f600", "Grüße, 世界 \U0001f600"),
        ("two\nlines\r\n", "two\\x0alines\\x0d\\x0a"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("\x9b31m", "\\x9b31m"),
        ("\x00\x07\x08\x7f", "\\x00\\x07\\x08\\x7f"),
        ("a\u202eb\u2066c", "a\\u202eb\\u2066c"),
        ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
        ("\u2028\u2029", "\\u2028\\u2029"),
        ("\ud800", "\\ud800"),
        ("\ue000\uffff", "\\ue000\\uffff"),
        ("\U000e0041\U0010ffff", "\\U000e0041\\U0010ffff"),
        ("soft\u00adhyphen", "soft\\xadhyphen"),
        ("many" + " " * 300 + "spaces", "many spaces"),
        ("no\u00a0\u2003\u3000break", "no break"),
        ("braille\u2800\u2800\u2800blank", "braille blank"),
        ("hangul\u3164\u115f\u1160\uffa0filler", "hangul filler"),
        ("mixed \u3000 \u2800 \u3164 blanks", "mixed blanks"),
        (" \u034f \ufe0f ", " \\u034f \\ufe0f "),
        ("e\u0301", "e\u0301"),
        ("e" + "\u0301" * 6, "e" + "\u0301" * 4 + "\\u0301\\u0301"),
        ("\u0301e", "\\u0301e"),
        ("a \u0301b", "a \\u0301b"),
    ],
)
def test_what_steers_a_terminal_is_spelt_out(text: str, expected: str) -> None:
    assert printable(text) == expected


@given(st.text(st.characters()))
@settings(max_examples=300, deadline=None)
def test_nothing_that_steers_is_left(text: str) -> None:
    shown = printable(text)
    assert not {unicodedata.category(character) for character in shown} & STEERING
    assert len(shown.splitlines()) <= 1
    shown.encode("utf-8")


@given(st.text(st.characters()))
@settings(deadline=None)
def test_what_is_printable_stays_and_printing_twice_is_printing_once(text: str) -> None:
    kept = "".join(
        c for c in text if unicodedata.category(c) not in {*STEERING, "Zs", "Mn", "Mc", "Me"}
    )
    kept = "".join(c for c in kept if c not in BLANKS)
    assert printable(kept) == kept
    assert printable(printable(text)) == printable(text)


BLANKS = "\u2800\u3164\u115f\u1160\uffa0\U0001d159"


@given(st.text(st.sampled_from(f"ab \u00a0\u2003\u3000\u0301\u034f\ufe0f\u200b{BLANKS}")))
@settings(deadline=None)
def test_no_run_of_blanks_and_no_pile_of_marks_is_left(text: str) -> None:
    shown = printable(text)
    assert "  " not in shown
    assert not set(shown) & set(f"\u00a0\u2003\u3000\u034f\ufe0f{BLANKS}")
    assert "\u0301" * 5 not in shown


@given(st.text(st.characters()))
@settings(deadline=None)
def test_spelling_out_keeps_all_blanks(text: str) -> None:
    shown = spelt_out(text)
    assert not {unicodedata.category(character) for character in shown} & STEERING
    kept = "".join(c for c in text if unicodedata.category(c) not in STEERING)
    assert spelt_out(kept) == kept


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [("abcdef", 6, "abcdef"), ("abcdefg", 6, "abcde…"), ("abc", 1, "…"), ("a\nb", 6, "a\\x0ab")],
)
def test_a_long_text_is_cut(text: str, limit: int, expected: str) -> None:
    assert printable(text, limit) == expected


@given(st.text(st.characters()), st.integers(1, 50))
@settings(deadline=None)
def test_only_a_text_beyond_the_limit_is_cut(text: str, limit: int) -> None:
    whole, shown = printable(text), printable(text, limit)
    if len(whole) <= limit:
        assert shown == whole
    else:
        assert shown == whole[: limit - 1] + "…"


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, "null"), (True, "true"), (False, "false"), (7, "7"), ("None", "None"), ("0.7", "0.7")],
)
def test_a_value_is_spelt_as_in_a_document(value: object, expected: str) -> None:
    """Python's own words for nothing, true and false stand in no file and in no message."""
    assert value_text(value) == expected
