"""The policy file: which rules hold a receipt, and which failures somebody accepts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.documents.written import Problem, WrittenModel, load_written
from safety_receipts.receipts.errors import FileAccessError
from safety_receipts.receipts.model.base import Name
from safety_receipts.verify.gate.entries import DateText, RuleEntry, RuleId
from safety_receipts.verify.gate.kinds import GateRule
from safety_receipts.verify.gate.rules.audit import AuditRule
from safety_receipts.verify.gate.rules.completeness import CompletenessRule
from safety_receipts.verify.gate.rules.coverage import CoverageRule
from safety_receipts.verify.gate.rules.finding import FindingRule
from safety_receipts.verify.gate.rules.fresh import FreshRule
from safety_receipts.verify.gate.rules.increase import IncreaseRule
from safety_receipts.verify.gate.rules.instrument import InstrumentRule
from safety_receipts.verify.gate.rules.judge import JudgeRule
from safety_receipts.verify.gate.rules.logged import LoggedRule
from safety_receipts.verify.gate.rules.model import ModelRule
from safety_receipts.verify.gate.rules.over_refusal import OverRefusalRule
from safety_receipts.verify.gate.rules.rate import RateRule
from safety_receipts.verify.gate.rules.regression import RegressionRule
from safety_receipts.verify.gate.rules.verified import VerifiedRule

AnyRule: TypeAlias = Annotated[
    VerifiedRule
    | InstrumentRule
    | ModelRule
    | AuditRule
    | RateRule
    | IncreaseRule
    | RegressionRule
    | FindingRule
    | OverRefusalRule
    | CoverageRule
    | JudgeRule
    | CompletenessRule
    | LoggedRule
    | FreshRule,
    Field(discriminator="rule"),
]


class Waiver(WrittenModel):
    """A failure that somebody accepts, for some time; it is printed first."""

    rule: RuleId
    """Id of the rule whose failure is accepted."""
    reason: Annotated[Name, Field(min_length=1)]
    """Why."""
    who: Annotated[Name, Field(min_length=1)]
    """Who accepts it."""
    until: DateText
    """Last day on which it is accepted (UTC)."""

    def counts(self, at: datetime) -> bool:
        """Say whether it still counts at a moment in UTC."""
        return at.date() <= date.fromisoformat(self.until)


class GatePolicy(WrittenModel):
    """What a receipt has to be for a release."""

    version: Literal[1]
    """Version of the policy language."""
    name: Name | None = None
    """What the policy is called."""
    rules: Annotated[tuple[AnyRule, ...], Field(min_length=1, max_length=256)]
    """The rules; all of them have to hold."""
    waivers: Annotated[tuple[Waiver, ...], Field(max_length=256)] = ()
    """Failures that somebody accepts."""

    def implied(self) -> tuple[RuleEntry, ...]:
        """Return the rules that hold where a policy says nothing of them."""
        written = {entry.rule for entry in self.rules}
        always: tuple[RuleEntry, ...] = (
            VerifiedRule(rule="verified"),
            InstrumentRule(rule="instrument"),
        )
        return tuple(entry for entry in always if entry.rule not in written)


@dataclass(frozen=True)
class LoadedPolicy:
    """A policy, and the bytes that it was read from."""

    policy: GatePolicy
    """The policy."""
    digest: Sha256
    """SHA-256 of the file."""
    path: Path
    """The file."""


def load_policy(path: Path) -> LoadedPolicy:
    """Read a policy.

    Raises:
        FileAccessError: The file cannot be read.
        MalformedError: With line, key path and what is allowed: among others, for a rule that is
            not known.
    """
    if not path.exists():
        raise FileAccessError(
            "no such file",
            file=path,
            hint="receipts init FOLDER --policy starter writes a policy to start from",
        )
    policy, file = load_written(path, GatePolicy, _contradictions)
    return LoadedPolicy(policy, file.digest, path)


def _contradictions(policy: GatePolicy) -> Iterator[Problem]:
    """Yield what no key by itself is wrong about."""
    names = Counter(entry.name for entry in policy.rules)
    for index, entry in enumerate(policy.rules):
        if names[entry.name] > 1:
            why = f"several rules are called {entry.name}: give each its own id"
            yield ("rules", index, "id" if entry.id else "rule"), why
        if entry.id in set(GateRule) - {entry.rule}:
            yield ("rules", index, "id"), "is the name of another rule"
        for problem in entry.contradictions():
            yield ("rules", index), problem
    for index, waiver in enumerate(policy.waivers):
        if waiver.rule not in names:
            why = f"no rule of this policy is called {waiver.rule}"
            yield ("waivers", index, "rule"), why
