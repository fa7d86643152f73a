"""Marks around what this program wrote into a card: by them it finds its own text again.

Each carries the receipt's digest, and the first also which checkpoint and stage it is of: a later
receipt of the same two is a successor.  A card is anybody's to edit, so a mark is a place and never
a proof: what lies between two is compared with what the receipt gives.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from safety_receipts.receipts.canonical import Sha256, canonical_bytes, sha256_hex
from safety_receipts.receipts.errors import MalformedError
from safety_receipts.receipts.model.receipt import EvaluationPredicate

_BREAK: Final = re.compile(r"\r\n|\r|\n")


class DamagedCardError(MalformedError):
    """What this program wrote into a card was changed so that its place is not certain."""


@dataclass(frozen=True)
class CardMark:
    """What a pair of marks says."""

    digest: Sha256
    """Digest of the receipt."""
    of: str
    """Which checkpoint and stage it is of: equal for equal names of both, 16 hex digits."""


class Region(Enum):
    """The two parts of a card; marks are comments in each."""

    BODY = ("<!-- safety-receipts:", " -->")
    """The Markdown."""
    FRONT_MATTER = ("# safety-receipts:", "")
    """The YAML."""

    def begin(self, mark: CardMark) -> str:
        """Return the line that begins a block."""
        before, after = self.value
        return f"{before}begin receipt={mark.digest} of={mark.of}{after}"

    def end(self, mark: CardMark) -> str:
        """Return the line that ends a block."""
        before, after = self.value
        return f"{before}end receipt={mark.digest}{after}"


@dataclass(frozen=True)
class MarkedBlock:
    """A block that this program wrote, with its marks."""

    mark: CardMark
    """What its marks say."""
    start: int
    """Where its first mark begins, a place in the text."""
    end: int
    """Where its last mark ends; the line break after it is not part of it."""


def mark_of(digest: Sha256, receipt: EvaluationPredicate) -> CardMark:
    """Return the mark of a receipt."""
    named = [receipt.checkpoint.name, receipt.training_stage]
    return CardMark(digest, sha256_hex(canonical_bytes(named))[:16])


def line_of(text: str, place: int) -> int:
    """Return the line of a place in a text, from 1."""
    return sum(1 for _ in _BREAK.finditer(text, 0, place)) + 1


def marked_blocks(text: str, region: Region, span: tuple[int, int]) -> list[MarkedBlock]:
    """Return the blocks of this program in a part of a card, in their order.

    Args:
        text: The card.
        region: Which part it is.
        span: Where that begins and ends.

    Raises:
        DamagedCardError: A mark is not as it was written, is without its other, or stands twice.
    """
    found: list[MarkedBlock] = []
    opened: tuple[CardMark, int] | None = None
    for place, line in _mark_lines(text, region, span):
        begins = _form(region, "begin").fullmatch(line)
        ends = _form(region, "end").fullmatch(line)
        if begins is not None and opened is None:
            opened = CardMark(Sha256(begins[1]), begins[2]), place
        elif ends is not None and opened is not None and ends[1] == opened[0].digest:
            found.append(MarkedBlock(*opened, place + len(line)))
            opened = None
        else:
            raise _damaged(text, place, "a mark of this program was changed, or its other is gone")
    if opened is not None:
        raise _damaged(text, opened[1], "a mark of this program is without the one that ends it")
    _check_once(text, found)
    return found


def _mark_lines(text: str, region: Region, span: tuple[int, int]) -> Iterator[tuple[int, str]]:
    """Yield the lines that are or were marks: where each begins, and its text."""
    opening = re.escape(region.value[0]).replace(r"\ ", " *")
    pattern = re.compile(rf"(?:^|(?<=[\r\n]))[ \t]*(?P<mark>{opening}[^\r\n]*)")
    for match in pattern.finditer(text, *span):
        line = match["mark"]
        if region is Region.BODY or re.match(r"# *safety-receipts: *(begin|end)", line):
            yield match.start("mark"), line


def _form(region: Region, word: str) -> re.Pattern[str]:
    before, after = map(re.escape, region.value)
    of = " of=([0-9a-f]{16})" if word == "begin" else ""
    return re.compile(rf"{before}{word} receipt=([0-9a-f]{{64}}){of}{after}")


def _check_once(text: str, found: list[MarkedBlock]) -> None:
    seen: set[Sha256] = set()
    for block in found:
        if block.mark.digest in seen:
            raise _damaged(text, block.start, "what this receipt gives stands here a second time")
        seen.add(block.mark.digest)


def _damaged(text: str, place: int, message: str) -> DamagedCardError:
    return DamagedCardError(
        message,
        place=f"line {line_of(text, place)}",
        hint="remove it with all that belongs to it, and attach again",
    )
