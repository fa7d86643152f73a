"""Canonical bytes, digests and exact decimal strings.

Everything that is hashed or signed passes through this module: RFC 8785 (JCS) bytes,
SHA-256, and decimal strings instead of floats.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from typing import Final, NewType

import rfc8785

Sha256 = NewType("Sha256", str)
"""A SHA-256 digest as 64 lower-case hex digits."""

_HEX32 = re.compile(r"[0-9a-f]{64}")

MAX_SAFE_INTEGER = 2**53 - 1
"""Largest integer that every JSON reader holds exactly (RFC 8785, appendix B; I-JSON)."""

JsonValue = None | bool | int | str | Sequence["JsonValue"] | Mapping[str, "JsonValue"]
"""JSON without floats: the only values that reach a signed payload."""


def is_hex32(text: str) -> bool:
    """Say whether ``text`` spells 32 bytes (a digest, a nonce) as 64 lower-case hex digits."""
    return _HEX32.fullmatch(text) is not None


def sha256_hex(data: bytes) -> Sha256:
    """Return the SHA-256 of ``data`` as 64 hex digits."""
    return Sha256(hashlib.sha256(data).hexdigest())


def canonical_bytes(value: JsonValue) -> bytes:
    """Return the RFC 8785 bytes of ``value``.

    Without floats, with keys in ASCII, whose order by code points is that by UTF-16 code units,
    ``json.dumps`` with sorted keys and without spaces *is* RFC 8785, and is ten times faster; a
    property test holds the two together.  Anything else goes through :mod:`rfc8785`.

    Raises:
        TypeError: ``value`` holds a float; rates are decimal strings in this project.
        ValueError: An integer lies beyond ±(2^53 − 1), or a string is not valid Unicode.
    """
    if _is_plain(value):
        return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode(
            "utf-8"
        )
    return rfc8785.dumps(value)


_AS_IT_IS: Final = frozenset({str, bool, type(None)})


def _is_plain(value: object) -> bool:
    """Say whether Python's own encoder writes a value as RFC 8785 has it; refuse floats."""
    kind = type(value)
    if kind in _AS_IT_IS:
        return True
    if kind is int:
        return -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER  # type: ignore[operator]
    if isinstance(value, float):
        raise TypeError(f"a float cannot be sealed: {value!r}; use a decimal string")
    if isinstance(value, Mapping):
        # All of them are looked at: a float is refused wherever it stands.
        items = [_is_plain(item) for item in value.values()]
        keys = all(type(key) is str and key.isascii() for key in value)
        return kind is dict and keys and all(items)
    if isinstance(value, (list, tuple)):
        items = [_is_plain(item) for item in value]
        return all(items)
    return False


def tagged_digest(tag: str, *items: str | int | None) -> bytes:
    """Return SHA-256 over the RFC 8785 array ``[tag, *items]``, 32 raw bytes.

    The tag separates domains: no two uses of a hash in this project can collide.  For an
    array of strings, integers and nulls, ``json.dumps`` without spaces *is* RFC 8785 (there
    are no keys to sort and no floats to format) and is ten times faster; a property test
    holds the two together.

    Raises:
        ValueError: An integer lies beyond ±(2^53 − 1).
    """
    for item in items:
        if type(item) is int and not -MAX_SAFE_INTEGER <= item <= MAX_SAFE_INTEGER:
            raise ValueError(f"{item} lies beyond ±(2^53 − 1)")
    text = json.dumps((tag, *items), separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).digest()


def point_id(condition: str, query: str, draw: int) -> Sha256:
    """Return the id of an evaluation point: SHA-256 over JCS ``[condition, query, draw]``."""
    text = json.dumps((condition, query, draw), separators=(",", ":"), ensure_ascii=False)
    return sha256_hex(text.encode("utf-8"))


def event_seed(plan_digest: Sha256, beacon_value: str | None) -> Sha256:
    """Return the seed that all randomness of a sealed event derives from.

    Args:
        plan_digest: SHA-256 of the sealed plan's payload bytes.
        beacon_value: The public beacon's value, where the plan names a beacon round.
    """
    return Sha256(tagged_digest("safety-receipts/seed/1", plan_digest, beacon_value).hex())


def decimal_string(value: Fraction | int, places: int) -> str:
    """Return ``value`` with exactly ``places`` decimals, rounded half to even.

    The rational is rounded exactly, so any language that does the same agrees to the digit.
    Grammar: ``-?digits(.digits)?``; never an exponent, never −0.
    """
    value = Fraction(value)
    scaled = round(value * 10**places)  # Fraction.__round__ is exact and rounds half to even
    sign = "-" if scaled < 0 else ""
    digits = str(abs(scaled)).rjust(places + 1, "0")
    return f"{sign}{digits[:-places]}.{digits[-places:]}" if places else f"{sign}{digits}"


def square_root(value: Fraction, places: int = 40) -> Fraction:
    """Return the square root of a non-negative rational to ``places`` significant digits.

    Decimal arithmetic of fixed precision gives the same digits on every platform, which
    binary floating point does not promise.
    """
    context = Context(prec=places, rounding=ROUND_HALF_EVEN)
    quotient = context.divide(Decimal(value.numerator), Decimal(value.denominator))
    return Fraction(context.sqrt(quotient))
