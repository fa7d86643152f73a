"""The script writes numbers as :mod:`receipts.view.numerals` does, digit for digit."""

from __future__ import annotations

import random
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from safety_receipts.receipts.canonical import decimal_string
from safety_receipts.receipts.view import numerals

SEED = 20_261
SIZE = 4_000

EDGES = (
    *("0", "1", "0.5", "0.05", "0.005", "0.0005", "0.0015", "0.0025", "0.125", "0.3125", "0.0000"),
    *("0.9995", "0.99949", "0.99951", "0.095", "0.1235", "0.00012345", "0.000099995", "0.0009995"),
    *("0.950000", "1.000000", "0.000000", "0.00000000000000000001", "0.00000000000000000002"),
    *("9999999999999999.99999999999999999999", "1234567890123456.78901234567890123456"),
    *("0.00000000000000009995", "999.5", "0.10000000000000000555", "12345.65", "99950", "0.00004"),
)
BY_RENDERING: dict[str, Callable[[str], str]] = {
    "percent": numerals.percent,
    "points": numerals.percentage_points,
    "signed": numerals.signed_number,
    "signed2": lambda value: numerals.signed_number(value, 2),
    "level": numerals.level,
    "statistic": numerals.statistic,
    "whole": lambda value: value.partition(".")[0],
    "plain": lambda value: value,
}


def decimals() -> list[str]:
    """Return decimals of every length that can be sealed, negative ones and ties among them."""
    made = random.Random(SEED)
    found = list(EDGES)
    for _ in range(SIZE):
        places = made.randint(0, 20)
        whole = str(made.randrange(10 ** made.randint(1, 16)))
        fraction = "".join(made.choices("0123456789", (9, 1, 1, 1, 1, 6, 1, 1, 1, 6), k=places))
        found.append(f"{whole}.{fraction}" if places else whole)
    found += [decimal_string(Fraction(made.randrange(2**k + 1), 2**k), k) for k in range(1, 21)]
    found += [f"0.{made.randrange(10**6):06d}" for _ in range(SIZE)]
    return found + [f"-{value}" for value in found if Decimal(value)]


def test_every_rendering_of_a_decimal(calculate: Callable[..., Any]) -> None:
    values = decimals()
    expression = "names.map((name) => values.map((value) => render(value, name)))"
    for name, shown in zip(
        BY_RENDERING,
        calculate(expression, values=values, names=list(BY_RENDERING)),
        strict=True,
    ):
        wanted = [BY_RENDERING[name](value) for value in values]
        assert [*zip(values, shown, strict=True)] == [*zip(values, wanted, strict=True)], name


def test_p_values(calculate: Callable[..., Any]) -> None:
    made = random.Random(SEED)
    values = [value for value in decimals() if 0 <= Decimal(value) <= 1]
    for _ in range(SIZE):  # as they are sealed, and exact ties of a double
        zeros = made.randint(0, 19)
        values.append(f"0.{'0' * zeros}{made.randrange(10 ** (20 - zeros))}"[:22])
        power = made.randint(2, 20)
        values.append(decimal_string(Fraction(made.randrange(2**power), 2**power), power))
    shown = calculate("values.map((value) => render(value, 'p'))", values=values)
    wanted = [numerals.p_number(value) for value in values]
    assert [*zip(values, shown, strict=True)] == [*zip(values, wanted, strict=True)]


def test_whole_numbers(calculate: Callable[..., Any]) -> None:
    made = random.Random(SEED)
    values = [0, 1, 999, 1000, 2**53 - 1, *(made.randrange(2**53) for _ in range(SIZE))]
    assert calculate("values.map((value) => render(value, 'count'))", values=values) == [
        f"{value:,}" for value in values
    ]
    lengths = calculate("[render([], 'length'), render(Array(1404).fill(0), 'length')]")
    assert lengths == ["0", "1,404"]


def test_what_is_not_there_is_a_dash(calculate: Callable[..., Any]) -> None:
    names = [*BY_RENDERING, "p", "count", "text", "length", "digest", "prefix12"]
    shown = calculate("names.flatMap((n) => [render(null, n), render(undefined, n)])", names=names)
    assert set(shown) == {numerals.NOTHING}


def test_text_is_collapsed_as_python_splits_it(calculate: Callable[..., Any]) -> None:
    texts = ["a  b", "\ta\n\nb\r\n", "\u00a0a\u2028b\u3000", "a\u200bb\ufeff", "\x1ca\x85b", ""]
    texts += [f"a{chr(code)}b" for code in range(0x3100) if not 0xD800 <= code < 0xE000]
    shown = calculate("texts.map((text) => render(text, 'text'))", texts=texts)
    assert shown == [" ".join(text.split()) for text in texts]


@pytest.mark.parametrize(
    ("value", "name"),
    [("0.5", "count"), (1.5, "percent"), ("1e3", "percent"), (True, "plain"), (5, "text")],
)
def test_a_value_of_another_type_is_refused(
    calculate: Callable[..., Any], value: object, name: str
) -> None:
    expression = "(() => { try { return render(value, name); } catch { return null; } })()"
    assert calculate(expression, value=value, name=name) is None
