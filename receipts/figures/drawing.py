"""What figures are made of: a page as SVG, dots with intervals, the baseline.

Text stays text (``svg.fonttype: none``), so that figures can be searched, read aloud and edited;
colours are Okabe and Ito's, which colour-blind readers can tell apart, and no line is told by
colour alone.  The same numbers give the same bytes under one version of matplotlib.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from xml.sax.saxutils import escape

from safety_receipts.receipts.errors import IncompleteError
from safety_receipts.receipts.extras import install
from safety_receipts.receipts.io.files import atomic_write
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.model.receipt import ConditionResult, EvaluationPredicate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import ErrorbarContainer
    from matplotlib.figure import Figure

COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS: Final = "osD^vP*X"
_STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "safety-receipts",
    "text.parse_math": False,
    "axes.unicode_minus": True,
    "font.family": "sans-serif",
    "font.size": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "legend.frameon": False,
}
LONGEST_FIGURE_NAME: Final = 40
"""Characters of a name in a figure."""
UNSHOWN: Final = "no demonstrations"
BAND: Final = "the same, 95 % interval"
"""What the line and the band of the baseline are called in legends."""
WHISKERS: Final = "whiskers: 95 % intervals"
"""What the lines through points are, as every figure says."""

Known = tuple[float, float, float]
"""A number with the ends of its interval."""
Dot = Known | None
"""The same, or None where it is unknown."""


def require_matplotlib() -> None:
    """Load matplotlib.

    Raises:
        IncompleteError: It is not installed.
    """
    try:
        import matplotlib  # noqa: F401, PLC0415  # loaded only to draw
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        raise IncompleteError("matplotlib is not installed", hint=install("findings")) from None


@dataclass(frozen=True)
class Drawing:
    """A figure that is ready to be drawn."""

    size: tuple[float, float]
    """Width and height in inches."""
    title: str
    """What it is called where it stands alone."""
    description: str
    """What a reader who cannot see it should know."""
    paint: Callable[[Figure], None]
    """Draws it."""

    def figure(self) -> Figure:
        """Draw it with matplotlib, for a notebook or to be saved in any format.

        Raises:
            IncompleteError: matplotlib is not installed.
        """
        with _styled():
            return self._painted()

    def svg(self) -> str:
        """Draw it as SVG, the same bytes every time.

        Raises:
            IncompleteError: matplotlib is not installed.
        """
        drawn = io.StringIO()
        metadata = {"Title": self.title, "Date": None, "Creator": "safety-receipts"}
        with _styled():
            self._painted().savefig(drawn, format="svg", metadata=metadata)
        return _described(drawn.getvalue(), self.description)

    def write(self, path: Path) -> None:
        """Write it as SVG, whole or not at all.

        Raises:
            IncompleteError: matplotlib is not installed.
            FileAccessError: The file cannot be written.
        """
        atomic_write(path, self.svg().encode())

    def _painted(self) -> Figure:
        from matplotlib.figure import Figure  # noqa: PLC0415  # heavy, so only to draw

        figure = Figure(figsize=self.size, layout="constrained")
        self.paint(figure)
        return figure


@contextmanager
def _styled() -> Iterator[None]:
    """Draw with our settings; a user's own, which a file may hold, are untouched afterwards."""
    require_matplotlib()
    import matplotlib  # noqa: PLC0415  # heavy, so only to draw

    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        # Names may be in any script; the reader's fonts count, not those of this machine.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield


def _described(svg: str, description: str) -> str:
    """Return the SVG with a ``desc`` element, marked as one image."""
    title_end = "</title>"
    before, found, after = svg.partition(title_end)
    assert found, "matplotlib writes the title that it is given"
    before = before.replace("<svg ", '<svg role="img" ', 1)
    return f"{before}{title_end}\n <desc>{escape(description)}</desc>{after}"


def who(receipt: EvaluationPredicate) -> str:
    """Return whose figure it is: checkpoint, stage, and that it is a test instrument."""
    name = printable(receipt.checkpoint.name, LONGEST_FIGURE_NAME)
    stage = printable(receipt.training_stage, LONGEST_FIGURE_NAME // 2)
    return f"{name} (stage: {stage}{', test instrument' if receipt.instrument else ''})"


def condition_dot(condition: ConditionResult | None) -> Dot:
    """Return a condition's compliance in percent with its interval; None where it has none."""
    if condition is None or condition.compliance_rate is None:
        return None
    interval = condition.interval
    ends = (None, None) if interval is None else (interval.lower, interval.upper)
    return share_dot(condition.compliance_rate, *ends)


def share_dot(rate: str | None, lower: str | None, upper: str | None) -> Dot:
    """Return a share in percent with its interval, which is empty where its ends are unknown."""
    if rate is None:
        return None
    value, low, high = (100 * float(rate if end is None else end) for end in (rate, lower, upper))
    return value, low, high


def draw_rates(
    axes: Axes,
    points: Sequence[tuple[float, ConditionResult]],
    place: int,
    label: str,
    *,
    line: str = "",
) -> None:
    """Draw compliance rates with their intervals, as points of one colour and marker.

    Args:
        axes: Where.
        points: Abscissa and condition; those without a rate are left out.
        place: Number of the colour and marker; its points are the group ``points-<place>``.
        label: For the legend.
        line: Style of a line through them; empty: none.
    """
    known = [(x, dot) for x, one in points if (dot := condition_dot(one)) is not None]
    drawn = axes.errorbar(
        [x for x, _ in known],
        [dot[0] for _, dot in known],
        yerr=_errors([dot for _, dot in known]),
        fmt=f"{_MARKERS[place % len(_MARKERS)]}{line}",
        color=COLOURS[place % len(COLOURS)],
        markersize=5,
        linewidth=1.2,
        capsize=2,
        label=label,
    )
    _uncut(drawn, place)


def draw_dots(
    axes: Axes, rows: Sequence[tuple[float, Dot]], place: int = 0, label: str | None = None
) -> None:
    """Draw rows of a dot with its interval.

    Args:
        axes: Where.
        rows: Ordinate and dot; those that are unknown are left out.
        place: Number of the colour and marker; its points are the group ``points-<place>``.
        label: For the legend.
    """
    known = [(y, dot) for y, dot in rows if dot is not None]
    drawn = axes.errorbar(
        [dot[0] for _, dot in known],
        [y for y, _ in known],
        xerr=_errors([dot for _, dot in known]),
        fmt=_MARKERS[place % len(_MARKERS)],
        color=COLOURS[place % len(COLOURS)],
        markersize=5,
        capsize=3,
        label=label,
    )
    _uncut(drawn, place)


def _uncut(drawn: ErrorbarContainer, place: int) -> None:
    """Name the points, and draw them whole where they lie on an edge: 0 % is a common rate."""
    drawn.lines[0].set_gid(f"points-{place}")
    for artist in drawn.get_children():
        artist.set_clip_on(False)


def _errors(dots: Sequence[Known]) -> list[list[float]]:
    """Return the lengths of intervals to either side, never negative."""
    lower = [max(0.0, value - low) for value, low, _ in dots]
    return [lower, [max(0.0, high - value) for value, _, high in dots]]


def entitle(figure: Figure, *lines: str) -> None:
    """Write a title of one or more lines over the whole width of a figure."""
    figure.suptitle("\n".join(lines), x=0.01, horizontalalignment="left", fontsize="medium")


def label_rows(axes: Axes, labels: Sequence[str]) -> None:
    """Name rows 0, 1, … from the top."""
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)


def percent_axis(axes: Axes) -> None:
    """Let the ordinate be compliance in percent, from zero."""
    axes.set_ylim(bottom=0.0)
    axes.set_ylabel(f"compliance rate (%)\n{WHISKERS}")


def draw_baseline(axes: Axes, receipt: EvaluationPredicate, *, upright: bool = False) -> None:
    """Draw the rate without demonstrations as a line, its interval as a band.

    Args:
        axes: Where.
        receipt: Whose first condition is the baseline.
        upright: Whether compliance is the abscissa.
    """
    dot = condition_dot(receipt.conditions[0])
    if dot is None:
        return
    rate, lower, upper = dot
    span, line = (axes.axvspan, axes.axvline) if upright else (axes.axhspan, axes.axhline)
    line(rate, color="black", linestyle="--", linewidth=1.0, label=UNSHOWN, zorder=1)
    span(lower, upper, color="#EEEEEE", zorder=0, label=BAND)
