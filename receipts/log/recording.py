"""Adding statements to a log as they are made, until enough witnesses have seen them there.

Whoever seals a plan logs it before the first point, and goes on only when witnesses have seen it:
what nobody saw in time cannot be shown afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from safety_receipts.receipts.dsse import Envelope
from safety_receipts.receipts.errors import (
    FileAccessError,
    IncompleteError,
    IntegrityError,
    ReceiptsError,
    UsageError,
)
from safety_receipts.receipts.io.files import atomic_write, read_bounded
from safety_receipts.receipts.io.locks import LockHeldError
from safety_receipts.receipts.log.bundle_proofs import proof_path
from safety_receipts.receipts.log.folder import LogFolder, LogSigner
from safety_receipts.receipts.log.formats.checkpoint import SignedCheckpoint
from safety_receipts.receipts.log.formats.entry import LogEntry, entry_of
from safety_receipts.receipts.log.formats.policy import AcceptedCheckpoint, LogPolicy
from safety_receipts.receipts.log.formats.proof import MAX_LOG_PROOF_BYTES, LogProof
from safety_receipts.receipts.log.witnessing.cosigning import Post, ask_witnesses

_PATIENCE: Final = 30.0
"""Seconds in which another writer of the log, or a witness's clock, is waited for."""
_PAUSE: Final = 0.05

T = TypeVar("T")


@dataclass(frozen=True)
class OwnLog:
    """A log that is written here."""

    folder: LogFolder
    """The log."""
    signer: LogSigner
    """Its key."""


@dataclass(frozen=True)
class RecordedEntry:
    """A statement that is in a log."""

    entry: LogEntry
    """What is logged."""
    proof: LogProof
    """The proof, which lies in the bundle."""
    seen: AcceptedCheckpoint
    """Who has seen it there, and by when."""
    before: bool
    """Whether the proof was there before."""

    def told(self) -> str:
        """Return what became of it, in words."""
        origin, witnesses = self.proof.signed.checkpoint.origin, len(self.seen.seen)
        seen = f"seen by {witnesses} witness{'' if witnesses == 1 else 'es'}"
        what = self.entry.type.value.replace("-", " ")
        was = "was" if self.before else "is"
        return f"{what} {was} logged as entry {self.proof.index:,} of {origin}, {seen}"


@dataclass(frozen=True)
class StatementLog:
    """A log that statements are added to, and what is asked of it."""

    file: Path
    """The file with its settings, for errors."""
    policy: LogPolicy
    """Which logs are accepted, and who has to have seen a statement."""
    own: OwnLog | None
    """The log; None: somebody else keeps it, and its proofs are put into the bundle by hand."""
    post: Post | None = None
    """How witnesses are reached; None: over HTTP."""

    def recorded(self, envelope: Envelope, file: Path, folder: Path) -> RecordedEntry | None:
        """Return what a bundle's proof shows of a statement; None: there is no proof.

        Args:
            envelope: The statement.
            file: Its file, for errors.
            folder: The bundle, in whose folder of proofs its proof lies.

        Raises:
            MalformedError, FileAccessError: The statement or the proof cannot be read.
            IntegrityError: The proof does not hold, or the policy does not accept it.
        """
        entry = entry_of(envelope, file)
        path = proof_path(folder, entry)
        if not path.exists() and not path.is_symlink():
            return None
        proof = LogProof.parse(read_bounded(path, MAX_LOG_PROOF_BYTES), file=path)
        if not proof.holds(entry.leaf()):
            raise _unheld(path, "the proof does not lead to the root of its checkpoint")
        try:
            seen = self.policy.accept(proof.signed)
        except IntegrityError as error:
            raise _unheld(path, error.message) from None
        return RecordedEntry(entry, proof, seen, before=True)

    def record(self, envelope: Envelope, file: Path, folder: Path) -> RecordedEntry:
        """Add a statement, have witnesses see it, and put the proof into its bundle.

        What is there already is added no second time.  When this returns, the time by which the
        witnesses saw it is past by the clock here too.

        Args:
            envelope: The statement.
            file: Its file, for errors.
            folder: The bundle.

        Raises:
            IncompleteError: Too few witnesses have seen it yet; it is in the log, and is not added
                again by the next call.  Or somebody else keeps the log, and there is no proof yet.
            UsageError: Another process has been writing to the log all the while.
            FileAccessError: Log or bundle cannot be written.
            IntegrityError, MalformedError: As :meth:`recorded`, or the log is damaged.
        """
        found = self.recorded(envelope, file, folder)
        if found is None:
            found = self._add(entry_of(envelope, file), file, folder)
        self._wait_for_clock(found)
        return found

    def _add(self, entry: LogEntry, file: Path, folder: Path) -> RecordedEntry:
        path = proof_path(folder, entry)
        if self.own is None:
            raise IncompleteError(
                f"is not known to be logged: {self.file} names no log of yours",
                file=file,
                hint=f"have it added to the log, put its proof into {path}, and run this again",
            )
        log, signer = self.own.folder, self.own.signer
        index = _patient(lambda: log.add([entry.leaf()], signer)).places[0]
        proof, seen = self._witnessed(log, index, file)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileAccessError.from_os(error, "create", path.parent) from None
        atomic_write(path, proof.to_bytes())
        return RecordedEntry(entry, proof, seen, before=False)

    def _witnessed(
        self, log: LogFolder, index: int, file: Path
    ) -> tuple[LogProof, AcceptedCheckpoint]:
        """Ask the policy's witnesses until enough have seen an entry.

        A witness that others asked meanwhile knows a newer checkpoint, and cosigns no older one.
        """
        end = time.monotonic() + _PATIENCE
        while True:
            signed, tree = log.signed, log.tree()
            asked = ask_witnesses(self.policy, (), signed, tree, self.post)
            lines = [line for one in asked for line in one.answer.lines]
            cosigned = SignedCheckpoint(signed.note.with_lines(lines), signed.checkpoint)
            if lines:
                # Where it has grown meanwhile, the proof still is of the checkpoint that was seen.
                _patient(partial(log.put_cosignatures, cosigned))
            if self.policy.has_quorum(cosigned):
                proof = LogProof(index, tuple(tree.inclusion(index)), cosigned)
                return proof, self.policy.accept(cosigned)
            told = [f"{one.name} {one.answer.problem}" for one in asked if one.answer.problem]
            if not log.refresh() or time.monotonic() > end:
                break
        why = f" ({'; '.join(told)})" if told else ""
        raise IncompleteError(
            f"is in the log, and too few witnesses have seen it{why}",
            file=file,
            hint="run this again when they answer: it is added no second time",
        )

    def _wait_for_clock(self, found: RecordedEntry) -> None:
        """Wait until the time by which witnesses saw something is past here."""
        if found.seen.time is None:
            return
        ahead = found.seen.time - time.time()
        if ahead > _PATIENCE:
            raise UsageError(
                f"the clocks of the witnesses are {ahead:,.0f} seconds ahead of the one here",
                file=self.file,
                hint="set the clock of this machine, or ask which of them is wrong",
            )
        if ahead > 0:
            time.sleep(ahead)


def _patient(write: Callable[[], T]) -> T:
    """Write to a log, and wait for another writer for a while."""
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            return write()
        except LockHeldError:
            if time.monotonic() > end:
                raise
        time.sleep(_PAUSE)


def _unheld(path: Path, why: str) -> ReceiptsError:
    return IntegrityError(
        f"is no proof that is accepted here: {why}", file=path, hint="move it away"
    )
