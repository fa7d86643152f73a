"""What a kind of finding has to bring: its numbers, its tests, its word, what it states.

Whatever goes through all findings goes through :data:`receipts.findings.registry.KINDS`; a test
holds that table to the fields of the sealed model, and to what is said and drawn of each.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from safety_receipts.receipts.findings.breakdown.sealed_grid import NamedSlope, SealedGrid
from safety_receipts.receipts.findings.fits.study import StudyPoints
from safety_receipts.receipts.model.base import ConditionId
from safety_receipts.receipts.model.breakdown import FindingBreakdown
from safety_receipts.receipts.model.findings import Findings
from safety_receipts.receipts.model.plan import EvaluationSetup, Hypothesis, PlanPredicate
from safety_receipts.receipts.model.receipt import EvaluationPredicate


class FindingKind(ABC):
    """One kind of finding."""

    name: ClassVar[str]
    """What the names of its tests begin with."""
    fields: ClassVar[tuple[str, ...]]
    """The fields of :class:`receipts.model.findings.Findings` that it fills."""
    hypothesis: ClassVar[Hypothesis | None] = None
    """The primary hypothesis that it can answer; None: it is never primary."""

    @abstractmethod
    def derive(self, study: StudyPoints) -> Mapping[str, Any]:
        """Compute its numbers from the points.

        Returns:
            Field → value for each of :attr:`fields`; None where the plan does not ask for it.
            Words are not given yet: they depend on p-values corrected for multiplicity.
        """

    @abstractmethod
    def p_values(self, findings: Findings) -> Iterator[tuple[str, str | None]]:
        """Yield the names of its tests with their p-values; None: not tested."""

    @abstractmethod
    def null_hypothesis(self, test: str) -> str:
        """Return what one of its tests would rule out, in a few words.

        Args:
            test: The test's name.
        """

    def is_primary(self, test: str) -> bool:
        """Say whether a test is of the primary family where :attr:`hypothesis` is primary."""
        return test.partition("/")[0] == self.name

    def settled(
        self, findings: Findings, adjusted: Mapping[str, str], setup: EvaluationSetup
    ) -> Mapping[str, Any]:
        """Give it the words that follow from corrected p-values.

        Args:
            findings: Numbers.
            adjusted: Test → p-value after correction, of those that were tested.
            setup: Names the effect margin.

        Returns:
            The fields that change.
        """
        return {}

    def breakdowns(self, findings: Findings, sealed: SealedGrid) -> Iterator[FindingBreakdown]:
        """Yield, of each finding that says something, how many false labels it stands.

        Args:
            findings: With their words.
            sealed: The counts, by condition.
        """
        yield from ()

    def slopes(self, findings: Findings) -> Iterator[NamedSlope]:
        """Yield its slopes of one fit that are called something."""
        yield from ()

    def grid(self, findings: Findings, study: StudyPoints) -> tuple[object, object]:
        """Return the conditions that it states, and those that the plan's experiments ask for.

        Args:
            findings: As sealed.
            study: Knows the plan, and no point.
        """
        return (), ()

    def conditions(self, findings: Findings) -> Iterator[ConditionId]:
        """Yield ids of conditions that it names and that :meth:`grid` does not compare."""
        yield from ()

    def problems(
        self, findings: Findings, receipt: EvaluationPredicate, plan: PlanPredicate
    ) -> Iterator[str]:
        """Yield what in it contradicts itself, the receipt's rates or the plan; no point needed."""
        yield from ()
