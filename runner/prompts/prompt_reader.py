"""Reading texts into token ids of which most parts recur: each part is read once.

A fast tokenizer first cuts a text at its added tokens and then reads each piece between them by
itself.  So a text may be cut in front of a control token, and the parts read one by one, as long as
that token takes no part of what stands before it, and no other token reaches into it from there
(:func:`cuttable`).  A prompt is cut where the template begins to write between two contents, so
that a part is a message: the demonstrations of a plan recur from prompt to prompt, and reading
prompts whole would take longer than answering them.

That this holds for a tokenizer is not taken on trust: the first time that a piece of a template
serves as a cut the text is read whole too, and if the two differ no text is cut again.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from safety_receipts.runner.prompts.prefix_tree import TokenArray

MOST_CHARACTERS: Final = 2**25
"""Most characters of parts that are remembered: some 20,000 demonstrations.  Of a part its ids are
kept, four bytes a token, and their decimals, some six; its texts are mostly the corpus's own."""
_LARGEST_KNOWN: Final = 2**20 - 1
"""Largest id of which the digits are kept, in eight bytes each; vocabularies have fewer."""
_MOST_PIECES: Final = 4096
"""Most pieces of templates that are remembered: there are a few, and one for every white space
beside a content."""

Encode = Callable[[str], tuple[list[int], list[tuple[int, int]]]]
"""Reads a whole text: token ids, and where in the text each one stands."""
_Pieces = tuple[str, ...]
"""A part of a text: what a template writes, and contents, in turn."""
EncodeAll = Callable[[list[str]], list[list[int]]]
"""Reads texts, to the same token ids."""
ComesBack = Callable[[str, list[int], Iterable[tuple[int, int]]], bool]
"""Says whether ids spell a text, given the places among both where pieces begin."""


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
class ReadPart:
    """A part of a text, read by itself."""

    characters: int
    """How many it has."""
    ids: TokenArray
    """Token ids, uint32, shape (n,)."""
    written: bytes
    """The ids in decimals (:func:`written_ids`)."""
    marks: tuple[Mark, ...]
    """The control tokens among them, in order; places count from where the part begins."""
    holds: bool
    """Whether its ids spell it, piece by piece."""
    clear: bool
    """Whether all its control tokens stand before the first content."""


@dataclass(frozen=True, slots=True)
class TokenisedText:
    """A text as token ids."""

    parts: tuple[ReadPart, ...]
    """What it was read in."""

    @property
    def clear(self) -> bool:
        """Whether in every part all control tokens stand before the first content."""
        return all(part.clear for part in self.parts)

    @property
    def ids(self) -> TokenArray:
        """Token ids, uint32, shape (n,)."""
        return np.concatenate([part.ids for part in self.parts])

    @property
    def marks(self) -> tuple[Mark, ...]:
        """The control tokens among them, in order."""
        places = accumulate((len(part.ids) for part in self.parts), initial=0)
        starts = accumulate((part.characters for part in self.parts), initial=0)
        return tuple(
            Mark(mark.id, place + mark.place, start + mark.start, start + mark.end)
            for part, place, start in zip(self.parts, places, starts, strict=False)
            for mark in part.marks
        )


@dataclass(frozen=True, slots=True)
class PromptEncoders:
    """What reads the texts of a checkpoint."""

    whole: Encode
    """Reads a text whole."""
    parts: EncodeAll
    """Reads parts of texts; faster, as it does not say where tokens stand."""
    comes_back: ComesBack
    """Looks at what was read."""


@dataclass(frozen=True, slots=True)
class ControlTokens:
    """The control tokens of a checkpoint."""

    by_id: Mapping[int, str]
    """All of them."""
    cuts: frozenset[str]
    """Those that a text may be cut in front of (:func:`cuttable`)."""
    bare: frozenset[str]
    """Those of the latter that take no white space after them either."""

    @classmethod
    def of(cls, added: Mapping[int, Any], control: Mapping[int, str]) -> ControlTokens:
        """Return control tokens by what they do beside them.

        Args:
            added: A tokenizer's added tokens by id (``added_tokens_decoder``).
            control: Control tokens by id.
        """
        cuts = cuttable(added, control)
        bare = (content for id_, content in cuts.items() if not added[id_].rstrip)
        return cls(control, frozenset(cuts.values()), frozenset(bare))


@dataclass(frozen=True, slots=True)
class _Cut:
    """A template's piece, cut in two."""

    before: str
    """What ends a part."""
    after: str
    """What begins the next one."""
    tried: str
    """The latter without white space at its end, which may be a content's."""


class PromptReader:
    """Reads texts, and remembers their parts.

    A part is known by its pieces and not by its text: the same few texts of a template, and the
    same contents of a corpus, of which Python knows the hashes.

    Args:
        encoders: What reads.
        control: Control tokens.
        most: Most characters of parts to remember; the ones read longest ago are forgotten first.
    """

    def __init__(
        self, encoders: PromptEncoders, control: ControlTokens, most: int = MOST_CHARACTERS
    ) -> None:
        self._encoders = encoders
        self._control = control.by_id
        self._by_text = {text: id_ for id_, text in control.by_id.items()}
        self._may_cut, self._bare = control.cuts, control.bare
        longest_first = sorted(filter(None, self._by_text), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        self._flags = np.zeros(max(control.by_id, default=0) + 2, bool)
        self._flags[list(control.by_id)] = True
        self._cuts: dict[str, _Cut | None] = {}
        self._tried: set[str] = set()
        self._known: OrderedDict[_Pieces, ReadPart] = OrderedDict()
        self.most = most
        """Most characters of them."""
        self.kept = 0
        """Characters of the parts that are remembered."""

    def read(self, pieces: Sequence[str]) -> TokenisedText:
        """Return the token ids of a text: those of reading it whole.

        Args:
            pieces: The text: what a template writes, and contents, in turn; an odd number, the
                template's first and last.  It is cut in what the template writes only.
        """
        parts: list[_Pieces] = []
        part: list[str] = []
        untried = set()
        for place, piece in enumerate(pieces):
            cut = None if place % 2 else self._cut(piece)
            if cut is None:
                part.append(piece)
                continue
            part.append(cut.before)
            if any(part):
                parts.append(tuple(part))
                if cut.tried not in self._tried:
                    untried.add(cut.tried)
            part = [cut.after]
        parts.append(tuple(part))
        found = TokenisedText(self._parts(parts))
        return self._tried_out(tuple(pieces), found, untried) if untried else found

    def _tried_out(self, pieces: _Pieces, found: TokenisedText, untried: set[str]) -> TokenisedText:
        """Return a reading, or that of the whole text where it differs."""
        whole = TokenisedText((self._read_whole(pieces),))
        if np.array_equal(whole.ids, found.ids) and whole.marks == found.marks:
            self._tried |= untried
            return found
        self._may_cut = frozenset()
        self._cuts.clear()
        self._known.clear()
        self.kept = 0
        return whole

    def _cut(self, piece: str) -> _Cut | None:
        """Cut a template's piece at its first control token; None: it may not be cut there."""
        if piece not in self._cuts:
            if len(self._cuts) >= _MOST_PIECES:
                self._cuts.clear()
            self._cuts[piece] = self._find_cut(piece)
        return self._cuts[piece]

    def _find_cut(self, piece: str) -> _Cut | None:
        match = self._pattern.search(piece)
        if match is None or match[0] not in self._may_cut:
            return None
        before, after = piece[: match.start()], piece[match.start() :]
        return _Cut(before, after, after.rstrip())

    def _parts(self, keys: list[_Pieces]) -> tuple[ReadPart, ...]:
        """Return readings of parts, of which those that are not known are read."""
        known = self._known
        new = list(dict.fromkeys(key for key in keys if key not in known))
        if not new:
            read = {}
        elif self._may_cut:
            ids = self._encoders.parts(["".join(key) for key in new])
            read = dict(zip(new, map(self._read_part, new, ids), strict=True))
        else:
            read = {key: self._read_whole(key) for key in new}
        parts = []
        for key in keys:
            part = known.get(key)
            if part is None:
                part = read[key]
                known[key] = part
                self.kept += part.characters
            else:
                known.move_to_end(key)
            parts.append(part)
        while self.kept > self.most and known:
            _, forgotten = known.popitem(last=False)
            self.kept -= forgotten.characters
        return tuple(parts)

    def _read_part(self, pieces: _Pieces, ids: list[int]) -> ReadPart:
        """Return a part of which the ids are known, and where its control tokens stand."""
        text = "".join(pieces)
        tokens = np.array(ids, np.uint32)
        flagged = self._flags[np.minimum(tokens, len(self._flags) - 1)]
        places = flagged.nonzero()[0].tolist()
        matches = list(self._pattern.finditer(text))
        if [ids[place] for place in places] != [self._by_text[match[0]] for match in matches] or (
            any(match[0] not in self._bare for match in matches)
        ):
            return self._read_whole(pieces)
        marks = tuple(
            Mark(ids[place], place, match.start(), match.end())
            for place, match in zip(places, matches, strict=True)
        )
        return self._part(pieces, text, ids, marks)

    def _read_whole(self, pieces: _Pieces) -> ReadPart:
        text = "".join(pieces)
        ids, offsets = self._encoders.whole(text)
        marks = tuple(
            Mark(id_, place, first, last)
            for place, (id_, (first, last)) in enumerate(zip(ids, offsets, strict=True))
            if id_ in self._control
        )
        return self._part(pieces, text, ids, marks)

    def _part(
        self, pieces: _Pieces, text: str, ids: list[int], marks: tuple[Mark, ...]
    ) -> ReadPart:
        tokens = np.array(ids, np.uint32)
        return ReadPart(
            characters=len(text),
            ids=tokens,
            written=written_ids(tokens),
            marks=marks,
            holds=self._holds(text, ids, marks),
            clear=not marks or len(pieces) == 1 or marks[-1].end <= len(pieces[0]),
        )

    def _holds(self, text: str, ids: list[int], marks: Iterable[Mark]) -> bool:
        return self._encoders.comes_back(text, ids, ((mark.place, mark.start) for mark in marks))


def written_ids(tokens: TokenArray) -> bytes:
    """Return token ids in decimals, a comma after each: what a prompt's digest is over.

    Args:
        tokens: Token ids, uint32, shape (n,).
    """
    largest = int(tokens.max(initial=0))
    if largest > _LARGEST_KNOWN:
        return b"".join(b"%d," % number for number in tokens.tolist())
    # Each number with its comma in eight bytes, of which those left are zeros: far faster than
    # writing numbers one by one.
    digits = _written_numbers(1 << max(10, largest.bit_length()))
    return digits[tokens].tobytes().translate(None, b"\0")


@cache
def _written_numbers(count: int) -> NDArray[np.uint64]:
    """Return for each number below ``count`` its decimal digits and a comma."""
    return np.array([b"%d," % number for number in range(count)], "S8").view(np.uint64)


def cuttable(added: Mapping[int, Any], control: Mapping[int, str]) -> dict[int, str]:
    """Return the control tokens that leave what stands before them alone, and are left alone by it.

    Args:
        added: A tokenizer's added tokens by id (``added_tokens_decoder``).
        control: Control tokens by id.
    """
    others = [token.content for token in added.values()]
    by_word = any(token.single_word for token in added.values())
    return {
        id_: content
        for id_, content in control.items()
        if content
        and not (added[id_].lstrip or added[id_].single_word or added[id_].normalized)
        and not content[0].isspace()
        and not (by_word and (content[0].isalnum() or content[0] == "_"))
        and not any(_reaches_into(other, content) for other in others)
    }


def _reaches_into(one: str, other: str) -> bool:
    """Say whether a token may begin before another one and end in it, or after it."""
    return other[0] in one[1:] and any(
        other.startswith(one[place:]) or one[place:].startswith(other)
        for place in range(1, len(one))
    )


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
