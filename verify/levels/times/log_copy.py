"""What a copy of a log says was sealed besides: other plans, other receipts, announced audits.

What is not in a copy is absent only from a log that others see as it is here: its newest checkpoint
has to be one that the policy's quorum has seen, and to grow from those of the bundle's proofs.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from safety_receipts.receipts.bundle import MAX_AUDIT_BYTES, Bundle, read_envelope
from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.errors import FileAccessError, IncompleteError, ReceiptsError
from safety_receipts.receipts.log.formats.checkpoint import SignedCheckpoint
from safety_receipts.receipts.log.formats.entry import EntryKind, LogEntry
from safety_receipts.receipts.log.formats.policy import LogPolicy
from safety_receipts.receipts.log.formats.tiles import TileSource
from safety_receipts.receipts.log.survey import check_growth, newest_checkpoint, searched
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.receipts.view.numerals import counted
from safety_receipts.verify.check_names import CheckName
from safety_receipts.verify.checks import CheckList

_MOST_AUDITS: Final = 10_000
"""Most files of audits that are read."""


@dataclass(frozen=True)
class TrustedIds:
    """Ids of the keys that a reader trusts."""

    signers: frozenset[str]
    """Those that signed the plan."""
    evaluators: frozenset[str]
    """Those trusted as evaluators'."""
    auditors: frozenset[str]
    """Those trusted as auditors'."""


NOBODY: Final = TrustedIds(frozenset(), frozenset(), frozenset())
"""What a reader says who trusts nobody."""


@dataclass(frozen=True)
class LogCopy:
    """A copy of a log."""

    source: TileSource
    """Its files."""
    policy: LogPolicy
    """What it is held to."""
    seen: tuple[SignedCheckpoint, ...]
    """Checkpoints of proofs that hold, from which it has to grow."""


@dataclass(frozen=True)
class LogCounts:
    """What a copy of a log holds."""

    plans: int | None
    """Plans of this checkpoint under the ids of trusted evaluators; None: it is not known."""
    receipts: int
    """Receipts of this plan, this one among them."""
    missing_audits: int
    """Audits of this receipt announced there under trusted auditors' key ids, and not at hand."""


class CopyChecker:
    """Adds the checks that a copy of a log decides.

    Args:
        bundle: The bundle.
        copy: The copy.
        ids: Ids of trusted keys.
        checks: Receives the checks.
    """

    def __init__(self, bundle: Bundle, copy: LogCopy, ids: TrustedIds, checks: CheckList) -> None:
        self._bundle, self._copy, self._ids, self._checks = bundle, copy, ids, checks
        self._seen_by_few = False
        """Whether the copy is one that a quorum of witnesses has not seen."""

    def search(
        self,
        plan: PlanPredicate,
        audits: Container[Sha256],
        progress: Callable[[int, int], None] | None,
    ) -> LogCounts | None:
        """Count what the copy holds, and add the checks that it decides.

        Args:
            plan: The bundle's plan.
            audits: Digests of the announcements and results at hand that trusted auditors signed.
            progress: Told how many entries of the log are read.

        Returns:
            What it holds; None: it cannot be read, or is not a log's.
        """
        names = (CheckName.BEST_OF_N, CheckName.AUDITS_COMPLETE)
        try:
            signed = newest_checkpoint(self._copy.source)
            self._copy.policy.check_log_signature(signed)
            self._seen_by_few = not self._copy.policy.has_quorum(signed)
            self._one_view(signed)
            about = searched(
                self._copy.source,
                signed,
                plan.checkpoint.root,
                receipt=self._bundle.receipt_envelope.digest,
                progress=progress,
            )
            found = [one.entry for one in about]
        except (FileAccessError, IncompleteError) as error:
            for name in names:
                self._checks.skip(name, error.one_line())
            return None
        except ReceiptsError as error:
            for name in names:
                self._checks.decide(name, error.message)
            return None
        missing = self._complete(found, audits)
        # Whose keys a reader trusts is one evaluator to them, however many keys that has.
        mine = [one for one in found if one.keyid in self._ids.evaluators]
        plans = {one.digest for one in mine if one.type is EntryKind.PLAN}
        receipts = [one for one in mine if one.type is EntryKind.RECEIPT]
        others = {one.digest for one in found if one.type is EntryKind.PLAN} - plans
        known = self._best_of(plans, receipts, len(others), signed.checkpoint.size)
        of_mine = self._receipts_of_mine(receipts)
        return LogCounts(len(plans) if known else None, len(of_mine), missing)

    def _complete(self, found: Sequence[LogEntry], here: Container[Sha256]) -> int:
        """Look for announced audits of this receipt that are not at hand; count trusted ones.

        Anybody may have something logged as an announcement, under an id of their own: what no
        trusted auditor's is said to be cannot fail a receipt.
        """
        receipt = self._bundle.receipt_envelope.digest
        announced = {
            one.digest: one.keyid
            for one in sorted(found, key=lambda one: one.keyid in self._ids.auditors)
            if one.type is EntryKind.AUDIT_START and one.receipt == receipt
        }
        absent = sorted(digest for digest in announced if digest not in here)
        missing = [one for one in absent if announced[one] in self._ids.auditors]
        unknown = [one for one in absent if announced[one] not in self._ids.auditors]
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

    def _receipts_of_mine(self, receipts: Sequence[LogEntry]) -> set[Sha256]:
        """Return the receipts of this plan, this one among them wherever it is."""
        mine = self._bundle.plan_envelope.digest
        found = {one.digest for one in receipts if one.plan == mine}
        return found | {self._bundle.receipt_envelope.digest}

    def _best_of(
        self, plans: set[Sha256], receipts: Sequence[LogEntry], others: int, size: int
    ) -> bool:
        """Add the check; say whether the plans that count are known."""
        envelope = self._bundle.plan_envelope
        mine = envelope.digest
        # The proof of `plan-logged` is of a leaf under this id.  Where it is another's, any number
        # of plans may have been logged before their runs beside it, and the best one afterwards
        # once more, under the id that is counted.
        named = mine in plans and envelope.signatures[0].keyid in self._ids.signers
        with_receipt = {one.plan for one in receipts}
        of_mine = self._receipts_of_mine(receipts)
        open_ = plans - with_receipt - {mine}
        by_others = f"; {counted(others, 'plan')} by other key ids" if others else ""
        told = (
            f"the log holds {counted(len(plans), 'plan')} of this checkpoint by keys you trust, of "
            f"which {len(open_)} beside this one have no receipt{by_others}"
        )
        if not self._ids.signers:
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
            good = (
                "this is the only plan of this checkpoint by a key you trust in the log of "
                f"{size:,} entries{by_others}"
            )
            self._whole(CheckName.BEST_OF_N, good)
        else:
            self._checks.skip(CheckName.BEST_OF_N, f"{told}: a receipt can be the best of them")
        return named and not self._seen_by_few

    def _one_view(self, signed: SignedCheckpoint) -> None:
        """Hold the log to every checkpoint of the bundle's proofs: it must not show two views.

        Raises:
            IntegrityError: It does.
        """
        for seen in self._copy.seen:
            if seen.checkpoint.origin == signed.checkpoint.origin:
                check_growth(self._copy.source, seen, signed)


def _digests(files: Sequence[Path]) -> frozenset[Sha256]:
    """Return the digests of the statements in files that are envelopes, whoever signed them."""
    found = set()
    for file in files[:_MOST_AUDITS]:
        with suppress(ReceiptsError):
            found.add(read_envelope(file, MAX_AUDIT_BYTES).digest)
    return frozenset(found)


def _named(audits: Sequence[Sha256]) -> str:
    return f"{counted(len(audits), 'audit')} ({', '.join(one[:12] for one in audits[:3])})"
