"""Are plan, receipt and audits in a transparency log, and when were they seen there?

Proofs lie in the bundle's folder ``proofs`` (C2SP tlog-proof) and are checked against the reader's
policy, with no network.  A copy of the log, where one is at hand, says what else was sealed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from safety_receipts.receipts.audit_forms import parse_audit
from safety_receipts.receipts.beacon.chains import stated_moment
from safety_receipts.receipts.bundle import (
    PLAN,
    PROOFS,
    RECEIPT,
    Bundle,
)
from safety_receipts.receipts.dsse import Envelope
from safety_receipts.receipts.errors import IncompleteError, ReceiptsError
from safety_receipts.receipts.io.files import read_bounded
from safety_receipts.receipts.log.bundle_proofs import proof_name
from safety_receipts.receipts.log.formats.checkpoint import SignedCheckpoint
from safety_receipts.receipts.log.formats.entry import entry_of
from safety_receipts.receipts.log.formats.policy import LogPolicy
from safety_receipts.receipts.log.formats.proof import MAX_LOG_PROOF_BYTES, LogProof
from safety_receipts.receipts.log.formats.tiles import TileSource
from safety_receipts.receipts.model.audit import AuditStartPredicate
from safety_receipts.receipts.model.plan import BeaconRound, PlanPredicate
from safety_receipts.receipts.model.receipt import EvaluationPredicate
from safety_receipts.receipts.view.numerals import counted
from safety_receipts.verify.check_names import CheckName
from safety_receipts.verify.checks import CheckList
from safety_receipts.verify.levels.times.beacon import round_was_out
from safety_receipts.verify.levels.times.log_copy import (
    NOBODY,
    CopyChecker,
    LogCopy,
    LogCounts,
    TrustedIds,
)


@dataclass(frozen=True)
class LogTerms:
    """What a reader holds a bundle's log proofs to."""

    policy: LogPolicy
    """Accepted logs, known witnesses, the quorum."""
    source: TileSource | None = None
    """A copy of the log; None: none is at hand."""


@dataclass(frozen=True)
class LogFacts:
    """What logs say of a receipt, as far as it was shown."""

    plan: bool
    """Whether the plan is in an accepted log."""
    before: bool
    """Whether enough witnesses had seen it there before the stated beginning of the run."""
    receipt: bool
    """Whether the receipt is in an accepted log."""
    audits: bool
    """Whether every audit at hand by a trusted auditor is in an accepted log."""
    counts: LogCounts | None = None
    """What a copy of the log holds; None: there is none at hand, or it shows nothing."""


@dataclass(frozen=True)
class ShownInLog:
    """What the proof of one statement shows."""

    problem: str | None
    """What is wrong with it, or that there is none; None: it holds."""
    time: int | None = None
    """By when a quorum had seen it, in seconds since 1970; None: nobody says."""
    lacks: bool = False
    """Whether there is no proof that could be checked here."""
    signed: SignedCheckpoint | None = None
    """The checkpoint that it leads to; None: it does not hold."""


def shown_in_log(bundle: Bundle, envelope: Envelope, file: Path, policy: LogPolicy) -> ShownInLog:
    """Hold a statement to its proof.

    Args:
        bundle: The bundle whose folder of proofs holds it.
        envelope: The statement.
        file: Its file, for errors.
        policy: What the proof is held to.

    Raises:
        MalformedError: The statement is no plan, receipt or audit, or has not its form.
    """
    entry = entry_of(envelope, file)
    name = proof_name(entry.type, entry.digest)
    path = bundle.proof_file(name)
    if path is None:
        return ShownInLog(f"there is no {PROOFS}/{name}", lacks=True)
    try:
        proof = LogProof.parse(read_bounded(path, MAX_LOG_PROOF_BYTES), file=path)
        accepted = policy.accept(proof.signed)
    except IncompleteError as error:
        return ShownInLog(error.message, lacks=True)
    except ReceiptsError as error:
        return ShownInLog(error.message)
    if not proof.holds(entry.leaf()):
        return ShownInLog("the proof does not lead to the root of its checkpoint")
    return ShownInLog(None, accepted.time, signed=proof.signed)


def check_logged(
    bundle: Bundle,
    sealed: tuple[PlanPredicate, EvaluationPredicate] | None,
    audits: Sequence[Envelope],
    terms: LogTerms,
    checks: CheckList,
    *,
    ids: TrustedIds = NOBODY,
    progress: Callable[[int, int], None] | None = None,
) -> LogFacts:
    """Add the checks of logs.

    Args:
        bundle: The bundle.
        sealed: Its plan and its receipt, where both have their form.
        audits: Announcements and results at hand that trusted auditors signed.
        terms: What the proofs are held to.
        checks: Receives the checks.
        ids: Ids of trusted keys.
        progress: Told how many entries of the log are read.

    Returns:
        What was shown.
    """
    checker = _Checker(bundle, terms, checks)
    planned = before = received = False
    if sealed is not None:
        planned, before = checker.plan(*sealed)
        received = checker.receipt()
    else:
        why = "needs a plan and a receipt that fit their schemas"
        checks.skip(CheckName.PLAN_LOGGED, why)
        checks.skip(CheckName.RECEIPT_LOGGED, why)
    audited = checker.audits(audits)
    if terms.source is None or sealed is None:
        return LogFacts(planned, before, received, audited)
    copy = LogCopy(terms.source, terms.policy, tuple(checker.seen))
    counts = CopyChecker(bundle, copy, ids, checks).search(
        sealed[0], {envelope.digest for envelope in audits}, progress
    )
    return LogFacts(planned, before, received, audited, counts)


class _Checker:
    def __init__(self, bundle: Bundle, terms: LogTerms, checks: CheckList) -> None:
        self._bundle, self._terms, self._checks = bundle, terms, checks
        self.seen: list[SignedCheckpoint] = []
        """Checkpoints of proofs that hold."""

    def _shown(self, envelope: Envelope, file: Path) -> tuple[str | None, int | None, bool]:
        """Return what is wrong with a proof, when it was seen, and whether none can be checked."""
        found = shown_in_log(self._bundle, envelope, file, self._terms.policy)
        if found.signed is not None:
            self.seen.append(found.signed)
        return found.problem, found.time, found.lacks

    def plan(self, plan: PlanPredicate, receipt: EvaluationPredicate) -> tuple[bool, bool]:
        """Check the plan; say whether it is logged, and was before run and round of the beacon."""
        problem, time, lacks = self._shown(self._bundle.plan_envelope, self._bundle.folder / PLAN)
        if problem is not None:
            return self._ended(CheckName.PLAN_LOGGED, problem, lacks=lacks), False
        if time is None:
            self._checks.skip(
                CheckName.PLAN_LOGGED,
                "it is in the log, and no witness of the policy says when: nothing shows that it "
                "was there before the run",
            )
            return True, False
        if plan.rejudges is not None:
            self._checks.skip(
                CheckName.PLAN_LOGGED,
                f"witnesses had seen it in the log by {_spelt(time)}; the responses that are "
                "judged again were generated before",
            )
            return True, False
        late = _too_late(time, receipt.event.started_at) or _after_round(time, plan.beacon)
        good = f"witnesses had seen it in the log by {_spelt(time)}, before the run began"
        return True, self._checks.decide(CheckName.PLAN_LOGGED, late, good)

    def receipt(self) -> bool:
        """Check the receipt; say whether it is logged."""
        file = self._bundle.folder / RECEIPT
        problem, time, lacks = self._shown(self._bundle.receipt_envelope, file)
        if problem is not None:
            return self._ended(CheckName.RECEIPT_LOGGED, problem, lacks=lacks)
        when = "" if time is None else f"; witnesses had seen it by {_spelt(time)}"
        return self._checks.decide(CheckName.RECEIPT_LOGGED, None, f"it is in the log{when}")

    def audits(self, audits: Sequence[Envelope]) -> bool:
        """Check all audits at hand; say whether all are logged."""
        if not audits:
            self._checks.spare(CheckName.AUDITS_LOGGED, "no trusted auditor's audit is here")
            return True
        lacking = []
        for envelope in audits:
            file = Path(f"audit {envelope.digest[:12]}")
            problem, time, lacks = self._shown(envelope, file)
            if problem is None:
                problem = _announced_late(envelope, file, time)
            if problem is not None and not lacks:
                return self._ended(CheckName.AUDITS_LOGGED, f"{file}: {problem}", lacks=False)
            lacking += [str(file)] if lacks else []
        if lacking:
            more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
            why = f"there is no proof of {lacking[0]}{more}"
            return self._ended(CheckName.AUDITS_LOGGED, why, lacks=True)
        good = (
            f"{counted(len(audits), 'announcement or result', 'announcements and results')} in it"
        )
        return self._checks.decide(CheckName.AUDITS_LOGGED, None, good)

    def _ended(self, name: CheckName, problem: str, *, lacks: bool) -> bool:
        """Add a check that did not pass: nothing is shown where there is no proof."""
        return self._checks.skip(name, problem) if lacks else self._checks.decide(name, problem)


def _too_late(time: int, started: str) -> str | None:
    """Return why a plan was not in the log before its run, or None.

    Args:
        time: When witnesses had seen it, in seconds since 1970.
        started: When the run began, as the receipt states it.
    """
    began = stated_moment(started)
    if began is not None and time <= began.timestamp():
        return None
    return f"witnesses saw it in the log by {_spelt(time)}, and the run began at {started}"


def _announced_late(envelope: Envelope, file: Path, time: int | None) -> str | None:
    """Return why the draws of an announced audit could have been known before, or None."""
    audit = parse_audit(envelope, file).predicate
    if time is None or not isinstance(audit, AuditStartPredicate):
        return None
    return _after_round(time, audit.challenge.beacon)


def _after_round(time: int, beacon: BeaconRound | None) -> str | None:
    """Return why what names a beacon's round could have been chosen by its value, or None."""
    out = round_was_out(time, beacon)
    return None if out is None else f"witnesses saw it in the log by {_spelt(time)}, when {out}"


def _spelt(time: int) -> str:
    try:
        return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return "a time long after the year 9999"
