"""The name of the sampling noise and the seed of each point's, without torch.

The noise itself is :mod:`runner.engines.decoding.noise`; a plan names it and an auditor derives the
seeds before any model is loaded.
"""

from __future__ import annotations

from safety_receipts.receipts.canonical import Sha256, tagged_digest

NOISE = "gumbel-murmur3/1"
"""Name and version of the noise that seeded sampling adds."""


def point_noise_seed(event_seed: Sha256, point_id: Sha256) -> int:
    """Return the 64-bit seed of one point's noise.

    It is the first 8 bytes, big-endian, of
    ``SHA-256(JCS ["safety-receipts/noise/1", event_seed, point_id])``.

    Args:
        event_seed: Seed of the sealed event, 64 hex digits.
        point_id: Id of the evaluation point, 64 hex digits.
    """
    digest = tagged_digest("safety-receipts/noise/1", event_seed, point_id)
    return int.from_bytes(digest[:8], "big")
