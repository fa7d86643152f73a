"""Judging the recorded responses of a sealed event again, without generating anything.

The new event is a function of the original bundle, the new plan and what its judge says: it states
no time and draws no random value of its own, so that whoever judges again with the same judge
seals the same bytes.  Of a judge's server it states what that claims and what was seen of it: there
it is the same bytes where these are the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic.alias_generators import to_camel

from safety_receipts.receipts.bundle import PLAN, RECEIPT, Bundle
from safety_receipts.receipts.canonical import Sha256, canonical_bytes, tagged_digest
from safety_receipts.receipts.dsse import Envelope
from safety_receipts.receipts.errors import (
    IncompleteError,
    IntegrityError,
    InterruptedByUserError,
    UsageError,
)
from safety_receipts.receipts.findings.derive import fit
from safety_receipts.receipts.keys import Signer, TrustSet
from safety_receipts.receipts.model.base import QueryId
from safety_receipts.receipts.model.check import CheckLevel, CheckStatus
from safety_receipts.receipts.model.plan import PlanPredicate, Rejudged
from safety_receipts.receipts.model.point import (
    NOTHING_TO_JUDGE,
    Outcome,
    Point,
    Reason,
    RestrictedRecord,
    point_salt,
)
from safety_receipts.receipts.model.receipt import Environment, Event
from safety_receipts.receipts.seal import seal_event
from safety_receipts.runner.judges.judge import Exchange
from safety_receipts.runner.plan.resolved import ResolvedPlan, UnrunPlan
from safety_receipts.runner.plan.sealed import digest_of, first_difference, write_plan
from safety_receipts.runner.run.event import now
from safety_receipts.runner.run.journal import Journal, JournalEntry
from safety_receipts.runner.run.journal_file import remove_journal, run_journal_path
from safety_receipts.runner.run.judging import opinions
from safety_receipts.runner.run.seal import server_claims
from safety_receipts.runner.run.sealed import SealedRun
from safety_receipts.runner.run.served import (
    JUDGE_SERVERS,
    LongestAsked,
    RunServers,
    note_tried,
    with_counts,
)
from safety_receipts.runner.run.stack import PlanJudges
from safety_receipts.runner.run.stopping import UnscoredGuard, refuse_if_none_scored
from safety_receipts.runner.run.units.entries import one_line_message, recorded_judgement
from safety_receipts.verify.check_names import CheckName
from safety_receipts.verify.integrity import verify_bundle
from safety_receipts.verify.levels.evidence import PointProgress
from safety_receipts.verify.levels.original import JUDGED_AGAIN
from safety_receipts.verify.levels.times.terms import NOTHING_MORE, TrustTerms

if TYPE_CHECKING:
    from safety_receipts.receipts.log.recording import StatementLog

EVENT_TAG: Final = "safety-receipts/rejudged-event/1"
SECRET_TAG: Final = "safety-receipts/rejudged-secret/1"

_AT_ONCE: Final = 64
"""Responses that a judge is given together; the cut decides no more than a margin's last digit."""


@dataclass(frozen=True)
class RejudgeOptions:
    """What a user decides about judging again."""

    accept_failed: bool = False
    """Record responses that the judge failed on."""
    accept_unscored: bool = False
    """Go on, and seal, although nothing can be scored."""


def check_original(
    bundle: Bundle, trust: TrustSet, progress: PointProgress, terms: TrustTerms = NOTHING_MORE
) -> None:
    """Hold a bundle to everything that can be held without artifacts, its records included.

    Args:
        bundle: The bundle.
        trust: Keys trusted to have signed it.
        progress: Told how many points are done.
        terms: What shows when it was signed.

    Raises:
        IntegrityError: Something in it does not follow.
        IncompleteError: No trusted key signed it, or records are missing.
    """
    found = verify_bundle(
        bundle,
        evaluators=trust,
        wanted=CheckLevel.BOUND,
        tsa_roots=terms.tsa_roots,
        log=terms.log,
        progress=progress,
    )
    for check in found.checks:
        if check.status is CheckStatus.FAILED:
            raise IntegrityError(f"{check.name}: {check.detail}", file=bundle.folder)
    details = {check.name: check.detail for check in found.checks}
    passed = {check.name for check in found.checks if check.status is CheckStatus.PASSED}
    for name in (CheckName.RECEIPT_SIGNATURE, CheckName.EVIDENCE_ROOT, CheckName.COMMITMENTS):
        if name not in passed:
            raise IncompleteError(
                f"{name.value}: {details.get(name, 'not checked')}",
                file=bundle.folder,
                hint="judging again takes the whole bundle, and --trust KEY.pub where another "
                "key signed it",
            )


def rejudged_plan(bundle: Bundle, resolved: ResolvedPlan | UnrunPlan) -> ResolvedPlan:
    """Return the plan of the new event.

    Args:
        bundle: The original.
        resolved: A plan file that differs from its plan in the judge alone, held to that plan.

    Raises:
        UsageError: It differs elsewhere or nowhere, or the original was judged again itself.
    """
    before, after = bundle.plan.statement.predicate, resolved.predicate
    if before.rejudges is not None:
        raise UsageError(
            f"its responses were judged again before; they are those of receipt "
            f"{before.rejudges.receipt}",
            file=bundle.folder,
            hint="judge the responses of that receipt again",
        )
    place = first_difference(_without_judge(before), _without_judge(after))
    if place is not None:
        raise UsageError(
            f"{place} is not what the sealed plan says",
            file=resolved.file,
            hint="only the judge may differ: restore the rest as it was",
        )
    if isinstance(resolved, UnrunPlan):
        raise UsageError(resolved.why, file=resolved.file, hint="restore the checkpoint's files")
    if _judging(before) == _judging(after):
        raise UsageError(
            "names the judge that has already judged these responses",
            file=resolved.file,
            hint="name another",
        )
    named = Rejudged(plan=bundle.plan_envelope.digest, receipt=bundle.receipt_envelope.digest)
    return replace(resolved, predicate=after.model_copy(update={"rejudges": named}))


def _without_judge(plan: PlanPredicate) -> object:
    wire = plan.to_wire()
    left_out = {to_camel(name) for name in JUDGED_AGAIN}
    return {name: value for name, value in wire.items() if name not in left_out}


def _judging(plan: PlanPredicate) -> object:
    return plan.judge, plan.judge_server, plan.second_judge_server


@dataclass(frozen=True)
class Rejudger:
    """Judges the responses of a bundle again, into another."""

    original: Bundle
    """The bundle, as :func:`check_original` found it."""
    resolved: ResolvedPlan
    """The new plan (:func:`rejudged_plan`)."""
    folder: Path
    """The new bundle; made if it does not exist."""
    signer: Signer
    """Signs plan and receipt."""
    options: RejudgeOptions
    """What the user decides."""
    log: StatementLog | None = None
    """Plan and receipt are added to it; None: to none."""

    @property
    def plan(self) -> PlanPredicate:
        """The new plan."""
        return self.resolved.predicate

    @cached_property
    def digest(self) -> Sha256:
        """Its digest."""
        return digest_of(self.plan)

    def sealed_before(self) -> SealedRun | None:
        """Return what is sealed in the folder already; None: nothing is.

        Raises:
            UsageError: Something else is.
        """
        path = self.folder / RECEIPT
        if not (path.is_symlink() or path.exists()):
            return None
        there = Bundle(self.folder)
        signed = there.receipt_envelope.signed_by_all(self.signer)
        if not signed or there.receipt.statement.predicate.plan.digest != self.digest:
            raise UsageError(
                "holds another receipt already", file=self.folder, hint="name a new folder"
            )
        self._record(there.plan_envelope, PLAN)
        self._record(there.receipt_envelope, RECEIPT)
        remove_journal(self.folder)
        return SealedRun.from_bundle(there)

    def run(self, judges: PlanJudges, stack: dict[str, str], progress: PointProgress) -> SealedRun:
        """Judge, or go on judging, and seal.

        Args:
            judges: Who judges.
            stack: What judgements may depend on besides the plan; a resumed run is held to it.
            progress: Told how many points are done.

        Raises:
            InterruptedByUserError: The user stopped it; what was judged stays.
            IncompleteError: A judge fails, its server does not answer, nothing can be scored, or
                too few witnesses have seen plan or receipt in the log.
            UsageError: The folder holds another plan, or a judge's server cannot be used.
            FileAccessError: The folder cannot be written.
        """
        servers = RunServers.of(None, judges.first, judges.second)
        queries = self.resolved.artifacts.texts.queries
        new_tokens = self.plan.sampling.max_new_tokens
        # Of the model nothing is asked again.
        tried = servers.preflight(LongestAsked.of(0, new_tokens, queries))
        original = self.original.receipt.statement.predicate.environment
        environment = servers.in_environment(original)
        envelope = write_plan(self.resolved, self.folder, self.signer)
        self._record(envelope, PLAN)
        with Journal.open(run_journal_path(self.folder), envelope.digest) as journal:
            journal.hold_to(stack | server_claims(environment, JUDGE_SERVERS))
            note_tried(journal, tried, now())
            try:
                self._judge_all(judges, servers, journal, progress)
            except KeyboardInterrupt:
                raise InterruptedByUserError(
                    f"interrupted; {len(journal.done()):,} of {self.plan.points:,} points are kept",
                    hint="run the same command again to go on",
                ) from None
            outcomes = journal.outcomes()
            if not self.options.accept_unscored:
                refuse_if_none_scored(outcomes)
            servers.confirm()
            servers.hold_to_claims()
            receipt = self._seal(
                journal, envelope, with_counts(environment, journal, JUDGE_SERVERS)
            )
        self._record(receipt, RECEIPT)
        remove_journal(self.folder)
        return SealedRun(receipt, outcomes, before=False)

    def _record(self, envelope: Envelope, name: str) -> None:
        """Log a statement, unless it is logged; a second plan for one checkpoint is counted."""
        if self.log is not None:
            self.log.record(envelope, self.folder / name, self.folder)

    def _judge_all(
        self,
        judges: PlanJudges,
        servers: RunServers,
        journal: Journal,
        progress: PointProgress,
    ) -> None:
        done, points = journal.done(), self.plan.points
        if len(done) == points:
            return
        texts = dict(zip(self.plan.query_ids, self.resolved.artifacts.texts.queries, strict=True))
        secret, silence = self._secret(), UnscoredGuard(points, again=True)
        pairs = zip(self.original.points(), self.original.responses(), strict=True)
        while chunk := list(islice(pairs, _AT_ONCE)):
            last = chunk[-1][0].index
            if not all(point.index in done for point, _ in chunk):
                entries = self._judged(chunk, judges, texts, secret)
                servers.confirm()
                servers.take_resent(journal, now())
                self._check(entries, silence)
                journal.add(entries, now())
            progress(last + 1, points)

    def _judged(
        self,
        chunk: list[tuple[Point, RestrictedRecord]],
        judges: PlanJudges,
        texts: Mapping[QueryId, str],
        secret: bytes,
    ) -> list[JournalEntry]:
        exchanges = [
            Exchange(texts[record.query], record.text) if was_judged(record) else None
            for _, record in chunk
        ]
        entries = []
        found = opinions(judges.first, judges.second, exchanges)
        for (point, record), (first, second) in zip(chunk, found, strict=True):
            changes: dict[str, object] = {"second_judge": recorded_judgement(second)}
            if first is not None:
                changes |= {
                    "outcome": first.outcome,
                    "reason": first.reason,
                    "error": None if first.error is None else one_line_message(first.error),
                    "judge": recorded_judgement(first),
                }
            salt = point_salt(secret, self.digest, point.id)
            again = record.model_copy(update={**changes, "salt": salt})
            line = point.model_copy(
                update={
                    "commitment": again.commitment(),
                    "outcome": again.outcome,
                    "reason": again.reason,
                }
            )
            entries.append(JournalEntry(line, again))
        return entries

    def _check(self, entries: list[JournalEntry], silence: UnscoredGuard) -> None:
        """Stop before more is judged by a judge that fails, or that nobody can read."""
        failed = [entry for entry in entries if entry.point.reason is Reason.JUDGE_ERROR]
        if failed and not self.options.accept_failed:
            raise IncompleteError(
                f"the judge failed on {len(failed):,} of {len(entries):,} responses: "
                f"{failed[0].record.error}",
                hint="none of these is recorded: correct that and run again, or --accept-failed",
            )
        if not self.options.accept_unscored:
            silence.hear([entry for entry in entries if entry.record.judge is not None])

    def _secret(self) -> bytes:
        """Return what the new salts derive from.

        Known to whoever holds every restricted record of the original, and to nobody else.
        """
        salts = hashlib.sha256()
        for record in self.original.responses():
            salts.update(bytes.fromhex(record.salt))
        info = canonical_bytes([SECRET_TAG, self.digest])
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(salts.digest())

    def _seal(self, journal: Journal, envelope: Envelope, environment: Environment) -> Envelope:
        receipt = self.original.receipt.statement.predicate
        return seal_event(
            self.folder,
            plan_envelope=envelope,
            points=journal.entries(),
            event=rejudged_event(receipt.event, self.digest),
            environment=environment,
            signer=self.signer,
            findings=fit,
        )


def was_judged(record: RestrictedRecord) -> bool:
    """Say whether a response was put to the judge: it has a text."""
    return record.outcome is not Outcome.FAILED and record.reason not in NOTHING_TO_JUDGE


def rejudged_event(event: Event, plan_digest: Sha256) -> Event:
    """Return the account of an event judged again: the generating one's, under an id of its own.

    Args:
        event: The original.
        plan_digest: Digest of the new plan, which names the original's receipt.
    """
    return event.model_copy(update={"id": tagged_digest(EVENT_TAG, plan_digest).hex()[:32]})
