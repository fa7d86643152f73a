"""Putting what a receipt gives into the text of a card, and nothing else.

A card is other people's: its YAML holds comments, quotes and orders of keys that no program writes
again as they were.  So nothing is parsed and written back; whole lines are put in, and those alone
are taken out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.errors import MalformedError
from safety_receipts.verify.card.body import section_place
from safety_receipts.verify.card.entries import YamlTree, yaml_lines
from safety_receipts.verify.card.front_matter import (
    MODEL_INDEX,
    FrontMatter,
    FrontMatterOutline,
    find_front_matter,
    outline_of,
)
from safety_receipts.verify.card.marks import (
    CardMark,
    MarkedBlock,
    Region,
    line_of,
    marked_blocks,
)

_OWN_KEY: Final = f"{MODEL_INDEX}: # safety-receipts"
"""The key, where this program put it in: it goes with the last entry."""
_OWN_YAML: Final = "# safety-receipts: this front matter was put in with the receipt"
"""First line of a front matter that this program put in."""


@dataclass(frozen=True)
class CardParts:
    """What a receipt gives a card."""

    mark: CardMark
    """The receipt, its checkpoint and its stage."""
    section: tuple[str, ...]
    """Lines of Markdown, without marks."""
    entry: YamlTree
    """The entry of ``model-index``."""


@dataclass(frozen=True)
class CardLayout:
    """Where everything stands in a card."""

    text: str
    """The card."""
    front: FrontMatter
    """Its YAML."""
    yaml: FrontMatterOutline
    """What stands in that."""
    entries: tuple[MarkedBlock, ...]
    """Entries of ``model-index`` that this program wrote."""
    sections: tuple[MarkedBlock, ...]
    """Sections that it wrote."""

    def block(self, region: Region, digest: Sha256) -> MarkedBlock | None:
        """Return what a receipt gave to a part of the card; None: nothing."""
        blocks = self.sections if region is Region.BODY else self.entries
        return next((one for one in blocks if one.mark.digest == digest), None)

    def digests(self) -> list[Sha256]:
        """Return the receipts that gave something, each once."""
        return list(dict.fromkeys(one.mark.digest for one in (*self.sections, *self.entries)))

    def of(self, digest: Sha256) -> str:
        """Return of which checkpoint and stage a receipt's marks say that it is."""
        both = (*self.sections, *self.entries)
        return next(one.mark.of for one in both if one.mark.digest == digest)


def lay_out(text: str) -> CardLayout:
    """Return where everything stands in a card.

    Raises:
        MalformedError: Its YAML is in no form into which an entry can be put.
        DamagedCardError: Marks of this program were changed.
    """
    front = find_front_matter(text)
    seen = outline_of(text, front)
    entries = marked_blocks(text, Region.FRONT_MATTER, (front.start, front.end))
    sections = marked_blocks(text, Region.BODY, (front.body, len(text)))
    return CardLayout(text, front, seen, tuple(entries), tuple(sections))


def attached(text: str, parts: CardParts, *, replace: bool = False) -> str:
    """Return a card with what a receipt gives.

    What the same receipt gave before is written anew in its place.

    Args:
        text: The card.
        parts: What the receipt gives.
        replace: Take out what other receipts of the same checkpoint and stage gave; the first of
            them leaves its place.

    Raises:
        MalformedError: It cannot be put in without changing other bytes.
        DamagedCardError: Marks of this program were changed.
    """
    old = predecessors(text, parts.mark) if replace else []
    layout = lay_out(text)
    if old and parts.mark.digest not in layout.digests():
        text = _renamed(layout, old.pop(0), parts.mark)
    for digest in old:
        text = taken_out(text, digest)
    for put in (_with_section, _with_entry):
        text = put(lay_out(text), parts)
    return text


def predecessors(text: str, mark: CardMark) -> list[Sha256]:
    """Return the other receipts in a card of the same checkpoint and stage."""
    layout = lay_out(text)
    return [
        digest
        for digest in layout.digests()
        if digest != mark.digest and layout.of(digest) == mark.of
    ]


def taken_out(text: str, digest: Sha256) -> str:
    """Return a card without what a receipt gave: as it was before, byte for byte."""
    layout = lay_out(text)
    section = layout.block(Region.BODY, digest)
    if section is not None:
        before = text[: section.start]
        for ending in ("\r\n", "\n"):
            if before.endswith(2 * ending):
                before = before[: -2 * len(ending)]
                break
        text = before + text[section.end :]
    entry = layout.block(Region.FRONT_MATTER, digest)
    if entry is None:
        return text
    text = _without_lines(text, entry.start, entry.end)
    if len(layout.yaml.entries) > 1 or layout.yaml.index is None:
        return text
    return _without_own_key(text, layout)


def _without_own_key(text: str, layout: CardLayout) -> str:
    """Take out the key, and the front matter, where this program put them in."""
    assert layout.yaml.index is not None  # it held the entry
    at = layout.yaml.index.key_at
    if text.startswith(_OWN_KEY, at):
        text = _without_lines(text, at, at + len(_OWN_KEY))
    front = find_front_matter(text)
    if text[front.start : front.end].strip() == _OWN_YAML:
        bom = 1 if text.startswith("\ufeff") else 0
        text = text[:bom] + text[front.body :]
    return text


def _without_lines(text: str, start: int, end: int) -> str:
    """Take out the lines from the one that holds a place to the one that holds another."""
    while start and text[start - 1] not in "\r\n":
        start -= 1
    after = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)?").match(text, end)
    assert after is not None  # it may be empty
    return text[:start] + text[after.end() :]


def _renamed(layout: CardLayout, old: Sha256, new: CardMark) -> str:
    """Give the blocks of one receipt another's marks, so that its own are written in their place.

    Of each block the first mark alone is exact then; what lies between is written anew.
    """
    text = layout.text
    for region in (Region.BODY, Region.FRONT_MATTER):
        block = layout.block(region, old)
        if block is not None:
            # Sections stand behind entries: what is put in first moves nothing before it.
            inside = text[block.start : block.end].replace(old, new.digest)
            text = text[: block.start] + inside + text[block.end :]
    return text


def newline_of(text: str) -> str:
    """Return how a card ends its lines."""
    found = re.search(r"\r\n|\n", text)
    return found[0] if found else "\n"


def _with_section(layout: CardLayout, parts: CardParts) -> str:
    text, ending = layout.text, newline_of(layout.text)
    lines = [Region.BODY.begin(parts.mark), *parts.section, Region.BODY.end(parts.mark)]
    section = ending.join(lines)
    block = layout.block(Region.BODY, parts.mark.digest)
    if block is not None:
        return text[: block.start] + section + text[block.end :]
    place = section_place(text, layout.front.body)
    return f"{text[:place]}{ending}{ending}{section}{text[place:]}"


def _with_entry(layout: CardLayout, parts: CardParts) -> str:
    text, ending = layout.text, newline_of(layout.text)
    check_not_elsewhere(layout, parts.mark.digest)
    block, index = layout.block(Region.FRONT_MATTER, parts.mark.digest), layout.yaml.index
    if index is None:
        column, before = layout.yaml.column, f"{' ' * layout.yaml.column}{_OWN_KEY}{ending}"
        place = layout.front.end
    else:
        column, before, place = index.column, "", index.place
    lines = ending.join(entry_lines(parts, column))
    if block is not None:
        return f"{text[: block.start]}{lines.lstrip(' ')}{text[block.end :]}"
    new = f"{before}{lines}{ending}"
    if not layout.front.exists:
        new = f"---{ending}{_OWN_YAML}{ending}{new}---{ending}"
    return text[:place] + new + text[place:]


def entry_lines(parts: CardParts, column: int) -> list[str]:
    """Return an entry with its marks, in which dashes begin in a column."""
    blanks = " " * column
    return [
        blanks + Region.FRONT_MATTER.begin(parts.mark),
        *yaml_lines([parts.entry], column),
        blanks + Region.FRONT_MATTER.end(parts.mark),
    ]


def check_not_elsewhere(layout: CardLayout, digest: Sha256) -> None:
    """Refuse a card that holds entries of a receipt which this program cannot find again.

    A program that writes all YAML anew loses the comments around them.

    Raises:
        MalformedError: The receipt's digest stands in the front matter outside its own entry.
    """
    block = layout.block(Region.FRONT_MATTER, digest)
    for found in re.finditer(digest, layout.text[layout.front.start : layout.front.end]):
        at = layout.front.start + found.start()
        if block is None or not block.start <= at < block.end:
            raise MalformedError(
                "entries of this receipt stand here without the comments around them, which "
                "another program removed",
                place=f"line {line_of(layout.text, at)}",
                hint=f"remove these entries of {MODEL_INDEX}, and attach again",
            )
