"""Are plan, receipt and audits in a transparency log, and when were they seen there?

Proofs lie in the bundle's folder ``proofs`` (C2SP tlog-proof) and are checked against the reader's
policy, with no network.  A copy of the log, where one is at hand, says what else was sealed.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from safety_receipts.receipts.audit_forms import parse_audit
from safety_receipts.receipts.beacon.chains import stated_moment
from safety_receipts.receipts.bundle import (
    MAX_AUDIT_BYTES,
    PLAN,
    PROOFS,
    RECEIPT,
    Bundle,
    read_envelope,
)
from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.dsse import Envelope
from safety_receipts.receipts.errors import FileAccessError, IncompleteError, ReceiptsError
from safety_receipts.receipts.io.files import read_bounded
from safety_receipts.receipts.log.bundle_proofs import proof_name
from safety_receipts.receipts.log.formats.checkpoint import SignedCheckpoint
from safety_receipts.receipts.log.formats.entry import EntryKind, LogEntry, entry_of
from safety_receipts.receipts.log.formats.policy import LogPolicy
from safety_receipts.receipts.log.formats.proof import MAX_LOG_PROOF_BYTES, LogProof
from safety_receipts.receipts.log.formats.tiles import TileSource
from safety_receipts.receipts.log.survey import check_growth, newest_checkpoint, searched
from safety_receipts.receipts.model.audit import AuditStartPredicate
from safety_receipts.receipts.model.plan import BeaconRound, PlanPredicate
from safety_receipts.receipts.model.receipt import EvaluationPredicate
from safety_receipts.receipts.view.numerals import counted
from safety_receipts.verify.check_names import CheckName
from safety_receipts.verify.checks import CheckList
from safety_receipts.verify.levels.beacon import round_was_out

_MOST_AUDITS: Final = 10_000
"""Most files of audits that are read."""


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
    plans: int | None
    """Plans of this checkpoint by this key in the copy of the log; None: it is not known."""
    receipts: int | None
    """Receipts of them there."""
    missing_audits: int | None
    """Audits of this receipt announced there under trusted auditors' key ids, and not at hand."""


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
    keyids: frozenset[str] = frozenset(),
    auditors: frozenset[str] = frozenset(),
    progress: Callable[[int, int], None] | None = None,
) -> LogFacts:
    """Add the checks of logs.

    Args:
        bundle: The bundle.
        sealed: Its plan and its receipt, where both have their form.
        audits: Announcements and results at hand that trusted auditors signed.
        terms: What the proofs are held to.
        checks: Receives the checks.
        keyids: Ids of the trusted keys that signed the plan.
        auditors: Ids of the keys that are trusted as auditors'.
        progress: Told how many entries of the log are read.

    Returns:
        What was shown.
    """
    checker = _Checker(bundle, terms, checks, keyids, auditors)
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
        return LogFacts(planned, before, received, audited, None, None, None)
    plans, receipts, missing = checker.search(sealed[0], audits, terms.source, progress)
    return LogFacts(planned, before, received, audited, plans, receipts, missing)


class _Checker:
    def __init__(
        self,
        bundle: Bundle,
        terms: LogTerms,
        checks: CheckList,
        keyids: frozenset[str],
        auditors: frozenset[str],
    ) -> None:
        self._bundle, self._terms, self._checks = bundle, terms, checks
        self._keyids, self._auditors = keyids, auditors
        self.seen: list[SignedCheckpoint] = []
        """Checkpoints of proofs that hold."""
        self._seen_by_few = False
        """Whether the copy of the log is one that a quorum of witnesses has not seen."""

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

    def search(
        self,
        plan: PlanPredicate,
        audits: Sequence[Envelope],
        source: TileSource,
        progress: Callable[[int, int], None] | None,
    ) -> tuple[int | None, int | None, int | None]:
        """Count what a copy of the log holds; add the checks that it decides."""
        names = (CheckName.BEST_OF_N, CheckName.AUDITS_COMPLETE)
        try:
            signed = newest_checkpoint(source)
            self._terms.policy.check_log_signature(signed)
            self._seen_by_few = not self._terms.policy.has_quorum(signed)
            self._one_view(source, signed)
            about = searched(
                source,
                signed,
                plan.checkpoint.root,
                receipt=self._bundle.receipt_envelope.digest,
                progress=progress,
            )
            found = [one.entry for one in about]
        except (FileAccessError, IncompleteError) as error:
            for name in names:
                self._checks.skip(name, error.one_line())
            return None, None, None
        except ReceiptsError as error:
            for name in names:
                self._checks.decide(name, error.message)
            return None, None, None
        missing = self._complete(found, {envelope.digest for envelope in audits})
        mine = [one for one in found if one.keyid in self._keyids]
        plans = {one.digest for one in mine if one.type is EntryKind.PLAN}
        receipts = [one for one in mine if one.type is EntryKind.RECEIPT]
        others = {one.digest for one in found if one.type is EntryKind.PLAN} - plans
        counted_here = self._best_of(plans, receipts, len(others))
        return len(plans) if counted_here else None, len(receipts), missing

    def _complete(self, found: Sequence[LogEntry], here: Container[Sha256]) -> int:
        """Look for announced audits of this receipt that are not at hand; count trusted ones.

        Anybody may have something logged as an announcement, under an id of their own: what no
        trusted auditor's is said to be cannot fail a receipt.
        """
        receipt = self._bundle.receipt_envelope.digest
        announced = {
            one.digest: one.keyid
            for one in sorted(found, key=lambda one: one.keyid in self._auditors)
            if one.type is EntryKind.AUDIT_START and one.receipt == receipt
        }
        absent = sorted(digest for digest in announced if digest not in here)
        missing = [one for one in absent if announced[one] in self._auditors]
        unknown = [one for one in absent if announced[one] not in self._auditors]
        lying = _digests(self._bundle.audit_files()) if unknown else frozenset()
        unknown = [one for one in unknown if one not in lying]
        good = f"all here that were announced in the log: {counted(len(announced), 'audit')}"
        if missing:
            problem = (
                f"announced in the log, and not here as trusted auditors sign: {_named(missing)}"
            )
            self._checks.decide(CheckName.AUDITS_COMPLETE, problem)
        elif unknown:
            self._checks.skip(
                CheckName.AUDITS_COMPLETE,
                "announced in the log under key ids that are no trusted auditor's, and not here: "
                f"{_named(unknown)}",
            )
        else:
            self._whole(CheckName.AUDITS_COMPLETE, good)
        return len(missing)

    def _whole(self, name: CheckName, good: str) -> None:
        """Add a check of what is not in the copy, which others have to see as it is here."""
        if self._seen_by_few:
            why = "too few witnesses of the policy have seen this copy of the log"
            self._checks.skip(name, f"{good}; {why}: others may be shown another one")
        else:
            self._checks.decide(name, None, good)

    def _best_of(self, plans: set[Sha256], receipts: Sequence[LogEntry], others: int) -> bool:
        """Add the check; say whether the plans that count are known."""
        envelope = self._bundle.plan_envelope
        mine = envelope.digest
        # The proof of `plan-logged` is of a leaf under this id.  Where it is another's, any number
        # of plans may have been logged before their runs beside it, and the best one afterwards
        # once more, under the id that is counted.
        named = mine in plans and envelope.signatures[0].keyid in self._keyids
        with_receipt = {one.plan for one in receipts}
        of_mine = {one.digest for one in receipts if one.plan == mine}
        of_mine.add(self._bundle.receipt_envelope.digest)
        open_ = plans - with_receipt - {mine}
        by_others = f"; {counted(others, 'plan')} by other key ids" if others else ""
        told = (
            f"the log holds {counted(len(plans), 'plan')} of this checkpoint by this key, of which "
            f"{len(open_)} beside this one have no receipt{by_others}"
        )
        if not self._keyids:
            why = "needs a plan that a trusted key signed: whose plans would be counted?"
            self._checks.skip(CheckName.BEST_OF_N, why)
        elif not named:
            self._checks.skip(
                CheckName.BEST_OF_N, f"this plan is not in the log under its key's id; {told}"
            )
        elif len(of_mine) > 1:
            why = f"the log holds {len(of_mine)} receipts of this plan: one can be the best of them"
            self._checks.skip(CheckName.BEST_OF_N, why)
        elif len(plans) == 1:
            good = f"this is the only plan of this checkpoint by this key in the log{by_others}"
            self._whole(CheckName.BEST_OF_N, good)
        else:
            self._checks.skip(CheckName.BEST_OF_N, f"{told}: a receipt can be the best of them")
        return named and not self._seen_by_few

    def _one_view(self, source: TileSource, signed: SignedCheckpoint) -> None:
        """Hold the log to every checkpoint of the bundle's proofs: it must not show two views.

        Raises:
            IntegrityError: It does.
        """
        for seen in self.seen:
            if seen.checkpoint.origin == signed.checkpoint.origin:
                check_growth(source, seen, signed)


def _digests(files: Sequence[Path]) -> frozenset[Sha256]:
    """Return the digests of the statements in files that are envelopes, whoever signed them."""
    found = set()
    for file in files[:_MOST_AUDITS]:
        with suppress(ReceiptsError):
            found.add(read_envelope(file, MAX_AUDIT_BYTES).digest)
    return frozenset(found)


def _named(audits: Sequence[Sha256]) -> str:
    return f"{counted(len(audits), 'audit')} ({', '.join(one[:12] for one in audits[:3])})"


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
