"""All findings of an event from its points.

Sealing fits with statsmodels, verifying with numpy alone; both come here, so that two independent
maximisers of the same likelihoods must agree before anything is signed, and again before anything
is believed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

from safety_receipts.receipts.errors import IntegrityError
from safety_receipts.receipts.findings.breakdown.points import counts_of_points
from safety_receipts.receipts.findings.breakdown.sealed_grid import SealedGrid
from safety_receipts.receipts.findings.counts.observations import Observations
from safety_receipts.receipts.findings.effects import ALPHA
from safety_receipts.receipts.findings.fits.logit import Fitter, newton, statsmodels_fit
from safety_receipts.receipts.findings.fits.study import StudyPoints
from safety_receipts.receipts.findings.multiplicity import settle
from safety_receipts.receipts.findings.registry import KINDS
from safety_receipts.receipts.io.text import value_text
from safety_receipts.receipts.model.findings import Findings

SCORE_TOLERANCE: Final = Decimal("0.000002")
"""How far two fits may be apart in a number with six decimals: twice its last place."""
RELATIVE_TOLERANCE: Final = Decimal("0.00001")
"""How far they may be apart in proportion: p-values, and numbers far from zero."""
_SCORE_PLACES: Final = 6
_NUMBER: Final = re.compile(r"-?[0-9]{1,17}(\.[0-9]{1,20})?")
_NAMES: Final = frozenset(
    {"name", "prefix", "condition", "conditions", "turns", "withoutPrefix", "source", "filler"}
)
"""Fields that somebody named: never numbers, whatever they look like."""
_LAST_PLACE: Final = Decimal(1).scaleb(-18)
"""p-values are rounded up at their twentieth decimal, and corrections multiply that."""


def derive(observations: Observations, fitter: Fitter = newton) -> Findings:
    """Return all findings that the plan's experiments feed.

    Args:
        observations: All points of the event.
        fitter: What maximises likelihoods.
    """
    study = StudyPoints(observations, fitter)
    return with_breakdown_of(unbroken(study), study)


def unbroken(study: StudyPoints) -> Findings:
    """Return all findings with their words, but no breakdown points.

    Args:
        study: All points.
    """
    numbers: dict[str, Any] = {}
    for kind in KINDS:
        numbers |= kind.derive(study)
    return settle(Findings(alpha=ALPHA, tests=(), **numbers), study.plan)


def with_breakdown_of(findings: Findings, study: StudyPoints) -> Findings:
    """Return findings with what false labels they stand, by counts of points.

    Args:
        findings: With their words.
        study: All points.
    """
    plan = study.plan
    counts = counts_of_points(study)
    return with_breakdown(findings, SealedGrid(plan, plan.conditions, counts))


def with_breakdown(findings: Findings, sealed: SealedGrid) -> Findings:
    """Return findings with what false labels they stand.

    Args:
        findings: With their words.
        sealed: The counts, by condition.
    """
    found = tuple(one for kind in KINDS for one in kind.breakdowns(findings, sealed))
    return findings.model_copy(update={"breakdown": found})


def fit(observations: Observations) -> Findings:
    """Fit all findings with statsmodels, and hold them to a fit of our own.

    Raises:
        ModuleNotFoundError: statsmodels is not installed (extra ``findings``).
        IntegrityError: The two fits disagree.
    """
    findings = derive(observations, statsmodels_fit)
    if (problem := next(finding_problems(findings, observations), None)) is not None:
        raise IntegrityError(f"two fits of the findings disagree: {problem}")
    return findings


def finding_problems(findings: Findings, observations: Observations) -> Iterator[str]:
    """Yield what in sealed findings does not follow from the points, with numpy alone.

    Words and counts must be the same; fitted numbers may differ by their rounding.
    """
    yield from differences(findings.to_wire(), derive(observations).to_wire())


def differences(stated: Any, derived: Any, place: str = "findings") -> Iterator[str]:
    """Yield where two findings in wire form differ by more than rounding.

    Args:
        stated: As sealed.
        derived: As computed.
        place: What both are.
    """
    if isinstance(stated, dict) and isinstance(derived, dict):
        for name in stated:
            one, other, where = stated[name], derived[name], f"{place}.{name}"
            if name in _NAMES and one != other:
                yield f"{where} is {_brief(one)}, not {_brief(other)}"
            elif name not in _NAMES:
                yield from differences(one, other, where)
    elif isinstance(stated, list) and isinstance(derived, list) and len(stated) == len(derived):
        for i, (one, other) in enumerate(zip(stated, derived, strict=True)):
            yield from differences(one, other, f"{place}[{i}]")
    elif not _agree(stated, derived):
        yield f"{place} is {_brief(stated)}, not {_brief(derived)}"


def _agree(stated: object, derived: object) -> bool:
    """Say whether two leaves are one: words and counts exactly, fitted numbers to rounding."""
    if type(stated) is type(derived) and stated == derived:
        return True
    if not (isinstance(stated, str) and isinstance(derived, str)):
        return False
    if not (_NUMBER.fullmatch(stated) and _NUMBER.fullmatch(derived)):
        return False
    one, other = Decimal(stated), Decimal(derived)
    apart, size = abs(one - other), max(abs(one), abs(other))
    if apart <= max(RELATIVE_TOLERANCE * size, _LAST_PLACE):
        return True
    # A p-value has its own number of decimals and is compared in proportion only: a thousandth
    # of one is another p-value.
    return _places(stated) == _places(derived) == _SCORE_PLACES and apart <= SCORE_TOLERANCE


def _places(text: str) -> int:
    return len(text.partition(".")[2])


def _brief(value: object) -> str:
    if isinstance(value, dict | list):
        return f"{type(value).__name__} of {len(value)}"
    return value_text(value)
