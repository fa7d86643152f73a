"""The total-count hypothesis: only the number of demonstrations matters, not their mix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from safety_receipts.receipts.findings.breakdown.sealed_grid import SealedGrid
from safety_receipts.receipts.findings.breakdown.shares import widest
from safety_receipts.receipts.findings.effects import bonferroni, is_significant
from safety_receipts.receipts.findings.fits.clusters import NO_VARIANCE, PointClusters
from safety_receipts.receipts.findings.fits.distributions import chi_square_upper
from safety_receipts.receipts.findings.fits.low_rank import low_rank
from safety_receipts.receipts.findings.fits.study import PlanGrid, StudyPoints
from safety_receipts.receipts.findings.fits.wire import p_string, score
from safety_receipts.receipts.findings.kind import FindingKind
from safety_receipts.receipts.model.breakdown import FindingBreakdown
from safety_receipts.receipts.model.demonstrations import ExperimentKind, Ordering
from safety_receipts.receipts.model.findings import Findings, TotalFinding, TotalRow, Verdict
from safety_receipts.receipts.model.plan import EvaluationSetup, Hypothesis, PlanPredicate
from safety_receipts.receipts.model.receipt import EvaluationPredicate

FEWEST_EXPECTED: Final = 10
"""Compliances, and refusals, that a condition must be expected to have for a test of rates."""


def total_finding(study: StudyPoints) -> TotalFinding | None:
    """Return the tests of the plan's sweeps, or None where it has none with several mixes.

    As published: χ² homogeneity of the harmful shares at each total, Bonferroni over the totals.
    Its clustered counterpart is Hotelling's test that the rates are equal.
    """
    rows = tuple(_row(study, total, places) for total, places in total_groups(study))
    if not rows:
        return None
    published = bonferroni([row.p_as_published for row in rows if row.p_as_published is not None])
    return TotalFinding(
        rows=rows,
        rejected_as_published=published is not None and is_significant(published),
        p=bonferroni([row.p for row in rows if row.p is not None]),
        verdict=Verdict.UNTESTED,
    )


def total_verdict(adjusted: str | None) -> Verdict:
    """Return what a p-value, corrected for multiplicity, does to the hypothesis."""
    if adjusted is None:
        return Verdict.UNTESTED
    return Verdict.REJECTED if is_significant(adjusted) else Verdict.NOT_REJECTED


def homogeneity(study: StudyPoints, places: list[int]) -> tuple[str | None, str | None]:
    """Return F and p of the clustered test that some conditions have one compliance rate.

    Both None where there are too few clusters, or fewer than :data:`FEWEST_EXPECTED` compliances
    or refusals are expected of a condition: rates near 0 or 1 are far from normal, and one that
    is 0 shows no variance at all.
    """
    rates = study.shares(places, study.complied, study.judged)
    if rates is None:
        return None, None
    clusters = PointClusters(study.lists, rates.used.sum(axis=0), study.requests)
    if clusters.grounds_for_doubt is not None:
        return None, None
    judged = study.judged[places]
    common = float((study.complied[places] & judged).sum() / judged.sum())
    if judged.sum(axis=(1, 2)).min() * min(common, 1 - common) < FEWEST_EXPECTED:
        return None, None
    # What a rate of 0 or 1 does not show, the common rate stands in for, at one point a cluster.
    boundary = (rates.values == 0) | (rates.values == 1)
    unseen = boundary * common * (1 - common) / (clusters.df + 1)
    least = NO_VARIANCE * float(rates.independent.max())
    if (few := low_rank(rates.values, rates.influence, clusters, unseen)) is not None:
        test = few.turned(lambda values: np.diff(values, axis=0)).f_test(least)
    else:
        count = len(places)
        steps = np.eye(count - 1, count, 1) - np.eye(count - 1, count)
        covariance = steps @ (clusters.covariance(rates.influence) + np.diag(unseen)) @ steps.T
        test = clusters.f_test(steps @ rates.values, covariance, least)
    return (None, None) if test is None else (score(test.statistic), p_string(test.p))


def total_groups(study: PlanGrid) -> Iterator[tuple[int, list[int]]]:
    """Yield totals with the places of their conditions: of mixed ones, one order only."""
    ids = {
        id_
        for experiment in study.plan.experiments
        if experiment.kind is ExperimentKind.SWEEP
        for id_ in experiment.conditions
    }
    found: dict[int, list[int]] = {}
    for place in study.places(tuple(ids)):
        condition = study.condition(place)
        if study.is_plain(condition) and condition.ordering in (None, Ordering.SUFFIX):
            found.setdefault(condition.n_harmful + condition.n_benign, []).append(place)
    for total, places in sorted(found.items()):
        if len(places) > 1:
            yield total, places


def _row(study: StudyPoints, total: int, places: list[int]) -> TotalRow:
    points = study.generated[places].sum(axis=(1, 2)).astype(np.float64)
    complied = study.not_refused[places].sum(axis=(1, 2)).astype(np.float64)
    there = points > 0
    points, complied = points[there], complied[there]
    df = len(points) - 1
    chi_square = None
    rate = complied.sum() / points.sum() if points.sum() else 0.0
    if df > 0 and 0 < rate < 1:
        expected = points * rate
        chi_square = float(((complied - expected) ** 2 / (expected * (1 - rate))).sum())
    f, p = homogeneity(study, places)
    return TotalRow(
        total=total,
        conditions=study.ids(places),
        chi_square=None if chi_square is None else score(chi_square),
        df=max(0, df),
        p_as_published=None if chi_square is None else p_string(chi_square_upper(chi_square, df)),
        f=f,
        p=p,
    )


class TotalKind(FindingKind):
    """Whether the mix matters at a fixed number of demonstrations."""

    name = "total"
    fields = ("total",)
    hypothesis = Hypothesis.TOTAL

    def derive(self, study: StudyPoints) -> Mapping[str, Any]:
        """Compute it from the points."""
        return {"total": total_finding(study)}

    def null_hypothesis(self, test: str) -> str:
        """Return what a test would rule out."""
        return "only N matters"

    def p_values(self, findings: Findings) -> Iterator[tuple[str, str | None]]:
        """Yield its one test."""
        if findings.total is not None:
            yield self.name, findings.total.p

    def breakdowns(self, findings: Findings, sealed: SealedGrid) -> Iterator[FindingBreakdown]:
        """Yield one if the hypothesis is rejected: two mixes of one number are left apart."""
        if findings.total is None or findings.total.verdict is not Verdict.REJECTED:
            return
        rows = findings.total.rows
        pairs = [widest([(id_, sealed.counts[id_]) for id_ in row.conditions]) for row in rows]
        distance, pair = max(pairs, key=lambda one: one[0])
        yield sealed.rates_apart(self.name, pair, distance)

    def settled(
        self, findings: Findings, adjusted: Mapping[str, str], setup: EvaluationSetup
    ) -> Mapping[str, Any]:
        """Give it its verdict."""
        if findings.total is None:
            return {}
        verdict = total_verdict(adjusted.get(self.name))
        return {"total": findings.total.model_copy(update={"verdict": verdict})}

    def grid(self, findings: Findings, study: StudyPoints) -> tuple[object, object]:
        """Compare totals and their conditions."""
        rows = findings.total.rows if findings.total else ()
        planned = [(number, study.ids(places)) for number, places in total_groups(study)]
        return [(row.total, row.conditions) for row in rows], planned

    def problems(
        self, findings: Findings, receipt: EvaluationPredicate, plan: PlanPredicate
    ) -> Iterator[str]:
        """Hold its p-values to its rows."""
        total = findings.total
        if total is None:
            return
        published = bonferroni([row.p_as_published for row in total.rows if row.p_as_published])
        if total.rejected_as_published != (published is not None and is_significant(published)):
            yield "findings.total.rejectedAsPublished does not follow from its rows"
        if total.p != bonferroni([row.p for row in total.rows if row.p is not None]):
            yield "findings.total.p does not follow from its rows"
