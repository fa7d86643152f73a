"""One level for many tests: Holm's correction over all that is not primary, and the words left.

Words follow from the sealed numbers and from nothing else, so that a receipt without its points
can still be caught in a contradiction with itself.
"""

from __future__ import annotations

from typing import Any

from safety_receipts.receipts.findings.effects import holm
from safety_receipts.receipts.findings.registry import KINDS
from safety_receipts.receipts.model.findings import Findings, HypothesisRole, HypothesisTest
from safety_receipts.receipts.model.plan import EvaluationSetup, Hypothesis


def settle(findings: Findings, setup: EvaluationSetup) -> Findings:
    """Return findings with corrected p-values and the words that go with them.

    Args:
        findings: Numbers; their own list of tests and their own words are not looked at, except
            where a slope says that it has too few clusters for a test.
        setup: Names the primary hypothesis and the effect margin.
    """
    made = [(name, p) for kind in KINDS for name, p in kind.p_values(findings) if p is not None]
    tests = families(setup.primary, made)
    adjusted = {test.name: test.adjusted for test in tests}
    changed: dict[str, Any] = {"tests": tests}
    for kind in KINDS:
        changed |= kind.settled(findings, adjusted, setup)
    return findings.model_copy(update=changed)


def families(primary: Hypothesis, tests: list[tuple[str, str]]) -> tuple[HypothesisTest, ...]:
    """Correct p-values within the primary family and within all the rest, by Holm.

    The primary family is one test, but for the ordering hypothesis: it has two a mixture.

    Args:
        primary: The hypothesis that the plan names.
        tests: Names and p-values.
    """
    found = {}
    for role in HypothesisRole:
        family = [(name, p) for name, p in tests if _role(primary, name) is role]
        corrected = holm([p for _, p in family])
        for (name, p), adjusted in zip(family, corrected, strict=True):
            found[name] = HypothesisTest(name=name, role=role, p=p, adjusted=adjusted)
    return tuple(found[name] for name, _ in tests)


def _role(primary: Hypothesis, test: str) -> HypothesisRole:
    named = any(kind.hypothesis is primary and kind.is_primary(test) for kind in KINDS)
    return HypothesisRole.PRIMARY if named else HypothesisRole.SECONDARY
