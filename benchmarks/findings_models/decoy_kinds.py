"""Kinds of populations that look like an effect, or have one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Final

import numpy as np

from findings_models.designs import FILLER, Design
from findings_models.judges import Judged
from findings_models.population import (
    Floats,
    Population,
    Spread,
    benign_weights,
    observations,
    of_counts,
    of_total,
    offsets,
    probability,
)
from safety_receipts.receipts.findings.counts.observations import NEAR, Observations
from safety_receipts.receipts.findings.derive import derive
from safety_receipts.receipts.model.demonstrations import Ordering
from safety_receipts.receipts.model.findings import Findings
from safety_receipts.receipts.model.plan import Hypothesis, PlanPredicate

JOINT: Final = "joint"
GROUNDS: Final = "grounds"
IN_PREFIX: Final = "joint, prefix"
ORDER: Final = "ordering"
FILLER_ALONE: Final = "filler"
LENGTH_MATCHED: Final = "length matched"

Words = frozenset[str]
"""Answers, any of which is right."""


@dataclass(frozen=True)
class Said:
    """What one study says."""

    words: Mapping[str, str]
    """Question → answer."""
    beta: float | None
    """The joint fit's β2; None where there is no fit."""


def answers(findings: Findings) -> Said:
    """Return all answers that a benchmark may ask for."""
    words: dict[str, str] = {}
    beta = None
    if (joint := findings.joint) is not None:
        words |= {JOINT: joint.effect, GROUNDS: joint.grounds}
        beta = None if joint.clustered is None else float(joint.clustered.beta2)
    for other in findings.joint_in_other_orders or ():
        words[f"joint, {other.ordering}"] = other.effect
    for ordering in findings.orderings or ():
        words[ORDER] = ordering.verdict
    if findings.sources is not None:
        for slope in findings.sources.slopes:
            if slope.source == FILLER:
                words[FILLER_ALONE] = slope.effect
        for difference in findings.sources.length_matched:
            words[LENGTH_MATCHED] = difference.effect
    return Said(words, beta)


@dataclass(frozen=True)
class Decoy:
    """A population, and what is right to say of it.

    The joint hypothesis is the plan's primary one.
    """

    name: str
    """What is special about it."""
    model: str
    """Its marginal rates, in words."""
    design: Design
    """The study."""
    spread: Spread
    """Random effects."""
    right: Mapping[str, Words]
    """Question → right answers."""
    level: float = -2.0
    """β0."""
    harmful: float = 0.3
    """β1."""
    benign: float = 0.0
    """β2."""
    primary: Hypothesis = Hypothesis.JOINT
    """What the plan names."""

    @cached_property
    def plan(self) -> PlanPredicate:
        """The plan."""
        return self.design.plan.model_copy(update={"primary": self.primary})

    @cached_property
    def population(self) -> Population:
        """Where studies are drawn from."""
        return Population(self.plan, self.rates(), self.spread, benign_weights(self.plan))

    def rates(self) -> Floats:
        """Return marginal rates, shape (conditions,)."""
        return of_counts(self.plan, self.level, self.harmful, self.benign)

    def observed(self, coin: np.random.Generator) -> Observations:
        """Draw a study."""
        return self.population.observations(coin)

    def repeat(self, coin: np.random.Generator) -> Said:
        """Draw a study and read its words."""
        return answers(derive(self.observed(coin)))


@dataclass(frozen=True)
class Flip(Decoy):
    """Slopes of opposite signs at the least and the largest N_h."""

    def rates(self) -> Floats:
        """Return marginal rates, shape (conditions,)."""
        conditions = self.plan.conditions
        least = min(c.n_harmful for c in conditions if c.n_harmful)
        largest = max(c.n_harmful for c in conditions)
        turn = {least: self.benign, largest: -self.benign}
        logits = [
            self.level
            + self.harmful * np.log(c.n_harmful + 1)
            + turn.get(c.n_harmful, 0.0) * np.log(c.n_benign + 1)
            for c in conditions
        ]
        return probability(np.array(logits))


@dataclass(frozen=True)
class LengthOnly(Decoy):
    """The number of demonstrations counts, whatever their kind."""

    def rates(self) -> Floats:
        """Return marginal rates, shape (conditions,)."""
        return of_total(self.plan, self.level, self.benign)


@dataclass(frozen=True)
class Threshold(Decoy):
    """Compliance sets in at 64 benign demonstrations."""

    few: float = 1e-9
    """The rate below 64 benign demonstrations."""
    many: float = 0.05
    """The rate from there on."""

    def rates(self) -> Floats:
        """Return marginal rates, shape (conditions,)."""
        many = [condition.n_benign >= 64 for condition in self.plan.conditions]
        return np.where(many, self.many, self.few)


_LAST: Final = 4


@dataclass(frozen=True)
class Recency(Decoy):
    """Only the last four demonstrations matter: logit = level + harmful · their harmful share."""

    def rates(self) -> Floats:
        """Return marginal rates; of ``random`` conditions, that of an even mixture's last four."""
        return self._of_last(
            np.array(
                [
                    _LAST / 2 if c.labels is None else c.labels[-_LAST:].count("h")
                    for c in self.plan.conditions
                ]
            )
        )

    def _of_last(self, harmful: Floats) -> Floats:
        return probability(self.level + self.harmful * harmful / _LAST)

    def observed(self, coin: np.random.Generator) -> Observations:
        """Draw a study; under ``random``, each point's last demonstrations."""
        population, plan = self.population, self.plan
        shape = (len(plan.conditions), *population.lists.shape)
        given = np.broadcast_to(population.offsets[:, None, None], shape).copy()
        near = np.full(shape, -1, dtype=np.int8)
        for place, condition in enumerate(plan.conditions):
            if condition.ordering is Ordering.RANDOM:
                n_harmful, n_benign = condition.n_harmful, condition.n_benign
                near[place] = coin.hypergeometric(n_harmful, n_benign, NEAR, shape[1:])
                last = coin.hypergeometric(near[place], NEAR - near[place], _LAST)
                steps = self._of_last(np.arange(_LAST + 1.0))
                deviations = np.full(_LAST + 1, population.deviations[place])
                given[place] = offsets(steps, deviations)[last]
        return observations(plan, population.complied(coin, given), near=near)


@dataclass(frozen=True)
class Misjudged(Decoy):
    """A judge that errs."""

    judged: Judged = field(default_factory=lambda: Judged(0.9, 0.9))
    """The judge."""

    def observed(self, coin: np.random.Generator) -> Observations:
        """Draw a study, as the judge sees it."""
        return self.judged.observations(coin, self.population)


class Among(StrEnum):
    """Which points are hard to judge."""

    ALL = "all"
    REFUSALS = "refusals"
    COMPLIANCES = "compliances"


@dataclass(frozen=True)
class Missing(Decoy):
    """Points that cannot be judged, the more or the fewer the more benign demonstrations."""

    none_shown: float = 0.0
    """Share that cannot be judged without benign demonstrations; linear in log(N_b+1)."""
    most_shown: float = 0.3
    """Share at 64 of them."""
    among: Among = Among.ALL
    """Of which points."""

    def observed(self, coin: np.random.Generator) -> Observations:
        """Draw a study with its gaps."""
        complied = self.population.complied(coin)
        weights = self.population.weights[:, None, None]
        shares = self.none_shown + (self.most_shown - self.none_shown) * weights
        missing = coin.random(complied.shape) < shares
        if self.among is not Among.ALL:
            missing &= complied if self.among is Among.COMPLIANCES else ~complied
        return observations(self.plan, complied, missing)


@dataclass(frozen=True)
class Hump(Decoy):
    """Compliance rises with N_b and falls back: quadratic in log(N_b+1), without linear part."""

    height: float = 1.0
    """Largest difference between two logits of one N_h."""

    def rates(self) -> Floats:
        """Return marginal rates, shape (conditions,)."""
        weights = benign_weights(self.plan)
        values = np.unique(weights)
        line = np.polyfit(values, values**2, 1)
        bent, bends = (np.polyval(line, each) - each**2 for each in (weights, values))
        height = self.height * bent / np.ptp(bends)
        n_harmful = np.array([condition.n_harmful for condition in self.plan.conditions])
        return probability(self.level + self.harmful * np.log(n_harmful + 1) + height)
