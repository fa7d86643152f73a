"""Which signatures count, where a trust file holds keys to times.

A limit in the past is held to what evidence shows that the reader trusts: a timestamp of the
signatures, or a quorum of witnesses that saw the statement in a log.  Where there is neither, a
signature is as old as the moment at which it is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from safety_receipts.receipts.beacon.chains import stated_moment
from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.dsse import Envelope
from safety_receipts.receipts.errors import MalformedError
from safety_receipts.receipts.keys import PublicKey, TrustSet
from safety_receipts.receipts.trust.limits import Seen
from safety_receipts.receipts.trust.trust_set import limits_of

if TYPE_CHECKING:
    from cryptography import x509

    from safety_receipts.receipts.log.formats.policy import LogPolicy

_NO_MOMENT: Final = datetime.min.replace(tzinfo=UTC)
"""What stands for a stated time that does not exist: it is earlier than any limit."""


@dataclass(frozen=True)
class TimeTerms:
    """What shows a reader when signatures were there."""

    at: datetime
    """The moment of the decision, with its time zone."""
    tsa_roots: Sequence[x509.Certificate] = ()
    """Roots of timestamp authorities that the reader trusts."""
    policy: LogPolicy | None = None
    """Logs and witnesses that the reader trusts; None: none."""


@dataclass(frozen=True)
class HeldSignatures:
    """The trusted keys that signed a statement, held to their limits."""

    counting: tuple[PublicKey, ...]
    """Those whose signatures count."""
    refused: tuple[tuple[PublicKey, str], ...] = ()
    """Those whose signatures do not, each with why."""
    limited: bool = False
    """Whether any of them has limits."""

    @property
    def problem(self) -> str | None:
        """Why no signature counts, where a trusted key did sign; None: that is not so."""
        return None if self.counting or not self.refused else self.refusals()

    def refusals(self) -> str:
        """Return why signatures do not count, key by key."""
        return "; ".join(f"key {key.keyid[:16]}… {why}" for key, why in self.refused)


@dataclass(frozen=True)
class SignatureTimes:
    """Holds the signatures of one bundle to the limits of their keys."""

    bundle: Bundle
    """The bundle, in whose folder proofs and timestamps lie."""
    terms: TimeTerms
    """What shows when they were there."""
    _stamps: dict[Envelope, datetime | None] = field(default_factory=dict)

    def sealed(self, envelope: Envelope, file: str, trust: TrustSet) -> HeldSignatures:
        """Hold the signatures of the bundle's plan or receipt.

        Args:
            envelope: The plan or the receipt.
            file: Its name in the bundle.
            trust: Keys trusted as evaluators.
        """
        path = self.bundle.folder / file
        return self._held(envelope, path, trust, lambda: stated_time(self.bundle), stamped=True)

    def audited(
        self, envelope: Envelope, file: Path, trust: TrustSet, stated: Callable[[], str | None]
    ) -> HeldSignatures:
        """Hold the signatures of an announcement or a result, of which there are no timestamps.

        Args:
            envelope: The statement.
            file: Its file.
            trust: Keys trusted as auditors.
            stated: Returns the time that it states; None: it cannot be read.
        """
        return self._held(envelope, file, trust, lambda: _moment(stated()), stamped=False)

    def _held(
        self,
        envelope: Envelope,
        file: Path,
        trust: TrustSet,
        stated: Callable[[], datetime | None],
        *,
        stamped: bool,
    ) -> HeldSignatures:
        counting, refused, limited = [], [], False
        for key in envelope.signed_by(trust):
            limits = limits_of(trust, key)
            why = None
            if limits is not None:
                limited = True
                why = limits.problem(self._seen(envelope, file, key, stamped=stamped), stated())
            if why is None:
                counting.append(key)
            else:
                refused.append((key, why))
        return HeldSignatures(tuple(counting), tuple(refused), limited)

    def _seen(self, envelope: Envelope, file: Path, key: PublicKey, *, stamped: bool) -> Seen:
        """Return the earliest moment at which a key's signature is shown; else the reader's."""
        shown = []
        if stamped and (time := self._stamp(envelope)) is not None:
            shown.append(Seen(time, "a timestamp"))
        if (time := self._logged(envelope, file, key)) is not None:
            shown.append(Seen(time, "the witnesses of a log"))
        return min(shown, key=lambda one: one.time, default=Seen(self.terms.at, None))

    def _stamp(self, envelope: Envelope) -> datetime | None:
        if not self.terms.tsa_roots:
            return None
        if envelope not in self._stamps:
            # Few ask for it, and it needs an extra.
            from safety_receipts.receipts.timestamps.replies import has_client  # noqa: PLC0415
            from safety_receipts.verify.levels.times.timestamped import earliest_stamp  # noqa: PLC0415

            found = None
            if has_client():
                found, _ = earliest_stamp(self.bundle, envelope, self.terms.tsa_roots)
            self._stamps[envelope] = found
        return self._stamps[envelope]

    def _logged(self, envelope: Envelope, file: Path, key: PublicKey) -> datetime | None:
        """Return by when a quorum had seen a statement in a log, under the id of this key.

        A leaf names one key, and says nothing of a signature by another.
        """
        if self.terms.policy is None or envelope.signatures[0].keyid != key.keyid:
            return None
        from safety_receipts.verify.levels.times.logged import shown_in_log  # noqa: PLC0415  # few ask

        try:
            time = shown_in_log(self.bundle, envelope, file, self.terms.policy).time
            return None if time is None else datetime.fromtimestamp(time, UTC)
        except (MalformedError, OverflowError, ValueError):
            return None  # of a form that no log takes, or a time beyond all years


def stated_time(bundle: Bundle) -> datetime | None:
    """Return the earliest time that a bundle's receipt states of its event.

    None: it cannot be read, or its event is that of another receipt, whose responses were judged
    again at a time that nobody states.
    """
    try:
        receipt = bundle.receipt.statement.predicate
    except MalformedError:
        return None
    return None if receipt.rejudges is not None else _moment(receipt.event.started_at)


def _moment(text: str | None) -> datetime | None:
    return None if text is None else stated_moment(text) or _NO_MOMENT
