"""Charts of a few characters: rows of sparks, bars, intervals on a common scale.

They say everything by shape, so that they read alike in black and white and in a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

_LEVELS: Final = "▁▂▃▄▅▆▇█"
_EIGHTHS: Final = " ▏▎▍▌▋▊▉█"
_MISSING: Final = "·"


def spark(values: Sequence[float | None], top: float) -> str:
    """Return one character a value, higher for higher ones.

    Args:
        values: Numbers from 0 to ``top``; None: a dot.
        top: What a full block stands for.
    """

    def height(value: float) -> str:
        share = value / top if top > 0 else 0.0
        return _LEVELS[round(min(1.0, max(0.0, share)) * (len(_LEVELS) - 1))]

    return "".join(_MISSING if value is None else height(value) for value in values)


def bar(share: float | None, cells: int) -> str:
    """Return a bar that fills ``share`` of ``cells`` characters, to an eighth of one."""
    if share is None:
        return ""
    whole, part = divmod(round(min(1.0, max(0.0, share)) * cells * 8), 8)
    return "█" * whole + (_EIGHTHS[part] if part else "")


@dataclass(frozen=True)
class ChartScale:
    """A stretch of numbers laid over some characters."""

    lower: float
    upper: float
    cells: int

    @classmethod
    def over(cls, values: Iterable[float], cells: int) -> ChartScale:
        """Return the scale that holds all of ``values``, and zero."""
        known = [0.0, *values]
        lower, upper = min(known), max(known)
        return cls(lower, upper if upper > lower else lower + 1.0, cells)

    def cell(self, value: float) -> int:
        """Return the character that a value falls on; values beyond an end fall on that end."""
        share = (value - self.lower) / (self.upper - self.lower)
        return round(min(1.0, max(0.0, share)) * (self.cells - 1))


def forest(
    scale: ChartScale, interval: tuple[float, float, float] | None, margin: float | None = None
) -> str:
    """Return one row of a forest chart: ``  ├──●──┤  │``.

    Args:
        scale: Common to all rows.
        interval: Estimate, lower and upper end; None: the lines of the chart alone.
        margin: Dotted lines this far from zero, where they lie on the scale.
    """
    row = [" "] * scale.cells
    for edge in () if margin is None else (-margin, margin):
        if scale.lower <= edge <= scale.upper:
            row[scale.cell(edge)] = "┊"
    row[scale.cell(0.0)] = "│"
    if interval is not None:
        value, lower, upper = (scale.cell(number) for number in interval)
        for place in range(lower, upper + 1):
            row[place] = "─"
        if lower < value:
            row[lower] = "├"
        if value < upper:
            row[upper] = "┤"
        row[value] = "●"
    return "".join(row)


def axis(scale: ChartScale, lower: str, upper: str) -> str:
    """Return a line that names the ends of a scale, and its zero where there is room."""
    row = list(lower + " " * max(1, scale.cells - len(lower) - len(upper)) + upper)
    zero = scale.cell(0.0)
    if all(row[place : place + 1] in ([" "], []) for place in (zero - 1, zero, zero + 1)):
        row[zero] = "0"
    return "".join(row)
