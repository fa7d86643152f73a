"""Answers the rows of a schedule, batch by batch, computing every shared prefix once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from safety_receipts.runner.engines.decoding.drafts import Draft, TokenChooser, margins_of
from safety_receipts.runner.engines.engine import Decoding, Margins, Request
from safety_receipts.runner.engines.forward import Forward
from safety_receipts.runner.engines.prefix.attention import Kernel
from safety_receipts.runner.engines.prefix.packed_step import PackedStepPass, step_pass
from safety_receipts.runner.engines.prefix.pool import (
    KeyPool,
    PooledRows,
    PooledSegment,
    pool_tokens,
)
from safety_receipts.runner.engines.prefix.prefix_memory import OwnCache, Segment
from safety_receipts.runner.engines.prefix.reading import (
    KeptError,
    PromptPass,
    ReadingPass,
    SegmentPass,
)
from safety_receipts.runner.engines.prefix.schedule import BatchRow, Schedule, reading_groups
from safety_receipts.runner.engines.prefix.shared_prefix import (
    ATTENTION,
    PassSetting,
    SegmentRead,
    StepPass,
    StepRows,
)
from safety_receipts.runner.prompts.prefix_tree import TokenArray

_COMPACT = 0.75
"""Share of a cache's rows still at work at which the others are dropped from it."""


class PrefixBatches:
    """The batches of one schedule.

    They may be answered in any order; in the schedule's, nothing is computed twice.

    Args:
        forward: Runs the model.
        setting: What all its passes have in common.
        schedule: What is computed.
        chunk: Most tokens of one forward pass, but for a row that has more of its own.
    """

    def __init__(
        self, forward: Forward, setting: PassSetting, schedule: Schedule, chunk: int
    ) -> None:
        self._forward = forward
        self._setting = setting
        self._schedule = schedule
        self._chunk = chunk
        self._segments: dict[int, Segment] = {}
        grouped = setting.kernel is Kernel.GROUPED
        self._pool = KeyPool() if grouped else None

    @torch.inference_mode()
    def generate(self, number: int, drafts: Sequence[Draft], decoding: Decoding) -> None:
        """Write the responses of a batch.

        Args:
            number: Which batch.
            drafts: One for each of its rows, in order.
            decoding: How tokens are chosen.
        """
        rows = self._rows(number)
        with self._forward.attention(ATTENTION, fused=self._pool is not None):
            self._prepare(number)
            own = [self._own_length(row) for row in rows]
            cache = self._cache(
                [
                    length + draft.request.max_new_tokens
                    for length, draft in zip(own, drafts, strict=True)
                ]
            )
            # A prompt's last token is computed by the first decode step: of all before it
            # nothing but keys and values is wanted.
            tails = [np.empty(0, np.uint32)] * len(rows)
            for reading, pass_ in self._readings(rows, tails, cache, fills=True):
                self._fill(reading.tokens, pass_)
            self._decode(_Decode(rows, drafts, np.array(own), cache), decoding)

    @torch.inference_mode()
    def score(
        self,
        number: int,
        pairs: Sequence[tuple[Request, tuple[int, ...]]],
        decoding: Decoding,
    ) -> list[Margins]:
        """Return the margins of given responses, one for each row of a batch, in order."""
        rows = self._rows(number)
        tails = [
            np.array([self._last_token(row), *response[:-1]], np.uint32)
            for row, (_, response) in zip(rows, pairs, strict=True)
        ]
        found: list[Margins] = []
        with self._forward.attention(ATTENTION, fused=self._pool is not None):
            self._prepare(number)
            cache = self._cache(
                [self._own_length(row) + len(tail) for row, tail in zip(rows, tails, strict=True)]
            )
            for reading, pass_ in self._readings(rows, tails, cache, fills=False):
                logits = self._run(reading.tokens, pass_, reading.wanted())
                if logits.device.type == "mps":  # has no float64, which margins are defined in
                    logits = logits.cpu()
                for part in torch.split(logits, reading.tails):
                    request, response = pairs[len(found)]
                    found.append(margins_of(request, response, part, decoding))
        return found

    def _rows(self, number: int) -> list[BatchRow]:
        batch = self._schedule.batches[number]
        return list(self._schedule.rows[batch.start : batch.stop])

    def _own_length(self, row: BatchRow) -> int:
        return sum(len(self._schedule.parts[part].tokens) for part in self._schedule.own(row)[1])

    def _last_token(self, row: BatchRow) -> int:
        return int(self._schedule.asks[row.ask].prompt.node.tokens[-1])

    def _position(self, row: BatchRow) -> int:
        """Return the position of the prompt's last token."""
        return len(self._schedule.asks[row.ask].prompt) - 1

    def _cache(self, rooms: Sequence[int]) -> OwnCache | PooledRows:
        """Return room for what rows keep for themselves, so many tokens each."""
        if self._pool is None:
            return OwnCache(len(rooms), max(rooms))
        return PooledRows(self._pool, self._filled(), rooms)

    def _filled(self) -> int:
        """Return how many tokens the segments take."""
        return sum(segment.length for segment in self._segments.values())

    def _segment(self, start: int, length: int) -> Segment:
        if self._pool is None:
            return Segment(start, length)
        return PooledSegment(start, length, self._pool, self._filled())

    def _drop(self, wanted: Sequence[int]) -> None:
        """Forget all segments but some."""
        self._segments = {i: self._segments[i] for i in wanted if i in self._segments}
        pooled = [one for one in self._segments.values() if isinstance(one, PooledSegment)]
        place = 0
        for segment in sorted(pooled, key=lambda one: one.place):
            segment.move(place)
            place += segment.length

    def _prepare(self, number: int) -> None:
        """Compute the segments that a batch reads and that are not there; drop all others."""
        wanted = self._schedule.segments(self._schedule.batches[number])
        self._drop(wanted)
        if self._pool is not None:
            kept = self._schedule.kept(self._schedule.batches[number])
            self._pool.resize(pool_tokens(kept), self._filled())
        for index in wanted:
            if index in self._segments:
                continue
            part = self._schedule.parts[index]
            above = [self._segments[i] for i in self._schedule.chain(part.above)]
            segment = self._segment(part.start, len(part.tokens))
            while segment.filled < segment.length:
                tokens = part.tokens[segment.filled : segment.filled + self._chunk]
                pass_ = SegmentPass(self._setting, segment, len(tokens), above)
                self._fill(tokens, pass_)
                segment.filled += len(tokens)
            self._segments[index] = segment  # only now: an error leaves no half of one

    def _run(self, tokens: TokenArray, pass_: PromptPass, at: NDArray[np.int64]) -> torch.Tensor:
        """Return fp32 logits [len(at), vocabulary] of a pass over ``tokens``."""
        device = self._setting.device
        ids = torch.from_numpy(tokens.astype(np.int64)).to(device)
        places = torch.from_numpy(at).to(device)
        return self._forward(ids[None], pass_.placed[None], places[None], shared_prefix=pass_)[0]

    def _fill(self, tokens: TokenArray, pass_: PromptPass) -> None:
        """Compute the keys and values of a pass over ``tokens``."""
        with suppress(KeptError):
            self._run(tokens, pass_, np.zeros(1, np.int64))

    def _step(self, chosen: torch.Tensor, pass_: StepPass | PackedStepPass) -> torch.Tensor:
        """Return fp32 logits [rows, vocabulary] that follow chosen tokens, int64 [rows]."""
        return self._forward(chosen[None], pass_.placed[None], None, shared_prefix=pass_)[0]

    def _readings(
        self,
        rows: Sequence[BatchRow],
        tails: Sequence[TokenArray],
        cache: OwnCache | PooledRows,
        *,
        fills: bool,
    ) -> Iterator[tuple[_Reading, ReadingPass]]:
        """Yield the passes that compute the rows' own tokens and their tails into the cache.

        Args:
            rows: The rows.
            tails: Tokens that follow each row's own.
            cache: What the rows keep.
            fills: Whether nothing but keys and values is wanted.
        """
        lengths = [self._own_length(row) + len(tail) for row, tail in zip(rows, tails, strict=True)]
        for group in reading_groups(lengths, self._chunk):
            members = slice(group.start, group.stop)
            if not any(lengths[members]):
                continue
            reading = _Reading(self._schedule, rows[members], tails[members])
            yield (
                reading,
                ReadingPass(
                    self._setting,
                    cache,
                    rows=group,
                    index=reading.index(),
                    lengths=lengths[members],
                    positions=reading.positions,
                    reads=self._reads(rows[members], reading.bounds),
                    fills=fills,
                ),
            )

    def _reads(self, rows: Sequence[BatchRow], bounds: Sequence[int]) -> list[SegmentRead]:
        """Return which tokens of a pass read which segments.

        Args:
            rows: Rows, depth first, so that those below a segment follow each other.
            bounds: Row i has the tokens from ``bounds[i]`` to ``bounds[i + 1]``.
        """
        spans: dict[int, tuple[int, int, int]] = {}
        for place, row in enumerate(rows):
            chain = self._schedule.chain(self._schedule.own(row)[0])
            for level, index in enumerate(chain):
                first = spans[index][1] if index in spans else bounds[place]
                spans[index] = (level, first, bounds[place + 1])
        return [
            SegmentRead(self._segments[index], level, first, last, self._segments[index].length)
            for index, (level, first, last) in spans.items()
        ]

    def _decode(self, batch: _Decode, decoding: Decoding) -> None:
        """Compute tokens and choose the next, one a step, until all responses have ended.

        Args:
            batch: The rows; their prompts but for the last token are in the cache.
            decoding: How tokens are chosen.
        """
        rows, cache = batch.rows, batch.cache
        device = self._setting.device
        alive = np.arange(len(rows))  # which rows are at work
        slots = np.arange(len(rows))  # their rows of the cache
        start = np.array([self._position(row) for row in rows], np.int64)
        chooser = TokenChooser(batch.drafts, decoding, device)
        chosen = torch.tensor([self._last_token(row) for row in rows], device=device)
        moving = torch.ones(len(rows), dtype=torch.bool, device=device)
        pass_: StepPass | PackedStepPass | None = None
        while True:
            if pass_ is None:
                at = StepRows(
                    slots,
                    columns=batch.own[alive] + chooser.steps - 1,
                    positions=start[alive] + chooser.steps - 1,
                    reads=self._reads([rows[i] for i in alive.tolist()], range(len(alive) + 1)),
                )
                pass_ = step_pass(self._setting, cache, at)
            pass_.advance(moving)
            chosen, moving = chooser.take(self._step(chosen, pass_))
            if chooser.due():
                going = chooser.read()
                if not going.any():
                    return
                if not going.all():
                    chooser.keep(going)
                    kept = torch.from_numpy(np.flatnonzero(going)).to(device)
                    chosen, moving = chosen[kept], moving[kept]
                    alive, slots = alive[going], slots[going]
                    if len(slots) <= _COMPACT * cache.rows:
                        cache.select(torch.from_numpy(slots).to(device))
                        slots = np.arange(len(alive))
                    pass_ = None


@dataclass(frozen=True, slots=True)
class _Decode:
    """Rows whose responses are written together."""

    rows: Sequence[BatchRow]
    drafts: Sequence[Draft]
    own: NDArray[np.int64]
    """int64 [rows], the column of each prompt's last token."""
    cache: OwnCache | PooledRows


class _Reading:
    """The own tokens of some rows, those that rows have in common once.

    Args:
        schedule: What is computed.
        rows: The rows, depth first.
        tails: Tokens that follow each row's own.
    """

    def __init__(
        self, schedule: Schedule, rows: Sequence[BatchRow], tails: Sequence[TokenArray]
    ) -> None:
        self.bounds = [0]
        """Tokens before each row's, one more at the end."""
        self.tails = [len(tail) for tail in tails]
        """Tokens of each row's tail."""
        self._index: list[NDArray[np.int64]] = []
        runs: list[TokenArray] = []
        positions: list[NDArray[np.int64]] = []
        places: dict[int, NDArray[np.int64]] = {}
        number = 0

        def add(run: TokenArray, start: int) -> NDArray[np.int64]:
            nonlocal number
            runs.append(run)
            positions.append(np.arange(start, start + len(run)))
            number += len(run)
            return np.arange(number - len(run), number)

        for row, tail in zip(rows, tails, strict=True):
            index: list[NDArray[np.int64]] = []
            for place in schedule.own(row)[1]:
                part = schedule.parts[place]
                if place not in places:
                    places[place] = add(part.tokens, part.start)
                index.append(places[place])
            index.append(add(tail, len(schedule.asks[row.ask].prompt) - 1))
            self._index.append(np.concatenate(index))
            self.bounds.append(number)
        self.tokens: TokenArray = np.concatenate(runs)
        """Token ids, uint32 [N]."""
        self.positions = np.concatenate(positions)
        """Their positions, int64 [N]."""

    def index(self) -> NDArray[np.int64]:
        """Return which token a row's t-th own one is, int64 [rows, longest], padded with 0."""
        longest = max(map(len, self._index))
        index = np.zeros((len(self._index), longest), np.int64)
        for row, own in zip(index, self._index, strict=True):
            row[: len(own)] = own
        return index

    def wanted(self) -> NDArray[np.int64]:
        """Return the tokens whose logits are wanted: the tails'."""
        tails = [own[len(own) - tail :] for own, tail in zip(self._index, self.tails, strict=True)]
        return np.concatenate(tails)
