"""Reading texts into token ids where many begin alike: only what is new is read.

A fast tokenizer first cuts a text at its added tokens and then reads each piece between them by
itself.  So a text may be cut in front of a control token, and the two halves read one after the
other, as long as that token takes no part of what stands before it.  Prompts that show the same
demonstrations share all but a query; reading them whole would take longer than answering them.

That this holds for a tokenizer is not taken on trust: the first time that a control token serves
as a cut the text is read whole too, and if the two differ no text is cut again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

_KEPT = 16
"""Texts kept to compare with: as many as there are draws in turn, or so."""

Encode = Callable[[str], tuple[list[int], list[tuple[int, int]]]]
"""Reads a whole text: token ids, and where in the text each one stands."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A control token in a text."""

    id: int
    """Its id."""
    place: int
    """Its place among the text's ids."""
    start: int
    """The first character read as it."""
    end: int
    """The character after the last."""


@dataclass(frozen=True, slots=True)
class TokenisedText:
    """A text as token ids."""

    text: str
    """The text."""
    ids: tuple[int, ...]
    """Token ids."""
    marks: tuple[Mark, ...]
    """The control tokens among them, in order."""


class PromptReader:
    """Reads texts, and remembers a few.

    Args:
        encode: Reads a whole text.
        control: Control tokens, by id.
        cuts: Those that a text may be cut in front of (:func:`cuttable`).
    """

    def __init__(self, encode: Encode, control: Mapping[int, str], cuts: Mapping[int, str]) -> None:
        self._encode = encode
        self._control = control
        self._cuts = dict(cuts)
        self._tried: set[int] = set()
        self._kept: deque[TokenisedText] = deque(maxlen=_KEPT)

    def read(self, text: str) -> TokenisedText:
        """Return the token ids of a text: those of reading it whole."""
        reading = self._continued(text) or self._read_from(text, (), ())
        if self._cuts:
            self._kept.append(reading)
        return reading

    def _read_from(self, text: str, ids: tuple[int, ...], marks: tuple[Mark, ...]) -> TokenisedText:
        """Read what follows; ``marks`` has one more, the one to go on at, if ``ids`` has any."""
        start = marks[-1].start if marks else 0
        new, offsets = self._encode(text[start:])
        found = tuple(
            Mark(id_, len(ids) + place, start + first, start + last)
            for place, (id_, (first, last)) in enumerate(zip(new, offsets, strict=True))
            if id_ in self._control
        )
        return TokenisedText(text, ids + tuple(new), marks[:-1] + found)

    def _continued(self, text: str) -> TokenisedText | None:
        """Return a reading that goes on where an earlier text ends to be the same, or None."""
        best: tuple[Mark, ...] = ()
        ids: tuple[int, ...] = ()
        for kept in self._kept:
            common = common_prefix(kept.text, text)
            upto = bisect_right(kept.marks, common, key=lambda mark: mark.end)
            while upto and kept.marks[upto - 1].id not in self._cuts:
                upto -= 1
            if upto and (not best or kept.marks[upto - 1].start > best[-1].start):
                best, ids = kept.marks[:upto], kept.ids
        if not best or text[best[-1].start : best[-1].end] != self._cuts[best[-1].id]:
            return None
        found = self._read_from(text, ids[: best[-1].place], best)
        if best[-1].id not in self._tried:
            whole = self._read_from(text, (), ())
            if whole != found:
                self._cuts = {}
                self._kept.clear()
                return whole
            self._tried.add(best[-1].id)
        return found


def cuttable(added: Mapping[int, Any], control: Mapping[int, str]) -> dict[int, str]:
    """Return the control tokens that leave what stands before them alone.

    Args:
        added: A tokenizer's added tokens by id (``added_tokens_decoder``).
        control: Control tokens by id.
    """
    return {
        id_: content
        for id_, content in control.items()
        if content and not (added[id_].lstrip or added[id_].single_word or added[id_].normalized)
    }


def common_prefix(one: str, other: str) -> int:
    """Return the length of the common prefix."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
