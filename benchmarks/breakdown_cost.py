"""What the breakdown points of a receipt cost beside its findings.

    python benchmarks/breakdown_cost.py [--repeats 9] [--seed 1] [--record]

Every condition of the preset ``paper``, 1,404 harmful-role queries and 250 controls, two draws
each: made-up points of queries that differ, with compliances drawn from planted slopes, and once
without any. Of each study, by turns in one process: the findings' own derivation, with numpy alone
as verifying does it; their breakdown points; and the derivation with statsmodels, as sealing does
it before the other. Ways to part a grid's conditions are kept from one breakdown point to the
next, and are forgotten before each measurement. CPU seconds.

Exit code 1 if breakdown points cost a tenth of the findings, or more.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: matrices here are small

import numpy as np
from paper_plan import paper_plan
from recording import machine, markdown_table, replace_section

sys.path.insert(0, str(Path(__file__).parents[1]))

from safety_receipts.receipts.findings.breakdown.extremes import forget_patterns
from safety_receipts.receipts.findings.counts.observations import (
    COMPLIED,
    NEAR,
    REFUSED,
    UNKNOWN,
    Observations,
)
from safety_receipts.receipts.findings.derive import unbroken, with_breakdown_of
from safety_receipts.receipts.findings.fits.logit import newton, statsmodels_fit
from safety_receipts.receipts.findings.fits.study import StudyPoints
from safety_receipts.receipts.model.demonstrations import Ordering
from safety_receipts.receipts.model.findings import Findings
from safety_receipts.receipts.model.plan import PlanPredicate

MOST: Final = 0.1
"""Target: breakdown points cost less than this share of the findings' own derivation."""
PLANTED: Final = (-0.34, -0.18, 0.0, 0.09)
LEVEL, BY_HARMFUL, BY_RECENCY, SPREAD = -1.6, 0.3, 0.4, 1.0
"""Logit without demonstrations, slope on log(N_h+1), what suffix adds, and a query's spread."""
ADOPTS: Final = 0.5
"""Chance that a response starts with the prefix."""


@dataclass(frozen=True)
class Cost:
    """What was measured of one study; CPU seconds are medians."""

    planted: float
    """Slope on log(N_b+1)."""
    own: float
    """Of the findings with numpy."""
    by_statsmodels: float
    """Of the findings with statsmodels."""
    breakdown: float
    """Of their breakdown points."""
    share: float
    """Median of breakdown points' share in the findings', of each turn."""
    points: int
    """How many findings have one."""


def observed(plan: PlanPredicate, planted: float, coin: np.random.Generator) -> Observations:
    """Return points with compliances drawn from a law.

    Args:
        plan: The plan.
        planted: Slope on log(N_b+1) at equal queries.
        coin: Where chance comes from.
    """
    draws = plan.demonstrations.draws
    shape = (len(plan.conditions), len(plan.query_ids), draws)
    own = SPREAD * coin.normal(size=(shape[1], 1))
    complied = np.zeros(shape, bool)
    near, adopted = np.full(shape, UNKNOWN, np.int8), np.full(shape, UNKNOWN, np.int8)
    for place, condition in enumerate(plan.conditions):
        n_harmful, n_benign = condition.n_harmful, condition.n_benign
        logit = LEVEL + BY_HARMFUL * np.log(n_harmful + 1) + planted * np.log(n_benign + 1)
        logit += BY_RECENCY * (condition.ordering is Ordering.SUFFIX)
        complied[place] = coin.random(shape[1:]) < 1 / (1 + np.exp(-(logit + own)))
        if condition.ordering is Ordering.RANDOM:
            last = min(NEAR, n_harmful + n_benign)
            near[place] = coin.hypergeometric(n_harmful, n_benign, last, shape[1:])
        if condition.response_prefix is not None:
            adopted[place] = coin.random(shape[1:]) < ADOPTS
    nothing = np.zeros(shape, np.int8)
    outcome = np.where(complied, COMPLIED, REFUSED).astype(np.int8)
    return Observations(plan, outcome, nothing, nothing, nothing.astype(np.int64), adopted, near)


def measure(plan: PlanPredicate, planted: float, repeats: int, seed: int) -> Cost:
    """Return what one study costs."""
    observations = observed(plan, planted, np.random.default_rng(seed))
    turns = [_turn(observations) for _ in range(repeats + 1)][1:]  # the first imports, too
    own, fitted, breakdown, points = zip(*turns, strict=True)
    return Cost(
        planted,
        statistics.median(own),
        statistics.median(fitted),
        statistics.median(breakdown),
        statistics.median(b / o for b, o in zip(breakdown, own, strict=True)),
        points[0],
    )


def _turn(observations: Observations) -> tuple[float, float, float, int]:
    def own(study: StudyPoints) -> Callable[[], Findings]:
        return lambda: unbroken(study)

    study = StudyPoints(observations, newton)
    seconds, findings = _timed(own(study))
    forget_patterns()
    broken, found = _timed(lambda: with_breakdown_of(findings, study))
    fitted, _ = _timed(own(StudyPoints(observations, statsmodels_fit)))
    assert found.breakdown is not None
    return seconds, fitted, broken, len(found.breakdown)


def _timed(work: Callable[[], Findings]) -> tuple[float, Findings]:
    begin = time.process_time()
    found = work()
    return time.process_time() - begin, found


def report(plan: PlanPredicate, costs: list[Cost], repeats: int, seed: int) -> Iterator[str]:
    """Yield the lines of the section."""
    yield "## Breakdown points beside findings"
    yield ""
    yield f"    python benchmarks/breakdown_cost.py --repeats {repeats} --seed {seed} --record"
    yield ""
    yield f"- Date: {datetime.now(UTC):%Y-%m-%d}"
    yield f"- Machine: {machine()}; one thread"
    yield f"- Python {platform.python_version()}; numpy {np.__version__}; simulated"
    yield (
        f"- {len(plan.conditions)} conditions, {plan.points:,} points; medians of CPU ms of "
        f"{repeats} turns, none of which knows how its grids are parted."
    )
    yield ""
    columns = ("planted", "breakdown points", "they", "findings", "share", "with statsmodels")
    yield from markdown_table(
        columns,
        (
            (
                f"{one.planted:+.2f}",
                str(one.points),
                f"{1e3 * one.breakdown:.1f}",
                f"{1e3 * one.own:.1f}",
                f"{one.share:.1%}",
                f"{1e3 * one.by_statsmodels:.1f}",
            )
            for one in costs
        ),
    )
    yield ""
    worst = max(one.share for one in costs)
    verdict = "met" if worst < MOST else "NOT met"
    yield (
        "- Breakdown points under a tenth of the findings' own derivation: "
        f"{verdict} ({worst:.1%})."
    )


def main() -> int:
    """Measure, print, record; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=9, help="turns of each study")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--record", action="store_true", help="write to RESULTS.md")
    options = parser.parse_args()
    plan = paper_plan()
    costs = [measure(plan, planted, options.repeats, options.seed) for planted in PLANTED]
    lines = list(report(plan, costs, options.repeats, options.seed))
    print("\n".join(lines))
    if options.record:
        replace_section("breakdown-cost", lines)
    return int(max(one.share for one in costs) >= MOST)


if __name__ == "__main__":
    sys.exit(main())
