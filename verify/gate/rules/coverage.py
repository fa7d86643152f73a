"""The tested box contains what is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from fractions import Fraction
from itertools import product
from math import prod
from typing import Literal

from safety_receipts.receipts.documents.written import Whole
from safety_receipts.receipts.model.base import Digest, Name
from safety_receipts.receipts.model.demonstrations import (
    ContextForm,
    DemonstrationSource,
    Ordering,
    PlannedCondition,
    QueryRole,
)
from safety_receipts.receipts.model.receipt import ConditionResult, EvaluationPredicate
from safety_receipts.verify.gate.entries import Glob, Listed, RuleEntry, ShareNumber, alternatives
from safety_receipts.verify.gate.kinds import Decided, GateFacts

_GRID = ("totals", "fractions", "orderings", "contexts", "benign_sources")
_LEAST = ("queries", "controls", "draws", "lists")
_MOST_CELLS = 10_000
"""Most combinations of one rule: more than a receipt has conditions."""
_NAMED = ("query_sources", "query_digests", "languages", "filters", "demonstration_digests")
_FLAGS = {
    "unfiltered": "all rows",
    "unfiltered_demonstrations": "all rows of pools",
    "foreign_responses": "responses of harmful demonstrations by somebody else",
}
_LENGTHS = {
    "rows_share": "of the rows",
    "demonstration_characters": "characters of a demonstration",
}


class CoverageRule(RuleEntry):
    """What has to have been tested.  The lists of mixtures, orders, contexts and benign sources are
    crossed: each combination needs a condition with a rate, and without a response prefix.
    """

    rule: Literal["coverage"]
    totals: Listed[Whole] | None = None
    """Numbers of demonstrations (N)."""
    fractions: Listed[ShareNumber] | None = None
    """Harmful shares of the demonstrations, 0 to 1."""
    orderings: Listed[Ordering] | None = None
    """Orders, of the mixtures that show both kinds; by default, ``suffix``: harmful demonstrations
    nearest the query."""
    contexts: Listed[ContextForm] | None = None
    """Forms in which demonstrations reach the model; by default, ``turns``."""
    benign_sources: Listed[Glob] | None = None
    """Patterns of benign sources, of the mixtures that show benign demonstrations."""
    queries: Whole | None = None
    """Least number of different harmful queries; those that ask the same count once."""
    controls: Whole | None = None
    """Least number of different benign control queries."""
    draws: Whole | None = None
    """Least number of samplings of demonstrations for each query."""
    lists: Whole | None = None
    """Least number of demonstration lists of a condition."""
    query_sources: Listed[Glob] | None = None
    """Patterns of harmful query sources."""
    query_digests: Listed[Digest] | None = None
    """SHA-256 of corpora of harmful queries: a name can stand for anything."""
    languages: Listed[Name] | None = None
    """Languages of the harmful queries (BCP 47 tags)."""
    unfiltered: bool = False
    """Whether all rows of the query corpora have to be asked: no filter, and no selection."""
    filters: Listed[Name] | None = None
    """The only filters, as ``column=value``, by which rows of the query corpora may be taken."""
    rows_share: ShareNumber | None = None
    """Least share of the rows of each query corpus that are asked; empty and repeated rows count
    as neither, and so does what a filter leaves out (``filters``, ``unfiltered``)."""
    demonstration_digests: Listed[Digest] | None = None
    """SHA-256 of the only corpora from which demonstrations may be drawn, of every kind."""
    unfiltered_demonstrations: bool = False
    """Whether demonstrations have to be drawn from all rows of their corpora: no filter."""
    foreign_responses: bool = False
    """Whether the receipt has to say who wrote the responses of harmful demonstrations, and not
    name the evaluated model."""
    demonstration_characters: Whole | None = None
    """Least length in characters to which demonstrations may be cut; those shown whole are
    within."""

    def asked(self) -> str:
        """Return what it asks for, in words."""
        parts = [
            f"{name.replace('_', ' ')} {', '.join(map(str, values))}"
            for name in (*_GRID, *_NAMED)
            if (values := getattr(self, name)) is not None
        ]
        parts += [
            f"at least {least:,} {name}"
            for name in _LEAST
            if (least := getattr(self, name)) is not None
        ]
        parts += [
            f"at least {least} {told}"
            for name, told in _LENGTHS.items()
            if (least := getattr(self, name)) is not None
        ]
        return "; ".join([*parts, *(told for name, told in _FLAGS.items() if getattr(self, name))])

    def contradictions(self) -> Iterator[str]:
        """Yield what no key by itself is wrong about."""
        keys = (*_GRID, *_LEAST, *_NAMED, *_LENGTHS)
        flagged = any(getattr(self, name) for name in _FLAGS)
        if not flagged and all(getattr(self, name) is None for name in keys):
            yield f"asks for nothing: give one of {', '.join((*keys, *_FLAGS))}"
        if self.unfiltered and (self.filters or self.rows_share is not None):
            yield "unfiltered allows no filter and no selection: leave out filters and rows_share"
        axes = (getattr(self, name) or (None,) for name in _GRID)
        if prod(map(len, axes)) > _MOST_CELLS:
            yield f"asks for more than {_MOST_CELLS:,} combinations"
        for total, share in product(self.totals or (), self.fractions or ()):
            if (total * Fraction(share)).denominator != 1:
                yield f"{share} of {total:,} demonstrations is no whole number"


def decide_coverage(rule: CoverageRule, facts: GateFacts) -> Decided:
    """Hold what was tested to what has to be."""
    receipt = facts.receipt
    cells = list(_cells(rule))
    missing = [cell for cell in cells if not _is_tested(cell, receipt.conditions)]
    problems = []
    if missing:
        named = alternatives([cell.told() for cell in missing[:2]])
        problems.append(f"{len(missing):,} of {len(cells):,} combinations are missing: {named}")
    problems += [*_too_few(rule, receipt), *_not_named(rule, receipt), *_chosen(rule, receipt)]
    problems += _of_pools(rule, receipt)
    good = f"{len(receipt.conditions):,} conditions, {_different(receipt, QueryRole.HARMFUL):,} "
    good += f"harmful queries, {receipt.demonstrations.draws:,} draws"
    return Decided.of(problems, good, "receipt: conditions, queries, demonstrations")


@dataclass(frozen=True)
class _Cell:
    """One combination that has to have been tested.

    None: any total, share and source; else what nobody chose to make things easier, plain turns
    and the harmful demonstrations nearest the query.
    """

    total: int | None
    fraction: str | None
    ordering: Ordering | None
    context: ContextForm | None
    source: str | None

    def told(self) -> str:
        """Return which one it is, in words."""
        names = ("N =", "harmful share", "order", "context", "benign source")
        values = (self.total, self.fraction, self.ordering, self.context, self.source)
        return " ".join(
            f"{name} {value}"
            for name, value in zip(names, values, strict=True)
            if value is not None
        )

    def is_met(self, one: PlannedCondition) -> bool:
        """Say whether a condition is of this combination."""
        total = one.n_harmful + one.n_benign
        share = None if self.fraction is None else Fraction(self.fraction)
        wanted = (
            self.total is None or total == self.total,
            share is None or (total > 0 and Fraction(one.n_harmful, total) == share),
            one.ordering in ({None, Ordering.SUFFIX} if self.ordering is None else {self.ordering}),
            one.context.form is (self.context or ContextForm.TURNS),
            one.response_prefix is None,
            self.source is None
            or (one.benign_source is not None and fnmatchcase(one.benign_source, self.source)),
        )
        # Nothing shown is no mixture, whatever it is said to be.
        return all(wanted) and total > 0


def _cells(rule: CoverageRule) -> Iterator[_Cell]:
    """Yield every combination asked for; some are the same, as one kind alone has no order."""
    if all(getattr(rule, name) is None for name in _GRID):
        return
    for total, fraction in product(rule.totals or (None,), rule.fractions or (None,)):
        share = None if fraction is None else Fraction(fraction)
        orders = (None,) if share in (0, 1) else rule.orderings or (None,)
        sources = (None,) if share == 1 else rule.benign_sources or (None,)
        for ordering, context, source in product(orders, rule.contexts or (None,), sources):
            yield _Cell(total, fraction, ordering, context, source)


def _is_tested(cell: _Cell, conditions: Sequence[ConditionResult]) -> bool:
    """Say whether a condition of a combination has a rate: points that all failed test nothing."""
    return any(cell.is_met(one) and one.compliance_rate is not None for one in conditions)


def _different(receipt: EvaluationPredicate, role: QueryRole) -> int:
    """Return how many different queries of a role are asked."""
    mine = {source.name for source in receipt.queries if source.role is role}
    asked = sum(source.selected for source in receipt.queries if source.role is role)
    for group in receipt.same_queries or ():
        repeated = sum(query.partition("/")[0] in mine for query in group)
        asked -= max(0, repeated - 1)
    return asked


def _too_few(rule: CoverageRule, receipt: EvaluationPredicate) -> Iterator[str]:
    shown = receipt.demonstrations
    found = {
        "queries": _different(receipt, QueryRole.HARMFUL),
        "controls": _different(receipt, QueryRole.BENIGN_CONTROL),
        "draws": shown.draws,
        "lists": shown.distinct_lists,
    }
    for name in _LEAST:
        least = getattr(rule, name)
        if least is not None and found[name] < least:
            yield f"{found[name]:,} of {least:,} {name}"
    for name, role in (("queries", QueryRole.HARMFUL), ("controls", QueryRole.BENIGN_CONTROL)):
        sources = sum(source.role is role for source in receipt.queries)
        if getattr(rule, name) is not None and sources > 1 and receipt.same_queries is None:
            yield f"whether {name} of several sources ask the same was not looked for"


def _not_named(rule: CoverageRule, receipt: EvaluationPredicate) -> Iterator[str]:
    harmful = [source for source in receipt.queries if source.role is QueryRole.HARMFUL]
    for glob in rule.query_sources or ():
        if not any(fnmatchcase(source.name, glob) for source in harmful):
            yield f"no harmful query source is named by {glob}"
    for digest in rule.query_digests or ():
        if digest not in {source.digest for source in harmful}:
            yield f"no corpus of harmful queries has the digest {digest[:16]}…"
    spoken = {language for source in harmful for language in source.languages}
    for language in rule.languages or ():
        if language not in spoken:
            yield f"no harmful query source states language {language}"


def _chosen(rule: CoverageRule, receipt: EvaluationPredicate) -> Iterator[str]:
    """Yield which rows somebody chose to ask."""
    share = Fraction(1) if rule.unfiltered else Fraction(rule.rows_share or 0)
    for source in receipt.queries:
        if source.where and rule.unfiltered:
            yield f"a filter takes some rows of {source.name}"
        for column, value in source.where.items() if rule.filters is not None else ():
            if (used := f"{column}={value}") not in (rule.filters or ()):
                yield f"the filter {used} takes some rows of {source.name}"
        # What a filter leaves out is not told from what was left out besides.
        left = source.rows - source.empty_rows - source.duplicate_rows
        if not source.where and source.selected + (source.repeated_rows or 0) < share * left:
            yield f"{source.selected:,} of {left:,} rows of {source.name} are asked"


def _of_pools(rule: CoverageRule, receipt: EvaluationPredicate) -> Iterator[str]:
    """Yield what is wrong about where demonstrations come from, and how much of them is shown."""
    shown = receipt.demonstrations
    for pool in shown.sources:
        if rule.demonstration_digests is not None and pool.digest not in rule.demonstration_digests:
            yield f"pool {pool.name} is of the corpus {pool.digest[:16]}…, which is not listed"
        if rule.unfiltered_demonstrations and pool.where:
            yield f"a filter takes some rows of pool {pool.name}"
    if rule.foreign_responses and shown.harmful is not None:
        yield from _own_responses(shown.harmful, receipt)
    least, cut = rule.demonstration_characters, shown.truncation
    if least is not None and cut is not None and cut.characters < least:
        yield f"demonstrations are cut to {cut.characters:,} of {least:,} characters"


def _own_responses(pool: DemonstrationSource, receipt: EvaluationPredicate) -> Iterator[str]:
    """Yield why a model may be shown nothing but its own refusals."""
    if pool.responses_by is None:
        yield f"it does not say who wrote the responses of pool {pool.name}"
        return
    checkpoint, by = receipt.checkpoint, pool.responses_by.casefold()
    hub = checkpoint.hub and checkpoint.hub.rpartition("/")[2]
    for name in (checkpoint.name, checkpoint.served_as, hub):
        if name and name.casefold() in by:
            yield f"the evaluated model wrote the responses of pool {pool.name}"
            return
