"""Ed25519 public keys that nobody should trust: points of small order, and other spellings.

Under a point of small order signatures hold for many messages, and nobody needs a private key to
make one; a verifier that follows RFC 8032 to the letter accepts them.  A y that is not reduced
is another spelling of a point, which some libraries read and others do not.
"""

from __future__ import annotations

from typing import Final

_FIELD: Final = 2**255 - 19
_EIGHTH: Final = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
"""The y of two of the four points of order eight, of either sign of x."""

_WEAK_Y: Final = frozenset((0, 1, _FIELD - 1, _EIGHTH, _FIELD - _EIGHTH))
"""The y of the eight points whose order divides the cofactor, 8 (RFC 8032, section 5.1)."""


def is_weak_ed25519(raw: bytes) -> bool:
    """Say whether a public key is a point of small order, or no canonical encoding.

    Points of mixed order are none of these: a signature under one needs its private key.

    Args:
        raw: The 32 bytes of the encoding (RFC 8032, section 5.1.2): y in little-endian order,
            and the sign of x in the highest bit.
    """
    y = int.from_bytes(raw, "little") & (2**255 - 1)
    return y >= _FIELD or y in _WEAK_Y
