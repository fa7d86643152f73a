"""Trusted keys with what a trust file says of them besides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

from safety_receipts.receipts.keys import PublicKey, TrustSet
from safety_receipts.receipts.trust.limits import KeyLimits


class KeyRole(StrEnum):
    """What a key is trusted with."""

    EVALUATOR = "evaluator"
    """It signs plans and receipts."""
    AUDITOR = "auditor"
    """It signs audits."""


class LimitedTrust(TrustSet):
    """Public keys that one role is trusted with, some of them within times."""

    def __init__(self, keys: Iterable[PublicKey], limits: Mapping[str, KeyLimits]) -> None:
        """Take keys, and limits by key id, also of keys that only others trust."""
        super().__init__(keys)
        self.limits: Mapping[str, KeyLimits] = dict(limits)


def limits_of(trust: TrustSet, key: PublicKey) -> KeyLimits | None:
    """Return what a key is held to; None: nothing."""
    return trust.limits.get(key.keyid) if isinstance(trust, LimitedTrust) else None


def together(*trusted: TrustSet) -> TrustSet:
    """Return the keys of all; of one that several hold all limits hold."""
    limits: dict[str, KeyLimits] = {}
    for trust in trusted:
        for keyid, mine in trust.limits.items() if isinstance(trust, LimitedTrust) else ():
            limits[keyid] = mine.and_those(limits.get(keyid, KeyLimits()))
    return LimitedTrust((key for trust in trusted for key in trust), limits)
