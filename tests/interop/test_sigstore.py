"""Statements and P-256 envelopes as sigstore-python has them.

The underscored names are the ones its own verifier calls; it offers no public function
that checks an envelope without a certificate.
"""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from sigstore import dsse as theirs
from sigstore.errors import VerificationError

from safety_receipts.receipts.dsse import Envelope
from safety_receipts.receipts.keys import KeyType, Signer, TrustSet, generate_key

P256 = pytest.mark.parametrize("signer", [KeyType.P256], indirect=True)
"""The one type of key that sigstore knows."""


def p256_key(signer: Signer) -> ec.EllipticCurvePublicKey:
    """Return the public key as sigstore takes it."""
    assert isinstance(signer.public.key, ec.EllipticCurvePublicKey)
    return signer.public.key


def test_they_parse_our_statements(envelope: Envelope) -> None:
    statement = theirs.Statement(envelope.payload)
    assert statement._contents == envelope.payload
    inner, own = statement._inner, json.loads(envelope.payload)
    assert inner.predicate_type == own["predicateType"]
    assert inner.predicate == own["predicate"]
    assert [subject.name for subject in inner.subjects] == [own["subject"][0]["name"]]
    assert inner.subjects[0].digest.root == own["subject"][0]["digest"]


@P256
def test_they_verify_our_p256_envelopes(envelope: Envelope, signer: Signer) -> None:
    parsed = theirs.Envelope._from_json(envelope.to_json())
    assert theirs._verify(p256_key(signer), parsed) == envelope.payload


@P256
def test_they_refuse_what_was_tampered_with(envelope: Envelope, signer: Signer) -> None:
    changed = Envelope(envelope.payload[:-1] + b" ", envelope.signatures)
    parsed = theirs.Envelope._from_json(changed.to_json())
    with pytest.raises(VerificationError):
        theirs._verify(p256_key(signer), parsed)


def test_we_verify_their_envelopes(envelope: Envelope) -> None:
    signer = generate_key(KeyType.P256)
    assert isinstance(signer.key, ec.EllipticCurvePrivateKey)
    made = theirs._sign(signer.key, theirs.Statement(envelope.payload))
    read = Envelope.from_json(made.to_json().encode())
    assert read.payload == envelope.payload
    assert read.signed_by(TrustSet([signer.public])) == (signer.public,)
