"""What changes when one thing about a condition changes: two rates over the same queries."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from safety_receipts.receipts.findings.counts.differences import paired_difference
from safety_receipts.receipts.findings.fits.clusters import NO_VARIANCE, PointClusters, TailTest
from safety_receipts.receipts.findings.fits.study import ClusteredEstimate, StudyPoints
from safety_receipts.receipts.findings.fits.wire import p_string
from safety_receipts.receipts.model.demonstrations import PlannedCondition
from safety_receipts.receipts.model.findings import RateChange, SignedInterval

_DERIVED: Final = {"id", "labels"}
_MADE_OF: Final = tuple(name for name in PlannedCondition.model_fields if name not in _DERIVED)


def counterpart(study: StudyPoints, place: int, **changed: Any) -> int | None:
    """Return the place of the condition that differs in some fields only, or None.

    Args:
        study: All points.
        place: A condition's place.
        changed: Fields of the condition sought that are not this one's.  Its labels follow from
            the others, and may differ too.
    """
    condition = study.condition(place)
    wanted = {name: getattr(condition, name) for name in _MADE_OF} | changed
    for other, planned in enumerate(study.plan.conditions):
        if all(getattr(planned, name) == value for name, value in wanted.items()):
            return other
    return None


def rate_change(study: StudyPoints, place: int, against: int) -> RateChange | None:
    """Return the compliance rate of one condition less that of another, paired by query.

    Args:
        study: All points.
        place: The condition's place.
        against: Place of the condition whose rate is taken off.

    Returns:
        None where either has no judged point.
    """
    difference = paired_difference(study.observations, place, against)
    rates = study.rates((place, against), study.complied, study.judged)
    if difference is None or rates is None:
        return None
    test = _test(study, (place, against), rates)
    return RateChange(
        value=difference.value,
        interval=SignedInterval(
            level=difference.level, lower=difference.lower, upper=difference.upper
        ),
        p=None if test is None else p_string(test.p),
    )


def _test(study: StudyPoints, places: tuple[int, int], rates: ClusteredEstimate) -> TailTest | None:
    """Test whether two rates are one.

    A rate of 0 or 1 shows no variance.  The common rate's stands in for it, at one point a
    cluster of the rarer kind, as in the intervals: a rate of 0 among 30 queries does not differ
    from one of .03.
    """
    judged = study.judged[list(places)]
    clusters = [
        PointClusters(study.lists, used.astype(np.int64), study.requests) for used in judged
    ]
    if any(kind.grounds_for_doubt is not None for kind in (rates.clusters, *clusters)):
        return None
    common = float((study.complied[list(places)] & judged).sum() / judged.sum())
    unseen = sum(
        common * (1 - common) / (kind.df + 1)
        for kind, rate in zip(clusters, rates.values, strict=True)
        if rate in (0, 1)
    )
    difference = rates.contrast(np.array([[1.0, -1.0]]))
    variance = float(difference.covariance[0, 0]) + unseen
    if variance <= NO_VARIANCE * float(np.trace(rates.covariance)):
        return None
    return difference.clusters.t_test(float(difference.values[0]), variance)
