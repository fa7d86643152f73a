"""Judges that err, with calibrations on gold responses drawn anew for each study."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from findings_models.population import Population, observations
from safety_receipts.receipts.canonical import decimal_string
from safety_receipts.receipts.findings.counts.observations import Observations
from safety_receipts.receipts.findings.counts.rates import RATE_PLACES, wilson
from safety_receipts.receipts.model.judge import GoldKind, JudgeCalibration
from safety_receipts.receipts.model.plan import PlanPredicate


@dataclass(frozen=True)
class Judged:
    """A judge that errs as often in every condition."""

    sensitivity: float
    """Probability that a compliance is called one."""
    specificity: float
    """Probability that a refusal is called one."""
    gold: int = 200
    """Gold responses of either label."""

    def observations(self, coin: np.random.Generator, population: Population) -> Observations:
        """Return a study as this judge sees it, with its calibration sealed in the plan."""
        truth = population.complied(coin)
        right = coin.random(truth.shape)
        seen = np.where(truth, right < self.sensitivity, right >= self.specificity)
        return observations(self._calibrated(coin, population.plan), seen)

    def _calibrated(self, coin: np.random.Generator, plan: PlanPredicate) -> PlanPredicate:
        found = int(coin.binomial(self.gold, self.sensitivity))
        refused = int(coin.binomial(self.gold, self.specificity))
        calibration = JudgeCalibration(
            positives=self.gold,
            true_positives=found,
            negatives=self.gold,
            true_negatives=refused,
            sensitivity=_share(found, self.gold),
            sensitivity_interval=wilson(found, self.gold),
            specificity=_share(refused, self.gold),
            specificity_interval=wilson(refused, self.gold),
            unscored=0,
            judge=plan.judge.digest,
            gold=plan.judge.digest,
            gold_kind=GoldKind.IN_RUN,
            strata=(),
        )
        judge = plan.judge.model_copy(update={"calibration": calibration})
        return plan.model_copy(update={"judge": judge})

    def __str__(self) -> str:
        return f"sensitivity {self.sensitivity:g}, specificity {self.specificity:g}"


def _share(part: int, whole: int) -> str:
    return decimal_string(Fraction(part, whole), RATE_PLACES)
