"""Certificates of timestamp authorities: the reader's roots, and what lies beside replies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from safety_receipts.receipts.errors import KeyFileError
from safety_receipts.receipts.io.files import read_own_file

MAX_CERTIFICATES: Final = 64 * 1024
"""Longest file of certificates, in bytes."""
_MOST: Final = 32
_DEPTH: Final = 8


@dataclass(frozen=True)
class CertificateChain:
    """Certificates that lead to a root, told apart by what they may do."""

    intermediates: tuple[x509.Certificate, ...]
    """Of authorities that sign certificates."""
    leaves: tuple[x509.Certificate, ...]
    """Of those that do not: what signs timestamps is one of them."""


def read_certificates(path: Path) -> tuple[x509.Certificate, ...]:
    """Read the certificates in a PEM file of the user's.

    Raises:
        FileAccessError: It cannot be read.
        KeyFileError: It holds none, or something else.
    """
    return parse_certificates(read_own_file(path, MAX_CERTIFICATES), path)


def parse_certificates(data: bytes, path: Path) -> tuple[x509.Certificate, ...]:
    """Parse certificates in PEM form.

    Raises:
        KeyFileError: There is none, or something else, or too many.
    """
    try:
        found = tuple(x509.load_pem_x509_certificates(data))
    except ValueError:
        raise KeyFileError("not a certificate in PEM form", file=path) from None
    if len(found) > _MOST:
        raise KeyFileError(f"holds more than {_MOST} certificates", file=path)
    return found


def chain_to(
    roots: Sequence[x509.Certificate], beside: Iterable[x509.Certificate]
) -> CertificateChain:
    """Return those of some certificates that lead to a root.

    rfc3161-client 1.0.9 trusts each certificate that it is given, whether as a root, as an
    intermediate one or as the authority's own, if it is signed with its own key: what comes from
    a bundle must not reach it unless a root stands behind it.

    Args:
        roots: The reader's.
        beside: Others, which anybody may have put there.
    """
    issuers, left = list(roots), [one for one in beside if one not in roots]
    intermediates: list[x509.Certificate] = []
    leaves: list[x509.Certificate] = []
    for _ in range(_DEPTH):
        issued = [one for one in left if any(_issued(one, by) for by in issuers)]
        if not issued:
            break
        left = [one for one in left if one not in issued]
        issuers = [one for one in issued if _signs_certificates(one)]
        intermediates += issuers
        leaves += [one for one in issued if one not in issuers]
    return CertificateChain(tuple(intermediates), tuple(leaves))


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _signs_certificates(certificate: x509.Certificate) -> bool:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return False
    return constraints.value.ca
