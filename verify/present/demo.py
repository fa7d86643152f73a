"""What ``receipts demo`` shows: of what commands print the lines that matter, and its tables."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO

from safety_receipts.receipts.view.tables import Column, Row, Table, numbers
from safety_receipts.runner.organism.truth import Truth

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Captured(io.StringIO):
    """What a command prints in the place of another stream, with that stream's looks."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._terminal = stream.isatty()

    def isatty(self) -> bool:
        """Return whether the other stream is a terminal: then colours and its width are kept."""
        return self._terminal


@dataclass(frozen=True)
class Lines:
    """Lines of an output by which it is understood."""

    begin: str
    """How the first one begins."""
    until_blank: bool = False
    """Whether all lines belong to it up to the next empty one; else those indented under it."""


def excerpt(printed: str, wanted: Sequence[Lines]) -> list[str]:
    """Return the lines of an output that are wanted, in its order.

    Args:
        printed: The output, which may be coloured.
        wanted: What is kept.
    """
    kept: list[str] = []
    whole, indent = False, None
    for line in printed.splitlines():
        plain = _COLOURS.sub("", line)
        begun = None if whole else next((w for w in wanted if plain.startswith(w.begin)), None)
        if begun is not None:
            whole, indent = begun.until_blank, _indent(plain)
        elif not plain.strip() or not (whole or (indent is not None and _indent(plain) > indent)):
            whole, indent = False, None
        if whole or indent is not None:
            kept.append(line)
    return kept


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def truth_table(truth: Sequence[Truth]) -> Table:
    """Return the planted rates beside the recorded ones."""
    rows = tuple(
        Row(
            (
                one.condition,
                f"{one.points:,}",
                f"{100 * one.planted:.1f}",
                f"{100 * one.recorded:.1f}",
                f"{one.deviation:+.1f}".replace("-", "−"),
            )
        )
        for one in truth
    )
    names = ("points", "planted %", "recorded %", "standard errors apart")
    return Table("", (Column("condition"), *numbers(*names)), rows)


def forgery_table(rows: Sequence[tuple[str, str]]) -> Table:
    """Return what was done to each copy of the bundle, and which check caught it."""
    columns = (Column("forgery"), Column("caught by the check"))
    return Table("", columns, tuple(map(Row, rows)))
