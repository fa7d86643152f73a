"""HTML and SVG as a tree: escaped once, and with a digest of all its words."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import escape
from typing import Final, TypeAlias

_VOID: Final = frozenset({"br", "hr", "input", "link", "meta"})
_RAW: Final = frozenset({"script", "style"})
"""Elements whose text a browser does not unescape."""
_BLANKS: Final = str.maketrans("", "", "\t\n\r\f ")


@dataclass(frozen=True)
class Element:
    """An element with its attributes and children."""

    tag: str
    """Its name."""
    attributes: tuple[tuple[str, str], ...]
    """Names and values, in order."""
    children: tuple[Node, ...]
    """Elements and texts."""

    @property
    def known(self) -> dict[str, str]:
        """Its attributes by name."""
        return dict(self.attributes)


Node: TypeAlias = Element | str
"""An element, or text: whatever stands in a text is shown as it stands there."""
Nodes: TypeAlias = Iterable[Node]


def el(tag: str, *children: Node | Nodes | None, **attributes: str | bool | None) -> Element:
    """Return an element.

    Args:
        tag: Its name.
        children: Elements, texts, or several of them; None: nothing.
        attributes: ``class_`` is ``class``, ``data_at`` is ``data-at``; True: an attribute without
            a value; False, None: none.
    """
    named = tuple(
        (name.rstrip("_").replace("_", "-"), "" if value is True else str(value))
        for name, value in attributes.items()
        if value is not None and value is not False
    )
    return Element(tag, named, tuple(_flat(children)))


def _flat(children: Iterable[Node | Nodes | None]) -> Iterator[Node]:
    for child in children:
        if isinstance(child, str | Element):
            yield child
        elif child is not None:
            yield from child


def markup(node: Node) -> str:
    """Return a tree as HTML."""
    return "".join(_pieces(node))


def _pieces(node: Node) -> Iterator[str]:
    if isinstance(node, str):
        yield escape(node, quote=False)
        return
    names = "".join(
        f" {name}" if value == "" else f' {name}="{escape(value)}"'
        for name, value in node.attributes
    )
    yield f"<{node.tag}{names}>"
    if node.tag in _VOID:
        return
    for child in node.children:
        if node.tag in _RAW and isinstance(child, str):
            yield _raw(child, node.tag)
        else:
            yield from _pieces(child)
    yield f"</{node.tag}>"
    if node.tag in _BLOCKS:
        yield "\n"


_BLOCKS: Final = frozenset(
    {"body", "dd", "dl", "div", "figure", "footer", "h1", "h2", "h3", "head", "header", "li"}
    | {"main", "nav", "ol", "p", "script", "section", "style", "svg", "table", "tbody", "thead"}
    | {"title", "tr", "ul"}
)
"""Elements after which a line ends, for who reads the source."""


def _raw(text: str, tag: str) -> str:
    if "</" in text.replace("<\\/", ""):
        raise ValueError(f"the text of a {tag} element would end it")
    return text


def words_digest(body: Element, title: str) -> str:
    """Return the SHA-256, in hex, of all words and all markup of a page, white space aside.

    Left out are scripts, styles, what the script fills (inside ``data-live``), and what a reader or
    the script changes: ``hidden`` of the form, ``open`` of what is folded.

    Args:
        body: The body, without the attribute that will hold the digest.
        title: The page's title.
    """
    return hashlib.sha256("".join([title, *_words(body)]).encode("utf-8")).hexdigest()


def _words(node: Node) -> Iterator[str]:
    if isinstance(node, str):
        yield node.translate(_BLANKS)
        return
    known = node.known
    if node.tag in _RAW:
        return
    yield f"\u0001{node.tag}"
    for name in sorted(known):
        if name != "hidden" and (node.tag, name) != ("details", "open"):
            yield f"\u0002{name}={known[name]}"
    if "data-live" not in known:
        for child in node.children:
            yield from _words(child)


def text_of(node: Node) -> str:
    """Return the text of a tree."""
    return node if isinstance(node, str) else "".join(map(text_of, node.children))
