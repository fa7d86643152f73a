"""What a reader asks of signatures besides whose they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from safety_receipts.receipts.keys import TrustSet

if TYPE_CHECKING:
    from cryptography import x509

    from safety_receipts.verify.levels.times.logged import LogTerms


@dataclass(frozen=True)
class TrustTerms:
    """What a reader asks of signatures, and what shows when they were there."""

    required: TrustSet | None = None
    """Keys each of which must have signed plan and receipt; None: none."""
    tsa_roots: Sequence[x509.Certificate] = ()
    """Roots of timestamp authorities; none: timestamps are not looked at."""
    log: LogTerms | None = None
    """What proofs of logs are held to; None: they are not looked at."""
    at: datetime | None = None
    """The moment of the decision, with its time zone; None: now."""


NOTHING_MORE = TrustTerms()
"""What is asked where nobody says more: keys within their limits, as far as now shows."""
