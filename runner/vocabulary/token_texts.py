"""The text of token ids, worked out from the vocabulary's entries."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from tokenizers import Tokenizer

from safety_receipts.runner.vocabulary.components import SPACE, Change, Step, TextRules

_BYTE: Final = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_LARGEST_ID: Final = 2**32 - 1
_UNREADABLE: Final = "\ufffd"
_SPACING: Final = frozenset({Step.SPACES, Step.METASPACE, Step.METASPACE_NEVER})


def byte_alphabet() -> dict[str, int]:
    """Return the character that each byte is written as in byte-level vocabularies (GPT-2).

    Printable bytes of Latin-1 are themselves; the others follow from U+0100 on, in order.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    shifted = {chr(0x100 + place): byte for place, byte in enumerate(others)}
    return {chr(byte): byte for byte in printable} | shifted


_ALPHABET: Final = byte_alphabet()


class TokenTexts:
    """The text of token ids: what a decoder that is known makes of each entry.

    Args:
        tokenizer: The tokenizer, for its entries alone.
        rules: What it does to text.
    """

    def __init__(self, tokenizer: Tokenizer, rules: TextRules) -> None:
        self._tokenizer = tokenizer
        self._rules = rules
        marks = Change.SPACE_MARKS in rules.changes
        self._added = {
            id_: (token.content.replace(SPACE, " ") if marks else token.content).encode(
                "utf-8", "replace"
            )
            for id_, token in tokenizer.get_added_tokens_decoder().items()
        }
        self._falls_back = not rules.steps or Step.BYTE_FALLBACK in rules.steps
        # A decoder that leaves the marks leaves them in responses, and so here.
        self._spaces = marks and (not rules.steps or not _SPACING.isdisjoint(rules.steps))
        self._prefix: str = (
            getattr(tokenizer.model, "continuing_subword_prefix", None) or ""
            if type(tokenizer.model).__name__ == "WordPiece"
            else ""
        )
        self._known = _Entries(self._spelling)
        self._bytes = _Entries(self._level)

    def text(self, ids: Sequence[int]) -> str:
        """Return what ids decode to: each entry by itself, then the decoder's steps.

        Ids without an entry have no text.
        """
        if self._rules.steps == (Step.BYTE_LEVEL,):  # most vocabularies', entry by entry
            return b"".join(map(self._bytes.__getitem__, ids)).decode("utf-8", "replace")
        entries = (self._entry(id_) for id_ in ids)
        pieces = [entry for entry in entries if entry is not None]
        for step in self._rules.steps:
            pieces = _STEPS[step](pieces)
        return "".join(pieces)

    def spelt(self, ids: Iterable[int]) -> str:
        """Return what ids spell: each entry's own text, added tokens as they are written.

        Where a text's ``▁`` are read as spaces they are spaces here.
        """
        text = b"".join(map(self._known.__getitem__, ids)).decode("utf-8", "replace")
        return text.replace(SPACE, " ") if self._spaces and self._rules.byte_level else text

    def _entry(self, id_: int) -> str | None:
        return self._tokenizer.id_to_token(id_) if 0 <= id_ <= _LARGEST_ID else None

    def _level(self, id_: int) -> bytes:
        """Return the bytes of an entry of a byte-level vocabulary, of an added token as well."""
        entry = self._entry(id_)
        return b"" if entry is None else _bytes(entry)

    def _spelling(self, id_: int) -> bytes:
        if id_ in self._added:
            return self._added[id_]
        entry = self._entry(id_)
        if entry is None:
            return b""
        if self._rules.byte_level:
            return _bytes(entry)
        if self._falls_back and _BYTE.fullmatch(entry):
            return bytes([int(entry[3:5], 16)])
        if self._prefix:
            entry = entry.removeprefix(self._prefix)
        return (entry.replace(SPACE, " ") if self._spaces else entry).encode("utf-8", "replace")


class _Entries(dict[int, bytes]):
    """Spellings that were asked for."""

    def __init__(self, spelling: Callable[[int], bytes]) -> None:
        super().__init__()
        self._spelling = spelling

    def __missing__(self, id_: int) -> bytes:
        self[id_] = self._spelling(id_)
        return self[id_]


def _bytes(entry: str) -> bytes:
    """Return the bytes that an entry stands for; its own where it is not in the alphabet."""
    try:
        return bytes([_ALPHABET[character] for character in entry])
    except KeyError:
        return entry.encode("utf-8", "replace")


def _byte_level(pieces: list[str]) -> list[str]:
    return [b"".join(map(_bytes, pieces)).decode("utf-8", "replace")]


def _fallen_back(pieces: list[str]) -> list[str]:
    """Join runs of byte entries to characters; each byte of a run that is none is unreadable."""
    done: list[str] = []
    run = bytearray()
    for piece in [*pieces, ""]:
        if _BYTE.fullmatch(piece):
            run.append(int(piece[3:5], 16))
            continue
        if run:
            try:
                done.append(run.decode("utf-8"))
            except UnicodeDecodeError:
                done += _UNREADABLE * len(run)
            run.clear()
        done.append(piece)
    return done[:-1]


def _spaced(pieces: list[str]) -> list[str]:
    return [piece.replace(SPACE, " ") for piece in pieces]


def _first_bare(pieces: list[str]) -> list[str]:
    """Write marks as spaces; those of the first entry were put before the text, or say so."""
    return [piece.replace(SPACE, "" if place == 0 else " ") for place, piece in enumerate(pieces)]


_STEPS: Final[dict[Step, Callable[[list[str]], list[str]]]] = {
    Step.BYTE_LEVEL: _byte_level,
    Step.METASPACE: _first_bare,
    Step.METASPACE_NEVER: _spaced,
    Step.SPACES: _spaced,
    Step.BYTE_FALLBACK: _fallen_back,
    Step.FUSE: lambda pieces: ["".join(pieces)],
    Step.STRIP: lambda pieces: [piece.removeprefix(" ") for piece in pieces],
}
