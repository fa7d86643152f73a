"""Whether HTML in a card is still open at a place, and would hide or strike what follows.

Browsers mend HTML that is broken, each mistake by a rule of its own (HTML Living Standard, 13.2).
They are not followed one by one: an element is taken as open wherever that is possible, and as
closed only where every browser closes it.  So a card may be refused of which a browser would have
made sense; closing what is open, innermost first, mends it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final


def _names(spaced: str) -> frozenset[str]:
    return frozenset(spaced.split())


# The names are those of the standard.
_RAW: Final = _names("script style textarea title xmp iframe noembed noframes")
"""What follows is text until the element's own end."""
_NEVER: Final = _names("html head body frameset noscript plaintext")
"""They change the page around them, or are never closed."""
_HIDING: Final = _RAW | _names(
    "details dialog del s strike font pre listing template svg math select datalist object applet "
    "audio video canvas map marquee button meter progress rp"
)
_VOID: Final = _names("area base br col embed hr img input link meta param source track wbr")
_CELLS: Final = _names("table caption colgroup tbody thead tfoot tr td th")
_CLOSES_ALL_WITHIN: Final = _CELLS | _names(
    "div details center section article aside figure figcaption header footer main nav summary "
    "dialog fieldset address p ul ol dl blockquote pre listing"
)
"""The end of such an element also ends what is open within it."""
_BARRIERS: Final = _names(
    "table td th caption object applet marquee template svg math select button"
)
"""Within these the end of an element outside them is ignored."""
_FOREIGN: Final = _names("svg math")
_ENDS_FOREIGN: Final = _names(
    "b big blockquote body br center code dd div dl dt em embed h1 h2 h3 h4 h5 h6 head hr i img li "
    "listing menu meta nobr ol p pre ruby s small span strong strike sub sup table tt u ul var "
    "font"
)
"""HTML that ends a drawing or a formula in which it stands."""
_HIDING_ATTRIBUTES: Final = _names("hidden class popover inert aria-hidden color")
_MOST_OPEN: Final = 500
"""Elements that may be open: browsers put no more within each other."""
_PLAIN_STYLE: Final = re.compile(r"\s*text-align\s*:\s*\w+\s*;?\s*")

_TAG: Final = re.compile(r"<(/?)([A-Za-z][^\s/>]*)")
_ATTRIBUTE: Final = re.compile(
    r"[\s/]*(?P<name>=?[^\s/>=]+|=)"
    r"(?:\s*=\s*(?:\"(?P<a>[^\"]*)\"|'(?P<b>[^']*)'|(?P<c>[^\s>\"'][^\s>]*)|(?=>)))?"
)
_REST: Final = re.compile(r"[\s/]*")
_ODD_COMMENT: Final = re.compile(r"<!--(?:-?>|(?:(?!-->)[\s\S])*--!>)")


@dataclass(frozen=True)
class HtmlPiece:
    """HTML of a card that is handed on as it stands."""

    text: str
    """The HTML."""
    line: int
    """Line on which it begins, or what holds it does; from 0."""
    parent: int
    """What it stands in: equal for pieces of one parent."""
    inline: bool
    """Whether it stands in a line of text; if not, it is a block."""
    in_cell: bool
    """Whether that line is a cell of a table."""


@dataclass(frozen=True)
class OpenHtml:
    """HTML that is open."""

    what: str
    """What it is."""
    line: int
    """Line on which it begins, from 0."""


@dataclass(frozen=True)
class _Element:
    name: str
    hides: bool
    piece: HtmlPiece
    at: OpenHtml


@dataclass(frozen=True)
class _Tag:
    name: str
    ends: bool
    hides: bool
    self_closing: bool
    after: int


@dataclass
class HtmlReader:
    """Reads HTML piece by piece, and knows what is open."""

    found: OpenHtml | None = None
    """What hides all that follows, whatever that is."""
    _open: list[_Element] = field(default_factory=list)
    _raw: str | None = None

    def open_html(self) -> OpenHtml | None:
        """Return the first that is open and hides; None: nothing does."""
        hiding = next((one.at for one in self._open if one.hides), None)
        return self.found or hiding

    def read(self, piece: HtmlPiece) -> None:
        """Read a piece."""
        text, at = piece.text, 0
        while self.found is None:
            if self._raw is not None:
                ending = re.compile(rf"</{self._raw}(?=[\s/>])", re.IGNORECASE).search(text, at)
                if ending is None:
                    return
                at = ending.start()
            at = text.find("<", at)
            if at < 0:
                return
            at = self._markup(piece, at)

    def _markup(self, piece: HtmlPiece, at: int) -> int:
        """Read what begins with ``<``; return where reading goes on."""
        text, line = piece.text, piece.line + piece.text.count("\n", 0, at)
        if text.startswith("<!--", at):
            ending = text.find("-->", at + 4)
            if ending < 0 or _ODD_COMMENT.match(text, at):
                self.found = OpenHtml("a comment", line)
            return ending + 3
        foreign = self._foreign()
        if foreign is not None and text.startswith("<![CDATA[", at):
            self.found = foreign.at  # text to "]]>", unless something ended the drawing before
            return at + 1
        if text.startswith(("<!", "<?"), at) or re.match(r"</[^A-Za-z]", text[at : at + 3]):
            ending = text.find(">", at)
            if ending < 0:
                self.found = OpenHtml(f"HTML ({text[at : at + 2]})", line)
            return ending + 1
        opening = _TAG.match(text, at)
        if opening is None:
            return at + 1
        tag = _tag(text, opening)
        if tag is None:
            self.found = OpenHtml(f"the tag <{opening[1]}{opening[2].lower()}", line)
            return at + 1
        shown = OpenHtml(f"the tag <{tag.name}>", line)
        (self._end if tag.ends else self._begin)(tag, piece, shown)
        return tag.after

    def _foreign(self) -> _Element | None:
        return next((one for one in self._open if one.name in _FOREIGN), None)

    def _begin(self, tag: _Tag, piece: HtmlPiece, at: OpenHtml) -> None:
        foreign = self._foreign()
        if tag.name in _NEVER or len(self._open) >= _MOST_OPEN:
            self.found = at
        elif foreign is not None and tag.name in _ENDS_FOREIGN:
            self.found = foreign.at
        elif tag.name not in _VOID and not (
            tag.self_closing and (tag.name in _FOREIGN or _is_shape(tag, foreign, piece))
        ):
            self._open.append(_Element(tag.name, tag.hides, piece, at))
            if tag.name in _RAW:
                self._raw = tag.name

    def _end(self, tag: _Tag, piece: HtmlPiece, at: OpenHtml) -> None:
        if self._raw is not None:  # its own end: nothing else is looked for
            self._raw = None
            raw = self._open.pop()
            if raw.piece.parent != piece.parent:  # what ended its parent was text
                self.found = raw.at
            return
        foreign = self._foreign()
        if foreign is not None and tag.name in ("p", "br"):
            self.found = foreign.at
            return
        place = next(
            (n for n in reversed(range(len(self._open))) if self._open[n].name == tag.name), None
        )
        if place is None:
            return
        element, within = self._open[place], self._open[place + 1 :]
        if piece.parent != element.piece.parent and piece.in_cell:
            return
        if tag.name in _CLOSES_ALL_WITHIN:
            barriers = frozenset(("table", "template")) if tag.name in _CELLS else _BARRIERS
            if not any(one.name in barriers for one in within):
                # What hides and was not closed itself stays: formatting goes on behind an end.
                self._open[place:] = [one for one in within if one.hides]
        elif not within and piece.parent == element.piece.parent:
            self._open.pop()


def _tag(text: str, opening: re.Match[str]) -> _Tag | None:
    """Return a tag; None: it is not ended."""
    name, at = opening[2].lower(), opening.end()
    attributes: list[tuple[str, str]] = []
    while found := _ATTRIBUTE.match(text, at):
        value = found["a"] or found["b"] or found["c"] or ""
        attributes.append((found["name"].lower(), value))
        at = found.end()
        if re.compile(r"\s*=\s*[\"']").match(text, at):
            return None  # the quote is not closed
    rest = _REST.match(text, at)
    assert rest is not None  # it may be empty
    if not text.startswith(">", rest.end()):
        return None
    hides = name in _HIDING or any(_hides(*attribute) for attribute in attributes)
    closing = text[rest.end() - 1] == "/"
    return _Tag(name, opening[1] == "/", hides, closing, rest.end() + 1)


def _is_shape(tag: _Tag, foreign: _Element | None, piece: HtmlPiece) -> bool:
    """Return whether a tag stands in a drawing that no text of the card has ended."""
    if foreign is None or tag.name in _HIDING:
        return False
    same_line = piece.inline and foreign.piece.parent == piece.parent
    return same_line or foreign.piece is piece


def _hides(name: str, value: str) -> bool:
    if name == "style":
        return _PLAIN_STYLE.fullmatch(value) is None
    return name in _HIDING_ATTRIBUTES


def first_open(pieces: Iterator[HtmlPiece]) -> OpenHtml | None:
    """Return what is open after all pieces and hides what follows; None: nothing is."""
    reader = HtmlReader()
    for piece in pieces:
        reader.read(piece)
    return reader.open_html()
