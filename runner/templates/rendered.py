"""A rendered conversation, and finding the contents of its messages in it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain

from safety_receipts.receipts.errors import UsageError


@dataclass(frozen=True, slots=True)
class RenderedConversation:
    """A conversation as text."""

    text: str
    """The text, generation prompt included."""
    spans: tuple[tuple[int, int], ...]
    """For every message with content, in the order of the text: where it starts and ends there,
    outer white space left out."""
    places: tuple[int, ...]
    """For every span, which message it is of: their order, but that the system message may stand
    elsewhere than first."""

    @property
    def moves_system(self) -> bool:
        """Whether the system message stands elsewhere than first."""
        return list(self.places) != sorted(self.places)

    @property
    def around(self) -> tuple[str, ...]:
        """What stands before, between and after the contents, in order."""
        places = [0, *(place for span in self.spans for place in span), len(self.text)]
        return tuple(self.text[i:j] for i, j in zip(places[::2], places[1::2], strict=True))

    @property
    def tail(self) -> str:
        """What stands after the last content: the end of its turn, and the generation prompt."""
        return self.text[self.spans[-1][1] :] if self.spans else self.text


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


def assembled(pieces: Sequence[str], places: tuple[int, ...]) -> RenderedConversation:
    """Join what stands around and inside contents, in turn."""
    ends = list(accumulate(map(len, pieces)))
    spans = tuple(zip(ends[0:-1:2], ends[1::2], strict=True))
    return RenderedConversation("".join(pieces), spans, places)
