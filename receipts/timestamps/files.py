"""Timestamps as they lie in a bundle: replies and certificates, in the folder of proofs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from safety_receipts.receipts.bundle import PROOFS, Bundle
from safety_receipts.receipts.errors import FileAccessError, ReceiptsError
from safety_receipts.receipts.io.files import atomic_write, read_bounded
from safety_receipts.receipts.timestamps.certificates import MAX_CERTIFICATES, parse_certificates
from safety_receipts.receipts.timestamps.replies import MAX_REPLY

REPLY_SUFFIX: Final = ".tsr"
"""How names of replies end."""
CERTIFICATE_SUFFIX: Final = ".pem"
"""How names of files of certificates end."""
_MOST: Final = 100
_DIGITS: Final = 12


@dataclass(frozen=True)
class StoredReply:
    """A reply in a bundle."""

    name: str
    """Its file."""
    reply: bytes
    """What the file holds: DER of a ``TimeStampResp``."""


def stored_replies(bundle: Bundle) -> Iterator[StoredReply]:
    """Yield the replies in a bundle's folder of proofs, by name; of many the first hundred.

    What is too long, or no regular file, is passed over: anybody can put files there.

    Raises:
        FileAccessError: The folder cannot be listed.
    """
    for path in _files(bundle, REPLY_SUFFIX):
        try:
            yield StoredReply(f"{PROOFS}/{path.name}", read_bounded(path, MAX_REPLY))
        except ReceiptsError:
            continue


def stored_certificates(bundle: Bundle) -> list[x509.Certificate]:
    """Return the certificates in a bundle's folder of proofs: nobody has vouched for them.

    Raises:
        FileAccessError: The folder cannot be listed.
    """
    found: list[x509.Certificate] = []
    for path in _files(bundle, CERTIFICATE_SUFFIX):
        try:
            found += parse_certificates(read_bounded(path, MAX_CERTIFICATES), path)
        except ReceiptsError:
            continue
    return found[:_MOST]


def store_reply(folder: Path, what: str, reply: bytes) -> Path:
    """Write a reply into a bundle.

    Args:
        folder: The bundle.
        what: What it stamps: ``plan`` or ``receipt``.
        reply: DER of a ``TimeStampResp``.

    Returns:
        The file.

    Raises:
        FileAccessError: It cannot be written.
    """
    return _store(folder, f"{what}-{_short(reply)}{REPLY_SUFFIX}", reply)


def store_certificates(folder: Path, certificates: Iterable[x509.Certificate]) -> list[Path]:
    """Write certificates of authorities into a bundle, a file each.

    Returns:
        The files.

    Raises:
        FileAccessError: One cannot be written.
    """
    pems = [one.public_bytes(Encoding.PEM) for one in certificates]
    return [_store(folder, f"tsa-{_short(pem)}{CERTIFICATE_SUFFIX}", pem) for pem in pems]


def _store(folder: Path, name: str, data: bytes) -> Path:
    proofs = folder / PROOFS
    try:
        proofs.mkdir(exist_ok=True)
    except OSError as error:
        raise FileAccessError.from_os(error, "create", proofs) from None
    atomic_write(proofs / name, data)
    return proofs / name


def _short(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:_DIGITS]


def _files(bundle: Bundle, suffix: str) -> list[Path]:
    folder = bundle.folder / PROOFS
    if folder.is_symlink() or not folder.is_dir():
        return []
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == suffix)[:_MOST]
    except OSError as error:
        raise FileAccessError.from_os(error, "list", folder) from None
