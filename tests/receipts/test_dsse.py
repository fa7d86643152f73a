"""DSSE envelopes: what was signed, who signed, and that nothing can be changed."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safety_receipts.receipts.dsse import PAYLOAD_TYPE, Envelope, Signature, pae, sign
from safety_receipts.receipts.errors import MalformedError
from safety_receipts.receipts.keys import Signer, TrustSet, generate_key, supported_key_types

STATEMENT: dict[str, str | int] = {
    "_type": "https://in-toto.io/Statement/v1",
    "n": 3,
    "text": "\u00e9\u00ff\u00be~?>",
}
BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_="


def test_pae_of_the_specification() -> None:
    expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert pae("http://example.com/HelloWorld", b"hello world") == expected


def test_pae_counts_bytes_not_characters() -> None:
    assert pae("\u00e9", "\u00fc".encode()) == b"DSSEv1 2 \xc3\xa9 2 \xc3\xbc"
    assert pae("", b"") == b"DSSEv1 0  0 "


def test_sign_seals_canonical_bytes(any_signer: Signer) -> None:
    envelope = sign({"b": 1, "a": "\u00e9"}, any_signer)
    assert envelope.payload == '{"a":"é","b":1}'.encode()
    assert envelope.payload_type == "application/vnd.in-toto+json"
    assert [s.keyid for s in envelope.signatures] == [any_signer.public.keyid]
    assert any_signer.public.verifies(
        envelope.signatures[0].sig, pae(PAYLOAD_TYPE, envelope.payload)
    )
    assert envelope.signed_by(TrustSet([any_signer.public])) == (any_signer.public,)


def test_the_digest_is_of_the_payload_and_not_of_the_envelope(any_signer: Signer) -> None:
    envelope = sign(STATEMENT, any_signer)
    assert envelope.digest == hashlib.sha256(envelope.payload).hexdigest()
    unsigned = Envelope(envelope.payload, ())
    assert unsigned.digest == envelope.digest


@pytest.mark.parametrize(
    ("statement", "error"), [({"rate": 0.5}, TypeError), ({"n": 2**53}, ValueError)]
)
def test_what_cannot_be_sealed_is_not_signed(
    statement: Any, error: type[Exception], signer: Signer
) -> None:
    with pytest.raises(error):
        sign(statement, signer)


def test_every_flipped_bit_of_the_payload_is_caught(any_signer: Signer) -> None:
    envelope, trust = sign(STATEMENT, any_signer), TrustSet([any_signer.public])
    for place in range(len(envelope.payload)):
        for bit in range(8):
            payload = bytearray(envelope.payload)
            payload[place] ^= 1 << bit
            assert not Envelope(bytes(payload), envelope.signatures).signed_by(trust)


def test_flipped_bits_of_the_signature_are_caught(any_signer: Signer) -> None:
    envelope, trust = sign(STATEMENT, any_signer), TrustSet([any_signer.public])
    (good,) = envelope.signatures
    for place in range(len(good.sig)):
        for bit in range(8) if len(good.sig) < 100 else (place % 8,):  # ML-DSA's are long
            sig = bytearray(good.sig)
            sig[place] ^= 1 << bit
            changed = Envelope(envelope.payload, (Signature(good.keyid, bytes(sig)),))
            assert not changed.signed_by(trust)


@pytest.mark.parametrize(
    "cut", [lambda s: s[:-1], lambda s: s + b"\0", lambda s: b"", lambda s: s * 2]
)
def test_a_signature_of_another_length_is_caught(any_signer: Signer, cut: Any) -> None:
    envelope = sign(STATEMENT, any_signer)
    (good,) = envelope.signatures
    changed = Envelope(envelope.payload, (Signature(good.keyid, cut(good.sig)),))
    assert not changed.signed_by(TrustSet([any_signer.public]))


def test_a_signature_binds_the_payload_type(any_signer: Signer) -> None:
    payload = b"{}"
    other = Signature("", any_signer.sign(pae("application/json", payload)))
    assert not Envelope(payload, (other,)).signed_by(TrustSet([any_signer.public]))


def test_a_key_id_is_a_hint_that_anybody_can_write(any_signer: Signer, signer: Signer) -> None:
    envelope = sign(STATEMENT, any_signer)
    (good,) = envelope.signatures
    renamed = Envelope(envelope.payload, (Signature(signer.public.keyid, good.sig),))
    assert renamed.signed_by(TrustSet([any_signer.public])) == (any_signer.public,)
    assert renamed.signed_by(TrustSet([signer.public])) == ()


def test_nobody_is_trusted_by_an_empty_trust_set(any_signer: Signer) -> None:
    assert sign(STATEMENT, any_signer).signed_by(TrustSet()) == ()


def test_one_good_signature_among_several_is_enough(any_signer: Signer) -> None:
    stranger, other = generate_key(), generate_key()
    envelope = sign(STATEMENT, any_signer)
    message = pae(PAYLOAD_TYPE, envelope.payload)
    signatures = (
        Signature(any_signer.public.keyid, b"junk"),
        Signature("", stranger.sign(message)),
        *envelope.signatures,
        Signature("", other.sign(message)),
    )
    trust = TrustSet([other.public, any_signer.public, generate_key().public])
    several = Envelope(envelope.payload, signatures)
    assert {key.keyid for key in several.signed_by(trust)} == {
        other.public.keyid,
        any_signer.public.keyid,
    }


def test_an_envelope_is_one_line_that_reads_back(any_signer: Signer) -> None:
    envelope = sign(STATEMENT, any_signer)
    line = envelope.to_json()
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert Envelope.from_json(line) == envelope


def test_the_payload_is_kept_as_it_was_signed(any_signer: Signer) -> None:
    """Not re-serialised: signed bytes in another form than RFC 8785 still verify as they are."""
    payload = b'{ "b" : 1.50, "a": "\\u0041" }\n'
    signature = Signature("", any_signer.sign(pae(PAYLOAD_TYPE, payload)))
    read = Envelope.from_json(Envelope(payload, (signature,)).to_json())
    assert read.payload == payload
    assert read.signed_by(TrustSet([any_signer.public]))


def _document(signer: Signer) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(sign(STATEMENT, signer).to_json())
    return document


def _read(document: Any) -> Envelope:
    return Envelope.from_json(json.dumps(document).encode())


def test_no_other_base64_character_in_the_last_place_is_accepted(any_signer: Signer) -> None:
    """Python's decoder ignores stray bits there, so that several texts would be one signature."""
    document = _document(any_signer)
    for holder, field in ((document, "payload"), (document["signatures"][0], "sig")):
        text = holder[field]
        last = len(text.rstrip("=")) - 1
        for character in BASE64:
            if character == text[last]:
                continue
            holder[field] = text[:last] + character + text[last + 1 :]
            try:
                changed = _read(document)
            except MalformedError:
                continue
            assert not changed.signed_by(TrustSet([any_signer.public]))
        holder[field] = text


def _with_trust(signer: Signer) -> tuple[Envelope, TrustSet]:
    return sign(STATEMENT, signer), TrustSet([signer.public])


ENVELOPES = [_with_trust(generate_key(kind)) for kind in supported_key_types()]


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_no_changed_byte_of_an_envelope_file_passes_for_the_original(data: st.DataObject) -> None:
    """What still verifies says the same, with the same signature."""
    for envelope, trust in ENVELOPES:
        line = bytearray(envelope.to_json())
        place = data.draw(st.integers(0, len(line) - 1))
        line[place] = data.draw(st.sampled_from(BASE64.encode()) | st.integers(0, 255))
        try:
            changed = Envelope.from_json(bytes(line))
        except MalformedError:
            continue
        if changed.signed_by(trust):
            assert changed.payload == envelope.payload
            assert changed.signatures[0].sig == envelope.signatures[0].sig


def test_both_alphabets_of_base64_are_read_but_not_a_mixture(any_signer: Signer) -> None:
    payload = bytes.fromhex("fbefbefffe00") * 3
    signature = Signature("", any_signer.sign(pae(PAYLOAD_TYPE, payload)))
    document = json.loads(Envelope(payload, (signature,)).to_json())
    assert {"+", "/"} <= set(document["payload"])
    document["payload"] = base64.urlsafe_b64encode(payload).decode()
    assert _read(document).payload == payload
    document["payload"] = document["payload"].replace("_", "/", 1)
    with pytest.raises(MalformedError, match="canonical"):
        _read(document)


@pytest.mark.parametrize("data", [b"\xfb\xef\xbe", b"\xff\xff\xff", b"plain"])
def test_one_special_character_tells_the_alphabet(data: bytes, signer: Signer) -> None:
    document = _document(signer)
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        assert _read(document | {"payload": encode(data).decode()}).payload == data


@pytest.mark.parametrize(
    "payload",
    ["", "e30", "e30==", "e30=\n", " e30=", "e3 0=", "e31=", "e30=e30=", "e30=====", "é30=", "="],
)
def test_base64_has_one_form(payload: str, signer: Signer) -> None:
    document = _document(signer)
    with pytest.raises(MalformedError):
        _read(document | {"payload": payload})
    document["signatures"][0]["sig"] = payload
    with pytest.raises(MalformedError):
        _read(document)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("payloadType", "application/json"),
        ("payloadType", "application/vnd.in-toto+json\n"),
        ("payloadType", None),
        ("payload", None),
        ("payload", 3),
        ("signatures", []),
        ("signatures", {}),
        ("signatures", [{"keyid": "a"}]),
        ("signatures", [{"keyid": 3, "sig": "YQ=="}]),
        ("signatures", [{"keyid": "a" * 257, "sig": "YQ=="}]),
        ("signatures", [{"sig": "YQ=="}] * 17),
        ("signatures", [{"sig": "A" * 8196}]),
    ],
)
def test_what_is_no_envelope_is_refused(field: str, value: Any, signer: Signer) -> None:
    with pytest.raises(MalformedError) as caught:
        _read(_document(signer) | {field: value})
    assert caught.value.place is not None
    assert caught.value.place.startswith(f"$.{field}")


@pytest.mark.parametrize("field", ["payload", "payloadType", "signatures"])
def test_every_part_of_an_envelope_is_needed(field: str, signer: Signer) -> None:
    document = _document(signer)
    del document[field]
    with pytest.raises(MalformedError, match=field):
        _read(document)


@pytest.mark.parametrize("data", [b"[]", b"null", b'"text"', b"", b"{}"])
def test_other_documents_are_no_envelopes(data: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        Envelope.from_json(data, file="receipt.dsse.json")
    assert caught.value.file == "receipt.dsse.json"


def test_a_key_id_may_be_left_out(any_signer: Signer) -> None:
    document = _document(any_signer)
    del document["signatures"][0]["keyid"]
    envelope = _read(document)
    assert envelope.signatures[0].keyid == ""
    assert envelope.signed_by(TrustSet([any_signer.public]))


def test_unknown_fields_of_an_envelope_are_ignored(any_signer: Signer) -> None:
    """As the DSSE specification asks of consumers."""
    envelope = _read(_document(any_signer) | {"comment": {"a": [1]}})
    assert envelope.signed_by(TrustSet([any_signer.public]))
