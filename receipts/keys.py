"""Signing keys: Ed25519 by default, P-256 for the tools that know only elliptic curves, ML-DSA
for receipts that must be believed when quantum computers break both.

Private keys are PKCS#8 PEM files (mode 0600), public keys SubjectPublicKeyInfo PEM files.
Key ids follow securesystemslib, so that its tools find our keys by name; they are hints
and never trusted: trust is a set of public keys that the verifier brings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeGuard

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from safety_receipts.receipts.algorithms.ed25519 import is_weak_ed25519
from safety_receipts.receipts.algorithms.ml_dsa import (
    generate_ml_dsa,
    has_ml_dsa,
    is_ml_dsa_pem,
    ml_dsa_name,
    ml_dsa_verifies,
    no_ml_dsa,
    pre_hashed,
)
from safety_receipts.receipts.errors import KeyFileError, UsageError
from safety_receipts.receipts.io.files import create_exclusive, read_own_file

if TYPE_CHECKING:
    from safety_receipts.receipts.algorithms.ml_dsa import MlDsaPrivateKey, MlDsaPublicKey

    _AnyPublic: TypeAlias = Ed25519PublicKey | ec.EllipticCurvePublicKey | MlDsaPublicKey
    _AnyPrivate: TypeAlias = Ed25519PrivateKey | ec.EllipticCurvePrivateKey | MlDsaPrivateKey

_MAX_KEY_FILE = 64 * 1024
MAX_SIGNATURES = 16
"""Most signatures that an envelope may have."""
_KINDS = "neither an Ed25519, a P-256, an ML-DSA-44 nor an ML-DSA-65 key"


class EncryptedKeyError(KeyFileError):
    """The key is encrypted and no passphrase was given."""


class WeakKeyError(KeyFileError):
    """A public key under which false signatures hold."""


class KeyType(StrEnum):
    """Kinds of key this project signs with."""

    ED25519 = "ed25519"
    P256 = "p256"
    ML_DSA_44 = "ml-dsa-44"
    ML_DSA_65 = "ml-dsa-65"


@dataclass(frozen=True)
class PublicKey:
    """A verification key.

    Raises:
        WeakKeyError: It is an Ed25519 point of small order, or another spelling of a point.
    """

    key: _AnyPublic

    def __post_init__(self) -> None:
        if isinstance(self.key, Ed25519PublicKey) and is_weak_ed25519(
            self.key.public_bytes(Encoding.Raw, PublicFormat.Raw)
        ):
            raise WeakKeyError(
                "the key is a weak one: under it false signatures hold",
                hint="ask its owner for a key that a tool made",
            )

    @property
    def key_type(self) -> KeyType:
        """Which algorithm the key is for."""
        if isinstance(self.key, Ed25519PublicKey):
            return KeyType.ED25519
        name = ml_dsa_name(self.key)
        return KeyType.P256 if name is None else KeyType(name)

    @property
    def keyid(self) -> str:
        """Securesystemslib's id: SHA-256 over the canonical JSON of type, value and scheme.

        Its canonical JSON (OLPC) differs from RFC 8785 only in leaving the line breaks of
        a PEM value unescaped.
        """
        if isinstance(self.key, Ed25519PublicKey):
            keytype, scheme = "ed25519", "ed25519"
            value = self.key.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
        else:
            value = self.pem().decode("ascii")
            if isinstance(self.key, ec.EllipticCurvePublicKey):
                keytype, scheme = "ecdsa", "ecdsa-sha2-nistp256"
            else:
                keytype, scheme = "ml-dsa", f"{self.key_type.value}/1"
        text = f'{{"keytype":"{keytype}","keyval":{{"public":"{value}"}},"scheme":"{scheme}"}}'
        return hashlib.sha256(text.encode("ascii")).hexdigest()

    def pem(self) -> bytes:
        """Return the SubjectPublicKeyInfo PEM bytes."""
        return self.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Say whether ``signature`` over ``message`` was made with this key's private half.

        P-256 signatures are DER-encoded ECDSA over SHA-256, as sigstore's are; ML-DSA's are
        over the hashed message (:mod:`receipts.algorithms.ml_dsa`).
        """
        try:
            if isinstance(self.key, Ed25519PublicKey):
                self.key.verify(signature, message)
            elif isinstance(self.key, ec.EllipticCurvePublicKey):
                self.key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
            else:
                return ml_dsa_verifies(self.key, signature, message)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, repr=False)
class Signer:
    """Who signs: a private key, or several that sign every statement together.

    It has no text form, so that no log can print one.
    """

    key: _AnyPrivate
    """The key; of several, the first."""
    also: tuple[Signer, ...] = ()
    """The others, each alone."""

    @property
    def public(self) -> PublicKey:
        """The verification key; of several, the first's."""
        return PublicKey(self.key.public_key())

    @property
    def each(self) -> tuple[Signer, ...]:
        """Every key alone, in the order given."""
        return (replace(self, also=()), *self.also)

    @property
    def trust(self) -> TrustSet:
        """The verification keys of all."""
        return TrustSet(one.public for one in self.each)

    def sign(self, message: bytes) -> bytes:
        """Return the first key's signature over ``message``.

        64 bytes for Ed25519, DER for P-256, 2,420 or 3,309 bytes for ML-DSA.
        """
        if isinstance(self.key, Ed25519PrivateKey):
            return self.key.sign(message)
        if isinstance(self.key, ec.EllipticCurvePrivateKey):
            return self.key.sign(message, ec.ECDSA(hashes.SHA256()))
        return self.key.sign(pre_hashed(message))


def sign_together(signers: Sequence[Signer]) -> Signer:
    """Return one signer of several keys, whose statements carry a signature by each.

    Raises:
        UsageError: There is none, a key is there twice, or there are more than an envelope holds.
    """
    each = [one for signer in signers for one in signer.each]
    if not 1 <= len(each) <= MAX_SIGNATURES:
        raise UsageError(f"{len(each)} keys cannot sign together: 1 to {MAX_SIGNATURES} can")
    if len({one.public.keyid for one in each}) < len(each):
        raise UsageError("a key was given twice", hint="give each key once")
    return replace(each[0], also=tuple(each[1:]))


class TrustSet:
    """The public keys that one role (evaluator or auditor) is trusted with.

    What a trust file says of them besides, :class:`receipts.trust.trust_set.LimitedTrust` holds.
    """

    def __init__(self, keys: Iterable[PublicKey] = ()) -> None:
        self._keys = {key.keyid: key for key in keys}

    @classmethod
    def load(cls, paths: Iterable[Path]) -> TrustSet:
        """Read one public key from each of ``paths``.

        Raises:
            KeyFileError: A file is no public key, a weak one, or one of an unsupported kind.
            FileAccessError: A file cannot be read.
        """
        return cls(load_public_key(path) for path in paths)

    def __iter__(self) -> Iterator[PublicKey]:
        return iter(self._keys.values())

    def __len__(self) -> int:
        return len(self._keys)


def supported_key_types() -> tuple[KeyType, ...]:
    """Return the kinds of key that the installed cryptography can sign with."""
    return tuple(
        kind for kind in KeyType if kind in (KeyType.ED25519, KeyType.P256) or has_ml_dsa()
    )


def generate_key(key_type: KeyType = KeyType.ED25519) -> Signer:
    """Return a new private key from the system's entropy.

    Raises:
        KeyFileError: The installed cryptography has no keys of this kind.
    """
    match key_type:
        case KeyType.ED25519:
            return Signer(Ed25519PrivateKey.generate())
        case KeyType.P256:
            return Signer(ec.generate_private_key(ec.SECP256R1()))
        case KeyType.ML_DSA_44 | KeyType.ML_DSA_65:
            return Signer(generate_ml_dsa(key_type.value))


def public_path(path: Path) -> Path:
    """Return where the public half of the key at ``path`` lies: ``KEY.pub``."""
    return Path(f"{path}.pub")


def write_key_pair(path: Path, signer: Signer, passphrase: bytes | None = None) -> None:
    """Write ``path`` (mode 0600) and ``path.pub``; neither may exist.

    Args:
        path: The private key's file.
        signer: The key.
        passphrase: Encrypts the private key (PKCS#8, cryptography's best scheme).

    Raises:
        FileAccessError: A file exists or cannot be written; nothing is left behind.
        KeyFileError: ``path`` is a folder, or the passphrase is longer than the encryption
            allows (1,023 bytes).
    """
    if not path.name or path.is_dir():
        raise KeyFileError("is a folder", file=path, hint="name a file")
    encryption: KeySerializationEncryption = NoEncryption()
    try:
        if passphrase is not None:
            encryption = BestAvailableEncryption(passphrase)
        private = signer.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    except ValueError as error:
        raise KeyFileError(f"the passphrase cannot be used: {error}", file=path) from None
    create_exclusive(public_path(path), signer.public.pem(), mode=0o644)
    try:
        create_exclusive(path, private, mode=0o600)
    except BaseException:
        public_path(path).unlink(missing_ok=True)
        raise


def _one_pem(data: bytes, path: Path) -> bytes:
    if data.count(b"-----BEGIN") > 1:  # of several the library takes the first, silently
        raise KeyFileError("holds several keys", file=path, hint="give a file with one key")
    return data


def load_signer(path: Path, passphrase: bytes | None = None) -> Signer:
    """Read a private key.

    Raises:
        KeyFileError: Not a private key, an unsupported kind, or a wrong or missing passphrase.
        FileAccessError: The file cannot be read.
    """
    data = _one_pem(read_own_file(path, _MAX_KEY_FILE), path)
    if b"PUBLIC KEY" in data:
        own = path.suffix == ".pub"
        raise KeyFileError(
            "is a public key; what signs is the private one",
            file=path,
            hint=f"use {path.stem}" if own else "give the private key that goes with it",
        )
    try:
        key = load_pem_private_key(data, passphrase)
    except TypeError:
        if passphrase is None:
            raise EncryptedKeyError(
                "the key is encrypted", file=path, hint="give --passphrase-env"
            ) from None
        raise KeyFileError(
            "the key is not encrypted", file=path, hint="give no passphrase"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        _refuse_unread(data, path)
        raise KeyFileError(
            "not a private key in PEM form, or the passphrase is wrong",
            file=path,
            hint="make one with: receipts keygen KEY",
        ) from None
    if isinstance(key, Ed25519PrivateKey) or _is_ml_dsa_private(key):
        return Signer(key)
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return Signer(key)
    raise KeyFileError(_KINDS, file=path)


def _is_ml_dsa_private(key: object) -> TypeGuard[MlDsaPrivateKey]:
    return ml_dsa_name(key) is not None


def _is_ml_dsa_public(key: object) -> TypeGuard[MlDsaPublicKey]:
    return ml_dsa_name(key) is not None


def _refuse_unread(data: bytes, path: Path) -> None:
    """Say of a key that cannot be read that it is an ML-DSA key, where it is one.

    Raises:
        KeyFileError: It is, and the installed cryptography knows none.
    """
    if is_ml_dsa_pem(data) and not has_ml_dsa():
        error = no_ml_dsa()
        raise KeyFileError(error.message, file=path, hint=error.hint) from None


def load_public_key(path: Path) -> PublicKey:
    """Read a public key.

    Raises:
        WeakKeyError: A key under which false signatures hold.
        KeyFileError: Not a public key, or of an unsupported kind.
        FileAccessError: The file cannot be read.
    """
    return parse_public_key(read_own_file(path, _MAX_KEY_FILE), path)


def parse_public_key(data: bytes, path: Path) -> PublicKey:
    """Read a public key from the bytes of a PEM file.

    Args:
        data: The bytes, which hold one key.
        path: Where they stand, for errors.

    Raises:
        WeakKeyError, KeyFileError: As :func:`load_public_key`.
    """
    if b"PRIVATE KEY" in _one_pem(data, path):
        raise KeyFileError(
            "is a private key; trust is given to public keys",
            file=path,
            hint=f"use {public_path(path).name}",
        )
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        _refuse_unread(data, path)
        raise KeyFileError(
            "not a public key in PEM form", file=path, hint="expected KEY.pub from: receipts keygen"
        ) from None
    if isinstance(key, Ed25519PublicKey):
        try:
            return PublicKey(key)
        except WeakKeyError as error:
            raise WeakKeyError(error.message, file=path, hint=error.hint) from None
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return PublicKey(key)
    if _is_ml_dsa_public(key):
        return PublicKey(key)
    raise KeyFileError(_KINDS, file=path)
