"""ML-DSA (FIPS 204), where the installed cryptography has it: from version 48 on.

What is signed is not the message itself but ``tuf``, the byte 1, and the message's SHA-512, as
the Update Framework's TAP 21 has it: so the schemes ``ml-dsa-44/1`` and ``ml-dsa-65/1`` of
securesystemslib say, and hardware that signs can take it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import cryptography
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from safety_receipts.receipts.errors import KeyFileError

try:
    from cryptography.hazmat.primitives.asymmetric import mldsa
except ImportError:  # before 47
    _PUBLIC: dict[type[Any], str] = {}
    _PRIVATE: dict[str, type[Any]] = {}
else:
    _PUBLIC = {mldsa.MLDSA44PublicKey: "ml-dsa-44", mldsa.MLDSA65PublicKey: "ml-dsa-65"}
    _PRIVATE = {"ml-dsa-44": mldsa.MLDSA44PrivateKey, "ml-dsa-65": mldsa.MLDSA65PrivateKey}

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.mldsa import (
        MLDSA44PrivateKey,
        MLDSA44PublicKey,
        MLDSA65PrivateKey,
        MLDSA65PublicKey,
    )

    MlDsaPublicKey: TypeAlias = MLDSA44PublicKey | MLDSA65PublicKey
    MlDsaPrivateKey: TypeAlias = MLDSA44PrivateKey | MLDSA65PrivateKey

_PREFIX: Final = b"tuf\x01"
# The object identifiers 2.16.840.1.101.3.4.3.17 to .19 of FIPS 204's three sizes, in DER, but for
# the last byte.
_IDENTIFIER: Final = bytes.fromhex("06096086480165030403")
_LAST: Final = frozenset(b"\x11\x12\x13")


def pre_hashed(message: bytes) -> bytes:
    """Return what is signed of a message: 68 bytes (TAP 21, version 1)."""
    return _PREFIX + hashlib.sha512(message).digest()


def ml_dsa_name(key: object) -> str | None:
    """Return ``ml-dsa-44`` or ``ml-dsa-65`` for a key of that kind, either half; else None."""
    for kind, name in _PUBLIC.items():
        if isinstance(key, (kind, _PRIVATE[name])):
            return name
    return None


def ml_dsa_verifies(key: MlDsaPublicKey, signature: bytes, message: bytes) -> bool:
    """Say whether a signature over a message was made with a key's private half."""
    try:
        key.verify(signature, pre_hashed(message))
    except InvalidSignature:
        return False
    return True


def generate_ml_dsa(name: str) -> MlDsaPrivateKey:
    """Return a new private key.

    Args:
        name: ``ml-dsa-44`` or ``ml-dsa-65``.

    Raises:
        KeyFileError: The installed cryptography has no ML-DSA.
    """
    if not has_ml_dsa():
        raise no_ml_dsa()
    key: MlDsaPrivateKey = _PRIVATE[name].generate()
    return key


@cache
def has_ml_dsa() -> bool:
    """Say whether the installed cryptography can make and verify these signatures.

    Version 47 has the names, and can do nothing with them.
    """
    try:
        return bool(_PRIVATE) and _PRIVATE["ml-dsa-44"].generate() is not None
    except UnsupportedAlgorithm:
        return False


def no_ml_dsa() -> KeyFileError:
    """Return the error that the installed cryptography has no ML-DSA."""
    return KeyFileError(
        f"ML-DSA keys need cryptography 48 or later, and {cryptography.__version__} is installed",
        hint="pip install 'cryptography>=48'",
    )


def is_ml_dsa_pem(pem: bytes) -> bool:
    """Say whether an unencrypted key in PEM form is an ML-DSA key, of any size.

    Older versions of cryptography cannot read one, and do not say why.
    """
    lines = [line.strip() for line in pem.splitlines()]
    text = b"".join(line for line in lines if line and not line.startswith(b"-----"))
    try:
        head = base64.b64decode(text[:64], validate=True)
    except (binascii.Error, ValueError):
        return False
    before, found, after = head.partition(_IDENTIFIER)
    return bool(found) and len(before) < 16 and after[:1] != b"" and after[0] in _LAST
