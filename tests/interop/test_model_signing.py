"""The checkpoint's root is the one that OpenSSF Model Signing's own library signs.

Folders are signed with its public interface alone: the root is the subject of the statement
inside the bundle that it writes.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from model_signing import signing, verifying

from safety_receipts.receipts.model.checkpoint import RootOrder
from safety_receipts.runner.checkpoint.folder import SIGNATURE, hash_folder

MEBIBYTE = 1024 * 1024

PLAIN = {
    "tokenizer.json": b"{}",  # names are not written in their order
    "config.json": b'{"model_type": "organism"}',
    "model.safetensors": b"\x01" * (3 * MEBIBYTE + 1),
    "empty.txt": b"",
    "one-read.bin": b"\x02" * MEBIBYTE,
    "onnx/model.onnx": b"\x03" * 70_000,
    "onnx/deeper/still/weights.bin": b"\x04",
    "Upper.txt": b"upper",
    "größe.txt": b"not ASCII",
    ".hidden": b"hidden",
}
"""Files of several sizes: of none, of one byte, of whole reads and of one byte more."""

AMBIGUOUS = {"a/z.bin": b"1", "a.bin": b"2", "a-b/y.bin": b"3", "ab.bin": b"4"}
"""Paths that ``/`` sorts otherwise than folder by folder: ``a.bin`` stands before ``a/z.bin``."""


def write(folder: Path, files: dict[str, bytes]) -> Path:
    """Make a folder of these files."""
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A private and a public key as the library reads them."""
    folder = tmp_path_factory.mktemp("keys")
    key = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / "key.pem", folder / "key.pub"
    coding = serialization.Encoding.PEM
    private.write_bytes(
        key.private_bytes(coding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    public.write_bytes(
        key.public_key().public_bytes(coding, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public


def signed_root(folder: Path, signature: Path, private: Path) -> str:
    """Have the library sign a folder, and return the root that it signed."""
    signing.Config().use_elliptic_key_signer(private_key=private).sign(folder, signature)
    bundle = json.loads(signature.read_bytes())
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    [subject] = statement["subject"]
    return str(subject["digest"]["sha256"])


def test_they_sign_the_root_that_we_compute(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    folder = write(tmp_path / "model", PLAIN)
    hashed = hash_folder(folder)
    assert [file.path for file in hashed.files] == sorted(PLAIN)
    assert hashed.root == signed_root(folder, tmp_path / "beside.sig", keys[0])
    assert hashed.alternative_root is None


def test_their_signature_tells_which_of_two_orders_they_signed(
    tmp_path: Path, keys: tuple[Path, Path]
) -> None:
    folder = write(tmp_path / "model", AMBIGUOUS)
    unsigned = hash_folder(folder)
    root = signed_root(folder, folder / SIGNATURE, keys[0])
    assert root in (unsigned.root, unsigned.alternative_root)
    assert unsigned.root != unsigned.alternative_root
    hashed = hash_folder(folder)
    assert hashed.root == root
    assert hashed.root_order is RootOrder.PATH_PARTS
    assert hashed.files == unsigned.files


def test_both_leave_the_same_files_out(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    kept = {"config.json": b"{}", "model.safetensors": b"weights", "model.sig.txt": b"kept"}
    git = {".gitattributes": b"*.bin lfs", ".gitignore": b"x", ".git/config": b"", ".github/a": b""}
    folder = write(tmp_path / "model", kept | git)
    assert hash_folder(folder).root == signed_root(folder, folder / SIGNATURE, keys[0])
    assert sorted(file.path for file in hash_folder(folder).files) == sorted(kept)


def test_a_changed_file_changes_the_root_for_both(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    folder = write(tmp_path / "model", PLAIN)
    before = signed_root(folder, folder / SIGNATURE, keys[0])
    (folder / "onnx/deeper/still/weights.bin").write_bytes(b"\x05")
    assert hash_folder(folder).root != before
    with pytest.raises(ValueError, match="mismatch"):
        verifying.Config().use_elliptic_key_verifier(public_key=keys[1]).verify(
            folder, folder / SIGNATURE
        )
