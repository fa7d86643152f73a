"""A rendered conversation, and finding the contents of its messages in it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, chain

from safety_receipts.receipts.errors import UsageError


@dataclass(frozen=True)
class RenderedConversation:
    """A conversation as text."""

    pieces: tuple[str, ...]
    """What the template writes, and contents without their outer white space, in turn: the
    template's first, and last, where the generation prompt is."""
    places: tuple[int, ...]
    """For every content, which message it is of: their order, but that the system message may stand
    elsewhere than first."""

    @cached_property
    def text(self) -> str:
        """The text."""
        return "".join(self.pieces)

    @cached_property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """For every content, where it starts and ends in the text."""
        ends = list(accumulate(map(len, self.pieces)))
        return tuple(zip(ends[0:-1:2], ends[1::2], strict=True))

    @property
    def moves_system(self) -> bool:
        """Whether the system message stands elsewhere than first."""
        return list(self.places) != sorted(self.places)

    @property
    def around(self) -> tuple[str, ...]:
        """What stands before, between and after the contents, in order."""
        return self.pieces[::2]

    @property
    def tail(self) -> str:
        """What stands after the last content: the end of its turn, and the generation prompt."""
        return self.pieces[-1]


def unused_characters(count: int, texts: Iterable[str]) -> str:
    """Return private-use characters that occur in none of the texts.

    Raises:
        UsageError: There are fewer; a text has them all.
    """
    given = list(texts)
    found: list[str] = []
    for code in chain(range(0xE000, 0xF900), range(0xF0000, 0xFFFFE), range(0x100000, 0x10FFFE)):
        if len(found) == count:
            break
        if not any(chr(code) in text for text in given):
            found.append(chr(code))
    if len(found) < count:
        raise UsageError("a text uses all private-use characters of Unicode")
    return "".join(found)


def spellings(core: str) -> tuple[str, str]:
    """Return how a template may write content: as it is, or inside a JSON string."""
    return core, json.dumps(core, ensure_ascii=False)[1:-1]


def shown_order(cores: Sequence[str], shown: Sequence[str], *, movable: bool) -> list[int] | None:
    """Return which content each piece shows, or None: not each once, in an order that may be.

    Args:
        cores: Contents, in the order of the messages.
        shown: Pieces, in the order of the text.
        movable: The first message may stand anywhere.
    """
    order = list(range(len(cores)))
    if len(shown) != len(order):
        return None
    for place in order if movable else [0]:
        moved = [*order[1 : place + 1], *order[:1], *order[place + 1 :]]
        if all(piece in spellings(cores[i]) for i, piece in zip(moved, shown, strict=True)):
            return moved
    return None
