"""Text from outside, made safe to print.

Names in a receipt are written by whoever sealed it.  Printed raw, they could move a
terminal's cursor, recolour a verdict or reverse the reading order of a line; and blanks enough
would push what follows them to the beginning of a line, as if this program had written it.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

# Cc controls, Cf formats (bidirectional overrides, zero-width), Cs surrogates, Co private use,
# Zl / Zp line and paragraph separators: everything that changes how *other* text is shown.
_UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})

_VARIATIONS: Final = (*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))
_INVISIBLE: Final = frozenset(map(chr, (0x034F, 0x17B4, 0x17B5, *_VARIATIONS)))
"""Marks that are not seen (Unicode's Default_Ignorable_Code_Point, category Mn)."""

_BLANK: Final = frozenset(
    " \u00a0\u1680\u202f\u205f\u3000\u115f\u1160\u2800\u3164\uffa0\U0001d159"
) | frozenset(map(chr, range(0x2000, 0x200B)))
"""What looks like nothing and takes room: spaces (Zs), Hangul fillers, the blank Braille pattern,
the null notehead."""

_MARKS = frozenset({"Mn", "Mc", "Me"})
_MOST_MARKS: Final = 4
"""Combining marks on one character: no language writes more, and more cover other lines."""
_BLANKS = re.compile("  +")


def printable(text: str, limit: int | None = None) -> str:
    r"""Return ``text`` on one line, with nothing that could pass for the layout around it.

    Args:
        text: Any string, trusted or not.
        limit: Longest result in characters; a longer one ends in ``…``.

    Returns:
        One line: control, format, surrogate, private-use and separator characters, marks that
        are not seen and marks piled on one character become ``\xNN``, ``\uNNNN`` or
        ``\UNNNNNNNN``; blanks of any kind, however many, become one space.
    """
    plain = text.isascii() and text.isprintable()
    shown = _BLANKS.sub(" ", text) if plain else _tidy(text, limit)
    if limit is not None and len(shown) > limit:
        shown = shown[: max(0, limit - 1)] + "…"
    return shown


def value_text(value: object) -> str:
    """Return a value of a document as JSON spells it: ``null``, ``true``, ``false``, else as is.

    Texts for people show what stands in a file, and no file holds Python's ``None``.
    """
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def spelt_out(text: str) -> str:
    """Return ``text`` with what could steer a terminal spelt out, and all its blanks kept."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        _escape(char) if unicodedata.category(char) in _UNSAFE_CATEGORIES else char for char in text
    )


def _tidy(text: str, limit: int | None) -> str:
    found: list[str] = []
    length, after_blank, marks = 0, False, _MOST_MARKS  # no mark on what stands before
    for char in text:
        if limit is not None and length > limit:
            break
        blank = char in _BLANK
        if blank and after_blank:
            continue
        category = unicodedata.category(char)
        piled = category in _MARKS and marks >= _MOST_MARKS
        if blank:
            shown = " "
        elif piled or category in _UNSAFE_CATEGORIES or char in _INVISIBLE:
            shown = _escape(char)
        else:
            shown = char
        marks = _MOST_MARKS if blank else marks + 1 if category in _MARKS else 0
        after_blank = blank
        length += len(shown)
        found.append(shown)
    return "".join(found)


def _escape(character: str) -> str:
    code = ord(character)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
