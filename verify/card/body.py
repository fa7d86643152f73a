"""Where a section stands in the Markdown of a card, and whether it would be seen there."""

from __future__ import annotations

import re
from typing import Final

from safety_receipts.receipts.errors import MalformedError
from safety_receipts.verify.card.marks import line_of

_LINE: Final = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|\Z)")
_FENCE: Final = re.compile(r" {0,3}(`{3,}(?=[^`]*$)|~{3,})")


def section_place(text: str, body: int) -> int:
    """Return where a new section is put: after all Markdown, before the last line's break.

    Raises:
        MalformedError: A block of code or a comment is not closed, and would swallow it.
    """
    check_seen(text, body, len(text))
    if len(text) == body:
        return body
    for ending in ("\r\n", "\n", "\r"):
        if text.endswith(ending):
            return max(body, len(text) - len(ending))
    return len(text)


def check_seen(text: str, body: int, place: int) -> None:
    """Refuse a place inside a block of code or a comment of HTML.

    Args:
        text: The card.
        body: Where its Markdown begins.
        place: The place, at the beginning of a line or the end of the text.

    Raises:
        MalformedError: What stands there is not shown as Markdown.
    """
    opened = _opened(text, body, place)
    if opened is not None:
        at, what = opened
        raise MalformedError(
            f"{what} begins here and is not closed, so that the section would not be seen",
            place=f"line {line_of(text, at)}",
            hint="close it, and attach again",
        )


def _opened(text: str, body: int, place: int) -> tuple[int, str] | None:
    """Return where what is open at a place began, and what it is; None: nothing is.

    CommonMark 0.31, sections 4.5 and 4.6 (kind 2): fences of code, and comments at the beginning
    of a line.
    """
    fence: str | None = None
    comment, began, at = False, body, body
    while at < place:
        line = _LINE.match(text, at)
        assert line is not None  # a line may be empty
        content, start = line[0].rstrip("\r\n"), at
        at = line.end()
        if comment:
            comment = "-->" not in content
        elif fence is not None:
            closing = _FENCE.match(content)
            if closing and closing[1].startswith(fence) and not content[closing.end() :].strip():
                fence = None
        elif opening := _FENCE.match(content):
            fence, began = opening[1], start
        elif re.match(r" {0,3}<!--", content):
            comment, began = "-->" not in content.partition("<!--")[2], start
    if fence is not None:
        return began, "a block of code"
    return (began, "a comment") if comment else None
