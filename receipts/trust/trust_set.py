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
        """Take keys, and limits by key id; those of other keys say nothing."""
        super().__init__(keys)
        self._limits = {key.keyid: limits[key.keyid] for key in self if key.keyid in limits}

    def limits_of(self, key: PublicKey) -> KeyLimits | None:
        """Return the limits of a key; None: it has none."""
        return self._limits.get(key.keyid)


def limits_of(trust: TrustSet, key: PublicKey) -> KeyLimits | None:
    """Return what a key is held to; None: nothing."""
    return trust.limits_of(key) if isinstance(trust, LimitedTrust) else None


def limited_keys(trust: TrustSet) -> tuple[PublicKey, ...]:
    """Return the keys that have limits."""
    return tuple(key for key in trust if limits_of(trust, key))


def together(*trusted: TrustSet) -> TrustSet:
    """Return the keys of all; of one that several hold all limits hold."""
    limits: dict[str, KeyLimits] = {}
    for trust in trusted:
        for key in trust:
            if (mine := limits_of(trust, key)) is not None:
                limits[key.keyid] = mine.and_those(limits.get(key.keyid, KeyLimits()))
    return LimitedTrust((key for trust in trusted for key in trust), limits)
