"""Whether a template writes plain turns: the same around every request and answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Final

from safety_receipts.runner.templates.messages import Message, Role

EXCHANGES: Final = 2
"""Exchanges before the query in the conversation whose turns those of all others repeat."""


class _Edge(StrEnum):
    """What stands beside the first and the last content."""

    START = "start"
    END = "end"


_Sort = Role | _Edge
Pieces = tuple[str, ...]
"""What a template writes before, between and after contents, in order."""


@dataclass(frozen=True, slots=True)
class Skeleton:
    """What a template writes around the contents of a conversation."""

    pieces: Pieces
    """Before, between and after them."""
    roles: tuple[Role, ...]
    """Whose contents stand between the pieces, in the order of the text."""
    places: tuple[int, ...]
    """For every one of them, which message of the conversation it is of, from 0."""

    @property
    def system_place(self) -> int | None:
        """Where the system message stands: from the start (0, 1), else from the end (-1, …)."""
        if Role.SYSTEM not in self.roles:
            return None
        place = self.roles.index(Role.SYSTEM)
        return place if place <= 1 else place - len(self.roles)


@dataclass(frozen=True, slots=True)
class IrregularPiece:
    """A piece that is not the one of plain turns."""

    after: int
    """How many contents stand before it."""
    found: str
    """The piece."""
    expected: str | None
    """What plain turns have there; None: it stands at a place that they do not have."""


def reference_of(messages: Sequence[Message], system: Message | None) -> tuple[Message, ...]:
    """Return the conversation of plain turns whose pieces those of others repeat.

    Args:
        messages: Two messages of a user and an assistant; their contents are taken.
        system: The system message; None: there is none.
    """
    asked, answered = messages
    first = () if system is None else (system,)
    return (*first, *(asked, answered) * EXCHANGES, asked)


def irregular(found: Skeleton, reference: Skeleton) -> IrregularPiece | None:
    """Return the first piece that plain turns do not have there, or None.

    By a pair of roles and by the edges, every piece is known from the reference: between request
    and answer, between answer and request, before the first and after the last content.  A system
    message before a request opens that turn, wherever it stands, and something may stand between
    the two.  What stands beside the result of a tool has no like in plain turns.

    Args:
        found: What stands around the contents of a conversation.
        reference: The same of :func:`reference_of`, whose system message is the same.
    """
    known: dict[tuple[_Sort, _Sort], str] = {}
    for skeleton in (reference, found):
        places = list(_pairs(skeleton))
        for after, (pair, piece) in enumerate(zip(places, skeleton.pieces, strict=True)):
            if skeleton is reference:
                expected: str | None = known.setdefault(pair, piece)
            elif Role.TOOL in pair:
                continue
            else:
                expected = known.get(pair)
            if expected != piece:
                return IrregularPiece(after, piece, expected)
    if not _same_place(found, reference):
        place = found.roles.index(Role.SYSTEM)
        return IrregularPiece(place, found.pieces[place], None)
    return None


def _pairs(skeleton: Skeleton) -> list[tuple[_Sort, _Sort]]:
    """Return whose contents stand on both sides of every piece."""
    sorts: list[_Sort] = [_Edge.START, *skeleton.roles, _Edge.END]
    pairs = list(pairwise(sorts))
    for number, (before, after) in enumerate(pairs):
        if after is Role.SYSTEM and pairs[number + 1][1] is Role.USER:
            pairs[number] = before, Role.USER
    return pairs


def _same_place(found: Skeleton, reference: Skeleton) -> bool:
    """Say whether the system message stands as far from the start, or from the end."""
    place = reference.system_place
    if place is None or Role.SYSTEM not in found.roles:
        return reference.system_place == found.system_place
    # From further back it would stand in the middle of longer conversations.
    return place >= -2 and found.roles[place] is Role.SYSTEM
