"""Does the effect hold for each benign source, and is it more than the prompt's length?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, TypeVar, final

import numpy as np

from safety_receipts.receipts.canonical import decimal_string
from safety_receipts.receipts.findings.arithmetic import (
    estimate_of,
    interval_problems,
    slope_problems,
)
from safety_receipts.receipts.findings.breakdown.sealed_grid import (
    WORDED,
    AskedSlope,
    NamedSlope,
    SealedGrid,
)
from safety_receipts.receipts.findings.counts.rates import MEAN_PLACES
from safety_receipts.receipts.findings.counts.requests import count_requests
from safety_receipts.receipts.findings.effects import CONFIDENCE, EQUIVALENCE, slope_word
from safety_receipts.receipts.findings.fits.clusters import FEWEST_QUERIES, Floats
from safety_receipts.receipts.findings.fits.covariates import joint_covariates
from safety_receipts.receipts.findings.fits.permutation import informative_queries
from safety_receipts.receipts.findings.fits.study import ClusteredEstimate, StudyPoints
from safety_receipts.receipts.findings.kind import FindingKind
from safety_receipts.receipts.model.base import ConditionId, SourceName
from safety_receipts.receipts.model.breakdown import FindingBreakdown
from safety_receipts.receipts.model.demonstrations import ExperimentKind, Ordering
from safety_receipts.receipts.model.findings import (
    Effect,
    Findings,
    Grounds,
    Slope,
    SlopeFinding,
    SourceDifference,
    SourcesFinding,
    SourceSlope,
)
from safety_receipts.receipts.model.plan import EvaluationSetup, PlanPredicate
from safety_receipts.receipts.model.receipt import EvaluationPredicate

FILLER_SOURCE: Final = SourceName("filler")
"""Name of the source of neutral turns, as long as those of the others."""


@dataclass(frozen=True, eq=False)
class _Fitted:
    """A slope on log(N_b+1), or a difference of two."""

    name: str
    """Of its test."""
    source: SourceName
    """The source."""
    places: tuple[int, ...]
    """Conditions in the fit."""
    estimate: ClusteredEstimate
    """One number."""
    slope: Slope
    """The same as it is sealed."""
    informative: int
    """Queries with both outcomes at one N_h and draw, in each slope at least."""

    @property
    def doubt(self) -> Grounds | None:
        """Why it cannot be tested, or None."""
        few = self.informative < FEWEST_QUERIES
        of_clusters = self.estimate.clusters.grounds_for_doubt
        return of_clusters or (Grounds.FEW_INFORMATIVE if few else None)

    def finding(self, adjusted: Mapping[str, str], margin: str) -> SlopeFinding:
        """Return it with its word; where it was not tested, for want of queries or lists."""
        equivalence = self.estimate.sealed_interval(0, EQUIVALENCE)
        if self.doubt is not None:
            effect, grounds = Effect.UNDETERMINED, self.doubt
        else:
            p = adjusted.get(self.name, self.slope.p)
            effect, grounds = slope_word(self.slope.beta, p, equivalence, margin)
        return SlopeFinding(
            **dict(self.slope),
            interval=self.estimate.sealed_interval(0, CONFIDENCE),
            equivalence=equivalence,
            effect=effect,
            grounds=grounds,
        )


@final
@dataclass(frozen=True, eq=False)
class SourceEstimates:
    """What was fitted, before p-values are corrected for multiplicity."""

    study: StudyPoints
    """All points."""
    slopes: tuple[_Fitted, ...]
    """One a source that can be fitted, at least one."""
    less_filler: tuple[_Fitted, ...]
    """One a source but the filler; none where that has no slope."""

    def tests(self) -> list[tuple[str, str]]:
        """Return the name and the p-value of each slope and difference that can be tested."""
        fitted = (*self.slopes, *self.less_filler)
        return [(one.name, one.slope.p) for one in fitted if one.doubt is None]

    def finding(self, adjusted: Mapping[str, str]) -> SourcesFinding:
        """Return the finding.

        Args:
            adjusted: p-values of :meth:`tests` by name, corrected for multiplicity.
        """
        margin = self.study.plan.effect_margin
        return SourcesFinding(
            slopes=tuple(
                SourceSlope(
                    **dict(one.finding(adjusted, margin)),
                    source=one.source,
                    conditions=self.study.ids(one.places),
                    mean_prompt_tokens=_mean_prompt_tokens(self.study, one.places),
                )
                for one in self.slopes
            ),
            length_matched=tuple(
                SourceDifference(
                    **dict(one.finding(adjusted, margin)), source=one.source, filler=FILLER_SOURCE
                )
                for one in self.less_filler
            ),
        )


def source_estimates(study: StudyPoints) -> SourceEstimates | None:
    """Fit the slope of each source of the plan's benign-sources experiments.

    A source's slope is that of the logit on log(N_b+1), at fixed N_h, over its conditions and
    those with the same N_h and no benign demonstrations; all in default context, without response
    prefix, and those that show both kinds in one order.  What is left of it when length is matched
    is its difference from the filler's slope, where both were run with the same N_h and in one
    order.  Conditions without benign demonstrations are part of both, and what they add to both
    cancels.

    Returns:
        None where no source has two numbers of benign demonstrations and a slope.
    """
    slopes = tuple(_slopes(study))
    if not slopes:
        return None
    filler = next((one for one in slopes if one.source == FILLER_SOURCE), None)
    others = [one for one in slopes if one.source != FILLER_SOURCE]
    differences = [_difference(study, one, filler) for one in others] if filler else []
    return SourceEstimates(study, slopes, tuple(one for one in differences if one is not None))


def _slopes(study: StudyPoints) -> Iterator[_Fitted]:
    for source, places in _groups(study).items():
        conditions = [study.condition(place) for place in places]
        covariates = joint_covariates(
            np.array([condition.n_harmful for condition in conditions], float),
            np.array([condition.n_benign for condition in conditions], float),
        )
        fitted = study.fit(covariates, places, study.complied, study.judged)
        if fitted is None:
            continue
        last: Floats = np.eye(covariates.shape[1])[-1:]
        estimate = fitted[0].contrast(last)
        slope = estimate.slope(0)
        if slope is not None:
            chosen = list(places)
            strata = np.array([condition.n_harmful for condition in conditions])
            complied, judged = study.complied[chosen], study.judged[chosen]
            found = informative_queries(strata, complied, judged)
            informative = count_requests(found, study.requests)
            yield _Fitted(f"source/{source}", source, places, estimate, slope, informative)


def _groups(study: StudyPoints) -> dict[SourceName, tuple[int, ...]]:
    """Return the places of each source's fit, in the plan's order of sources."""
    ids = [
        id_
        for experiment in study.plan.experiments
        if experiment.kind is ExperimentKind.BENIGN_SOURCES
        for id_ in experiment.conditions
    ]
    asked = set(study.places(ids))
    return {
        source.name: places
        for source in study.plan.demonstrations.benign
        if (places := _places(study, asked, source.name))
    }


def _places(study: StudyPoints, asked: set[int], source: SourceName) -> tuple[int, ...]:
    """Return the places of a source's fit, in plan order; empty where there is none."""
    simple = {
        place: condition
        for place, condition in enumerate(study.plan.conditions)
        if condition.context == study.plan.contexts[0] and condition.response_prefix is None
    }
    own = [p for p, c in simple.items() if p in asked and c.benign_source == source]
    orders = [order for p in own if (order := simple[p].ordering) is not None]
    order = Ordering.SUFFIX if Ordering.SUFFIX in orders else next(iter(orders), None)
    own = [p for p in own if simple[p].ordering in (None, order)]
    levels = {simple[p].n_harmful for p in own}
    without = [p for p, c in simple.items() if c.n_benign == 0 and c.n_harmful in levels]
    several = len({simple[p].n_benign for p in own + without}) > 1
    return tuple(sorted(own + without)) if own and several else ()


def _difference(study: StudyPoints, one: _Fitted, filler: _Fitted) -> _Fitted | None:
    if _mixtures(study, one) != _mixtures(study, filler):
        return None
    places = tuple(sorted({*one.places, *filler.places}))
    estimate = study.estimate(
        one.estimate.values - filler.estimate.values,
        one.estimate.influence - filler.estimate.influence,
        study.judged[list(places)],
        one.estimate.independent + filler.estimate.independent,
    )
    slope = estimate.slope(0)
    if slope is None:
        return None
    informative = min(one.informative, filler.informative)
    return _Fitted(f"{one.name}-less-filler", one.source, places, estimate, slope, informative)


def _mixtures(study: StudyPoints, one: _Fitted) -> set[tuple[int, Ordering | None]]:
    """Return the numbers of harmful demonstrations and the orders that a slope holds for."""
    conditions = [study.condition(place) for place in one.places]
    return {(condition.n_harmful, condition.ordering) for condition in conditions}


def _mean_prompt_tokens(study: StudyPoints, places: tuple[int, ...]) -> str | None:
    """Return the mean over the generated points of the conditions with benign demonstrations."""
    own = [place for place in places if study.condition(place).n_benign]
    tokens = study.observations.prompt_tokens[own][:, study.observations.harmful_queries]
    generated = study.generated[own]
    points = int(generated.sum())
    total = sum(map(int, tokens[generated].tolist()))
    return decimal_string(Fraction(total, points), MEAN_PLACES) if points else None


_UNTESTED: Final = (Grounds.FEW_QUERIES, Grounds.FEW_INFORMATIVE, Grounds.FEW_LISTS)

_AnySlope = TypeVar("_AnySlope", bound=SlopeFinding)


class SourcesKind(FindingKind):
    """What each benign source does, and what is left of it when length is matched."""

    name = "source"
    fields = ("sources",)

    def derive(self, study: StudyPoints) -> Mapping[str, Any]:
        """Compute the slopes, and their differences from the filler's."""
        sources = source_estimates(study)
        return {"sources": sources and sources.finding(dict(sources.tests()))}

    def null_hypothesis(self, test: str) -> str:
        """Return what the test of a slope, or of a difference of two, would rule out."""
        return "the filler does as much" if test.endswith("-less-filler") else "β2 = 0"

    def p_values(self, findings: Findings) -> Iterator[tuple[str, str | None]]:
        """Yield one test a slope and a difference."""
        for slope in _all(findings):
            yield self._test(slope), None if slope.grounds in _UNTESTED else slope.p

    def _test(self, slope: SlopeFinding) -> str:
        match slope:
            case SourceSlope():
                return f"{self.name}/{slope.source}"
            case SourceDifference():
                return f"{self.name}/{slope.source}-less-{slope.filler}"
            case _:
                raise TypeError(f"no test goes with a {type(slope).__name__}")

    def settled(
        self, findings: Findings, adjusted: Mapping[str, str], setup: EvaluationSetup
    ) -> Mapping[str, Any]:
        """Give each slope that is tested its effect and the grounds for it."""
        if findings.sources is None:
            return {}

        def worded(slope: _AnySlope) -> _AnySlope:
            p = adjusted.get(self._test(slope))
            if p is None:
                return slope
            effect, grounds = slope_word(slope.beta, p, slope.equivalence, setup.effect_margin)
            return slope.model_copy(update={"effect": effect, "grounds": grounds})

        return {
            "sources": SourcesFinding(
                slopes=tuple(map(worded, findings.sources.slopes)),
                length_matched=tuple(map(worded, findings.sources.length_matched)),
            )
        }

    def breakdowns(self, findings: Findings, sealed: SealedGrid) -> Iterator[FindingBreakdown]:
        """Yield one a slope and a difference that is called something."""
        if findings.sources is None:
            return
        conditions = {slope.source: slope.conditions for slope in findings.sources.slopes}
        slopes: list[AskedSlope] = [
            (self._test(slope), slope.effect, [(slope.conditions, 1.0)])
            for slope in findings.sources.slopes
        ]
        slopes += [
            (
                self._test(one),
                one.effect,
                [(conditions[one.source], 1.0), (conditions[one.filler], -1.0)],
            )
            for one in findings.sources.length_matched
        ]
        yield from sealed.slopes([one for one in slopes if one[1] in WORDED])

    def slopes(self, findings: Findings) -> Iterator[NamedSlope]:
        """Yield one a source that is called something."""
        for slope in findings.sources.slopes if findings.sources else ():
            if slope.effect in WORDED:
                yield NamedSlope(self._test(slope), slope.effect, slope.conditions)

    def conditions(self, findings: Findings) -> Iterator[ConditionId]:
        """Yield the conditions of each slope."""
        for source in findings.sources.slopes if findings.sources else ():
            yield from source.conditions

    def problems(
        self, findings: Findings, receipt: EvaluationPredicate, plan: PlanPredicate
    ) -> Iterator[str]:
        """Hold slopes and intervals to their errors."""
        for slope in _all(findings):
            yield from slope_problems("findings.sources", slope, plan)
            yield from interval_problems("findings.sources", slope, estimate_of(slope))


def _all(findings: Findings) -> Iterator[SlopeFinding]:
    if findings.sources is not None:
        yield from findings.sources.slopes
        yield from findings.sources.length_matched
