"""The chains of drand that this version knows, and the times of their rounds.

A chain's parameters are pinned by its hash, which drand publishes and which is computed here
from them: period, genesis and public key cannot be changed without it.  Sources: drand's
documentation of its HTTP interface, and ``common/chain.go`` and ``chain/info.go`` of drand/drand.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

from safety_receipts.receipts.errors import UsageError


@dataclass(frozen=True)
class Chain:
    """A chain of unchained rounds: signatures on G1 of BLS12-381, hashed by RFC 9380."""

    name: str
    """What plans call it."""
    hash: str
    """The hash that drand knows it by, 64 hex digits."""
    public_key: bytes
    """The group's public key, a compressed point of G2, 96 bytes."""
    period: int
    """Seconds between rounds."""
    genesis: int
    """Time of round 1 in seconds since 1970 (UTC)."""
    group: bytes
    """Hash of the group that made the key, 32 bytes."""
    beacon: str
    """Name of the beacon in the chain's hash."""

    def computed_hash(self) -> str:
        """Return the chain's hash, as it follows from its parameters."""
        hashed = hashlib.sha256(self.period.to_bytes(4, "big"))
        hashed.update(self.genesis.to_bytes(8, "big", signed=True))
        for part in (self.public_key, self.group, self.beacon.encode("ascii")):
            hashed.update(part)
        return hashed.hexdigest()

    def time_of(self, number: int) -> int:
        """Return when a round is published, in seconds since 1970 (UTC)."""
        return self.genesis + (number - 1) * self.period

    def round_at(self, moment: int) -> int:
        """Return the newest round at a time in seconds since 1970 (UTC), which is 0 before all."""
        return max(0, (moment - self.genesis) // self.period + 1)

    def is_out(self, number: int, now: datetime) -> bool:
        """Say whether a round is published by ``now``."""
        return number <= self.round_at(int(now.timestamp()))

    def said_at(self, number: int) -> str:
        """Return when a round is published, in words."""
        moment = self.time_of(number)
        if moment > _LAST_MOMENT:
            return "long after the year 9999"
        return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


_LAST_MOMENT: Final = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp())

QUICKNET: Final = Chain(
    name="drand-quicknet",
    hash="52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971",
    public_key=bytes.fromhex(
        "83cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c8c4b450b6a0a6c3ac6a5776a"
        "2d1064510d1fec758c921cc22b0e17e63aaf4bcb5ed66304de9cf809bd274ca73bab4af5a6e9c76a4bc09e76"
        "eae8991ef5ece45a"
    ),
    period=3,
    genesis=1692803367,
    group=bytes.fromhex("f477d5c89f21a17c863a7f937c6a6d15859414d2be09cd448d4279af331c5d3e"),
    beacon="quicknet",
)
"""The League of Entropy's chain of a round every three seconds, since August 2023."""

CHAINS: Final = MappingProxyType({QUICKNET.name: QUICKNET})
"""The chains that are known, by name."""


def stated_moment(timestamp: str) -> datetime | None:
    """Return the time that a document states, or None where it states none that exists."""
    try:
        return datetime.strptime(timestamp, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def refuse_settled_round(chain: str, number: int, now: datetime) -> None:
    """Refuse a round whose value could have been looked at before it was named.

    Args:
        chain: Name of the beacon.
        number: Number of its round.
        now: The time.

    Raises:
        UsageError: The chain is not known, or the round is out.
    """
    known = CHAINS.get(chain)
    if known is None:
        raise UsageError(
            f"the beacon {chain} is not known, so that nobody could check what it said",
            hint=f"name a round of {', '.join(CHAINS)}",
        )
    if known.is_out(number, now):
        newest = known.round_at(int(now.timestamp()))
        raise UsageError(
            f"round {number:,} of {chain} is out since {known.said_at(number)}: its value could "
            "have been chosen",
            hint=f"name a round still to come; the newest is {newest}, one more every "
            f"{known.period} seconds",
        )
