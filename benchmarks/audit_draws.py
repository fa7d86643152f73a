"""How many points an honest audit replays, by what it is of: rates, one way or both; a slope, by
the rates that it rests on at the share of false labels that it stands, or as a whole.

    python benchmarks/audit_draws.py [--seed 1] [--record]

At the paper's shape and on the grid of ``finding_audit.py``, for each of its planted slopes, as
``receipts audit --dry-run`` forecasts it: the draws of all rates in the mean, where a share q of an
honest record's points looks contradicted by noise. What is replayed for the model's identity comes
on top. Nothing is replayed here.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import numpy as np
from attacks.bent_labels import (
    COVARIATES,
    PLANNED,
    RATES_EPSILON,
    Floats,
    counts_of,
    slope,
    statistic,
    truth,
)
from attacks.slope_audits import urn_of
from audit_cost import ALPHA
from finding_audit import PLANTED
from recording import machine, markdown_table, replace_section

sys.path.insert(0, str(Path(__file__).parents[1]))

from safety_receipts.receipts.findings.breakdown.shares import slope_share
from safety_receipts.receipts.model.audit import Direction
from safety_receipts.receipts.model.findings import Effect
from safety_receipts.verify.audit.statistics.feasibility import (
    Feasibility,
    expected_draws,
    together,
)
from safety_receipts.verify.audit.statistics.risk_limit import (
    DEFAULT_FLIP_RATE,
    hidden_needed,
    recorded_outcomes,
    recorded_rate,
)

ONE_WAY, BOTH_WAYS = (Direction.NOT_UNDERSTATED,), tuple(Direction)


def forecasts(record: Floats, epsilon: str, directions: Sequence[Direction]) -> list[Feasibility]:
    """Return what confirming each rate of an honest record would take.

    Args:
        record: Compliances of each condition.
        epsilon: Tolerated error.
        directions: Which errors are looked for.
    """
    told = []
    for complied in record:
        counts = counts_of(complied)
        rate = recorded_rate(counts)
        assert rate is not None  # all points were judged
        for direction in directions:
            hidden = hidden_needed(counts, rate, Fraction(epsilon), direction)
            number = recorded_outcomes(counts, direction)
            told.append(expected_draws(number, hidden, alpha=ALPHA))
    return told


def whole_forecast(record: Floats, effect: Effect) -> Feasibility:
    """Return what confirming the slope of an honest record as a whole would take."""
    urn = urn_of(record, effect)
    return expected_draws(urn.recorded, urn.hidden, alpha=ALPHA)


def told_in_words(told: Sequence[Feasibility]) -> str:
    """Return draws, their share of all points, and how many audits confirm everything."""
    draws = sum(one.mean for one in told)
    points = PLANNED * len(COVARIATES)
    return f"{draws:,.0f} ({draws / points:.1%}; {together(told):.0%})"


def draw_rows(coin: np.random.Generator) -> list[tuple[str, ...]]:
    """Return a row a planted slope."""
    rows: list[tuple[str, ...]] = []
    for planted in PLANTED:
        record = truth(planted, coin)
        effect = Effect.DILUTION if planted < 0 else Effect.AMPLIFICATION
        share = slope_share(statistic(record), effect, "0.05")
        assert share is not None  # the slope keeps its sign as recorded
        rows.append(
            (
                f"{planted:+.2f}",
                f"{slope(record):+.3f}",
                f"{100 * record.min() / PLANNED:.0f}–{100 * record.max() / PLANNED:.0f} %",
                told_in_words(forecasts(record, RATES_EPSILON, ONE_WAY)),
                told_in_words(forecasts(record, RATES_EPSILON, BOTH_WAYS)),
                share,
                told_in_words(forecasts(record, share, BOTH_WAYS)),
                told_in_words([whole_forecast(record, effect)]),
            )
        )
    return rows


def main() -> None:
    """Compute, print, record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--record", action="store_true", help="write to RESULTS.md")
    options = parser.parse_args()
    head = ("planted β2", "fitted", "rates", f"one way, ε {RATES_EPSILON}")
    more = (f"both ways, ε {RATES_EPSILON}", "stands", "its rates", "--finding joint")
    lines = markdown_table((*head, *more), draw_rows(np.random.default_rng(options.seed)))
    print("\n".join(lines))
    if options.record:
        replace_section(
            "audit-draws",
            [
                "## Draws of audits, by what they are of",
                "",
                f"    python benchmarks/audit_draws.py --seed {options.seed} --record",
                "",
                f"- Date: {datetime.now(UTC):%Y-%m-%d}",
                f"- Machine: {machine()}",
                f"- {len(COVARIATES)} conditions × {PLANNED:,} points, the record honest; "
                f"α = {float(ALPHA):g}, q = {float(DEFAULT_FLIP_RATE):.1%}; points for the "
                "model's identity come on top.  In brackets: of all points, and how many audits "
                "confirm every rate, as if rates failed independently.",
                "",
                *lines,
            ],
        )


if __name__ == "__main__":
    main()
