"""Where a section stands in the Markdown of a card, and whether it would be seen there."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.token import Token

from safety_receipts.receipts.errors import MalformedError
from safety_receipts.verify.card.hiding import HtmlPiece, OpenHtml, first_open
from safety_receipts.verify.card.marks import DamagedCardError, MarkedBlock, line_of

HEADING: Final = "Safety receipt: compliance after mixed demonstrations"
"""Heading of a section."""
_DIALECTS: Final = ((), ("table", "strikethrough"))
"""What is read beside CommonMark: nothing, and what most hubs add."""
_PROBE: Final = "<!-- safety-receipts: seen? -->"
_CELLS: Final = ("td_open", "th_open")


def section_place(text: str, body: int) -> int:
    """Return where a new section is put: after all Markdown, before the last line's break.

    Raises:
        MalformedError: Something in the card is not closed, and would hide it.
    """
    place = len(text)
    for ending in ("\r\n", "\n", "\r"):
        if text.endswith(ending):
            place = max(body, len(text) - len(ending))
            break
    _check_probe(text, body, f"{text[body:place]}\n\n")
    return place


def check_seen(text: str, body: int, place: int) -> None:
    """Refuse a place at which what is not closed would hide or strike a section.

    Args:
        text: The card.
        body: Where its Markdown begins.
        place: Where the section's first mark begins.

    Raises:
        MalformedError: What stands there is not shown as Markdown; names what is open.
    """
    _check_probe(text, body, text[body:place])


def check_heading(text: str, body: int, sections: Sequence[MarkedBlock]) -> None:
    """Refuse a card in which something else is headed as sections are.

    Args:
        text: The card.
        body: Where its Markdown begins.
        sections: Those that this program wrote.

    Raises:
        DamagedCardError: Such a heading stands outside them; names its line.
    """
    first = line_of(text, body)
    ours = [(line_of(text, one.start), line_of(text, one.end)) for one in sections]
    heading = False
    for token in _tokens(text[body:], _DIALECTS[-1]):
        heading = token.type == "heading_open" or (heading and token.type != "heading_close")
        if token.map is None or not (
            token.type == "html_block" or (heading and token.type == "inline")
        ):
            continue
        line = first + token.map[0]
        if any(begin <= line <= end for begin, end in ours):
            continue
        if HEADING.casefold() in " ".join(_shown(token).split()).casefold():
            raise DamagedCardError(
                "a heading here reads as the one of a receipt's section, which it is not",
                place=f"line {line}",
                hint="remove it with all that belongs to it",
            )


def _shown(token: Token) -> str:
    """Return what a reader sees of a heading, or of a block of HTML."""
    if token.children is None:
        return html.unescape(re.sub(r"<[^>]*>", "", token.content))
    return "".join(
        " " if child.type in ("softbreak", "hardbreak") else child.content
        for child in token.children
        if child.type != "html_inline"
    )


def _check_probe(text: str, body: int, before: str) -> None:
    """Refuse Markdown behind which a comment of HTML is none, or stands in what hides it."""
    for dialect in _DIALECTS:
        opened = _opened(_tokens(before + _PROBE, dialect))
        if opened is not None:
            raise MalformedError(
                f"{opened.what} begins here and is not closed, so that the section would not be "
                "seen",
                place=f"line {line_of(text, body) + opened.line}",
                hint="close it, and attach again",
            )


def _tokens(markdown: str, dialect: Sequence[str]) -> list[Token]:
    # The parser leaves out what is nested deeper than its limit: Python's own comes first.
    parser = MarkdownIt("commonmark", {"maxNesting": 1_000_000}).enable(list(dialect))
    try:
        return parser.parse(markdown)
    except RecursionError:
        raise MalformedError("the Markdown is nested too deeply to be read") from None


def _opened(tokens: Sequence[Token]) -> OpenHtml | None:
    """Return what is open at the probe, which is the end; None: nothing is."""
    last = tokens[-1]
    if last.type != "html_block" or last.level or last.content.strip() != _PROBE:
        outer = next(one for one in reversed(tokens) if not one.level and one.map is not None)
        assert outer.map is not None  # it was chosen so
        return OpenHtml(_named(last), outer.map[0])
    return first_open(_pieces(tokens[:-1]))


def _named(token: Token) -> str:
    if token.type in ("fence", "code_block"):
        return "a block of code"
    if token.type != "html_block":
        return "a list or a quotation"
    opening = re.match(r"\s*(<[!?/]?(?:--|\[CDATA\[|\w*))", token.content)
    assert opening is not None  # all such blocks begin so
    return "a comment" if opening[1] == "<!--" else f"HTML ({opening[1]})"


def _pieces(tokens: Sequence[Token]) -> Iterator[HtmlPiece]:
    """Yield the HTML that is handed on as it stands; all else is escaped."""
    parents: list[Token] = []
    line = 0
    for token in tokens:
        line = token.map[0] if token.map is not None else line
        if token.nesting > 0:
            parents.append(token)
        elif token.nesting < 0:
            parents.pop()
        elif token.type == "html_block":
            parent = id(parents[-1]) if parents else 0
            yield HtmlPiece(token.content, line, parent, inline=False, in_cell=False)
        elif token.children:
            in_cell = parents[-1].type in _CELLS
            yield from _inline_pieces(token, line, in_cell=in_cell)


def _inline_pieces(line_of_text: Token, line: int, *, in_cell: bool) -> Iterator[HtmlPiece]:
    parents = [line_of_text]
    for token in line_of_text.children or ():
        if token.nesting > 0:
            parents.append(token)
        elif token.nesting < 0:
            parents.pop()
        elif token.type == "html_inline":
            yield HtmlPiece(token.content, line, id(parents[-1]), inline=True, in_cell=in_cell)
