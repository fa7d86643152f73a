"""Envelopes and key ids as securesystemslib, which TUF and in-toto build on, has them."""

from __future__ import annotations

import json

import pytest
from securesystemslib import dsse as theirs
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey

from safety_receipts.receipts.dsse import PAYLOAD_TYPE, Envelope, pae, sign
from safety_receipts.receipts.errors import MalformedError
from safety_receipts.receipts.keys import (
    KeyType,
    Signer,
    TrustSet,
    generate_key,
    sign_together,
    supported_key_types,
)

PAYLOADS = [b'{"_type":"https://in-toto.io/Statement/v1"}', b"{}", bytes(range(256))]


def their_key(signer: Signer) -> SSlibKey:
    """Return the public key as securesystemslib holds it, with the id it gives by default."""
    return SSlibKey.from_crypto(signer.public.key)


def their_signer(signer: Signer) -> CryptoSigner:
    """Return the private key as securesystemslib's signer."""
    return CryptoSigner(signer.key)


def their_envelope(envelope: Envelope) -> theirs.Envelope:
    """Parse an envelope of ours with securesystemslib."""
    return theirs.Envelope.from_dict(json.loads(envelope.to_json()))


def test_key_ids_are_theirs(signer: Signer) -> None:
    assert their_key(signer).keyid == signer.public.keyid


def test_they_verify_our_envelopes(envelope: Envelope, signer: Signer) -> None:
    key = their_key(signer)
    verified = their_envelope(envelope).verify([key], threshold=1)
    assert list(verified) == [signer.public.keyid]


def test_they_refuse_what_we_refuse(envelope: Envelope, signer: Signer) -> None:
    payload = envelope.payload[:-1] + b" "
    changed = Envelope(payload, envelope.signatures)
    assert not changed.signed_by(TrustSet([signer.public]))
    with pytest.raises(VerificationError):
        their_envelope(changed).verify([their_key(signer)], threshold=1)
    stranger = generate_key(signer.public.key_type)
    assert not envelope.signed_by(TrustSet([stranger.public]))
    with pytest.raises(VerificationError):
        their_envelope(envelope).verify([their_key(stranger)], threshold=1)


def test_both_encode_what_is_signed_alike(envelope: Envelope) -> None:
    assert their_envelope(envelope).pae() == pae(PAYLOAD_TYPE, envelope.payload)
    other = theirs.Envelope(b"\xff\x00", "application/ümläut", {})
    assert other.pae() == pae("application/ümläut", b"\xff\x00")


@pytest.mark.parametrize("payload", PAYLOADS)
def test_we_verify_their_envelopes(signer: Signer, payload: bytes) -> None:
    made = theirs.Envelope(payload, PAYLOAD_TYPE, {})
    made.sign(their_signer(signer))
    for indent in (None, 2):
        envelope = Envelope.from_json(json.dumps(made.to_dict(), indent=indent).encode())
        assert envelope.payload == payload
        assert envelope.signed_by(TrustSet([signer.public])) == (signer.public,)
        assert [s.keyid for s in envelope.signatures] == [signer.public.keyid]
        assert not envelope.signed_by(TrustSet([generate_key().public]))


@pytest.mark.parametrize("other", supported_key_types())
def test_they_verify_a_hybrid_envelope_with_either_key(other: KeyType) -> None:
    """Whoever knows Ed25519 alone reads it as ever; a threshold of two counts both."""
    ed25519, second = generate_key(), generate_key(other)
    envelope = sign({"a": 1}, sign_together([ed25519, second]))
    for key in (ed25519, second):
        verified = their_envelope(envelope).verify([their_key(key)], threshold=1)
        assert list(verified) == [key.public.keyid]
    both = [their_key(ed25519), their_key(second)]
    assert len(their_envelope(envelope).verify(both, threshold=2)) == 2
    alone = Envelope(envelope.payload, envelope.signatures[:1])
    with pytest.raises(VerificationError):
        their_envelope(alone).verify(both, threshold=2)


def test_we_refuse_their_envelopes_of_other_types(signer: Signer) -> None:
    made = theirs.Envelope(b"{}", "application/json", {})
    made.sign(their_signer(signer))
    with pytest.raises(MalformedError):
        Envelope.from_json(json.dumps(made.to_dict()).encode())
