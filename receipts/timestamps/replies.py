"""Replies of a timestamp authority (RFC 3161): what is stamped, and whether a reply shows it."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from cryptography import x509

from safety_receipts.receipts.canonical import canonical_bytes
from safety_receipts.receipts.dsse import Envelope
from safety_receipts.receipts.errors import IncompleteError, IntegrityError
from safety_receipts.receipts.extras import install
from safety_receipts.receipts.timestamps.certificates import chain_to

if TYPE_CHECKING:
    from rfc3161_client import TimeStampResponse

_TAG: Final = "safety-receipts/timestamp/1"
"""Domain of what is stamped."""
MAX_REPLY: Final = 64 * 1024
"""Longest reply, in bytes."""


@dataclass(frozen=True)
class StampedTime:
    """What a reply shows."""

    time: datetime
    """When the authority saw the bytes (UTC)."""


@dataclass(frozen=True)
class TimestampRequest:
    """A question to an authority, and what its reply is held to."""

    query: bytes
    """What is sent: DER of a ``TimeStampReq``."""
    message: bytes
    """The bytes that are to be stamped."""
    nonce: int
    """What the reply repeats."""


def stamped_bytes(envelope: Envelope) -> bytes:
    """Return the bytes that are stamped for a signed statement.

    RFC 8785 (JCS) ``[_TAG, digest of the statement, [signature in hex, …]]``, the signatures in
    the order of the envelope.  Signatures and not the statement alone: whoever has them stamped
    had the key, and nobody can sign again under an old stamp.
    """
    signatures = [one.sig.hex() for one in envelope.signatures]
    return canonical_bytes([_TAG, envelope.digest, signatures])


def has_client() -> bool:
    """Say whether the package that reads replies is installed."""
    return importlib.util.find_spec("rfc3161_client") is not None


def no_client() -> IncompleteError:
    """Return the error that it is not."""
    return IncompleteError("timestamps need rfc3161-client", hint=install("log"))


def new_request(message: bytes) -> TimestampRequest:
    """Return a question for a timestamp of some bytes, by their SHA-256, with a fresh nonce.

    Raises:
        IncompleteError: The package that makes it is not installed.
    """
    if not has_client():
        raise no_client()
    from rfc3161_client import HashAlgorithm, TimestampRequestBuilder  # noqa: PLC0415  # an extra

    made = TimestampRequestBuilder().data(message).hash_algorithm(HashAlgorithm.SHA256).build()
    assert made.nonce is not None  # the builder adds one
    return TimestampRequest(made.as_bytes(), message, made.nonce)


def check_answer(reply: bytes, request: TimestampRequest) -> StampedTime:
    """Hold a reply to its question; who signed it is not looked at.

    Raises:
        IntegrityError: It is no reply, a refusal, of other bytes, or to another question.
        IncompleteError: The package that reads it is not installed.
    """
    answer = _read(reply)
    if not _stamps(answer, request.message):
        raise IntegrityError("the timestamp is of other bytes")
    if answer.tst_info.nonce != request.nonce:
        raise IntegrityError("the reply is to another question: its nonce is another")
    return StampedTime(answer.tst_info.gen_time.astimezone(UTC))


def stamps(reply: bytes, message: bytes) -> bool:
    """Say whether a reply is of some bytes; who signed it is not looked at.

    Raises:
        IntegrityError: It is no reply, or a refusal.
        IncompleteError: The package that reads it is not installed.
    """
    return _stamps(_read(reply), message)


def check_reply(
    reply: bytes,
    message: bytes,
    roots: Sequence[x509.Certificate],
    beside: Sequence[x509.Certificate] = (),
) -> StampedTime:
    """Check that an authority below a root of the reader's stamped some bytes.

    Certificates are held to the time of the stamp: an authority's may have expired since.

    Args:
        reply: DER of a ``TimeStampResp``.
        message: The bytes.
        roots: Certificates of the reader's; at least one.
        beside: Certificates that lie beside the reply, which anybody may have put there: those
            that no root stands behind are left out.

    Raises:
        IntegrityError: It is no reply, a refusal, of other bytes, or no authority's below a root.
        IncompleteError: The package that checks it is not installed.
    """
    answer = _read(reply)
    if not _stamps(answer, message):
        raise IntegrityError("the timestamp is of other bytes")
    from rfc3161_client import VerificationError, VerifierBuilder  # noqa: PLC0415  # an extra

    chain = chain_to(roots, beside)
    embedded = bool(answer.signed_data.certificates)
    authorities = [None] if embedded else [*chain.leaves]
    if not authorities:
        raise IntegrityError("the reply names no certificate, and none lies beside it")
    problem = ""
    for authority in authorities:
        verifier = VerifierBuilder(
            roots=list(roots),
            intermediates=list(chain.intermediates),
            tsa_certificate=authority,
        ).build()
        try:
            verifier.verify_message(answer, message)
        except (VerificationError, ValueError) as error:
            problem = _reason(str(error))
        else:
            return StampedTime(answer.tst_info.gen_time.astimezone(UTC))
    raise IntegrityError(f"no authority below a root that you gave signed it: {problem}")


def _read(reply: bytes) -> TimeStampResponse:
    if not has_client():
        raise no_client()
    from rfc3161_client import PKIStatus, decode_timestamp_response  # noqa: PLC0415  # an extra

    try:
        answer = decode_timestamp_response(reply)
        status = PKIStatus(answer.status)
    except ValueError:
        raise IntegrityError("is no reply of a timestamp authority") from None
    if status is not PKIStatus.GRANTED:
        raise IntegrityError(f"the authority refused: {status.name.lower().replace('_', ' ')}")
    try:
        answer.tst_info.gen_time.astimezone(UTC)
        answer.signed_data.certificates  # noqa: B018  # what is malformed raises when it is read
    except (ValueError, OverflowError):
        raise IntegrityError("is no reply of a timestamp authority") from None
    return answer


_HASHES: Final = {
    "2.16.840.1.101.3.4.2.1": hashlib.sha256,
    "2.16.840.1.101.3.4.2.2": hashlib.sha384,
    "2.16.840.1.101.3.4.2.3": hashlib.sha512,
}


def _stamps(answer: TimeStampResponse, message: bytes) -> bool:
    imprint = answer.tst_info.message_imprint
    hashed = _HASHES.get(imprint.hash_algorithm.dotted_string)
    return hashed is not None and imprint.message == hashed(message).digest()


def _reason(text: str) -> str:
    """Return the reason in what the package says, without the stack of its library."""
    _, found, rest = text.partition("Verify error: ")
    return rest.partition('"')[0] if found else text.partition(": ErrorStack")[0]
