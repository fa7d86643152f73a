"""The order in which a prefix tree is computed and its prompts are answered.

Pure: token ids and sizes in, a plan of work out; the same input gives the same schedule.

Prompts hang in a prefix tree (:mod:`runner.prompts.prefix_tree`).  Rows, one for each response
asked for, are taken depth first, so the rows below any node of the tree follow each other, and a
batch is a run of rows.  A *segment* is a part of the tree whose keys and values are computed by a
forward pass of its own, stored once, and read by all the rows below it, at whatever depth of the
tree they hang.  What lies between a row's last segment and its prompt's end is the row's *own*: few
tokens, or few rows, so that a copy a row costs less than another read in every layer of every step.

A prompt's last token never belongs to a segment: it is the first that a row computes for
itself, and its logits are the row's first.  So where a prompt ends inside the tree (it is the
beginning of another, or asked about twice) that one token is computed again.

A segment's keys and values depend on the tree and the size of a chunk alone, not on what was
computed before or with them.  A run that goes on at any batch therefore computes what it
would have computed, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from safety_receipts.runner.prompts.prefix_tree import PrefixNode, TokenArray, TreePrompt

BATCH_RULE: Final = "prefix-tree/1"
"""Name of the rule by which a plan's points are cut into batches: this module's.  What else
decides, the receipt's memory class and attention name: the bound, and plain batches where a
model allows no others."""
MAX_BATCH_ROWS: Final = 512
"""Most rows of a batch, whatever the memory."""
SHARE_TOKENS: Final = 256
"""Tokens that sharing must save, summed over rows, for a part of the tree to be a segment."""


@dataclass(frozen=True, slots=True)
class ScheduledRequest:
    """One response asked for, or given to be scored."""

    prompt: TreePrompt
    """Its prompt, at least one token."""
    tail: int
    """Tokens computed with the prompt's last one: 0, or a given response's but its last."""
    grown: int
    """Tokens that decoding will add to the cache."""


@dataclass(slots=True)
class SharedPart:
    """A part of the tree that all prompts below it have in common."""

    above: int
    """Index of the part that it follows; −1: none."""
    start: int
    """Position of its first token."""
    tokens: TokenArray
    """Token ids, at least one, uint32."""
    rows: range
    """The rows below it."""
    segment: bool = False
    """Whether its keys and values are stored once; then so are those of all parts above."""

    @property
    def end(self) -> int:
        """Position after its last token."""
        return self.start + len(self.tokens)


@dataclass(frozen=True, slots=True)
class BatchRow:
    """A place in a batch."""

    ask: int
    """Index of what it answers."""
    part: int
    """Index of the part that ends before the prompt's last token; −1: the prompt has one."""


@dataclass(frozen=True, slots=True)
class BatchSize:
    """What a batch asks of memory."""

    rows: int
    """Rows."""
    shared: int
    """Tokens of the segments that its rows read, each segment once."""
    columns: int
    """Tokens that a row may come to keep for itself; the greatest of any row."""
    kept: int
    """The same of all rows together."""
    read: int
    """Tokens of its own that a row computes before decoding; the greatest of any row."""
    scored: int
    """Positions whose logits are needed at once, all rows together."""
    levels: int
    """Segments that a row reads; the greatest number of any row."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How prompts are computed."""

    asks: tuple[ScheduledRequest, ...]
    """What was asked for."""
    parts: tuple[SharedPart, ...]
    """The tree, depth first."""
    rows: tuple[BatchRow, ...]
    """The rows that fit, depth first."""
    batches: tuple[range, ...]
    """Rows of each batch, in order."""
    too_large: tuple[int, ...]
    """Indices of what does not fit even alone."""

    def segments(self, batch: range) -> list[int]:
        """Return the segments that rows of a batch read, each after the ones above it."""
        found: set[int] = set()
        for row in batch:
            segment, _ = self.own(self.rows[row])
            while segment >= 0 and segment not in found:
                found.add(segment)
                segment = self.parts[segment].above
        return sorted(found)

    def own(self, row: BatchRow) -> tuple[int, list[int]]:
        """Return a row's last segment (−1: none) and the parts of its own below it, in order."""
        own = []
        part = row.part
        while part >= 0 and not self.parts[part].segment:
            own.append(part)
            part = self.parts[part].above
        return part, own[::-1]

    def room(self, row: BatchRow) -> int:
        """Return how many tokens a row comes to keep for itself."""
        ask = self.asks[row.ask]
        own = sum(len(self.parts[part].tokens) for part in self.own(row)[1])
        return own + 1 + ask.tail + ask.grown

    def kept(self, batch: range) -> int:
        """Return how many tokens the segments and the rows of a batch come to keep."""
        shared = sum(len(self.parts[part].tokens) for part in self.segments(batch))
        return shared + sum(self.room(self.rows[row]) for row in batch)

    def chain(self, segment: int) -> list[int]:
        """Return a segment and those above it, the first one first."""
        found = []
        while segment >= 0:
            found.append(segment)
            segment = self.parts[segment].above
        return found[::-1]

    def prompt_tokens(self) -> int:
        """Return how many tokens are computed before and with the prompts' last ones.

        Segments count once; what rows of a batch have of their own in common counts once a
        batch, at best: reading may cut a batch further.
        """
        computed = sum(len(part.tokens) for part in self.parts if part.segment)
        for batch in self.batches:
            own = {part for row in batch for part in self.own(self.rows[row])[1]}
            computed += sum(len(self.parts[part].tokens) for part in own)
            computed += sum(1 + self.asks[self.rows[row].ask].tail for row in batch)
        return computed


def build_schedule(
    asks: Sequence[ScheduledRequest],
    *,
    fits: Callable[[BatchSize], bool],
    max_rows: int,
    chunk: int,
    share_tokens: int = SHARE_TOKENS,
) -> Schedule:
    """Return how prompts of one tree are computed.

    Args:
        asks: What is asked for; all prompts from one tree.
        fits: Whether the memory suffices for a batch.
        max_rows: Most rows of a batch, at least 1.
        chunk: Tokens of one forward pass: a longer part is a segment, whoever reads it.
        share_tokens: Tokens that sharing must save for a part to be a segment.

    Raises:
        ValueError: Prompts of several trees.
    """
    if len({id(ask.prompt.tree) for ask in asks}) > 1:
        raise ValueError("prompts of one schedule should stand in one tree")
    parts, rows = _flatten(asks)
    _mark_segments(parts, chunk, share_tokens)
    whole = Schedule(tuple(asks), tuple(parts), tuple(rows), (), ())
    kept: list[BatchRow] = []
    starts: list[int] = []
    too_large: list[int] = []
    place: list[int] = []  # how many rows are kept before each one
    open_ = _Open(whole, 0)
    for row in rows:
        place.append(len(kept))
        grown = open_.with_(row)
        if starts and grown.size.rows <= max_rows and fits(grown.size):
            open_ = grown
        else:
            alone = _Open(whole, 0).with_(row)
            if not fits(alone.size):
                too_large.append(row.ask)
                continue
            open_ = alone
            starts.append(len(kept))
        kept.append(row)
    place.append(len(kept))
    for part in parts:
        part.rows = range(place[part.rows.start], place[part.rows.stop])
    stops = [*starts[1:], len(kept)]
    batches = tuple(range(a, b) for a, b in zip(starts, stops, strict=False))
    return Schedule(tuple(asks), tuple(parts), tuple(kept), batches, tuple(too_large))


class _Open:
    """A batch that may still grow; rows come depth first."""

    def __init__(self, schedule: Schedule, rows: int) -> None:
        self._schedule = schedule
        self._deepest: list[int] = []
        self.size = BatchSize(rows, 0, 0, 0, 0, 0, 0)

    def with_(self, row: BatchRow) -> _Open:
        """Return the batch with one more row."""
        schedule, size = self._schedule, self.size
        segment, own = schedule.own(row)
        chain = schedule.chain(segment)
        # Depth first: segments that an earlier row of the batch reads, and this one too, are
        # the beginning of the chain that the row before reads.
        known = 0
        while known < min(len(chain), len(self._deepest)) and chain[known] == self._deepest[known]:
            known += 1
        ask = schedule.asks[row.ask]
        read = sum(len(schedule.parts[part].tokens) for part in own) + ask.tail
        grown = _Open(schedule, 0)
        grown._deepest = chain
        grown.size = BatchSize(
            rows=size.rows + 1,
            shared=size.shared + sum(len(schedule.parts[part].tokens) for part in chain[known:]),
            columns=max(size.columns, read + 1 + ask.grown),
            kept=size.kept + read + 1 + ask.grown,
            read=max(size.read, read + 1),
            scored=size.scored + 1 + ask.tail,
            levels=max(size.levels, len(chain)),
        )
        return grown


def _flatten(asks: Sequence[ScheduledRequest]) -> tuple[list[SharedPart], list[BatchRow]]:
    """Return the parts of the tree that prompts use, and the rows, both depth first."""
    ending: dict[int, list[int]] = {}
    used: set[int] = set()
    for index, ask in enumerate(asks):
        ending.setdefault(id(ask.prompt.node), []).append(index)
        node: PrefixNode | None = ask.prompt.node
        while node is not None and id(node) not in used:
            used.add(id(node))
            node = node.parent
    parts: list[SharedPart] = []
    rows: list[BatchRow] = []
    opened: list[int] = []
    # An item is a node to visit (with the part above it and its first token's position), or
    # how many parts to close.
    stack: list[tuple[PrefixNode, int, int] | int] = []
    if asks:
        stack.append((asks[0].prompt.tree.root, -1, 0))

    def open_part(above: int, start: int, tokens: TokenArray) -> int:
        if not len(tokens):
            return above
        parts.append(SharedPart(above, start, tokens, range(len(rows), len(rows))))
        opened.append(len(parts) - 1)
        return len(parts) - 1

    while stack:
        item = stack.pop()
        if isinstance(item, int):
            for _ in range(item):
                closed = parts[opened.pop()]
                closed.rows = range(closed.rows.start, len(rows))
            continue
        node, above, start = item
        before = len(opened)
        answered = ending.get(id(node), ())
        # Prompts that end here compute the last token themselves.
        whole = len(node.tokens) - bool(answered)
        part = open_part(above, start, node.tokens[:whole])
        rows.extend(BatchRow(index, part) for index in answered)
        children = [child for child in node.children.values() if id(child) in used]
        if children:
            part = open_part(part, start + whole, node.tokens[whole:])
        stack.append(len(opened) - before)
        below = start + len(node.tokens)
        stack.extend((child, part, below) for child in reversed(children))
    return parts, rows


def _mark_segments(parts: Sequence[SharedPart], chunk: int, share_tokens: int) -> None:
    for part in reversed(parts):  # children come before what is above them
        saved = len(part.tokens) * (len(part.rows) - 1)
        part.segment = part.segment or saved >= share_tokens or len(part.tokens) > chunk
        if part.segment and part.above >= 0:
            parts[part.above].segment = True


def reading_groups(own: Sequence[int], chunk: int) -> Iterator[range]:
    """Cut the rows of a batch into groups whose own tokens one forward pass computes.

    Args:
        own: Tokens that each row computes.
        chunk: Most tokens of a pass, padded to the longest row of the group; a row alone may
            have more.
    """
    start, longest = 0, 0
    for row, length in enumerate(own):
        longest = max(longest, length)
        if row > start and longest * (row + 1 - start) > chunk:
            yield range(start, row)
            start, longest = row, length
    if start < len(own):
        yield range(start, len(own))
