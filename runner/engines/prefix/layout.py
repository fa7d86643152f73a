"""Which stretches of a pool the rows of a decode step see: the sequences of its grouped call.

Pure: made once for a layout of rows, on the host, for one kind of attention.  A row sees the
newest of its own columns, and of each segment above it all tokens or, under a sliding window,
the end.  Rows under one segment stand at about one position, so a segment under a window is read
once from where *all* of its readers see it; what single rows see before that, they read for
themselves.  Readers that stand far apart are told apart first.

Where a stretch begins and ends moves with the steps, by numbers that the device keeps: a row's
own count of moves, or the count of steps.  So nothing here is computed again for a step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

RowNumbers = NDArray[np.int64]

BLOCK_QUERIES: Final = 128
"""Most queries of a sequence, where a row has fewer: a block of the fused kernels."""
STRETCH_KEYS: Final = 8192
"""Longest stretch; longer segments are cut, so that the device's cores share them."""
WINDOW_SPREAD: Final = 512
"""Positions between readers of a segment at which a window tells them apart."""


@dataclass(frozen=True, slots=True)
class StretchRead:
    """Rows that read a segment."""

    place: int
    """The pool's token that its first one is."""
    start: int
    """Position of its first token."""
    first: int
    """The first row that reads it."""
    last: int
    """The row after the last."""
    upto: int
    """How many of its tokens they read."""


@dataclass(frozen=True, slots=True)
class RowPlaces:
    """Where rows stand, int64 [N] each."""

    bases: RowNumbers
    """The pool's tokens that their columns 0 are."""
    columns: RowNumbers
    """The columns of their newest tokens."""
    positions: RowNumbers
    """The positions of these."""
    rooms: RowNumbers
    """How many columns each has."""


@dataclass(frozen=True, slots=True)
class StepLayout:
    """The sequences of a call over U places for queries; a place holds one row's.

    A row has up to P parts, the last its own columns.  Of the entries by sequence there is one
    more than sequences, which stands for nothing.
    """

    rows: RowNumbers
    """int64 [U], the row of each place."""
    bounds: RowNumbers
    """int64 [n + 1], the places of sequence i are those from bounds[i] to bounds[i + 1]."""
    bases: RowNumbers
    """int64 [n + 1], the pool's tokens from which stretches are counted."""
    ends: RowNumbers
    """int64 [2, n + 1], where stretches begin and end before any step."""
    moves: RowNumbers
    """int64 [2, n + 1], what these move with: row r's moves (r), the steps (N), or nothing
    (N + 1)."""
    least: RowNumbers
    """int64 [2, n + 1], where they begin and end at the least."""
    most: RowNumbers
    """int64 [2, n + 1], where they begin and end at most."""
    places: RowNumbers
    """int64 [P, N], the place of each part of a row; that of the last where there is no part."""
    parts: RowNumbers
    """int64 [P, N], the sequence of each part; n where there is no part."""
    may_miss: bool
    """Whether a part can be missing, or see nothing at some step."""
    longest: int
    """Places of the longest sequence."""
    reach: int
    """Keys of the longest stretch."""

    @property
    def in_order(self) -> bool:
        """Whether places stand part by part, row by row."""
        return bool((self.places.ravel() == np.arange(self.places.size)).all())


@dataclass(frozen=True, slots=True)
class _Stretch:
    rows: RowNumbers
    base: int
    ends: tuple[int, int]
    moves: tuple[int, int]
    least: tuple[int, int]
    most: tuple[int, int]
    may_miss: bool


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch as some of its rows see it."""

    stretch: _Stretch
    rows: RowNumbers
    slots: RowNumbers
    """Which of each row's parts it is."""


def build_layout(
    rows: RowPlaces, reads: Sequence[StretchRead], window: int | None, each: int
) -> StepLayout:
    """Return the sequences of a step.

    Args:
        rows: Where the rows stand.
        reads: Which rows read which segments.
        window: Tokens of the sliding window; None: full attention.
        each: Query heads that read one key-value head.
    """
    number = len(rows.bases)
    steps = int((rows.rooms - 1 - rows.columns).max())
    found = [
        part
        for read in reads
        if read.last > read.first and read.upto
        for part in _of_segment(rows, read, window, steps)
    ]
    pieces, last = _pieces(found, number, max(1, BLOCK_QUERIES // each))
    stretches = [piece.stretch for piece in pieces]
    stretches += [
        _Stretch(np.array([row]), *_own(rows, row, window), may_miss=False) for row in range(number)
    ]
    before = sum(len(piece.rows) for piece in pieces)
    places = np.tile(before + np.arange(number), (last + 1, 1))
    parts = np.full((last + 1, number), len(stretches), np.int64)
    parts[last] = len(pieces) + np.arange(number)
    bounds = [0]
    for index, piece in enumerate(pieces):
        places[piece.slots, piece.rows] = bounds[-1] + np.arange(len(piece.rows))
        parts[piece.slots, piece.rows] = index
        bounds.append(bounds[-1] + len(piece.rows))
    bounds += range(before + 1, before + number + 1)

    def both(name: str) -> RowNumbers:
        return np.array([*(getattr(one, name) for one in stretches), (0, 0)], np.int64).T

    moves = both("moves")
    moves[:, -1] = number + 1
    return StepLayout(
        rows=np.concatenate([*(piece.rows for piece in pieces), np.arange(number)]),
        bounds=np.array(bounds, np.int64),
        bases=np.array([*(one.base for one in stretches), 0], np.int64),
        ends=both("ends"),
        moves=moves,
        least=both("least"),
        most=both("most"),
        places=places,
        parts=parts,
        may_miss=bool((parts == len(stretches)).any()) or any(one.may_miss for one in stretches),
        longest=max([1, *(len(piece.rows) for piece in pieces)]),
        reach=max(one.most[1] - one.least[0] for one in stretches),
    )


def _pieces(found: Sequence[_Stretch], number: int, chunk: int) -> tuple[list[_Piece], int]:
    """Return stretches by no more than ``chunk`` rows each, and the most of any row.

    Those that are rows' first stretches come first, then their second ones, by rows.
    """
    taken = np.zeros(number, np.int64)
    pieces = []
    for part in found:
        slots = taken[part.rows]
        taken[part.rows] += 1
        for i in range(0, len(part.rows), chunk):
            pieces.append(_Piece(part, part.rows[i : i + chunk], slots[i : i + chunk]))
    pieces.sort(key=lambda piece: (piece.slots[0], piece.rows[0]))
    return pieces, int(taken.max())


def _own(
    rows: RowPlaces, row: int, window: int | None
) -> tuple[int, tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Return the base, ends, moves, least and most of a row's own stretch."""
    end, room, never = int(rows.columns[row]) + 1, int(rows.rooms[row]), len(rows.bases) + 1
    if window is None or window >= room:
        return int(rows.bases[row]), (0, end), (never, row), (0, 1), (0, room)
    return int(rows.bases[row]), (end - window, end), (row, row), (0, 1), (room, room)


def _of_segment(
    rows: RowPlaces, read: StretchRead, window: int | None, steps: int
) -> Iterator[_Stretch]:
    """Yield what rows see of a segment.

    Args:
        rows: Where the rows stand.
        read: Who reads it.
        window: Tokens of the sliding window; None: full attention.
        steps: How many there can be.
    """
    readers, base = np.arange(read.first, read.last), read.place
    counted, never = len(rows.bases), len(rows.bases) + 1
    if window is None:
        for cut in _cuts(read.upto):
            yield _Stretch(readers, base, cut, (never, never), cut, cut, may_miss=False)
        return
    # The first token that a row sees.
    begins = rows.positions[readers] + 1 - window - read.start
    for group in _groups(begins):
        if begins[group].min() >= read.upto:
            continue
        common = int(begins[group].max())
        for low, high in _cuts(read.upto):
            if common >= high:
                continue
            move = counted if common + steps > low else never
            yield _Stretch(
                readers[group],
                base,
                (common, high),
                (move, never),
                (low, high),
                (high, high),
                may_miss=common + steps >= high,
            )
        if common + steps <= 0:
            continue
        for reader, begin in zip(readers[group].tolist(), begins[group].tolist(), strict=True):
            if begin < min(common, read.upto):
                yield _Stretch(
                    np.array([reader]),
                    base,
                    (begin, common),
                    (reader, counted),
                    (0, 0),
                    (read.upto, read.upto),
                    may_miss=common <= max(begin, 0) or begin + steps >= read.upto,
                )


def _groups(begins: RowNumbers) -> Iterator[RowNumbers]:
    """Yield indices, ascending, of readers that stand close to each other."""
    order = np.argsort(begins, kind="stable")
    start = 0
    for i in range(1, len(order) + 1):
        if i == len(order) or begins[order[i]] - begins[order[start]] > WINDOW_SPREAD:
            yield np.sort(order[start:i])
            start = i


def _cuts(length: int) -> Iterator[tuple[int, int]]:
    number = -(-length // STRETCH_KEYS)
    for i in range(number):
        yield length * i // number, length * (i + 1) // number
