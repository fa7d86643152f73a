"""What charts are made of: scales, marks that know which sealed values they stand at, axes.

Each mark names the values and the scale that its place follows from, so that the script of the page
can work the place out again.  The words of a chart are text, colours come from the style sheet, and
nothing is told by colour alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from math import log1p
from typing import Final

from safety_receipts.verify.page.markup import Element, Node, el
from safety_receipts.verify.page.sealed import SealedDocuments

MOST_SERIES: Final = 7
"""Series that can be told apart."""
_LABEL_HEIGHT: Final = 13.0
"""Room that a label needs, in units of the drawing."""


class ScaleKind(StrEnum):
    """How a scale maps numbers."""

    LINEAR = "linear"
    """Evenly."""
    LOG_1P = "log1p"
    """By the logarithm of one more, as models of counts of demonstrations do."""


@dataclass(frozen=True)
class Axis:
    """A scale: numbers from ``lower`` to ``upper`` stand between two places of a drawing."""

    kind: ScaleKind
    """How it maps numbers."""
    lower: float
    """Number at ``start``."""
    upper: float
    """Number at ``end``."""
    start: float
    """Place of ``lower``, in units of the drawing."""
    end: float
    """Place of ``upper``."""

    def at(self, value: float) -> float:
        """Return the place of a number."""
        low, high, here = (self._mapped(each) for each in (self.lower, self.upper, value))
        return self.start + (self.end - self.start) * (here - low) / (high - low)

    def _mapped(self, value: float) -> float:
        return log1p(value) if self.kind is ScaleKind.LOG_1P else value

    def __str__(self) -> str:
        ends = (self.lower, self.upper, self.start, self.end)
        return " ".join([self.kind.value, *(f"{end:g}" for end in ends)])


@dataclass(frozen=True)
class At:
    """Where a mark stands on one axis: at a sealed value, or at a number of the drawing's own."""

    value: float
    """The number."""
    source: str
    """The place of the sealed value, or ``=`` and the number."""

    @classmethod
    def number(cls, value: float) -> At:
        """Return a place that no sealed value decides, as the row of a list."""
        return cls(value, f"={value:g}")


class Chart:
    """A chart that is being drawn.

    Args:
        documents: Where sealed values are.
        x: The horizontal scale.
        y: The vertical scale.
        size: Width and height in units of the drawing.
    """

    def __init__(
        self, documents: SealedDocuments, x: Axis, y: Axis, size: tuple[float, float]
    ) -> None:
        self.documents = documents
        self._x, self._y, self._size = x, y, size
        self._marks: list[Element] = []

    def sealed(self, place: str) -> At | None:
        """Return the sealed value at a place; None: there is none."""
        value = self.documents.value(place)
        return None if value is None else At(float(Decimal(value)), place)

    def dot(self, x: At, y: At, series: int) -> None:
        """Draw a dot."""
        self._mark("circle", {"cx": x, "cy": y}, class_=f"dot s{series}", r="3.5")

    def line(self, start: tuple[At, At], end: tuple[At, At], name: str) -> None:
        """Draw a line between two places.

        Args:
            start: Where it begins.
            end: Where it ends.
            name: Class for the style sheet.
        """
        ends = {"x1": start[0], "y1": start[1], "x2": end[0], "y2": end[1]}
        self._mark("line", ends, class_=name)

    def label(
        self, x: At, y: At, words: Sequence[Node], *, shift: tuple[float, float], name: str
    ) -> None:
        """Write beside a place.

        Args:
            x: The place.
            y: The place.
            words: What is written.
            shift: How far to the right and below, so that labels cover nothing.
            name: Class for the style sheet.
        """
        moved = {"dx": f"{shift[0]:.1f}", "dy": f"{shift[1] + 4:.1f}"}
        self._marks.append(
            el(
                "text",
                *words,
                **self._places({"x": x, "y": y}),
                **moved,
                class_=name,
            )
        )

    def tick(self, text: str, value: float, *, upright: bool) -> None:
        """Name a number of an axis, with a line across the drawing."""
        axis, other = (self._y, self._x) if upright else (self._x, self._y)
        place = f"{axis.at(value):.1f}"
        ends = (f"{other.start:.1f}", f"{other.end:.1f}")
        names = ("y1", "y2", "x1", "x2") if upright else ("x1", "x2", "y1", "y2")
        lines = dict(zip(names, (place, place, *ends), strict=True))
        self._marks.insert(0, el("line", **lines, class_="grid", data_frame=True))
        where = At.number(value)
        label = {"y" if upright else "x": where}
        fixed = {"x": f"{self._x.start - 6:.1f}"} if upright else {"y": f"{self._y.start + 16:.1f}"}
        shift = {"dy": "4"} if upright else {}
        self._marks.append(
            el(
                "text",
                text,
                **self._places(label),
                **fixed,
                **shift,
                class_="tick-y" if upright else "tick-x",
                data_fixed=True,
            )
        )

    def across(self, x: At, name: str) -> None:
        """Draw an upright line through the whole drawing."""
        bottom, top = At.number(self._y.lower), At.number(self._y.upper)
        self.line((x, bottom), (x, top), name)

    def level(self, y: At, name: str) -> None:
        """Draw a level line through the whole drawing."""
        left, right = At.number(self._x.lower), At.number(self._x.upper)
        self.line((left, y), (right, y), name)

    def name_axis(self, words: str, *, upright: bool) -> None:
        """Say what an axis counts."""
        height = self._size[1]
        x = self._x.start if upright else (self._x.start + self._x.end) / 2
        y = 12.0 if upright else height - 4
        kind = "axis-y" if upright else "axis-x"
        self._marks.append(
            el("text", words, x=f"{x:.1f}", y=f"{y:.1f}", class_=kind, data_fixed=True)
        )

    def drawn(self, name: str, description: Iterable[Node]) -> Element:
        """Return the drawing.

        Args:
            name: A word that no other drawing of the page has.
            description: What it shows, for who cannot see it.
        """
        width, height = self._size
        return el(
            "svg",
            el("desc", description, id=f"{name}-desc", data_fixed=True),
            self._marks,
            viewBox=f"0 0 {width:g} {height:g}",
            role="img",
            aria_labelledby=f"{name}-title {name}-desc",
            data_chart=True,
            data_xscale=str(self._x),
            data_yscale=str(self._y),
        )

    def _mark(self, tag: str, places: dict[str, At], **attributes: str) -> None:
        self._marks.append(el(tag, **self._places(places), **attributes))

    def _places(self, places: dict[str, At]) -> dict[str, str]:
        found, sources = {}, []
        for name, at in places.items():
            axis = self._x if "x" in name else self._y
            found[name] = f"{axis.at(at.value):.2f}"
            sources.append(f"{name} {'x' if 'x' in name else 'y'} {at.source}")
        return {**found, "data_geo": "; ".join(sources)}


def apart(places: Sequence[float]) -> list[float]:
    """Return how far labels move down so that none covers another.

    Args:
        places: Where they would stand, in units of the drawing.
    """
    shifts = [0.0] * len(places)
    last = float("-inf")
    for index in sorted(range(len(places)), key=lambda each: places[each]):
        wanted = max(places[index], last + _LABEL_HEIGHT)
        shifts[index] = wanted - places[index]
        last = wanted
    return shifts
