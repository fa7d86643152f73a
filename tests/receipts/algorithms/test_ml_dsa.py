"""ML-DSA keys: what is signed, what kinds there are, and versions of cryptography without them."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from safety_receipts.receipts.algorithms.ml_dsa import has_ml_dsa, is_ml_dsa_pem, pre_hashed
from safety_receipts.receipts.errors import KeyFileError
from safety_receipts.receipts.keys import KeyType, generate_key, load_public_key, load_signer

KINDS = [KeyType.ML_DSA_44, KeyType.ML_DSA_65]
SPKI = {
    "ml-dsa-44": bytes.fromhex("30820532300b06096086480165030403110382052100") + bytes(1312),
    "ml-dsa-65": bytes.fromhex("308207b2300b0609608648016503040312038207a100") + bytes(1952),
    "ml-dsa-87": bytes.fromhex("30820a32300b0609608648016503040313 03820a2100") + bytes(2592),
}
"""Public keys that nobody has the private half of, as FIPS 204 and RFC 9881 encode them."""

needs_ml_dsa = pytest.mark.skipif(not has_ml_dsa(), reason="cryptography is older than 48")
needs_none = pytest.mark.skipif(has_ml_dsa(), reason="cryptography has ML-DSA")


def pem(der: bytes, label: str = "PUBLIC KEY") -> bytes:
    body = base64.encodebytes(der).decode()
    return f"-----BEGIN {label}-----\n{body}-----END {label}-----\n".encode()


def test_what_is_signed_is_a_digest() -> None:
    """TAP 21 of the Update Framework, version 1."""
    message = b"DSSEv1 3 abc 2 {}"
    assert pre_hashed(message) == b"tuf\x01" + hashlib.sha512(message).digest()


@needs_ml_dsa
@pytest.mark.parametrize(("kind", "length"), [(KINDS[0], 2420), (KINDS[1], 3309)])
def test_signatures_have_the_length_of_fips_204(kind: KeyType, length: int) -> None:
    signer = generate_key(kind)
    signature = signer.sign(b"message")
    assert len(signature) == length
    assert signer.public.verifies(signature, b"message")
    assert not signer.public.verifies(signature, pre_hashed(b"message"))
    assert signer.public.key_type is kind


@pytest.mark.parametrize("name", list(SPKI))
def test_a_file_with_such_a_key_is_known_by_every_version(name: str) -> None:
    assert is_ml_dsa_pem(pem(SPKI[name]))
    assert not is_ml_dsa_pem(pem(b"\x30" + bytes(80)))
    assert not is_ml_dsa_pem(b"")
    assert not is_ml_dsa_pem(generate_key().public.pem())
    assert not is_ml_dsa_pem(generate_key(KeyType.P256).public.pem())


@needs_ml_dsa
def test_the_largest_size_is_refused_and_the_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "key.pub"
    for kind in KINDS:
        path.write_bytes(pem(SPKI[kind.value]))
        assert load_public_key(path).key_type is kind
    path.write_bytes(pem(SPKI["ml-dsa-87"]))
    with pytest.raises(KeyFileError, match="nor an ML-DSA-65 key"):
        load_public_key(path)


@needs_none
@pytest.mark.parametrize("kind", KINDS)
def test_an_older_cryptography_is_named(tmp_path: Path, kind: KeyType) -> None:
    with pytest.raises(KeyFileError, match="ML-DSA keys need cryptography 48 or later, and "):
        generate_key(kind)
    path = tmp_path / "key.pub"
    path.write_bytes(pem(SPKI[kind.value]))
    with pytest.raises(KeyFileError, match="cryptography 48 or later") as caught:
        load_public_key(path)
    assert caught.value.file == str(path)
    private = bytes.fromhex("3034020100300b0609608648016503040312042280 20") + bytes(32)
    path.write_bytes(pem(private, "PRIVATE KEY"))
    with pytest.raises(KeyFileError, match="cryptography 48 or later"):
        load_signer(path)
