"""Which points an audit draws: decided by the receipt and a nonce, by hashing alone."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Final

from safety_receipts.receipts.canonical import Sha256, tagged_digest

TAG: Final = "safety-receipts/challenge/1"
"""Domain of the hash that orders an audit's points."""


def new_nonce() -> str:
    """Return 32 fresh random bytes as 64 hex digits."""
    return secrets.token_hex(32)


def draw_order(receipt: Sha256, nonce: str, ids: Iterable[Sha256]) -> list[Sha256]:
    """Return points in the order in which an audit draws them.

    They ascend by SHA-256 over RFC 8785 (JCS) ``[TAG, receipt, nonce, point id]``.  No random
    number generator takes part, so that any language arrives at the same order, and the order
    of a condition's points does not depend on which other conditions are audited.

    Args:
        receipt: Digest of the receipt, fixed before the nonce was drawn.
        nonce: What the receipt's maker could not foresee: 64 lower-case hex digits, the
            auditor's nonce or the beacon's value.
        ids: Ids of the points to order, each once.

    Raises:
        ValueError: A point is named twice; it would be drawn twice.
    """
    points = list(ids)
    if len(set(points)) != len(points):
        raise ValueError("a point is named twice")
    return sorted(points, key=lambda point: (tagged_digest(TAG, receipt, nonce, point), point))
