"""Did a chain say this value in this round?  The round's signature shows it, offline.

The value is the SHA-256 of the signature.  The signature is a BLS signature over the SHA-256 of
the round's number (8 bytes, big-endian), on G1 of BLS12-381, with the hash to the curve of
RFC 9380.  The pairing is made by py-arkworks-bls12381.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
from dataclasses import dataclass
from typing import Any, Final

from safety_receipts.receipts.beacon.chains import CHAINS, Chain
from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.extras import install
from safety_receipts.receipts.model.check import CheckStatus

_PACKAGE: Final = "py_arkworks_bls12381"
_DST: Final = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_"
"""Domain of the hash to the curve, of drand's scheme ``bls-unchained-g1-rfc9380``."""
_SIGNATURE: Final = re.compile(r"[0-9a-f]{96}")


@dataclass(frozen=True)
class RoundFinding:
    """What is known of a value that a beacon is said to have said."""

    status: CheckStatus
    """Whether it said so."""
    detail: str
    """Why, in words."""


def is_round_signature(text: str) -> bool:
    """Say whether a text is 48 bytes in lower-case hex, as a round's signature is."""
    return _SIGNATURE.fullmatch(text) is not None


def value_of(signature: str) -> Sha256:
    """Return the value of a round, which drand calls randomness, from its signature in hex."""
    return Sha256(hashlib.sha256(bytes.fromhex(signature)).hexdigest())


def has_pairing() -> bool:
    """Say whether the package that makes pairings is installed."""
    return importlib.util.find_spec(_PACKAGE) is not None


def check_round(chain: str, number: int, value: str, signature: str | None) -> RoundFinding:
    """Check what a beacon is said to have said in a round.

    Args:
        chain: Name of the beacon.
        number: Number of its round, from 1.
        value: What it is said to have said, 64 hex digits.
        signature: The round's signature, 96 hex digits; None: it is not at hand.
    """
    if signature is None:
        return RoundFinding(
            CheckStatus.NOT_CHECKED,
            "the round's signature is not there: nothing shows that the beacon said this",
        )
    if value_of(signature) != value:
        return RoundFinding(
            CheckStatus.FAILED, "the value is not the SHA-256 of the round's signature"
        )
    known = CHAINS.get(chain)
    if known is None:
        return RoundFinding(
            CheckStatus.NOT_CHECKED, "the beacon is none that this version knows the key of"
        )
    if not has_pairing():
        return RoundFinding(
            CheckStatus.NOT_CHECKED,
            f"checking the round's signature needs py-arkworks-bls12381 ({install('log')})",
        )
    if not signs_round(known, number, bytes.fromhex(signature)):
        return RoundFinding(
            CheckStatus.FAILED, f"the signature is not that of round {number:,} of {chain}"
        )
    return RoundFinding(
        CheckStatus.PASSED, f"round {number:,} of {chain}, published {known.said_at(number)}"
    )


def signs_round(chain: Chain, number: int, signature: bytes) -> bool:
    """Say whether a signature is a chain's of a round: e(signature, g2) = e(H(message), key).

    Args:
        chain: The chain.
        number: Number of the round, from 1.
        signature: A compressed point of G1, 48 bytes.

    Raises:
        ImportError: The package that makes pairings is not installed.
    """
    curve: Any = importlib.import_module(_PACKAGE)
    message = hashlib.sha256(number.to_bytes(8, "big")).digest()
    try:
        point = curve.G1Point.from_compressed_bytes(signature)  # in the subgroup, or refused
    except ValueError:
        return False
    key = curve.G2Point.from_compressed_bytes(chain.public_key)
    hashed = curve.G1Point.hash_to_curve(message, _DST)
    return bool(curve.GT.pairing_check([point, -hashed], [curve.G2Point(), key]))
