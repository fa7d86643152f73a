"""Demonstrations: which are drawn, in which order, and how they are cut to length.

Pure: pools and a plan's values in, lists out.  Everything follows from the event's seed, so
a verifier who has the pools draws the same lists.  Length-matched filler and safe rewrites
are benign sources like any other.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import islice
from typing import assert_never

from safety_receipts.receipts.canonical import Sha256, canonical_bytes, sha256_hex, tagged_digest
from safety_receipts.receipts.errors import IncompleteError, MalformedError, UsageError
from safety_receipts.receipts.events.grid import random_labels
from safety_receipts.receipts.model.base import SourceName
from safety_receipts.receipts.model.demonstrations import (
    DemonstrationKind,
    PlannedCondition,
    Truncation,
    TruncationScope,
)
from safety_receipts.runner.corpora.rows import CorpusRow
from safety_receipts.runner.corpora.same import REQUEST_RULE, normalised_request

DRAW_TAG = "safety-receipts/draw/1"
LIST_TAG = "safety-receipts/demonstrations/1"

_LETTERS = {
    "h": DemonstrationKind.HARMFUL,
    "b": DemonstrationKind.BENIGN,
    "r": DemonstrationKind.REFUSAL,
}

_ROWS_KEPT = 2**13
"""Demonstrations that are kept as they are shown: each is, in several conditions of a draw."""
_DRAWS_KEPT = 2**9
"""Draws that are kept: each is, for conditions of several sizes."""

_JOINER = "\u200d"
_SKIN_TONES = range(0x1F3FB, 0x1F400)


@dataclass(frozen=True, slots=True)
class Demonstration:
    """One request with the response that the model is shown."""

    id: str
    """Id of the row it was drawn from."""
    kind: DemonstrationKind
    """Harmful or benign by its request; or refusal."""
    request: str
    """The request as shown."""
    response: str
    """The response as shown."""


@dataclass(frozen=True)
class Pool:
    """Demonstrations of one kind and source that can be drawn, sorted by id."""

    kind: DemonstrationKind
    """Kind of every one of them."""
    source: SourceName
    """Name of the source within the plan; part of every draw's hash."""
    items: tuple[Demonstration, ...]
    """Whole texts, sorted by id: the order of the file does not matter."""


@dataclass(frozen=True)
class Pools:
    """The pools of a plan."""

    harmful: Pool | None = None
    """Harmful requests with compliant responses; None: the plan has none."""
    benign: Mapping[SourceName, Pool] = field(default_factory=dict)
    """Benign pools by source."""
    refusal: Pool | None = None
    """Refusal examples; None: the plan has none."""

    def of(self, kind: DemonstrationKind, benign_source: SourceName | None) -> Pool:
        """Return the pool that demonstrations of a kind come from.

        Raises:
            IncompleteError: There is none.
        """
        match kind:
            case DemonstrationKind.HARMFUL:
                pool = self.harmful
            case DemonstrationKind.REFUSAL:
                pool = self.refusal
            case DemonstrationKind.BENIGN:
                pool = self.benign.get(benign_source) if benign_source else None
            case _:
                assert_never(kind)
        if pool is None:
            named = f" named {benign_source}" if kind is DemonstrationKind.BENIGN else ""
            raise IncompleteError(
                f"no {kind.value} demonstrations{named}",
                hint="name a corpus for them under `demonstrations:` in the plan",
            )
        return pool


@dataclass(frozen=True)
class DrawKey:
    """What a draw depends on besides its pool."""

    seed: Sha256
    """The event's seed (:func:`receipts.canonical.event_seed`)."""
    block: int
    """The query's place in the pooled list div draw block, from 0."""
    draw: int
    """Which sampling, from 0."""


@dataclass(frozen=True)
class DemonstrationList:
    """Demonstrations in the order shown; the last is nearest the query."""

    items: tuple[Demonstration, ...]
    """In the order of the label string."""

    @property
    def digest(self) -> Sha256:
        """SHA-256 over JCS ``[tag, [[id, kind, request, response], …]]``, texts as shown."""
        rows = b",".join(map(_row, self.items))
        return sha256_hex(b"[%s,[%s]]" % (canonical_bytes(LIST_TAG), rows))


@lru_cache(maxsize=_ROWS_KEPT)
def _row(item: Demonstration) -> bytes:
    """Return the RFC 8785 array of what a list's digest is over of a demonstration."""
    return canonical_bytes([item.id, item.kind.value, item.request, item.response])


def make_pool(kind: DemonstrationKind, source: SourceName, rows: Iterable[CorpusRow]) -> Pool:
    """Return a pool of all rows.

    Args:
        kind: Kind of the demonstrations.
        source: Name of the source within the plan.
        rows: Rows with distinct ids, in any order.

    Raises:
        MalformedError: A row has no response.
    """
    items = []
    for row in sorted(rows, key=lambda row: row.id):
        if row.response is None:
            raise MalformedError(
                f"source {source}: row {row.id} has no response to show",
                hint="demonstrations are requests with responses: use `corpus: pairs`",
            )
        items.append(Demonstration(row.id, kind, row.request, row.response))
    return Pool(kind, source, tuple(items))


def decontaminate(pool: Pool, queries: Iterable[str], rule: str = REQUEST_RULE) -> tuple[Pool, int]:
    """Return the pool without requests that are evaluation queries, and how many those were.

    Equal means equal after :func:`runner.corpora.same.normalised_request`.  One pool serves all
    queries alike, so a query never changes what another one is shown.

    Args:
        pool: All demonstrations of a source.
        queries: Requests of all evaluation queries, whatever their role.
        rule: When two requests are one.
    """
    asked = {normalised_request(query, rule) for query in queries}
    left = tuple(item for item in pool.items if normalised_request(item.request, rule) not in asked)
    return replace(pool, items=left), len(pool.items) - len(left)


def draw_indices(
    seed: Sha256,
    block: int,
    draw: int,
    *,
    kind: DemonstrationKind,
    source: SourceName,
    count: int,
    pool_size: int,
) -> tuple[int, ...]:
    """Return the places in a sorted pool that a draw takes, in the order drawn.

    The j-th (from 0) is the first unused value of SHA-256(JCS ["safety-receipts/draw/1", seed,
    block, draw, kind, source, j, attempt]), read as a big-endian integer, mod ``pool_size``,
    for attempt = 0, 1, ….  So draws are without replacement, the first 16 of a draw of 32 are
    the draw of 16, and nothing depends on limits, processes or other draws.  The bias of the
    remainder is below pool_size / 2^256.

    Args:
        seed: The event's seed.
        block: The query's place div draw block.
        draw: Which sampling.
        kind: Kind of the demonstrations.
        source: Name of their source within the plan.
        count: How many to draw.
        pool_size: Size of the pool after decontamination.

    Returns:
        ``count`` distinct integers from 0 to ``pool_size`` − 1.

    Raises:
        UsageError: ``count`` exceeds ``pool_size``.
    """
    if count > pool_size:
        raise UsageError(
            f"{count} {kind.value} demonstrations asked of the {pool_size} in source {source}",
            hint="ask for fewer, or supply more",
        )
    return _draw_of((seed, block, draw, kind.value, source), pool_size).first(count)


class _GrowingDraw:
    """A draw, as far as it was asked for; as for :func:`draw_indices`."""

    def __init__(self, key: tuple[str | int, ...], pool_size: int) -> None:
        self._key, self._pool_size = key, pool_size
        self._taken: dict[int, None] = {}  # a dict keeps the order drawn

    def first(self, count: int) -> tuple[int, ...]:
        """Return the first places."""
        for j in range(len(self._taken), count):
            attempt = 0
            while True:
                digest = tagged_digest(DRAW_TAG, *self._key, j, attempt)
                index = int.from_bytes(digest, "big") % self._pool_size
                if index not in self._taken:
                    break
                attempt += 1
            self._taken[index] = None
        return tuple(islice(self._taken, count))


@lru_cache(maxsize=_DRAWS_KEPT)
def _draw_of(key: tuple[str | int, ...], pool_size: int) -> _GrowingDraw:
    return _GrowingDraw(key, pool_size)


def drawn(pool: Pool, key: DrawKey, count: int) -> tuple[Demonstration, ...]:
    """Return the first ``count`` demonstrations of a draw, whole texts.

    Raises:
        UsageError: The pool is smaller.
    """
    places = draw_indices(
        key.seed,
        key.block,
        key.draw,
        kind=pool.kind,
        source=pool.source,
        count=count,
        pool_size=len(pool.items),
    )
    return tuple(pool.items[place] for place in places)


def shown_labels(condition: PlannedCondition, key: DrawKey) -> str:
    """Return the order of kinds: the condition's, or under ``random`` that of this draw."""
    if condition.labels is not None:
        return condition.labels
    return random_labels(key.seed, condition, key.block, key.draw)


def demonstration_list(
    pools: Pools,
    condition: PlannedCondition,
    labels: str,
    key: DrawKey,
    truncation: Truncation | None = None,
) -> DemonstrationList:
    """Return what one evaluation point is shown.

    The j-th letter of a kind takes the j-th demonstration drawn of that kind, so ordering
    rules permute one set.  Then the response prefix is applied, then the length rule.

    Args:
        pools: The plan's pools, decontaminated.
        condition: The condition.
        labels: Order of kinds (:func:`shown_labels`).
        key: Seed, block and draw.
        truncation: Length rule; None: whole texts.

    Raises:
        UsageError: A pool is smaller than asked, or ``labels`` are not the condition's.
        IncompleteError: A pool is missing.
    """
    counts = {
        "h": condition.n_harmful,
        "b": condition.n_benign,
        "r": condition.context.n_refusal,
    }
    if len(labels) != sum(counts.values()) or any(
        labels.count(letter) != count for letter, count in counts.items()
    ):
        raise UsageError(f"condition {condition.id}: labels {labels!r} are not of its counts")
    draws = {
        letter: iter(drawn(pools.of(_LETTERS[letter], condition.benign_source), key, count))
        for letter, count in counts.items()
        if count
    }
    return DemonstrationList(
        tuple(
            _shown(next(draws[letter]), condition.response_prefix, truncation) for letter in labels
        )
    )


def gap_turns(
    pools: Pools,
    condition: PlannedCondition,
    key: DrawKey,
    truncation: Truncation | None = None,
) -> tuple[Demonstration, ...]:
    """Return the benign turns between the demonstrations and the query.

    They go on where the draw of benign demonstrations from the same source ended, so that
    none is shown twice.  The length rule applies to them, a response prefix does not: they
    are conversation, not examples.

    Raises:
        UsageError: The pool is smaller.
        IncompleteError: The pool is missing.
    """
    context = condition.context
    if context.gap_source is None:
        return ()
    pool = pools.of(DemonstrationKind.BENIGN, context.gap_source)
    taken = condition.n_benign if context.gap_source == condition.benign_source else 0
    items = drawn(pool, key, taken + context.gap_turns)[taken:]
    return tuple(_shown(item, None, truncation) for item in items)


@lru_cache(maxsize=_ROWS_KEPT)
def _shown(item: Demonstration, prefix: str | None, truncation: Truncation | None) -> Demonstration:
    if prefix is not None:
        item = replace(item, response=prefixed(item.response, prefix))
    return item if truncation is None else truncated(item, truncation)


def prefixed(response: str, prefix: str) -> str:
    """Return ``prefix``, a space and ``response``; or ``response`` if it starts with it already.

    "Sure" is no start of "Surely": between two letters or digits a word goes on.
    """
    rest = response.removeprefix(prefix)
    if len(rest) < len(response) and not (prefix[-1:].isalnum() and rest[:1].isalnum()):
        return response
    return f"{prefix} {response}"


def truncated(item: Demonstration, rule: Truncation) -> Demonstration:
    """Return a demonstration cut to the length rule.

    Under scope ``demonstration``, request and response together have at most
    ``rule.characters`` code points: the end of the response goes first, and only when nothing
    of it is left the end of the request.  Under scope ``response``, the response alone has.
    """
    limit = rule.characters
    if rule.scope is TruncationScope.RESPONSE:
        return replace(item, response=truncate_text(item.response, limit))
    if len(item.request) >= limit:
        return replace(item, request=truncate_text(item.request, limit), response="")
    return replace(item, response=truncate_text(item.response, limit - len(item.request)))


def truncate_text(text: str, limit: int) -> str:
    """Return the longest start of ``text`` of at most ``limit`` code points that splits no mark.

    The cut never falls before a combining mark, a skin tone, a zero-width joiner or after
    one; where the whole start is such marks, nothing is left.  Marks are those of Unicode
    3.2, whose table every Python carries, so that a prompt does not depend on its version.
    Flags, Hangul jamo and a line break of two characters may be split.
    """
    if len(text) <= limit:
        return text
    place = limit
    while place > 0 and _goes_on(text[place - 1], text[place]):
        place -= 1
    return text[:place]


def _goes_on(before: str, after: str) -> bool:
    """Say whether two characters in a row are shown as one."""
    return (
        _JOINER in (before, after)
        or ord(after) in _SKIN_TONES
        or unicodedata.ucd_3_2_0.category(after).startswith("M")
    )
