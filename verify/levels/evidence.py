"""One pass over the evidence lines: form, order, endings, root, observations."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from safety_receipts.receipts.bundle import parse_point
from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.errors import MalformedError
from safety_receipts.receipts.evidence import FirstProblems, PointChecker
from safety_receipts.receipts.findings.counts.observations import Observations
from safety_receipts.receipts.merkle import RootAccumulator
from safety_receipts.receipts.model.plan import PlanPredicate

PointProgress = Callable[[int, int], None]
"""Told, now and then, how many points are done, and of how many."""

PROGRESS_EVERY = 2048


def no_progress(done: int, total: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class EvidenceReading:
    """What one pass found."""

    line_problem: str | None
    """A line is no evidence line, or the file is damaged: reading stopped there."""
    problems: FirstProblems
    """What does not fit the plan."""
    size: int
    """Lines read."""
    root: Sha256
    """Merkle root over them."""
    observations: Observations | None
    """None unless every line was read and is the planned one."""


def read_evidence(
    lines: Iterable[bytes],
    plan: PlanPredicate,
    seed: Sha256,
    file: Path,
    progress: PointProgress = no_progress,
) -> EvidenceReading:
    """Read evidence lines against the plan.

    Args:
        lines: Evidence lines without their line breaks, as found.
        plan: A coherent plan.
        seed: The event's seed.
        file: Named in errors.
        progress: Told how many points are done.
    """
    checker = PointChecker(plan, seed)
    root = RootAccumulator()
    line_problem = None
    number = 0
    try:
        for number, line in enumerate(lines, start=1):
            if not checker.check(parse_point(line, number, file)):
                line_problem = f"has more than {plan.points:,} lines"
                break
            root.append(line)
            if not number % PROGRESS_EVERY:
                progress(number, plan.points)
    except MalformedError as error:
        line_problem = ": ".join(filter(None, [error.place, error.message]))
    progress(number, plan.points)
    problems = checker.problems
    complete = line_problem is None and problems.order is None and root.size == plan.points
    return EvidenceReading(
        line_problem=line_problem,
        problems=problems,
        size=root.size,
        root=Sha256(root.root().hex()),
        observations=checker.observer.result() if complete else None,
    )
