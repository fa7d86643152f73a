"""Tables, facts and remarks before anybody draws them: what is said, in which order, how loudly.

A terminal, a page and an export draw the same table: its words and numbers are made once, here and
beside.  What a cell shows as a picture it names by its numbers, and whoever draws it decides how.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias


class Tone(StrEnum):
    """How something is said, beside its words; nothing is said by tone alone."""

    PLAIN = "plain"
    """As everything else."""
    STRONG = "strong"
    """What a reader should see first."""
    FAINT = "faint"
    """What few need."""
    GOOD = "good"
    """As it should be."""
    DOUBTFUL = "doubtful"
    """To be looked at."""
    BAD = "bad"
    """Wrong."""
    ALARM = "alarm"
    """Wrong, or not to be taken for something else: seen before all others."""


@dataclass(frozen=True)
class Words:
    """Words that are said in a tone."""

    text: str
    """The words."""
    tone: Tone = Tone.PLAIN
    """The tone."""


@dataclass(frozen=True)
class Share:
    """A share, drawn as a bar."""

    value: float | None
    """From 0 to 1; None: there is none."""

    @classmethod
    def of(cls, rate: str | None) -> Share:
        """Return a sealed rate as what is drawn of it."""
        return cls(None if rate is None else float(rate))


@dataclass(frozen=True)
class Series:
    """Some numbers in order, drawn as a line of sparks."""

    values: tuple[float | None, ...]
    """From 0 to ``top``; None: there is none."""
    top: float
    """What the highest spark stands for."""


@dataclass(frozen=True)
class Estimate:
    """A number with its interval, drawn on the scale that its column has."""

    value: float
    """The number."""
    lower: float
    """Lower end."""
    upper: float
    """Upper end."""
    margin: float | None = None
    """How far from zero an effect counts as none; None: nothing is said of it."""


@dataclass(frozen=True)
class NoEstimate:
    """The scale of a column, and no number on it."""

    margin: float | None = None
    """How far from zero an effect counts as none; None: nothing is said of it."""


Cell: TypeAlias = str | Words | tuple[Words, ...] | Share | Series | Estimate | NoEstimate
"""What stands in a row and column."""


class ColumnKind(StrEnum):
    """What a column holds."""

    NAME = "name"
    """Names or words that are kept on one line."""
    WORDS = "words"
    """Words that need not be kept on one line."""
    TEXT = "text"
    """Words that may take several lines."""
    NUMBER = "number"
    """Numbers, on the right and on one line."""
    MEASURE = "measure"
    """Numbers, on the right; several lines where there is no room."""
    REMARK = "remark"
    """Numbers with words, on the right; folded where there is no room."""
    BAR = "bar"
    """Shares, drawn as bars."""


@dataclass(frozen=True)
class Scale:
    """What all estimates of a column are drawn on."""

    lower: float
    """Lower end."""
    upper: float
    """Upper end."""
    names: tuple[str, str]
    """What the ends are called."""


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    name: str
    """Its heading."""
    kind: ColumnKind = ColumnKind.NAME
    """What it holds."""
    scale: Scale | None = None
    """What its estimates are drawn on; None: it has none."""


@dataclass(frozen=True)
class Row:
    """A row of a table; it may end before the last column."""

    cells: tuple[Cell, ...]
    """Its cells."""
    tone: Tone = Tone.PLAIN
    """The tone of all of them."""


@dataclass(frozen=True)
class Table:
    """A table."""

    title: str
    """Its title; empty: none."""
    columns: tuple[Column, ...]
    """Its columns."""
    rows: tuple[Row, ...]
    """Its rows."""
    legend: str = ""
    """What its pictures show, for who draws them; empty: that needs no words."""


@dataclass(frozen=True)
class Fact:
    """A name, and what it stands for."""

    name: str
    """The name; empty: it goes on with the fact before."""
    text: tuple[Words, ...]
    """What it stands for."""

    @classmethod
    def of(cls, name: str, text: str) -> Fact:
        """Return a fact that is said in one tone."""
        return cls(name, (Words(text),))


@dataclass(frozen=True)
class MarkedLine:
    """One thing that was looked at, and what came of it."""

    mark: Words
    """What came of it, in one sign."""
    name: str
    """What was looked at."""
    detail: str
    """What came of it, in words."""


def numbers(*names: str) -> tuple[Column, ...]:
    """Return columns of numbers."""
    return tuple(Column(name, ColumnKind.NUMBER) for name in names)


def common_scale(values: Iterable[float], name: Callable[[float], str]) -> Scale:
    """Return the scale that holds some numbers, and zero.

    Args:
        values: The numbers.
        name: Returns what an end is called.
    """
    known = [0.0, *values]
    lower, upper = min(known), max(known)
    upper = upper if upper > lower else lower + 1.0
    return Scale(lower, upper, (name(lower), name(upper)))


@dataclass(frozen=True)
class Group:
    """Things that were looked at and belong together."""

    title: str
    """What they belong to."""
    lines: tuple[MarkedLine, ...]
    """The things."""


@dataclass(frozen=True)
class Conclusion:
    """What follows, in a word and in a sentence."""

    word: Words
    """The word."""
    sentence: str
    """The sentence."""
