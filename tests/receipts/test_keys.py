"""Keys and their files."""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from safety_receipts.receipts.errors import ExitCode, FileAccessError, KeyFileError, ReceiptsError
from safety_receipts.receipts.keys import (
    KeyType,
    PublicKey,
    Signer,
    TrustSet,
    generate_key,
    load_public_key,
    load_signer,
    public_path,
    supported_key_types,
    write_key_pair,
)

# RFC 8032, section 7.1, test 1.
RFC_SECRET = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
RFC_PUBLIC = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
RFC_SIGNATURE = (
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555"
    "fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
)


@pytest.fixture
def rfc_signer() -> Signer:
    """The key of RFC 8032's first test."""
    return Signer(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(RFC_SECRET)))


def test_ed25519_signs_as_rfc_8032_says(rfc_signer: Signer) -> None:
    assert rfc_signer.sign(b"").hex() == RFC_SIGNATURE
    assert rfc_signer.public.verifies(bytes.fromhex(RFC_SIGNATURE), b"")


def test_the_id_of_an_ed25519_key(rfc_signer: Signer) -> None:
    text = f'{{"keytype":"ed25519","keyval":{{"public":"{RFC_PUBLIC}"}},"scheme":"ed25519"}}'
    assert rfc_signer.public.keyid == hashlib.sha256(text.encode()).hexdigest()
    assert rfc_signer.public.key_type is KeyType.ED25519


def test_the_id_of_a_p256_key() -> None:
    public = generate_key(KeyType.P256).public
    text = (
        '{"keytype":"ecdsa","keyval":{"public":"'
        + public.pem().decode()
        + '"},"scheme":"ecdsa-sha2-nistp256"}'
    )
    assert public.keyid == hashlib.sha256(text.encode()).hexdigest()
    assert public.key_type is KeyType.P256


def test_every_generated_key_is_new() -> None:
    kinds = supported_key_types()
    found = {generate_key(kind).public.keyid for kind in kinds for _ in range(3)}
    assert len(found) == 3 * len(kinds)


def test_a_signature_is_of_one_message_and_one_key(any_signer: Signer) -> None:
    signature = any_signer.sign(b"message")
    assert any_signer.public.verifies(signature, b"message")
    assert not any_signer.public.verifies(signature, b"messagf")
    for kind in supported_key_types():
        assert not generate_key(kind).public.verifies(signature, b"message")


@given(st.binary(max_size=80))
@settings(deadline=None)
def test_junk_is_no_signature_and_no_error(junk: bytes) -> None:
    for public in PUBLIC_KEYS:
        assert not public.verifies(junk, b"message")


PUBLIC_KEYS = [generate_key(kind).public for kind in supported_key_types()]


@pytest.mark.parametrize("passphrase", [None, b"correct horse", b"\xff\x00 bytes", b"x" * 1023])
def test_a_key_pair_reads_back(
    tmp_path: Path, any_signer: Signer, passphrase: bytes | None
) -> None:
    path = tmp_path / "signer"
    write_key_pair(path, any_signer, passphrase)
    read = load_signer(path, passphrase)
    assert read.public == any_signer.public
    assert any_signer.public.verifies(read.sign(b"message"), b"message")
    assert load_public_key(public_path(path)) == any_signer.public
    assert public_path(path) == tmp_path / "signer.pub"
    assert sorted(tmp_path.iterdir()) == [path, public_path(path)]


def test_only_the_owner_may_read_a_private_key(tmp_path: Path, any_signer: Signer) -> None:
    """Even where the umask takes nothing away."""
    path = tmp_path / "signer"
    before = os.umask(0)
    try:
        write_key_pair(path, any_signer)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(public_path(path).stat().st_mode) == 0o644


@pytest.mark.parametrize("existing", ["signer", "signer.pub"])
def test_no_key_is_overwritten(tmp_path: Path, signer: Signer, existing: str) -> None:
    (tmp_path / existing).write_text("precious")
    with pytest.raises(FileAccessError, match="File exists"):
        write_key_pair(tmp_path / "signer", signer)
    assert (tmp_path / existing).read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == [existing]


@pytest.mark.parametrize("name", ["signer", "signer.pub"])
def test_no_key_is_written_through_a_link(tmp_path: Path, signer: Signer, name: str) -> None:
    (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileAccessError):
        write_key_pair(tmp_path / "signer", signer)
    assert not (tmp_path / "elsewhere").exists()


def test_a_key_is_no_folder(tmp_path: Path, signer: Signer) -> None:
    with pytest.raises(KeyFileError, match="is a folder"):
        write_key_pair(tmp_path, signer)
    assert not public_path(tmp_path).exists()


def test_a_folder_that_is_not_there(tmp_path: Path, signer: Signer) -> None:
    with pytest.raises(FileAccessError, match="No such file"):
        write_key_pair(tmp_path / "nowhere" / "signer", signer)


@pytest.mark.parametrize("passphrase", [b"", b"x" * 1024])
def test_passphrases_that_cannot_be_used(tmp_path: Path, signer: Signer, passphrase: bytes) -> None:
    with pytest.raises(KeyFileError, match="passphrase"):
        write_key_pair(tmp_path / "signer", signer, passphrase)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("written", "given_", "message"),
    [
        (b"right", b"wrong", "the passphrase is wrong"),
        (b"right", b"right ", "the passphrase is wrong"),
        (b"right", b"x" * 5000, "the passphrase is wrong"),
        (b"right", None, "the key is encrypted"),
        (None, b"needless", "the key is not encrypted"),
    ],
)
def test_passphrases_that_do_not_fit(
    tmp_path: Path,
    any_signer: Signer,
    written: bytes | None,
    given_: bytes | None,
    message: str,
) -> None:
    path = tmp_path / "signer"
    write_key_pair(path, any_signer, written)
    with pytest.raises(KeyFileError, match=message) as caught:
        load_signer(path, given_)
    assert caught.value.file == str(path)
    assert caught.value.hint
    assert caught.value.exit_code is ExitCode.BAD_INPUT


def test_an_encrypted_key_file_does_not_hold_the_plain_key(
    tmp_path: Path, any_signer: Signer
) -> None:
    plain = any_signer.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_key_pair(tmp_path / "signer", any_signer, b"passphrase")
    written = (tmp_path / "signer").read_bytes()
    assert b"ENCRYPTED PRIVATE KEY" in written
    assert plain.splitlines()[1] not in written


def test_a_signer_has_no_text_form(any_signer: Signer, rfc_signer: Signer) -> None:
    secret = bytes.fromhex(RFC_SECRET)
    texts = [repr(rfc_signer), str(rfc_signer), f"{rfc_signer!r:.200}", f"{[rfc_signer]}"]
    for text in texts:
        assert RFC_SECRET not in text
        assert repr(secret)[2:-1] not in text
        assert str(int.from_bytes(secret, "big")) not in text
    if isinstance(any_signer.key, ec.EllipticCurvePrivateKey):
        number = any_signer.key.private_numbers().private_value
        assert str(number) not in repr(any_signer)
        assert f"{number:x}" not in repr(any_signer)


def _private_pem(key: Any) -> bytes:
    pem: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem


def _public_pem(key: Any) -> bytes:
    pem: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 2048),
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP256K1()),
        ed448.Ed448PrivateKey.generate(),
    ],
    ids=["rsa", "p384", "secp256k1", "ed448"],
)
def test_other_kinds_of_key_are_refused(tmp_path: Path, key: Any) -> None:
    path = tmp_path / "key"
    path.write_bytes(_private_pem(key))
    with pytest.raises(
        KeyFileError, match="neither an Ed25519, a P-256, an ML-DSA-44 nor an ML-DSA-65 key"
    ):
        load_signer(path)
    path.write_bytes(_public_pem(key))
    with pytest.raises(
        KeyFileError, match="neither an Ed25519, a P-256, an ML-DSA-44 nor an ML-DSA-65 key"
    ):
        load_public_key(path)


def test_a_private_key_is_nothing_to_trust(tmp_path: Path, any_signer: Signer) -> None:
    path = tmp_path / "signer"
    write_key_pair(path, any_signer)
    with pytest.raises(KeyFileError, match="is a private key") as caught:
        load_public_key(path)
    assert caught.value.hint == "use signer.pub"


def test_a_file_of_several_keys_is_refused(tmp_path: Path) -> None:
    """Else the first would be taken, and the others passed over in silence."""
    path = tmp_path / "keys"
    path.write_bytes(generate_key().public.pem() + generate_key().public.pem())
    with pytest.raises(KeyFileError, match="holds several keys"):
        load_public_key(path)
    path.write_bytes(_private_pem(generate_key().key) + generate_key().public.pem())
    with pytest.raises(KeyFileError, match="holds several keys"):
        load_signer(path)


def test_a_public_key_cannot_sign(tmp_path: Path, any_signer: Signer) -> None:
    path = tmp_path / "signer.pub"
    path.write_bytes(any_signer.public.pem())
    with pytest.raises(KeyFileError, match="is a public key") as caught:
        load_signer(path)
    assert caught.value.hint == "use signer"
    path.rename(tmp_path / "signer.pem")
    with pytest.raises(KeyFileError, match="is a public key") as caught:
        load_signer(tmp_path / "signer.pem")
    assert caught.value.hint == "give the private key that goes with it"


def test_a_key_file_may_be_a_link(tmp_path: Path, any_signer: Signer) -> None:
    """As mounted secrets are."""
    write_key_pair(tmp_path / "signer", any_signer)
    (tmp_path / "link").symlink_to("signer")
    (tmp_path / "link.pub").symlink_to("signer.pub")
    assert load_signer(tmp_path / "link").public == any_signer.public
    assert load_public_key(tmp_path / "link.pub") == any_signer.public


@pytest.mark.parametrize("load", [load_signer, load_public_key])
def test_key_files_that_cannot_be_read(tmp_path: Path, load: Any) -> None:
    with pytest.raises(FileAccessError, match="No such file"):
        load(tmp_path / "missing")
    with pytest.raises(FileAccessError, match="Is a directory"):
        load(tmp_path)
    (tmp_path / "huge").write_bytes(b"-" * 100_000)
    with pytest.raises(ReceiptsError, match="longer than"):
        load(tmp_path / "huge")


@given(data=st.data())
@settings(deadline=None)
def test_damaged_key_files_give_key_file_errors(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged"
    signer = data.draw(st.sampled_from(DAMAGED))
    public = data.draw(st.booleans())
    pem = bytearray(signer.public.pem() if public else _private_pem(signer.key))
    start = data.draw(st.integers(0, len(pem) - 1))
    pem[start : start + data.draw(st.integers(0, 20))] = data.draw(st.binary(max_size=20))
    path.write_bytes(bytes(pem))
    with suppress(KeyFileError):
        load_public_key(path) if public else load_signer(path)


DAMAGED = [generate_key(kind) for kind in supported_key_types()]


@given(junk=st.binary(max_size=200))
@settings(deadline=None)
def test_junk_is_no_key(junk: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "junk"
    path.write_bytes(junk)
    with pytest.raises(KeyFileError):
        load_public_key(path)
    with pytest.raises(KeyFileError):
        load_signer(path, b"passphrase")


def test_a_trust_set_holds_each_key_once(tmp_path: Path) -> None:
    first, second = generate_key(), generate_key(KeyType.P256)
    for name, signer in (("a", first), ("b", second), ("c", first)):
        write_key_pair(tmp_path / name, signer)
    trust = TrustSet.load(tmp_path / f"{name}.pub" for name in "abc")
    assert len(trust) == 2
    keys: list[PublicKey] = list(trust)
    assert keys == [first.public, second.public]
    assert len(TrustSet()) == 0


def test_a_trust_set_needs_every_file(tmp_path: Path, signer: Signer) -> None:
    write_key_pair(tmp_path / "a", signer)
    with pytest.raises(FileAccessError):
        TrustSet.load([tmp_path / "a.pub", tmp_path / "missing.pub"])
    with pytest.raises(KeyFileError):
        TrustSet.load([tmp_path / "a.pub", tmp_path / "a"])
