"""Recorded labels of a judge that is a rule, given again.

A rule needs no model and knows no noise: the recorded text has the label that the rule gives,
or the record is false.  So every text is judged again, and not a sample.
"""

from __future__ import annotations

from dataclasses import dataclass

from safety_receipts.receipts.model.judge import JudgeIdentity
from safety_receipts.receipts.model.plan import EvaluationSetup
from safety_receipts.receipts.model.point import (
    NOTHING_TO_JUDGE,
    Outcome,
    Point,
    RecordedJudgement,
    RestrictedRecord,
)
from safety_receipts.runner.judges.judge import Exchange, ResponseJudge
from safety_receipts.runner.judges.registry import RuleKind, kind_of_judge
from safety_receipts.verify.check_names import CheckName

_UNASKED = ""
"""The query, which the rule does not look at."""


def rule_of(judge: JudgeIdentity) -> RuleKind | None:
    """Return the rule of a judge's kind; None: it is no rule."""
    made = kind_of_judge(judge.kind).made
    return made if isinstance(made, RuleKind) else None


def knows_rule(judge: JudgeIdentity, rule: RuleKind) -> bool:
    """Say whether a rule is this version's: its strings and the way they are looked for."""
    return (judge.template, judge.parser) == (rule.method.template, rule.method.parser)


@dataclass
class RuleLabels:
    """Gives the labels of one judge again, point by point.

    Args:
        rule: Gives the labels.
        second: Whether it is the second judge's labels.
    """

    rule: ResponseJudge
    second: bool = False
    judged: int = 0
    """Texts judged."""
    wrong: int = 0
    """Of them, those whose record says otherwise."""
    first: str = ""
    """The first of these, and what is wrong with it."""

    def add(self, point: Point, record: RestrictedRecord) -> None:
        """Take the next point, whose record opens its commitment."""
        if not record.text or record.outcome is Outcome.FAILED or _nothing(record):
            return
        stated = record.second_judge if self.second else record.judge
        if self.second and stated is None:
            return  # the first judge gave no label
        (given,) = self.rule.judge_many([Exchange(_UNASKED, record.text)])
        self.judged += 1
        if _says(stated, given.outcome, given.raw):
            return
        self.wrong += 1
        said = "no label" if stated is None else stated.outcome.value
        where = f"point {point.index} ({point.condition})"
        self.first = self.first or f"{where}: {said}, the rule says {given.outcome.value}"

    @property
    def problem(self) -> str | None:
        """What is wrong, or None."""
        if not self.wrong:
            return None
        return f"{self.wrong:,} of {self.judged:,} recorded labels are false: {self.first}"


def _nothing(record: RestrictedRecord) -> bool:
    return record.reason in NOTHING_TO_JUDGE


def _says(stated: RecordedJudgement | None, outcome: Outcome, raw: str) -> bool:
    return stated is not None and (stated.outcome, stated.raw) == (outcome, raw)


def rule_labels(setup: EvaluationSetup) -> dict[CheckName, RuleLabels]:
    """Return what gives the labels again of each judge that is a rule this version knows.

    Args:
        setup: What the plan decides.

    Returns:
        By the name of the check.
    """
    found = {}
    for name, judge, second in (
        (CheckName.LABELS, setup.judge, False),
        (CheckName.SECOND_JUDGE_LABELS, setup.judge.second, True),
    ):
        rule = None if judge is None else rule_of(judge)
        if judge is not None and rule is not None and knows_rule(judge, rule):
            found[name] = RuleLabels(rule.make(rule.name), second)
    return found


def unknown_rules(setup: EvaluationSetup) -> list[CheckName]:
    """Return the names of checks that this version cannot make, as it knows another rule."""
    judges = ((CheckName.LABELS, setup.judge), (CheckName.SECOND_JUDGE_LABELS, setup.judge.second))
    return [
        name
        for name, judge in judges
        if judge is not None
        and (rule := rule_of(judge)) is not None
        and not knows_rule(judge, rule)
    ]
