"""What auditing a finding costs, and what it stops.

    python benchmarks/finding_audit.py [--repeats 2000] [--seed 1] [--record]

Joint findings with planted slopes at the paper's shape (1,404 queries × 2 draws in each of 18
conditions): the share of false labels that each stands, the draws of an audit of it at that ε,
how often it confirms an honest record of which a share q of points looks contradicted by noise,
and how often a record whose slope in truth points the other way. Then an evaluator who bends
labels along the number of benign demonstrations by less than an audit's ε, to make an effect, to
hide one or to turn one round: what the audit of rates says, and what that of the finding. Nothing
is replayed: audits are simulated by ``audit_cost``, and some of them draw by draw through
``risk_limit.py``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Final

import numpy as np
from audit_cost import ALPHA
from recording import machine, markdown_table, replace_section

sys.path.insert(0, str(Path(__file__).parents[1]))

from attacks.bent_labels import (
    COVARIATES,
    PLANNED,
    PLANNED_EACH,
    RATES_EPSILON,
    Floats,
    audit,
    bent,
    slope,
    statistic,
    truth,
)
from attacks.slope_audits import urn_of, whole_audit

from safety_receipts.receipts.findings.breakdown.shares import slope_share
from safety_receipts.receipts.model.audit import Direction
from safety_receipts.receipts.model.findings import Effect
from safety_receipts.verify.audit.statistics.risk_limit import DEFAULT_FLIP_RATE

PLANTED = (-0.34, -0.18, 0.09)
BENT: Final = (0.7, 0.9)
"""By how much of ε labels are bent."""
ATTACKS: Final = (
    ("an effect is made", 0.0, -1),
    ("one is turned round", 0.09, -1),
    ("one is hidden", -0.18, 1),
)
"""What is done, to which slope, and towards which."""


def nearest(recorded: Floats, share: float, sign: int) -> Floats:
    """Return the truth beyond a record's breakdown point in which the fewest labels are false.

    The conditions of the most influence are turned as far as it takes, one after the other.
    """
    record = statistic(recorded)
    _, corner = record.extreme(share + 0.001, sign)
    order = np.argsort(-np.abs(record._influence(recorded)))
    here = recorded.copy()
    for place in order:
        end = float(PLANNED_EACH[place]) if corner[place] > recorded[place] else 0.0
        there = here.copy()
        there[place] = end
        if sign * slope(there) < 0:
            here = there
            continue
        low, high = here[place], end
        for _ in range(40):
            there[place] = middle = (low + high) / 2
            low, high = (middle, high) if sign * slope(there) < 0 else (low, middle)
        here[place] = high
        return here
    return here


def one_rate(recorded: Floats, epsilon: str) -> Floats:
    """Return a truth in which one rate is off by ε, and no other."""
    off = recorded.copy()
    rate = recorded[0] / PLANNED
    off[0] = np.ceil((rate + float(epsilon)) * PLANNED)
    return off


def planted_rows(
    repeats: int, coin: np.random.Generator
) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """Return a row a planted slope: audited by its rates, and as a whole."""
    rows, whole = [], []
    for planted in PLANTED:
        record = truth(planted, coin)
        effect = Effect.DILUTION if planted < 0 else Effect.AMPLIFICATION
        share = slope_share(statistic(record), effect, "0.05")
        assert share is not None
        both = tuple(Direction)
        honest = audit(record, record, share, both, max(200, repeats // 10), coin)
        sign = 1 if planted < 0 else -1
        corner = statistic(record).extreme(float(share) + 0.001, sign)[1]
        nearest_ = nearest(record, float(share), sign)
        false = [
            audit(record, other, share, both, repeats, coin).confirmed
            for other in (corner, nearest_, one_rate(record, share))
        ]
        rows.append(
            (
                f"{planted:+.2f}",
                f"{slope(record):+.3f}",
                share,
                f"{honest.draws:,.0f}",
                f"{honest.draws / (PLANNED * len(record)):.1%}",
                f"{honest.confirmed:.1%}",
                *(f"{one:.2%}" for one in false),
            )
        )
        whole.append(whole_row(planted, record, effect, (corner, nearest_), repeats, coin))
    return rows, whole


def whole_row(  # noqa: PLR0917 (as many as a row has)
    planted: float,
    record: Floats,
    effect: Effect,
    turned: Sequence[Floats],
    repeats: int,
    coin: np.random.Generator,
) -> tuple[str, ...]:
    """Return what audits of a planted slope as a whole come to."""
    urn = urn_of(record, effect)
    honest = whole_audit(record, record, effect, ALPHA, max(200, repeats // 10), coin)
    false = [whole_audit(record, other, effect, ALPHA, repeats, coin) for other in turned]
    return (
        f"{planted:+.2f}",
        f"{urn.hidden:,} of {urn.recorded:,}",
        f"{honest.draws:,.0f}",
        f"{honest.confirmed:.1%}",
        *(f"{one.confirmed:.2%}" for one in false),
    )


def attack_rows(repeats: int, coin: np.random.Generator) -> list[tuple[str, ...]]:
    """Return a row an attack."""
    rows = []
    for (attack, planted, sign), by in product(ATTACKS, BENT):
        name = f"{attack}, by {by:g} ε"
        true = truth(planted, coin)
        record = bent(true, by * float(RATES_EPSILON), sign)
        said = slope(record)
        shown = statistic(record)
        effect = Effect.DILUTION if said < 0 else Effect.AMPLIFICATION
        share = slope_share(shown, effect, "0.05")
        if share is None or not float(share):
            told = (name, f"{slope(true):+.3f}", f"{said:+.3f}")
            rows.append((*told, "–", "–", "no audit of it", "no audit of it"))
            continue
        few = max(200, repeats // 10)
        one_way = audit(
            record, true, RATES_EPSILON, (Direction.NOT_UNDERSTATED,), few, coin
        ).confirmed
        finding = audit(record, true, share, tuple(Direction), repeats, coin)
        whole = whole_audit(record, true, effect, ALPHA, repeats, coin)
        rows.append(
            (
                name,
                f"{slope(true):+.3f}",
                f"{said:+.3f}",
                f"{one_way:.1%}",
                share,
                f"{finding.confirmed:.2%}",
                f"{whole.confirmed:.2%}",
            )
        )
    return rows


def main() -> None:
    """Measure, print, record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=2000, help="audits of each false record")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--record", action="store_true", help="write to RESULTS.md")
    options = parser.parse_args()
    coin = np.random.default_rng(options.seed)
    head = ("planted", "fitted", "stands", "draws", "of all", "honest confirmed")
    boundary = ("all rates beyond", "fewest labels", "one rate off by ε")
    by_rates, whole = planted_rows(options.repeats, coin)
    as_whole = ("planted", "tickets that turn it", "draws", "honest confirmed", *boundary[:2])
    attacked = ("attack", "true", "recorded", "rates confirmed", "stands")
    lines = [
        "By its rates, both ways, at the share of false labels that it stands:",
        "",
        *markdown_table((*head, *boundary), by_rates),
        "",
        "As a whole:",
        "",
        *markdown_table(as_whole, whole),
        "",
        "Labels bent by less than ε = .05 in every condition:",
        "",
        *markdown_table(
            (*attacked, "finding confirmed by rates", "as a whole"),
            attack_rows(options.repeats, coin),
        ),
    ]
    print("\n".join(lines))
    if options.record:
        replace_section(
            "finding-audit",
            [
                "## Audits of findings",
                "",
                f"    python benchmarks/finding_audit.py --repeats {options.repeats} "
                f"--seed {options.seed} --record",
                "",
                f"- Date: {datetime.now(UTC):%Y-%m-%d}",
                f"- Machine: {machine()}",
                f"- {len(COVARIATES)} conditions × {PLANNED:,} points; α = {float(ALPHA):g}, "
                f"q = {float(DEFAULT_FLIP_RATE):.1%}.  The last columns of the first two tables: "
                "how often a record is confirmed whose slope in truth points the other way (or of "
                "which one rate is off by ε).",
                "",
                *lines,
            ],
        )


if __name__ == "__main__":
    main()
