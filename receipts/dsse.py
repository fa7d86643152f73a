"""DSSE envelopes: the exact bytes that were signed, and who signed them.

Verify first, parse after: the payload is kept as opaque bytes beside whatever is parsed
from it, and is never re-serialised.  Specification: the Dead Simple Signing Envelope,
protocol and envelope v1 (https://github.com/secure-systems-lab/dsse).
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from os import PathLike

from safety_receipts.receipts.canonical import JsonValue, Sha256, canonical_bytes, sha256_hex
from safety_receipts.receipts.documents.parse import parse_document
from safety_receipts.receipts.errors import MalformedError
from safety_receipts.receipts.keys import PublicKey, Signer, TrustSet
from safety_receipts.receipts.model.envelope import EnvelopeDocument

PAYLOAD_TYPE = "application/vnd.in-toto+json"


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return the pre-authentication encoding, the bytes that are actually signed."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


@dataclass(frozen=True)
class Signature:
    """One signature and the id of the key that is said to have made it."""

    keyid: str
    sig: bytes


@dataclass(frozen=True)
class Envelope:
    """A payload and its signatures."""

    payload: bytes
    signatures: tuple[Signature, ...]
    payload_type: str = PAYLOAD_TYPE

    @property
    def digest(self) -> Sha256:
        """Digest of the statement: SHA-256 of the payload bytes, never of the envelope."""
        return sha256_hex(self.payload)

    def signed_by(self, trust: TrustSet) -> tuple[PublicKey, ...]:
        """Return the trusted keys that made a signature over this payload.

        Every trusted key is tried on every signature: a key id is a hint that anybody can
        write.
        """
        message = pae(self.payload_type, self.payload)
        return tuple(
            key for key in trust if any(key.verifies(s.sig, message) for s in self.signatures)
        )

    def signed_by_all(self, signer: Signer) -> bool:
        """Say whether every key of a signer made a signature over this payload."""
        return len(self.signed_by(signer.trust)) == len(signer.each)

    def to_json(self) -> bytes:
        """Return the envelope as one line of JSON, ready for a ``.intoto.jsonl`` bundle."""
        document = {
            "payload": base64.b64encode(self.payload).decode("ascii"),
            "payloadType": self.payload_type,
            "signatures": [
                {"keyid": s.keyid, "sig": base64.b64encode(s.sig).decode("ascii")}
                for s in self.signatures
            ],
        }
        return json.dumps(document, separators=(",", ":")).encode("ascii") + b"\n"

    @classmethod
    def from_json(cls, data: bytes, *, file: str | PathLike[str] | None = None) -> Envelope:
        """Parse an envelope; its signatures are not verified yet.

        Raises:
            MalformedError: Not an envelope around an in-toto statement.
        """
        document, _ = parse_document(data, EnvelopeDocument, "envelope", file=file, open_root=True)
        return cls(
            payload=_decode(document.payload, "$.payload", file),
            payload_type=document.payload_type,
            signatures=tuple(
                Signature(s.keyid, _decode(s.sig, f"$.signatures[{i}].sig", file))
                for i, s in enumerate(document.signatures)
            ),
        )


def sign(statement: JsonValue, signer: Signer) -> Envelope:
    """Seal a statement: RFC 8785 bytes, signed with every key of a signer, in their order.

    Raises:
        TypeError: The statement holds a float.
        ValueError: It holds an integer beyond ±(2^53 − 1).
    """
    payload = canonical_bytes(statement)
    message = pae(PAYLOAD_TYPE, payload)
    signatures = tuple(Signature(one.public.keyid, one.sign(message)) for one in signer.each)
    return Envelope(payload, signatures)


def _decode(text: str, place: str, file: str | PathLike[str] | None) -> bytes:
    """Decode base64, standard or URL-safe alphabet as DSSE allows, in its one exact form.

    Python's decoder skips foreign characters and ignores stray bits, so that many texts
    would give the same bytes; encoding again and comparing leaves exactly one of each
    alphabet.
    """
    altchars = b"-_" if "-" in text or "_" in text else b"+/"
    try:
        data = base64.b64decode(text, altchars=altchars, validate=True)
    except (binascii.Error, ValueError):
        raise MalformedError("not base64", file=file, place=place) from None
    if base64.b64encode(data, altchars=altchars) != text.encode("ascii", "replace"):
        raise MalformedError("not base64 in its canonical form", file=file, place=place)
    return data
