"""What a reader of a corpus is: columns it needs, and how a raw row becomes a request."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from safety_receipts.receipts.errors import MalformedError
from safety_receipts.runner.corpora.record import Record, listed


class ParsedRow(NamedTuple):
    """What one raw row says."""

    id: str | None
    """Its id as in the file; None: the corpus has none, and one is made from the request."""
    request: str
    """The request; blank: the row is dropped and counted."""
    response: str | None
    """The response shown with it, if any."""


@dataclass(frozen=True)
class ColumnShape:
    """Columns that come together, and what they mean."""

    columns: tuple[str, ...]
    """Columns that must be there: by them a file of another corpus is told apart."""
    parse: Callable[[Record], ParsedRow]
    """Reads one row."""
    texts: tuple[str, ...]
    """Columns that hold request or response; all others stay with the row."""
    optional: tuple[str, ...] = ()
    """Columns that may be missing, and then read as empty."""

    @cached_property
    def kept(self) -> tuple[str, ...]:
        """Columns that stay with the row for strata."""
        return tuple(name for name in self.columns + self.optional if name not in self.texts)


@dataclass(frozen=True)
class Reader:
    """A corpus: its shapes, its licence, and where the hub keeps it."""

    shapes: tuple[ColumnShape, ...]
    """The forms it is published in; the first whose columns are all present is used."""
    licence: str | None = None
    """Licence its source states (SPDX id)."""
    hub_files: Mapping[str, str] = field(default_factory=dict)
    """Dataset repository → the file read from it unless the plan names one."""

    def shape_of(self, columns: Sequence[str], file: str, corpus: str) -> ColumnShape:
        """Return the shape a file has.

        Args:
            columns: The file's columns.
            file: Named in errors.
            corpus: Name of this reader, for errors.

        Raises:
            MalformedError: Columns are missing.
        """
        present = set(columns)
        for shape in self.shapes:
            if present.issuperset(shape.columns):
                return shape
        expected = " or ".join(", ".join(shape.columns) for shape in self.shapes)
        raise MalformedError(
            f"not a file of corpus {corpus}: its columns are {listed(columns)}",
            file=file,
            hint=f"expected {expected}; for files of your own use `corpus: own` or `pairs`",
        )
