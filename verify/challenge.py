"""Which points an audit draws: decided by the receipt and a nonce, by hashing alone."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from typing import Final

from safety_receipts.receipts.canonical import Sha256, tagged_digest

TAG: Final = "safety-receipts/challenge/1"
"""Domain of the hash that orders an audit's points."""
TICKET_TAG: Final = "safety-receipts/ticket/1"
"""Domain of the hash that orders the tickets of a slope's test."""


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


def ticket_order(receipt: Sha256, nonce: str, tickets: Mapping[Sha256, int]) -> list[Sha256]:
    """Return points in the order in which their tickets are drawn, each as often as it has some.

    Tickets ascend by SHA-256 over RFC 8785 (JCS) ``[TICKET_TAG, receipt, nonce, point id, number
    from 1]``.

    Args:
        receipt: As of :func:`draw_order`.
        nonce: Likewise.
        tickets: How many each point has, by its id.
    """
    drawn = [
        (tagged_digest(TICKET_TAG, receipt, nonce, point, number), point)
        for point, count in tickets.items()
        for number in range(1, count + 1)
    ]
    return [point for _, point in sorted(drawn)]
