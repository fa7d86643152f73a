"""Nulls: how often an effect is found where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, Literal

import numpy as np
from recording import markdown_table

from findings_models.designs import Design, fixed_harmful, mixture, sweep
from findings_models.population import (
    Population,
    Spread,
    benign_weights,
    harmful_shares,
    of_counts,
    of_total,
)
from findings_models.repeats import Repeats, share
from safety_receipts.receipts.findings.derive import derive
from safety_receipts.receipts.findings.effects import is_significant
from safety_receipts.receipts.findings.fits.logit import newton
from safety_receipts.receipts.findings.fits.study import StudyPoints
from safety_receipts.receipts.findings.joint import joint_findings, joint_p, joint_word
from safety_receipts.receipts.findings.sources import source_estimates
from safety_receipts.receipts.findings.total import total_finding, total_verdict
from safety_receipts.receipts.model.demonstrations import Ordering
from safety_receipts.receipts.model.findings import Effect, JointFinding, OrderWord, Verdict
from safety_receipts.receipts.model.plan import Hypothesis

NOMINAL: Final = 0.05
TINY: Final = "0.000001"
"""A margin that no interval of these sizes fits into: no equivalence hides a false positive."""
DIRECTIONAL: Final = frozenset({Effect.DILUTION, Effect.AMPLIFICATION, Effect.MIXED})


@dataclass(frozen=True)
class JointSaid:
    """What one study says of a slope that is zero."""

    naive: bool | None
    """Whether the unclustered Wald test rejects; None where there is no fit."""
    tiny: Effect
    """The sealed word at a margin of nothing."""
    word: Effect
    """The sealed word at the plan's margin."""
    misfit: bool | None
    """Whether lack of fit is significant; None where it was not tested."""


@dataclass(frozen=True)
class JointNull:
    """β2 = 0, whatever correlates."""

    name: str
    """What is special about it."""
    design: Design
    """The study."""
    spread: Spread
    """Random effects."""
    level: float = -2.0
    """β0."""
    harmful: float = 0.3
    """β1."""

    @cached_property
    def population(self) -> Population:
        """Where studies are drawn from."""
        plan = self.design.plan
        rates = of_counts(plan, self.level, self.harmful, 0.0)
        return Population(plan, rates, self.spread, benign_weights(plan))

    def repeat(self, coin: np.random.Generator) -> JointSaid:
        """Draw a study and read its words."""
        finding = joint_findings(StudyPoints(self.population.observations(coin), newton))[0]
        naive, p = finding.as_published, joint_p(finding)
        tiny, _ = joint_word(finding.model_copy(update={"margin": TINY}), p)
        rejects = None if naive is None else is_significant(naive.p2)
        return JointSaid(rejects, tiny, finding.effect, _misfit(finding))


def _misfit(finding: JointFinding) -> bool | None:
    fit = finding.lack_of_fit
    return None if fit is None or fit.p is None else is_significant(fit.p)


@dataclass(frozen=True)
class TotalSaid:
    """What one study says of mixes that do not matter."""

    naive: bool
    """Whether the published test rejects."""
    verdict: Verdict
    """The sealed verdict."""


@dataclass(frozen=True)
class TotalNull:
    """Rates that depend on the number of demonstrations alone."""

    name: str
    """What is special about it."""
    design: Design
    """The study."""
    spread: Spread
    """Random effects; slopes are on the harmful share."""

    @cached_property
    def population(self) -> Population:
        """Where studies are drawn from."""
        plan = self.design.plan
        return Population(plan, of_total(plan, -2.0, 0.3), self.spread, harmful_shares(plan))

    def repeat(self, coin: np.random.Generator) -> TotalSaid:
        """Draw a study and read its verdict."""
        finding = total_finding(StudyPoints(self.population.observations(coin), newton))
        assert finding is not None  # the plan has a sweep
        return TotalSaid(finding.rejected_as_published, total_verdict(finding.p))


@dataclass(frozen=True)
class OrderNull:
    """One mixture in five orders, and no order matters; ``ordering`` is the primary hypothesis."""

    name: str
    """What is special about it."""
    design: Design
    """The study."""
    spread: Spread
    """Random effects; slopes are on another number in each order."""

    @cached_property
    def population(self) -> Population:
        """Where studies are drawn from."""
        plan = self.design.plan.model_copy(update={"primary": Hypothesis.ORDERING})
        count = len(plan.conditions)
        return Population(plan, np.full(count, 0.3), self.spread, np.linspace(0, 1, count))

    def repeat(self, coin: np.random.Generator) -> bool:
        """Draw a study; say whether it finds a difference of orders."""
        (finding,) = derive(self.population.observations(coin)).orderings or ()
        return finding.verdict is not OrderWord.UNDETERMINED


@dataclass(frozen=True)
class FillerNull:
    """A source that does no more than filler of its length."""

    name: str
    """What is special about it."""
    design: Design
    """The study."""
    spread: Spread
    """Random effects."""

    @cached_property
    def population(self) -> Population:
        """Where studies are drawn from."""
        plan = self.design.plan
        return Population(plan, of_total(plan, -2.5, 0.4), self.spread, benign_weights(plan))

    def repeat(self, coin: np.random.Generator) -> bool:
        """Draw a study; say whether something is left when length is matched."""
        estimates = source_estimates(StudyPoints(self.population.observations(coin), newton))
        assert estimates is not None  # the plan has two sources
        (left,) = estimates.finding(dict(estimates.tests())).length_matched
        return left.effect in DIRECTIONAL


_SLOPES = Spread(1.5, 0.5)
_FEW_LISTS = Spread(1.5, 0.5, 0.3, 0.4)
JOINT: Final = (
    JointNull("fresh lists, no slopes", Design(240), Spread(1.5)),
    JointNull("fresh lists", Design(240), _SLOPES),
    JointNull("fresh lists, steep slopes", Design(240), Spread(1.5, 1.5)),
    JointNull("published size", Design(1404), _SLOPES),
    JointNull("small study", Design(30), _SLOPES),
    JointNull("greedy repeats at N_h = 0", Design(240, fixed=fixed_harmful((0, 8, 32))), _SLOPES),
    JointNull("2 lists for all", Design(240, 2, "all"), _FEW_LISTS),
    JointNull("20 lists for all", Design(60, 20, "all"), _FEW_LISTS),
    JointNull("20 lists for all, no query slopes", Design(60, 20, "all"), Spread(1.5, 0, 0.3, 0.4)),
    JointNull("20 lists for all, lists alike", Design(60, 20, "all"), _SLOPES),
    JointNull("40 lists for all", Design(60, 40, "all"), _FEW_LISTS),
    JointNull("30 queries, 20 lists for all", Design(30, 20, "all"), _FEW_LISTS),
    JointNull("blocks of 8", Design(240, 2, 8), _FEW_LISTS),
    JointNull("blocks of 8, no slopes, lists alike", Design(240, 2, 8), Spread(1.5)),
    JointNull("few compliances", Design(240), _SLOPES, level=-5.5),
    JointNull("few compliances, 20 lists for all", Design(60, 20, "all"), _FEW_LISTS, level=-6.0),
    JointNull("small study, steep slopes", Design(30), Spread(1.5, 1.5)),
    JointNull("few queries undecided", Design(60), Spread(8.0, 1.5)),
    JointNull(
        "few queries undecided, 20 lists for all", Design(45, 20, "all"), Spread(8.0, 0.5, 0.3, 0.4)
    ),
    JointNull("rare compliance", Design(240), _SLOPES, level=-7.5),
    JointNull("rare compliance, steep slopes", Design(240), Spread(1.5, 1.5), level=-7.5),
    JointNull("rare compliance, 20 lists for all", Design(60, 20, "all"), _FEW_LISTS, level=-8.5),
)


def _swept(queries: int, draws: int = 2, block: int | Literal["all"] = 1) -> Design:
    return Design(queries, draws, block, fixed=(), swept=sweep())


TOTAL: Final = (
    TotalNull("fresh lists, no slopes", _swept(240), Spread(1.5)),
    TotalNull("fresh lists", _swept(240), Spread(1.5, 1.0)),
    TotalNull("published size", _swept(1404), Spread(1.5, 1.0)),
    TotalNull("small study", _swept(30), Spread(1.5, 1.0)),
    TotalNull("2 lists for all", _swept(240, 2, "all"), Spread(1.5, 1.0, 0.3, 0.8)),
    TotalNull("20 lists for all", _swept(60, 20, "all"), Spread(1.5, 1.0, 0.3, 0.8)),
    TotalNull("40 lists for all", _swept(60, 40, "all"), Spread(1.5, 1.0, 0.3, 0.8)),
    TotalNull("blocks of 8", _swept(240, 2, 8), Spread(1.5, 1.0, 0.3, 0.8)),
)


def _orders(queries: int, draws: int = 2, block: int | Literal["all"] = 1) -> Design:
    mixtures = tuple(mixture(32, 32, ordering) for ordering in Ordering)
    return Design(queries, draws, block, fixed=(), ordered=mixtures)


ORDER: Final = (
    OrderNull("order: fresh lists", _orders(240), Spread(1.5, 1.0)),
    OrderNull("order: small study", _orders(30), Spread(1.5, 1.0)),
    OrderNull("order: 20 lists for all", _orders(60, 20, "all"), Spread(1.5, 1.0, 0.3, 0.8)),
    OrderNull("order: blocks of 8", _orders(240, 2, 8), Spread(1.5, 1.0, 0.3, 0.8)),
)
_FILLED = Design(240, with_filler=True, margin=TINY)
FILLED: Final = (
    FillerNull("length matched: fresh lists", _FILLED, _SLOPES),
    FillerNull("length matched: small study", replace(_FILLED, queries=30), _SLOPES),
    FillerNull(
        "length matched: 20 lists for all",
        replace(_FILLED, queries=60, draws=20, block="all"),
        _FEW_LISTS,
    ),
)

JOINT_COLUMNS = (
    "null",
    "queries × draws",
    "sd: query / slope / list / slope",
    "naive",
    "sealed, no margin",
    "at 5 %",
    "sealed, margin .05",
    "none, margin .05",
    "lack of fit",
)
TOTAL_COLUMNS = (
    "null",
    "queries × draws",
    "sd: query / slope / list / slope",
    "naive",
    "sealed",
    "at 5 %",
    "untested",
)
OTHER_COLUMNS = (
    "null",
    "queries × draws",
    "sd: query / slope / list / slope",
    "sealed",
    "at 5 %",
)


@dataclass(frozen=True)
class Nulls:
    """Rows of the report."""

    joint: Sequence[JointNull] = JOINT
    """Of the joint-count verdict."""
    total: Sequence[TotalNull] = TOTAL
    """Of the total-count verdict."""
    order: Sequence[OrderNull] = ORDER
    """Of the verdict on orders."""
    filled: Sequence[FillerNull] = FILLED
    """Of the verdict on a source less the filler."""


def measure(repeats: Repeats, nulls: Nulls | None = None) -> list[str]:
    """Return the report's lines."""
    nulls = nulls or Nulls()
    of_joint = repeats.of("joint-count nulls", nulls.joint)
    of_totals = repeats.of("total-count nulls", nulls.total)
    of_orders = repeats.of("nulls of order", nulls.order)
    of_filled = repeats.of("nulls of length", nulls.filled)
    return [
        f"False positives, {repeats.number:,} studies a row. Generating model: logit of a point = "
        "offset(condition) + query + query slope · w + list + list slope · w, the random effects "
        "normal with the standard deviations of the row; the offset sets the marginal rate of the "
        "condition. Every query meets every condition.",
        "",
        "Joint-count: N_h ∈ {8, 16, 32} (with greedy repeats {0, 8, 32}) × N_b ∈ "
        "{0, 4, 8, 16, 32, 64}; w = log(N_b+1) / log 65; marginal logit β0 + .3 log(N_h+1), "
        "nothing of N_b; β0 = −2, with few compliances −5.5 (20 lists: −6), with rare ones −7.5 "
        "(20 lists: −8.5). *Naive*: the test as published, an unclustered Wald test; *sealed*: "
        f"the word is dilution, amplification or mixed, at a margin of {TINY} and at .05. "
        "*Lack of fit*: its p-value is below .05.",
        "",
        *markdown_table(JOINT_COLUMNS, map(_joint_row, nulls.joint, of_joint)),
        "",
        "Total-count: 6 totals × 5 shares and the baseline; marginal logit −2 + .3 log(N+1); w = "
        "N_h / N. *Naive*: χ² of each total, Bonferroni over the totals; *sealed*: the verdict is "
        "rejected.",
        "",
        *markdown_table(TOTAL_COLUMNS, map(_total_row, nulls.total, of_totals)),
        "",
        "Order: 32 + 32 in five orders, all at 30 %, w another number in each; a difference of "
        "orders is found, of whatever kind. Length matched: the joint-count grid, and again with "
        "filler, marginal logit −2.5 + .4 log(N+1) for both; the source less the filler is "
        f"dilution or amplification, at a margin of {TINY}, its test not corrected.",
        "",
        *markdown_table(
            OTHER_COLUMNS,
            [
                *map(_other_row, nulls.order, of_orders),
                *map(_other_row, nulls.filled, of_filled),
            ],
        ),
        "",
        "*At 5 %*: whether the 95 % Wilson interval of the sealed rate (in brackets) holds 5 %, "
        "lies below it, or above.",
    ]


def _other_row(null: OrderNull | FillerNull, found: list[bool]) -> tuple[str, ...]:
    sealed = share(found)
    against = _against_nominal(sealed.interval)
    return null.name, null.design.size, f"{null.spread}", f"{sealed}", against


def _joint_row(null: JointNull, said: list[JointSaid]) -> tuple[str, ...]:
    sealed = share([one.tiny in DIRECTIONAL for one in said])
    return (
        null.name,
        null.design.size,
        f"{null.spread}",
        f"{share([one.naive for one in said if one.naive is not None])}",
        f"{sealed}",
        _against_nominal(sealed.interval),
        f"{share([one.word in DIRECTIONAL for one in said])}",
        f"{share([one.word is Effect.NONE for one in said])}",
        f"{share([one.misfit for one in said if one.misfit is not None])}",
    )


def _total_row(null: TotalNull, said: list[TotalSaid]) -> tuple[str, ...]:
    sealed = share([one.verdict is Verdict.REJECTED for one in said])
    return (
        null.name,
        null.design.size,
        f"{null.spread}",
        f"{share([one.naive for one in said])}",
        f"{sealed}",
        _against_nominal(sealed.interval),
        f"{share([one.verdict is Verdict.UNTESTED for one in said])}",
    )


def _against_nominal(interval: tuple[float, float]) -> str:
    lower, upper = interval
    if lower > NOMINAL:
        return "above"
    return "below" if upper < NOMINAL else "holds"
