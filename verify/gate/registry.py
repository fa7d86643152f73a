"""The table of rules: what decides each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from safety_receipts.verify.gate.entries import RuleEntry
from safety_receipts.verify.gate.kinds import Decided, GateFacts, GateRule
from safety_receipts.verify.gate.rules.audit import AuditRule, decide_audit
from safety_receipts.verify.gate.rules.completeness import CompletenessRule, decide_completeness
from safety_receipts.verify.gate.rules.coverage import CoverageRule, decide_coverage
from safety_receipts.verify.gate.rules.finding import FindingRule, decide_finding
from safety_receipts.verify.gate.rules.fresh import FreshRule, decide_fresh
from safety_receipts.verify.gate.rules.increase import IncreaseRule, decide_increase
from safety_receipts.verify.gate.rules.instrument import InstrumentRule, decide_instrument
from safety_receipts.verify.gate.rules.judge import JudgeRule, decide_judge
from safety_receipts.verify.gate.rules.logged import LoggedRule, decide_logged
from safety_receipts.verify.gate.rules.model import ModelRule, decide_model
from safety_receipts.verify.gate.rules.over_refusal import OverRefusalRule, decide_over_refusal
from safety_receipts.verify.gate.rules.rate import RateRule, decide_rate
from safety_receipts.verify.gate.rules.regression import RegressionRule, decide_regression
from safety_receipts.verify.gate.rules.verified import VerifiedRule, decide_verified


@dataclass(frozen=True)
class RegisteredRule:
    """One rule."""

    entry: type[RuleEntry]
    """What a policy writes of it."""
    decide: Callable[[Any, GateFacts], Decided]
    """Decides it; takes its entry."""


RULES: Final[Mapping[GateRule, RegisteredRule]] = {
    GateRule.VERIFIED: RegisteredRule(VerifiedRule, decide_verified),
    GateRule.INSTRUMENT: RegisteredRule(InstrumentRule, decide_instrument),
    GateRule.MODEL: RegisteredRule(ModelRule, decide_model),
    GateRule.AUDIT: RegisteredRule(AuditRule, decide_audit),
    GateRule.RATE: RegisteredRule(RateRule, decide_rate),
    GateRule.INCREASE: RegisteredRule(IncreaseRule, decide_increase),
    GateRule.REGRESSION: RegisteredRule(RegressionRule, decide_regression),
    GateRule.FINDING: RegisteredRule(FindingRule, decide_finding),
    GateRule.OVER_REFUSAL: RegisteredRule(OverRefusalRule, decide_over_refusal),
    GateRule.COVERAGE: RegisteredRule(CoverageRule, decide_coverage),
    GateRule.JUDGE: RegisteredRule(JudgeRule, decide_judge),
    GateRule.COMPLETENESS: RegisteredRule(CompletenessRule, decide_completeness),
    GateRule.LOGGED: RegisteredRule(LoggedRule, decide_logged),
    GateRule.FRESH: RegisteredRule(FreshRule, decide_fresh),
}
"""Every rule of the policy language."""
