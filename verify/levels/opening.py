"""Do the restricted records open the commitments of their evidence lines?"""

from __future__ import annotations

from collections.abc import Callable
from itertools import zip_longest

from safety_receipts.receipts.bundle import POINTS_FILE, RESPONSES_FILE, Bundle, parse_point
from safety_receipts.receipts.errors import MalformedError
from safety_receipts.receipts.evidence import PromptChecker
from safety_receipts.receipts.findings.counts.agreement import AgreementCounter
from safety_receipts.receipts.merkle import RootAccumulator
from safety_receipts.receipts.model.point import Point, RestrictedRecord
from safety_receipts.receipts.model.receipt import EvaluationPredicate
from safety_receipts.verify.check_names import CheckName
from safety_receipts.verify.checks import CheckList
from safety_receipts.verify.levels.evidence import PointProgress, no_progress
from safety_receipts.verify.levels.labels import rule_labels, unknown_rules

_PROGRESS_EVERY = 64
"""Points between two reports: one whose prompt is rendered takes milliseconds."""

Examine = Callable[[Point, RestrictedRecord], None]
"""Shown every point whose record opens its commitment, in the order of the files."""


def _look_at_nothing(point: Point, record: RestrictedRecord) -> None:
    pass


def check_commitments(
    bundle: Bundle,
    receipt: EvaluationPredicate,
    checks: CheckList,
    progress: PointProgress = no_progress,
    examine: Examine = _look_at_nothing,
) -> bool:
    """Open every commitment, recount the second judge's agreement, give rules' labels again.

    Args:
        bundle: The bundle.
        receipt: Its receipt.
        checks: Receives the checks.
        progress: Told how many points are done.
        examine: Shown the points on the way: the files are read once.

    Returns:
        Whether all commitments open.
    """
    missing = [name for name in (POINTS_FILE, RESPONSES_FILE) if not bundle.has(name)]
    if missing:
        why = f"{' and '.join(missing)} not in this bundle"
        return checks.skip(CheckName.COMMITMENTS, why)
    agreement, labels = AgreementCounter(), rule_labels(receipt)
    number = 0

    def look(point: Point, record: RestrictedRecord) -> None:
        agreement.add(record)
        for one in labels.values():
            one.add(point, record)
        examine(point, record)

    try:
        problem, number = _open_all(bundle, receipt, look, progress)
    except MalformedError as error:
        problem = ": ".join(filter(None, [error.place, error.message]))
    opened = checks.decide(CheckName.COMMITMENTS, problem, f"all {number:,} open")
    if receipt.judge.second is not None and opened:
        stated = receipt.judge_agreement
        problem = None if stated == agreement.result() else "not what the restricted records say"
        checks.decide(CheckName.JUDGE_AGREEMENT, problem, "follows from the restricted records")
    for name, found in labels.items():
        if opened and not found.judged:
            checks.spare(name, "there is no response with a text")
        elif opened or found.wrong:
            good = f"the judge's rule gives all {found.judged:,} again"
            checks.decide(name, found.problem, good)
        else:
            checks.skip(name, "needs a record for every point, and each must open its commitment")
    for name in unknown_rules(receipt):
        checks.skip(name, "the judge's rule is not this version's")
    return opened


def _open_all(
    bundle: Bundle, receipt: EvaluationPredicate, examine: Examine, progress: PointProgress
) -> tuple[str | None, int]:
    """Return the first problem, or None, and the number of points.

    The evidence is read again, so its root is computed again: the lines whose commitments
    open are the lines that the receipt binds.
    """
    size = receipt.evidence.size
    prompts, root = PromptChecker(receipt.conditions), RootAccumulator()
    number = 0
    pairs = zip_longest(bundle.lines(size), bundle.responses())
    for number, (line, record) in enumerate(pairs, start=1):
        if line is None or record is None:
            return f"evidence and restricted records differ in length at line {number}", number
        root.append(line)
        point = parse_point(line, number, bundle.folder / POINTS_FILE)
        problem = record.problem(point, receipt) or prompts.problem(record)
        if problem is not None:
            return f"line {number}: {problem}", number
        examine(point, record)
        if not number % _PROGRESS_EVERY:
            progress(number, size)
    progress(number, size)
    if root.root().hex() != receipt.evidence.root:
        return "the evidence lines do not have the receipt's root", number
    return None, number
