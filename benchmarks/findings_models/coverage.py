"""Coverage: how often intervals hold the truth, which is known by construction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray
from recording import markdown_table

from findings_models.designs import Design
from findings_models.judges import Judged
from findings_models.population import Population, Spread, benign_weights, of_counts
from findings_models.repeats import Repeats, Share, share
from safety_receipts.receipts.findings.counts.conditions import condition_results
from safety_receipts.receipts.findings.counts.quantiles import Z_975
from safety_receipts.receipts.findings.counts.rates import wilson
from safety_receipts.receipts.findings.fits.logit import newton
from safety_receipts.receipts.findings.fits.study import StudyPoints
from safety_receipts.receipts.findings.joint import joint_findings
from safety_receipts.receipts.model.difference import Difference
from safety_receipts.receipts.model.findings import JointFinding, SignedInterval
from safety_receipts.receipts.model.judge import Interval
from safety_receipts.receipts.model.receipt import ConditionResult

_NO_INTERVAL: Final = -1
_Z: Final = float(Z_975)

_Bounds = Interval | SignedInterval | Difference


@dataclass(frozen=True, eq=False)
class Held:
    """Which intervals of one study hold the truth; −1 where there is none.

    Arrays have shape (conditions,), the baseline first.
    """

    slope: int
    """β2's, sealed."""
    naive_slope: int
    """β2's, from the unclustered error."""
    rates: NDArray[np.int8]
    """Compliance rates', sealed."""
    naive_rates: NDArray[np.int8]
    """Wilson's, of points as if independent."""
    differences: NDArray[np.int8]
    """Differences from the baseline, sealed; the baseline's own entry is −1."""
    corrected: NDArray[np.int8]
    """Rates corrected for the judge's error, sealed."""


@dataclass(frozen=True)
class Truth:
    """A study whose truth is known."""

    name: str
    """What is special about it."""
    design: Design
    """The study."""
    spread: Spread
    """Random effects."""
    benign: float = 0.0
    """β2."""
    level: float = -2.0
    """β0."""
    judged: Judged | None = None
    """A judge that errs, and is calibrated anew in each study; None: one that does not."""

    @cached_property
    def population(self) -> Population:
        """Where studies are drawn from."""
        plan = self.design.plan
        rates = of_counts(plan, self.level, 0.3, self.benign)
        return Population(plan, rates, self.spread, benign_weights(plan))

    def repeat(self, coin: np.random.Generator) -> Held:
        """Draw a study and hold its intervals against the truth."""
        if self.judged is None:
            observed = self.population.observations(coin)
        else:
            observed = self.judged.observations(coin, self.population)
        finding = joint_findings(StudyPoints(observed, newton))[0]
        results = condition_results(observed)
        truth = self.population.rates
        return Held(
            slope=_holds(finding.interval, self.benign),
            naive_slope=_naive_slope(finding, self.benign),
            rates=_held([one.interval for one in results], truth),
            naive_rates=_held([_naive(one) for one in results], truth),
            differences=_held([one.baseline_difference for one in results], truth - truth[0]),
            corrected=_held([one.corrected_rate for one in results], truth),
        )


SLOPES: Final = Spread(1.5, 0.5)
FEW_LISTS: Final = Spread(1.5, 0.5, 0.3, 0.4)
TRUTHS: Final = (
    Truth("fresh lists, no slopes", Design(240), Spread(1.5)),
    Truth("fresh lists", Design(240), SLOPES),
    Truth("fresh lists, dilution", Design(240), SLOPES, benign=-0.18),
    Truth("fresh lists, rates near 0", Design(240), SLOPES, level=-5.0),
    Truth("strong query correlation", Design(240), Spread(4.0, 0.5)),
    Truth("small study", Design(30), SLOPES),
    Truth("20 lists for all", Design(60, 20, "all"), FEW_LISTS),
    Truth("40 lists for all", Design(60, 40, "all"), FEW_LISTS),
    Truth("40 lists for all, dilution", Design(60, 40, "all"), FEW_LISTS, benign=-0.18),
    Truth("blocks of 8", Design(240, 2, 8), FEW_LISTS),
    Truth("2 lists for all", Design(240, 2, "all"), FEW_LISTS),
    Truth("judge .9 / .9", Design(240), SLOPES, judged=Judged(0.9, 0.9)),
    Truth("judge .75 / .98", Design(240), SLOPES, judged=Judged(0.75, 0.98)),
    Truth("judge .98 / .8", Design(240), SLOPES, judged=Judged(0.98, 0.8)),
)

COLUMNS = (
    "study",
    "queries × draws",
    "β2",
    "β2, naive",
    "rates",
    "rates, worst",
    "rates, naive",
    "rates, naive, worst",
    "baseline",
    "baseline, naive",
    "differences",
    "differences, worst",
    "corrected rates",
    "corrected, worst",
)


def measure(repeats: Repeats, truths: Sequence[Truth] = TRUTHS) -> list[str]:
    """Return the report's lines."""
    found = repeats.of("coverage", truths)
    return [
        f"Coverage of 95 % intervals, {repeats.number:,} studies a row; generating model and "
        "grid of the nulls, with the baseline, whose greedy draws are one outcome; marginal "
        "logit −2 (rates near 0: −5) + .3 log(N_h+1) + β2 log(N_b+1), with β2 = 0, in dilution "
        "−.18; standard deviations query / slope / list / slope 1.5 / 0.5 / 0 / 0, without "
        "slopes 1.5 / 0 / 0 / 0, with strong correlation 4 / 0.5 / 0 / 0, with shared lists 1.5"
        " / 0.5 / 0.3 / 0.4. *Naive*: unclustered Wald, and Wilson of points as if independent."
        " *Rates*: mean over the 18 conditions that show demonstrations, and the worst of them."
        " *Judge*: sensitivity / specificity, the same in all conditions, estimated in each "
        "study from "
        f"{Judged(1, 1).gold} gold responses of either label; its raw rates are off, and the "
        "corrected ones are held against the truth.",
        "",
        *markdown_table(COLUMNS, (_row(*row) for row in zip(truths, found, strict=True))),
        "",
        "A mean over conditions has no Wilson interval, as conditions share queries: none is "
        "given. The worst condition is the least of 18, and below the mean by chance alone.",
    ]


def _row(truth: Truth, held: Sequence[Held]) -> tuple[str, ...]:
    rates = np.array([one.rates for one in held])
    naive = np.array([one.naive_rates for one in held])
    differences = np.array([one.differences for one in held])[:, 1:]
    corrected = np.array([one.corrected for one in held])[:, 1:]
    blank = truth.judged is not None
    return (
        truth.name,
        truth.design.size,
        *_pair(f"{_found(np.array([one.slope for one in held]))}", blank=blank),
        *_pair(f"{_found(np.array([one.naive_slope for one in held]))}", blank=blank),
        *_pair(*_mean_and_worst(rates[:, 1:]), blank=blank),
        *_pair(*_mean_and_worst(naive[:, 1:]), blank=blank),
        *_pair(f"{_found(rates[:, 0])}", f"{_found(naive[:, 0])}", blank=blank),
        *_pair(*_mean_and_worst(differences), blank=blank),
        *_mean_and_worst(corrected),
    )


def _pair(*texts: str, blank: bool) -> tuple[str, ...]:
    """Blank what has no truth: numbers of a judge that errs, before the correction."""
    return tuple("–" if blank else text for text in texts)


def _mean_and_worst(held: NDArray[np.int8]) -> tuple[str, str]:
    shares = [found for column in held.T if (found := _found(column)).of]
    if not shares:
        return "–", "–"
    mean = sum(found.value for found in shares) / len(shares)
    return f"{100 * mean:.1f} %", f"{min(shares, key=lambda found: found.value)}"


def _found(held: NDArray[np.int8]) -> Share:
    there = held[held != _NO_INTERVAL]
    return share([bool(one) for one in there])


def _held(intervals: Sequence[_Bounds | None], truth: NDArray[np.float64]) -> NDArray[np.int8]:
    pairs = zip(intervals, truth, strict=True)
    return np.array([_holds(interval, float(value)) for interval, value in pairs], dtype=np.int8)


def _holds(bounds: _Bounds | None, truth: float) -> int:
    if bounds is None:
        return _NO_INTERVAL
    return int(float(bounds.lower) <= truth <= float(bounds.upper))


def _naive_slope(finding: JointFinding, truth: float) -> int:
    fit = finding.as_published
    if fit is None:
        return _NO_INTERVAL
    return int(abs(float(fit.beta2) - truth) <= _Z * float(fit.se2))


def _naive(result: ConditionResult) -> Interval:
    counts = result.counts
    return wilson(counts.complied, counts.complied + counts.refused)
