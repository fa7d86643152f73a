"""Reading pages that the tool makes, as a program without scripts reads them."""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

VOID = frozenset({"br", "hr", "input", "link", "meta"})


@dataclass
class Shown:
    """An element that shows a sealed value."""

    place: str
    """The place of the value, from the root of its document."""
    form: str
    """How it is shown."""
    text: str = ""
    """What is shown."""


@dataclass
class ReadPage:
    """What stands on a page."""

    shown: list[Shown] = field(default_factory=list)
    """Elements that show sealed values."""
    fixed: list[str] = field(default_factory=list)
    """Texts of the tool's own that hold digits."""
    unbound: list[str] = field(default_factory=list)
    """Other texts that hold digits; on a good page there is none."""
    text: str = ""
    """All that a reader sees without scripts."""
    tags: set[str] = field(default_factory=set)
    """Names of its elements."""
    data: dict[str, Any] = field(default_factory=dict)
    """The block of signed documents."""

    def document(self, letter: str) -> Any:
        """Return the predicate of a signed document of the page."""
        block = self.data
        blob = {"r": block["receipt"], "p": block["plan"]}.get(letter)
        if blob is None:
            blob = block["audits"][int(letter[1:])]
        return json.loads(base64.b64decode(json.loads(unpacked(blob))["payload"]))["predicate"]

    def value(self, place: str) -> Any:
        """Return the sealed value at a place (RFC 6901); None: there is none."""
        _, letter, *steps = place.split("/")
        value = self.document(letter)
        for step in (step.replace("~1", "/").replace("~0", "~") for step in steps):
            if value is None:
                return None
            value = value[int(step)] if isinstance(value, list) else value.get(step)
        return value


def unpacked(blob: dict[str, str]) -> bytes:
    """Return the bytes of a file in the block of a page."""
    return gzip.decompress(base64.b64decode(blob["gzip"], validate=True))


def read_page(file: Path | bytes) -> ReadPage:
    """Read a page without running its script."""
    data = file if isinstance(file, bytes) else file.read_bytes()
    parser = _Parser()
    parser.feed(data.decode("utf-8"))
    parser.close()
    assert not parser.open, "an element is not closed"
    parser.page.data = json.loads(parser.block)
    return parser.page


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = ReadPage()
        self.open: list[tuple[str, dict[str, str | None], Shown | None]] = []
        self.block = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self.page.tags.add(tag)
        shown = None
        if (place := known.get("data-at")) is not None:
            if not place.startswith("/"):
                around = [found for _, each, _ in self.open if (found := each.get("data-in"))]
                place = f"{around[-1]}/{place}"
            shown = Shown(place, str(known["data-as"]))
            self.page.shown.append(shown)
        if tag not in VOID:
            self.open.append((tag, known, shown))

    def handle_endtag(self, tag: str) -> None:
        found, _, _ = self.open.pop()
        assert found == tag

    def handle_data(self, data: str) -> None:
        names = {tag for tag, _, _ in self.open}
        attributes = {name for _, known, _ in self.open for name in known}
        if "script" in names:
            if any(known.get("id") == "data" for _, known, _ in self.open):
                self.block += data
            return
        if "head" in names:
            return
        self.page.text += data
        within = [shown for _, _, shown in self.open if shown is not None]
        if within:
            within[-1].text += data
        elif any(character.isdecimal() for character in data) and "data-live" not in attributes:
            fixed = "data-fixed" in attributes
            (self.page.fixed if fixed else self.page.unbound).append(data)
