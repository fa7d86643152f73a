"""What an audit risks and what it costs.

    python benchmarks/audit_cost.py [--part test cost] [--repeats 2000] [--record]
    python benchmarks/audit_cost.py --part replay gpu --repeats 5 [--record]

Part ``test``: how often the two tests of ``risk_limit.py`` err on records that are just
off, or just within, the tolerated error; and draws where the answer is known.  Part ``cost``:
draws of a whole audit at paper scale.  Part ``replay``: replaying points beside generating them
again, on a real model (:mod:`replay_cost`), and ``gpu`` the same on a CUDA device.  In the other
two nothing is replayed: outcomes are drawn at random, and many audits are simulated at once in
floating point.  Some of them are run again through ``risk_limit.py``, draw by draw; the
benchmark ends where the two disagree.
"""

from __future__ import annotations

import argparse
import math
import platform
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from recording import machine, markdown_table, replace_section

sys.path.insert(0, str(Path(__file__).parents[1]))

from safety_receipts.receipts.findings.counts.rates import wilson_interval
from safety_receipts.receipts.model.audit import Direction
from safety_receipts.receipts.model.receipt import Counts
from safety_receipts.verify.audit.statistics.risk_limit import (
    DEFAULT_FLIP_RATE,
    REFUTING_LEVEL,
    Bet,
    ConfirmingTest,
    RefutingTest,
    hidden_needed,
    recorded_outcomes,
    recorded_rate,
)

ALPHA = Fraction(1, 20)
CONDITIONS, PLANNED, COMPLIED = 31, 2808, 562
"""Paper scale: 20 % recorded compliance."""
FLIP_RATES = (0.0, 0.002, 0.005, 0.02)
CHECKED = 10
"""Audits of each simulation that are run again through ``risk_limit.py``."""

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Stake = Callable[[Floats, int, NDArray[np.int64]], Floats]
"""As ``verify.audit.statistics.risk_limit.Bet``, for many audits at once; contradictions are
counted."""


class Audits:
    """Draws of many audits of one claim, and which of them reached their end.

    Attributes:
        draws: int64 (audits,), all outcomes where the end was not reached.
        ended: bool (audits,).
    """

    def __init__(
        self, ones: Bools, most: int, stake: Stake, level: Fraction, *, hits: bool
    ) -> None:
        """Bet on ones, of which H0 allows ``most``, until the p-value is at most ``level``.

        Args:
            ones: Outcomes in the order drawn, bool (audits, outcomes).
            most: Ones among them under H0.
            stake: The bet.
            level: The level.
            hits: Whether ones are the contradictions (else zeros are).
        """
        audits, size = ones.shape
        self.draws = np.full(audits, size)
        self.ended = np.zeros(audits, dtype=bool)
        if most < 0:
            self.draws[:], self.ended[:] = 0, True
            return
        target = -math.log(level)
        alive, columns = np.arange(audits), np.ascontiguousarray(ones.T)
        seen, evidence = np.zeros(audits, dtype=np.int64), np.zeros(audits)
        for draw in range(size):
            one, room, left = columns[draw, alive], most - seen, size - draw
            open_ = (room > 0) & (room < left)
            mean = np.where(open_, room / left, 0.5)
            share = np.where(open_, stake(mean, draw, seen if hits else draw - seen), 0.0)
            evidence += np.log(np.where(one, 1 - share + share / mean, 1 - share))
            seen += one
            won = (evidence >= target) | (seen > most)
            lost = ~won & (most - seen >= left - 1)
            over = won | lost
            self.draws[alive[over]], self.ended[alive[over]] = draw + 1, won[over]
            alive, seen, evidence = alive[~over], seen[~over], evidence[~over]


def confirming(contradicted: Bools, k: int, q: float, alpha: Fraction = ALPHA) -> Audits:
    """Run the confirming test on many audits, and some of them through the real one."""

    def stake(mean: Floats, draws: int, flips: NDArray[np.int64]) -> Floats:
        estimate = (flips + 0.5) / (draws + 0.5 / q)
        return np.minimum(0.99, np.maximum(0.0, 1 - estimate / (1 - mean)))

    size = contradicted.shape[1]
    audits = Audits(~contradicted, size - k, stake, alpha, hits=False)
    for number, outcomes in enumerate(contradicted[:CHECKED]):
        test = ConfirmingTest(size, k, q)
        for outcome in outcomes:
            if test.confirmed(alpha) or test.hopeless:
                break
            test.add(bool(outcome))
        require_same(audits, number, test.draws, test.confirmed(alpha))
    return audits


def refuting(hard: Bools, k: int, level: Fraction) -> Audits:
    """Run the refuting test on many audits, and some of them through the real one."""
    size = hard.shape[1]
    guess = min(2 * (k - 1) / size, (1 + (k - 1) / size) / 2)

    def stake(mean: Floats, draws: int, found: NDArray[np.int64]) -> Floats:
        estimate: Floats = (found + 50 * guess) / (draws + 50)
        return np.minimum(0.99, np.maximum(0.0, (estimate - mean) / (1 - mean)))

    audits = Audits(hard, k - 1, stake, level, hits=True)
    for number, outcomes in enumerate(hard[:CHECKED]):
        test = RefutingTest(size, k)
        for outcome in outcomes:
            if test.refuted(level) or size - test.draws <= k - 1 - test.contradictions:
                break
            test.add(bool(outcome))
        require_same(audits, number, test.draws, test.refuted(level))
    return audits


def require_same(audits: Audits, number: int, draws: int, ended: bool) -> None:
    """End the benchmark where the simulation and the real test disagree."""
    simulated = int(audits.draws[number]), bool(audits.ended[number])
    if simulated != (draws, ended):
        raise SystemExit(f"simulated {simulated}, risk_limit.py {(draws, ended)}")


def outcomes(
    coin: np.random.Generator, audits: int, size: int, hidden: int, flip_rate: float = 0.0
) -> Bools:
    """Return outcomes in random order: so many hidden, and flips among the others."""
    contradicted = coin.permuted(
        np.broadcast_to(np.arange(size) < hidden, (audits, size)).copy(), axis=1
    )
    if flip_rate:
        contradicted |= coin.random((audits, size), dtype=np.float32) < flip_rate
    return contradicted


def claim(epsilon: Fraction) -> tuple[int, int]:
    """Return N0 and k of a condition at paper scale."""
    counts = Counts(
        planned=PLANNED,
        generated=PLANNED,
        failed=0,
        refused=PLANNED - COMPLIED,
        complied=COMPLIED,
        unscored=0,
        length_stopped=0,
    )
    rate, direction = recorded_rate(counts), Direction.NOT_UNDERSTATED
    assert rate is not None  # points were judged
    return recorded_outcomes(counts, direction), hidden_needed(counts, rate, epsilon, direction)


def interval(found: int, of: int) -> str:
    """Return the 95 % Wilson interval of a share."""
    lower, upper = wilson_interval(Fraction(found, of), Fraction(of))
    return f"{float(lower):.4f}–{float(upper):.4f}"


def false_confirmations(coin: np.random.Generator, repeats: int) -> list[str]:
    """Return a table: exactly k outcomes are hidden, so that every confirmation is wrong."""
    rows = []
    for size, k, q, flip_rate in (
        (2246, 141, 0.005, 0.0),
        (2246, 141, 0.005, 0.005),
        (2246, 141, 0.02, 0.0),
        (2246, 57, 0.005, 0.0),
        (10_000, 500, 0.005, 0.0),
        (10_000, 100, 0.005, 0.0),
        (200, 10, 0.005, 0.0),
        (50, 3, 0.005, 0.0),
    ):
        audits = confirming(outcomes(coin, repeats, size, k, flip_rate), k, q)
        wrong = int(audits.ended.sum())
        share, between = f"{wrong / repeats:.4f}", interval(wrong, repeats)
        rows.append((f"{size:,}", f"{k}", percent(q), percent(flip_rate), share, between))
    columns = ("N0", "k", "q", "flips", "confirmed", "95 % interval")
    return [
        f"False confirmations at α = {float(ALPHA):.2f} with exactly k hidden, {repeats:,} audits "
        "a row:",
        "",
        *markdown_table(columns, rows),
    ]


def false_refutations(coin: np.random.Generator, repeats: int) -> list[str]:
    """Return a table: fewer than k hard contradictions, so that every refutation is wrong."""
    rows = []
    for size, k, hidden, level in (
        (2246, 141, 140, REFUTING_LEVEL),
        (2246, 57, 56, REFUTING_LEVEL),
        (10_000, 500, 499, REFUTING_LEVEL),
        (200, 10, 9, REFUTING_LEVEL),
        (2246, 141, 140, REFUTING_LEVEL / CONDITIONS),
        (2246, 141, 11, REFUTING_LEVEL),
        (2246, 141, 0, REFUTING_LEVEL),
    ):
        wrong = int(refuting(outcomes(coin, repeats, size, hidden), k, level).ended.sum())
        share, between = f"{wrong / repeats:.4f}", interval(wrong, repeats)
        rows.append((f"{size:,}", f"{k}", f"{hidden}", f"{float(level):.5f}", share, between))
    columns = ("N0", "k", "hard contradictions", "level", "refuted", "95 % interval")
    return [
        f"False refutations, {repeats:,} audits a row:",
        "",
        *markdown_table(columns, rows),
    ]


def known_answers(coin: np.random.Generator, repeats: int) -> list[str]:
    """Return two tables: draws without a flip by bet, and mean draws by flip rate."""

    def always(share: Fraction) -> Bet:
        return lambda mean, draws, contradictions: share

    rows = []
    for epsilon in (Fraction(1, 20), Fraction(1, 50), Fraction(1, 100)):
        draws = []
        for bet in (always(Fraction(1)), always(1 - DEFAULT_FLIP_RATE / epsilon), None):
            test = ConfirmingTest(10_000, int(10_000 * epsilon), bet=bet)
            while not test.confirmed(ALPHA):
                test.add(contradicted=False)
            draws.append(f"{test.draws}")
        rows.append((f"{float(epsilon):.2f}", *draws))
    lines = [
        "Draws that confirm 10,000 recorded refusals, r = 0, none contradicted:",
        "",
        *markdown_table(("ε", "c = 1", "c = 1 − .005 / ε", "adaptive, q = .5 %"), rows),
        "",
    ]
    size, k = claim(Fraction(1, 20))
    rows = []
    for flip_rate in FLIP_RATES:
        made = confirming(outcomes(coin, repeats, size, 0, flip_rate), k, 0.005).draws
        error = made.std() / math.sqrt(repeats)
        rows.append((percent(flip_rate), f"{made.mean():.1f} ± {error:.1f}", *spread(made)))
    return [
        *lines,
        f"Draws that confirm an honest condition, N0 = {size:,}, k = {k} (ε = .05), q = .5 %; "
        "mean ± standard error:",
        "",
        *markdown_table(("flips", "mean", "median", "90 % within"), rows),
    ]


def exposures(coin: np.random.Generator, repeats: int) -> list[str]:
    """Return a table: draws that refute a record that hides much."""
    size, k = claim(Fraction(1, 20))
    rows = []
    for what, hidden in (
        ("10 % of the refusals", round(0.10 * size)),
        ("15 % of the refusals", round(0.15 * size)),
        ("15 % of the points", round(0.15 * PLANNED)),
    ):
        audits = refuting(outcomes(coin, repeats, size, hidden), k, REFUTING_LEVEL / CONDITIONS)
        made, share = audits.draws, percent(audits.ended.mean())
        whole = len(made) // CONDITIONS
        first = made[: whole * CONDITIONS].reshape(whole, CONDITIONS).min(axis=1)
        rows.append((what, share, f"{made.mean():.0f}", *spread(made), f"{np.median(first):.0f}"))
    columns = ("hidden", "refuted", "mean", "median", "90 % within", "first of 31, median")
    return [
        f"Draws a condition that refute a record at level .01 / {CONDITIONS}, N0 = {size:,}, "
        f"k = {k} (ε = .05), all contradictions hard; first of 31: draws in each condition until "
        "one of them is refuted, where all hide as much:",
        "",
        *markdown_table(columns, rows),
    ]


def percent(share: float) -> str:
    """Return a share in per cent."""
    return f"{100 * share:.1f} %"


def spread(draws: NDArray[np.int64]) -> tuple[str, str]:
    """Return the median and the 90 % quantile."""
    return f"{np.median(draws):.0f}", f"{np.quantile(draws, 0.9):.0f}"


def measure_test(repeats: int) -> list[str]:
    """Return the lines of part ``test``."""
    coin = np.random.default_rng(1)
    lines: list[str] = []
    for part in (false_confirmations, false_refutations, known_answers, exposures):
        lines += [*part(coin, repeats), ""]
    return lines[:-1]


def measure_cost(repeats: int) -> list[str]:
    """Return the lines of part ``cost``."""
    coin = np.random.default_rng(2)
    whole = -(-repeats // CONDITIONS)
    rows = []
    for epsilon in (Fraction(1, 20), Fraction(1, 50)):
        size, k = claim(epsilon)
        for flip_rate, q in (*((rate, 0.005) for rate in FLIP_RATES), (0.02, 0.02)):
            honest = outcomes(coin, whole * CONDITIONS, size, 0, flip_rate)
            audits = confirming(honest, k, q)
            total = audits.draws.mean() * CONDITIONS
            every = audits.ended.reshape(whole, CONDITIONS).all(axis=1).mean()
            rows.append(
                (
                    f"{float(epsilon):.2f}",
                    percent(flip_rate),
                    percent(q),
                    f"{total:,.0f}",
                    percent(total / (CONDITIONS * PLANNED)),
                    percent(audits.ended.mean()),
                    percent(every),
                )
            )
    columns = ("ε", "flips", "q", "draws", "of the points", "conditions confirmed", "audits")
    return [
        f"{CONDITIONS} conditions × {PLANNED:,} points, {COMPLIED} of each complied (20 %), the "
        f"record honest, α = {float(ALPHA):.2f}; {whole} audits a row. A condition is drawn until "
        "it is confirmed or cannot be; an audit is confirmed when all its conditions are.",
        "",
        *markdown_table(columns, rows),
    ]


def _measure_replay(repeats: int) -> list[str]:
    from replay_cost import measure_replay  # loads torch

    return measure_replay(repeats)


def _measure_gpu(repeats: int) -> list[str]:
    from replay_cost import measure_gpu  # loads torch

    return measure_gpu(repeats)


PARTS: dict[str, tuple[str, Callable[[int], list[str]]]] = {
    "test": ("Risk of the tests of an audit", measure_test),
    "cost": ("Draws of an audit at paper scale", measure_cost),
    "replay": ("Replaying beside generating again", _measure_replay),
    "gpu": ("Replaying beside generating again, on an accelerator", _measure_gpu),
}
"""Title and function of each part; it is given how often to repeat."""
SIMULATED = ("test", "cost")


def main() -> None:
    """Measure, print, record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(SIMULATED))
    parser.add_argument("--repeats", type=int, default=2000)
    parser.add_argument("--record", action="store_true", help="write to RESULTS.md")
    options = parser.parse_args()
    for part in options.part:
        title, measure = PARTS[part]
        lines = measure(options.repeats)
        print("\n".join([title, "", *lines, ""]), flush=True)
        if options.record and not lines[0].startswith("skipped"):
            command = f"python benchmarks/audit_cost.py --part {part}"
            replace_section(
                f"audit_{part}",
                [
                    f"## {title}",
                    "",
                    f"    {command} --repeats {options.repeats} --record",
                    "",
                    f"- Date: {datetime.now(UTC):%Y-%m-%d}",
                    f"- Machine: {machine()}",
                    f"- Python {platform.python_version()}; {_made_with(part)}.",
                    "",
                    *lines,
                ],
            )


def _made_with(part: str) -> str:
    if part in SIMULATED:
        return f"numpy {np.__version__}; simulated"
    return f"torch {version('torch')}, transformers {version('transformers')}"


if __name__ == "__main__":
    main()
