"""The normal form up to which a text comes back from its ids.

Each change that a tokenizer may make has one function here, of our own or of the tokenizers library
and never of the tokenizer's file.  Two texts are the same to a tokenizer where these functions make
the same of both.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import cache
from typing import Any, Final, Literal

from tokenizers import normalizers

from safety_receipts.runner.vocabulary.components import SPACE, Change, TextRules

_SPACES: Final = re.compile("[\\s\u061c\u200b-\u200f\u2028\u2029\ufeff\ufffd\u2581]+")
UnicodeForm = Literal["NFC", "NFD", "NFKC", "NFKD"]
_RUNS: Final = re.compile(r"\s+")
_CONTROL: Final = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f\x8f\x9f]")


def normal_form(rules: TextRules) -> Callable[[str], str]:
    """Return the normal form of a tokenizer."""
    steps = [step for change, step in _FORMS.items() if change in rules.changes]

    def formed(text: str) -> str:
        for step in steps:
            text = step(text)
        return text

    return formed


@cache
def _unicode(name: str) -> Any:
    return getattr(normalizers, name)()


def _library(name: UnicodeForm) -> Callable[[str], str]:
    """Return a Unicode normal form, by the tables of the library and by Python's.

    Neither is always the later one, and a character has to be known to one of them.
    """

    def formed(text: str) -> str:
        if text.isascii():
            return text
        normal: str = unicodedata.normalize(name, _unicode(name).normalize_str(text))
        return normal

    return formed


def sentencepiece_form(text: str) -> str:
    """Return a text as SentencePiece's maps write it: :attr:`Change.SENTENCEPIECE`."""
    text = _SPACES.sub(" ", _CONTROL.sub("", text))
    return _SPACES.sub(" ", _library("NFKC")(text))


def _without(*categories: str) -> Callable[[str], str]:
    return lambda text: "".join(
        character
        for character in text
        if not unicodedata.category(character).startswith(categories)
    )


def _without_accents(text: str) -> str:
    return text if text.isascii() else _without("Mn")(_unicode("NFD").normalize_str(text))


def _clean(text: str) -> str:
    return _without("C")(_RUNS.sub(" ", text)).replace("\ufffd", "")


# In the order in which they are applied: white space is read as such before control characters go.
_FORMS: Final[dict[Change, Callable[[str], str]]] = {
    Change.NFC: _library("NFC"),
    Change.NFD: _library("NFD"),
    Change.NFKC: _library("NFKC"),
    Change.NFKD: _library("NFKD"),
    Change.SENTENCEPIECE: sentencepiece_form,
    Change.SPACE_MARKS: lambda text: text.replace(SPACE, " "),
    Change.SPACE_RUNS: lambda text: _RUNS.sub(" ", text),
    Change.QUOTES: lambda text: text.replace("``", '"').replace("''", '"'),
    Change.CLEAN: _clean,
    Change.LOWER_CASE: lambda text: text.casefold(),
    Change.NO_ACCENTS: _without_accents,
    Change.NO_SPACES: lambda text: _RUNS.sub("", text),
}
