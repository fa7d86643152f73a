"""Demonstrations: their corpora, and the pools that are drawn from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from safety_receipts.receipts.documents.yaml_file import KeyPath
from safety_receipts.receipts.model.base import SourceName
from safety_receipts.receipts.model.demonstrations import (
    DemonstrationKind,
    Demonstrations,
    DemonstrationSource,
    PlannedCondition,
    Truncation,
)
from safety_receipts.runner.plan.conditions import Grid
from safety_receipts.runner.plan.entries.corpora import PoolEntry
from safety_receipts.runner.plan.parts.source import PlanSource, corpus_fields
from safety_receipts.runner.prompts.demonstrations import Pool, Pools, decontaminate, make_pool

SELECTION = "counter-hash/1"
"""Name of the rule that draws and orders demonstrations."""


def resolve_demonstrations(
    source: PlanSource, queries: Sequence[str]
) -> tuple[Demonstrations, Pools]:
    """Read the pools, and leave out of them what a query asks.

    Args:
        source: The plan file.
        queries: Texts of the evaluation queries.

    Returns:
        What is sealed of them, and the pools.

    Raises:
        ReceiptsError: A corpus cannot be read.
    """
    entry = source.entries.demonstrations
    harmful = _pool(source, entry.harmful, DemonstrationKind.HARMFUL, None, queries)
    refusal = _pool(source, entry.refusal, DemonstrationKind.REFUSAL, None, queries)
    benign = [
        _pool(source, pool, DemonstrationKind.BENIGN, name, queries)
        for name, pool in entry.benign.items()
    ]
    known = [each for each in benign if each is not None]
    block = entry.draw_block
    number_of_blocks = 1 if block == "all" else -(-len(queries) // int(block))
    wire = Demonstrations(
        harmful=harmful and harmful[0],
        benign=tuple(sealed for sealed, _ in known),
        refusal=refusal and refusal[0],
        selection=SELECTION,
        draws=entry.draws,
        draw_block=block if block == "all" else int(block),
        distinct_lists=number_of_blocks * entry.draws,
        truncation=(
            None
            if entry.truncate is None
            else Truncation(characters=entry.truncate.characters, scope=entry.truncate.scope)
        ),
    )
    pools = Pools(
        harmful=harmful and harmful[1],
        benign={pool.source: pool for _, pool in known},
        refusal=refusal and refusal[1],
    )
    return wire, pools


def _pool(
    source: PlanSource,
    entry: PoolEntry | None,
    kind: DemonstrationKind,
    key: SourceName | None,
    queries: Sequence[str],
) -> tuple[DemonstrationSource, Pool] | None:
    if entry is None:
        return None
    rows = source.corpus(entry)
    name = SourceName(key or entry.name or entry.corpus)
    pool, decontaminated = decontaminate(
        make_pool(kind, name, rows.selected), queries, source.request_rule
    )
    sealed = DemonstrationSource(
        **corpus_fields(name, entry, rows),
        kind=kind,
        responses_by=entry.responses_by,
        decontaminated=decontaminated,
        pool=len(pool.items),
    )
    return sealed, pool


def check_pools(source: PlanSource, grid: Grid, pools: Pools) -> None:
    """Say which condition asks for more than a pool has."""
    for condition in grid.conditions:
        for kind, pool, count in _asked(condition, pools):
            if count > len(pool.items):
                place: KeyPath = ("demonstrations", kind)
                raise source.error(
                    (*place, pool.source) if kind == "benign" else place,
                    f"condition {condition.id} shows {count:,} of its demonstrations, and "
                    f"{len(pool.items):,} are left without evaluation queries and repeats",
                    "ask for fewer, or supply more",
                )


def _asked(condition: PlannedCondition, pools: Pools) -> Iterator[tuple[str, Pool, int]]:
    """Yield the pools that a condition draws from, with how many it takes from each."""
    context = condition.context
    if condition.n_harmful:
        harmful = pools.of(DemonstrationKind.HARMFUL, None)
        yield "harmful", harmful, condition.n_harmful
    if context.n_refusal:
        yield "refusal", pools.of(DemonstrationKind.REFUSAL, None), context.n_refusal
    benign: Counter[SourceName] = Counter()
    if condition.benign_source is not None:
        benign[condition.benign_source] += condition.n_benign
    if context.gap_source is not None:
        benign[context.gap_source] += context.gap_turns
    for source, count in benign.items():
        yield "benign", pools.of(DemonstrationKind.BENIGN, source), count
