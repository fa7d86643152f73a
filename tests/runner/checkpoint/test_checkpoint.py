"""Model folders: roots by known answers, hub snapshots, and folders that are not what they seem."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.errors import (
    FileAccessError,
    MalformedError,
    ReceiptsError,
    UsageError,
)
from safety_receipts.receipts.model.checkpoint import CheckpointFile, RootOrder
from safety_receipts.runner.checkpoint import folder as checkpoint
from safety_receipts.runner.checkpoint.folder import (
    HashedFolder,
    hash_folder,
    pickled_files,
    refuse_pickles,
)
from safety_receipts.runner.checkpoint.place import locate
from safety_receipts.runner.plan.entries.base import Located

COMMIT = "0123456789abcdef0123456789abcdef01234567"
# FIPS 180-2, appendix B.1.
ABC = Sha256("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
TRAP = {"model/config.json": b"inside", "model.safetensors": b"beside"}
"""``.`` sorts before ``/``, but the part ``model`` before the part ``model.safetensors``."""


def make(folder: Path, files: Mapping[str, bytes]) -> Path:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def sha(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def paths_of(hashed: HashedFolder) -> list[str]:
    return [file.path for file in hashed.files]


def refusal(folder: Path) -> ReceiptsError:
    with pytest.raises((FileAccessError, MalformedError)) as caught:
        hash_folder(folder)
    line = caught.value.one_line()
    assert line.isprintable()
    assert line.startswith(str(folder))
    assert caught.value.hint
    return caught.value


def test_one_file_by_known_answers(tmp_path: Path) -> None:
    hashed = hash_folder(make(tmp_path, {"model.safetensors": b"abc"}))
    assert [(file.path, file.sha256, file.size) for file in hashed.files] == [
        ("model.safetensors", ABC, 3)
    ]
    # SHA-256 twice over "abc".
    assert hashed.root == "4f8b42c22dd3729b519ba6f68d2da7cc5b2d606d05daed5ad5128cc03e6c6358"
    assert hashed.root_order is RootOrder.CODE_POINT
    assert hashed.alternative_root is None
    assert not hashed.symlinks_followed


def test_a_tree_by_hand(tmp_path: Path) -> None:
    files = {"b.json": b"abc", "a/empty": b"", "é": b"last"}
    hashed = hash_folder(make(tmp_path, files))
    assert paths_of(hashed) == ["a/empty", "b.json", "é"]
    assert hashed.root == sha(sha(b"") + bytes.fromhex(ABC) + sha(b"last")).hex()
    # Two files alone, from `sha256sum a b | cut -c-64 | xxd -r -p | sha256sum`.
    (tmp_path / "é").unlink()
    expected = "bddbdf7e9df02f902ee5dd61b2b513d7566a2112ff97db7dc3b6d184a43ef0e3"
    assert hash_folder(tmp_path).root == expected


def test_where_the_orders_differ_both_roots_are_told(tmp_path: Path) -> None:
    hashed = hash_folder(make(tmp_path, TRAP))
    assert hashed.root_order is RootOrder.CODE_POINT
    assert hashed.root == sha(sha(b"beside") + sha(b"inside")).hex()
    assert hashed.alternative_root == sha(sha(b"inside") + sha(b"beside")).hex()


def independent_roots(folder: Path) -> tuple[str, str]:
    """The roots, in the fewest lines: by code points, and by ``Path``'s own order of parts."""
    found = {str(p.relative_to(folder)): p for p in folder.rglob("*") if p.is_file()}
    by_point = sorted(found)
    by_parts = [str(path) for path in sorted(map(Path, found))]
    digests = {name: sha(path.read_bytes()) for name, path in found.items()}
    by_point_root, by_parts_root = (
        sha(b"".join(digests[name] for name in order)).hex() for order in (by_point, by_parts)
    )
    return by_point_root, by_parts_root


NAMES = st.text("ab.-_é", min_size=1, max_size=3).filter(lambda name: name not in (".", ".."))
TREES = st.dictionaries(
    st.lists(NAMES, min_size=1, max_size=3).map("/".join),
    st.binary(max_size=20),
    min_size=1,
    max_size=8,
).filter(lambda tree: not any(a != b and b.startswith(a + "/") for a in tree for b in tree))


def fresh(folder: Path, tree: Mapping[str, bytes]) -> Path:
    """Return a new folder with ``tree`` in it; hypothesis calls one test many times."""
    return make(folder / str(len(list(folder.iterdir()))), tree)


@given(tree=TREES)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_tree_has_the_roots_of_an_independent_reading(
    tmp_path: Path, tree: dict[str, bytes]
) -> None:
    folder = fresh(tmp_path, tree)
    hashed = hash_folder(folder)
    by_point, by_parts = independent_roots(folder)
    assert hashed.root == by_point
    assert hashed.alternative_root == (None if by_parts == by_point else by_parts)
    assert {file.path: file.size for file in hashed.files} == {
        path: len(content) for path, content in tree.items()
    }
    assert paths_of(hashed) == sorted(tree)


@given(tree=TREES, data=st.data())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_changed_byte_changes_both_and_a_new_name_the_list(
    tmp_path: Path, tree: dict[str, bytes], data: st.DataObject
) -> None:
    folder = fresh(tmp_path, tree)
    before = hash_folder(folder)
    path = data.draw(st.sampled_from(sorted(tree)))
    content = bytearray(tree[path] or b"\0")
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    (folder / path).write_bytes(content)
    after = hash_folder(folder)
    assert after.files != before.files
    assert after.root != before.root

    # The root does not bind names: a name that keeps the order of the files keeps the root.
    # ÿ occurs in no other name.
    (folder / path).rename(folder / f"{path}ÿ")
    renamed = hash_folder(folder)
    assert renamed.files != after.files
    moved = sorted(tree).index(path) != sorted({*tree, f"{path}ÿ"} - {path}).index(f"{path}ÿ")
    assert moved or renamed.root == after.root


def statement(root: str) -> dict[str, Any]:
    """A statement as Model Signing 1.0 writes it."""
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "model", "digest": {"sha256": root}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {"serialization": {"method": "files", "hash_type": "sha256"}, "resources": []},
    }


def envelope(payload: bytes) -> dict[str, Any]:
    return {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": "application/vnd.in-toto+json",
        "signatures": [{"sig": "AA==", "keyid": ""}],
    }


def bundle(payload: bytes) -> bytes:
    return json.dumps(
        {
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {},
            "dsseEnvelope": envelope(payload),
        }
    ).encode()


CODE_POINT_ROOT = sha(sha(b"beside") + sha(b"inside")).hex()
PATH_PARTS_ROOT = sha(sha(b"inside") + sha(b"beside")).hex()

SIGNATURES: dict[str, tuple[bytes, RootOrder]] = {
    "the reference code's": (
        bundle(json.dumps(statement(PATH_PARTS_ROOT)).encode()),
        RootOrder.PATH_PARTS,
    ),
    "an envelope alone, in capitals": (
        json.dumps(envelope(json.dumps(statement(PATH_PARTS_ROOT.upper())).encode())).encode(),
        RootOrder.PATH_PARTS,
    ),
    "by code points": (
        bundle(json.dumps(statement(CODE_POINT_ROOT)).encode()),
        RootOrder.CODE_POINT,
    ),
    "of another model": (bundle(json.dumps(statement(ABC)).encode()), RootOrder.CODE_POINT),
    "both": (bundle((CODE_POINT_ROOT + PATH_PARTS_ROOT).encode()), RootOrder.CODE_POINT),
    "no JSON": (b"\xff\x00", RootOrder.CODE_POINT),
    "a list": (b"[1]", RootOrder.CODE_POINT),
    "deep": (b"[" * 100_000, RootOrder.CODE_POINT),
    "no payload": (b'{"dsseEnvelope": null}', RootOrder.CODE_POINT),
    "no text": (b'{"dsseEnvelope": {"payload": 3}}', RootOrder.CODE_POINT),
    "no base64": (b'{"payload": "\xc3\xa9"}', RootOrder.CODE_POINT),
    "empty": (b"", RootOrder.CODE_POINT),
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_signature_chooses_the_order_and_is_no_file_of_the_model(
    tmp_path: Path, name: str
) -> None:
    content, order = SIGNATURES[name]
    make(tmp_path, {**TRAP, "model.sig": content})
    hashed = hash_folder(tmp_path)
    assert hashed.root_order is order
    roots = [CODE_POINT_ROOT, PATH_PARTS_ROOT]
    if order is RootOrder.PATH_PARTS:
        roots.reverse()
    assert [hashed.root, hashed.alternative_root] == roots
    assert paths_of(hashed) == sorted(TRAP)


def test_a_signature_longer_than_any_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, _ = SIGNATURES["the reference code's"]
    make(tmp_path, {**TRAP, "model.sig": content})
    monkeypatch.setattr(checkpoint, "_MAX_SIGNATURE_BYTES", len(content) - 1)
    assert hash_folder(tmp_path).root_order is RootOrder.CODE_POINT


def test_what_is_no_part_of_a_model_is_left_out_at_its_root_only(tmp_path: Path) -> None:
    ignored = {
        ".git/HEAD": b"x",
        ".gitattributes": b"x",
        ".github/workflows/a.yml": b"x",
        ".gitignore": b"x",
        ".cache/huggingface/download/a.metadata": b"x",
        "model.sig": b"x",
    }
    kept = [
        ".cache/other",
        ".gitkeep",
        "config.json",
        "sub/.git/HEAD",
        "sub/.gitattributes",
        "sub/.cache/huggingface/a",
        "sub/model.sig",
    ]
    make(tmp_path, ignored | dict.fromkeys(kept, b"y"))
    assert paths_of(hash_folder(tmp_path)) == sorted(kept)


def hub_cache(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Lay files out as a hub cache does: a snapshot of links to blobs."""
    snapshot = folder / "models--a--b" / "snapshots" / COMMIT
    blobs = folder / "models--a--b" / "blobs"
    blobs.mkdir(parents=True)
    for path, content in files.items():
        blob = blobs / hashlib.sha1(content).hexdigest()
        blob.write_bytes(content)
        link = snapshot / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return snapshot


def test_a_hub_cache_is_followed_and_its_signature_read(tmp_path: Path) -> None:
    content, _ = SIGNATURES["the reference code's"]
    plain = hash_folder(make(tmp_path / "plain", {**TRAP, "model.sig": content}))
    linked = hash_folder(hub_cache(tmp_path, {**TRAP, "model.sig": content}))
    assert linked.symlinks_followed
    assert not plain.symlinks_followed
    assert (linked.files, linked.root, linked.root_order) == (
        plain.files,
        plain.root,
        RootOrder.PATH_PARTS,
    )


def test_a_blob_is_hashed_whatever_its_name_says(tmp_path: Path) -> None:
    snapshot = hub_cache(tmp_path, {"a": b"abc"})
    (snapshot / "a").resolve().write_bytes(b"other")
    [file] = hash_folder(snapshot).files
    assert file.sha256 == sha(b"other").hex()


def test_a_link_to_the_folder_itself_is_no_link_inside(tmp_path: Path) -> None:
    make(tmp_path / "model", {"a": b"abc"})
    (tmp_path / "latest").symlink_to("model")
    assert not hash_folder(tmp_path / "latest").symlinks_followed


def test_a_linked_folder_is_walked(tmp_path: Path) -> None:
    make(tmp_path, {"elsewhere/b": b"abc", "model/a": b""})
    (tmp_path / "model" / "sub").symlink_to("../elsewhere")
    (tmp_path / "model" / "twice").symlink_to("../elsewhere")
    hashed = hash_folder(tmp_path / "model")
    assert paths_of(hashed) == ["a", "sub/b", "twice/b"]
    assert hashed.symlinks_followed


HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "broken link": (lambda f: (f / "a").symlink_to("gone"), "is a symbolic link that leads nowh"),
    "link to itself": (lambda f: (f / "a").symlink_to("a"), "is a symbolic link that leads nowh"),
    "loop": (lambda f: (f / "a").symlink_to(f), "is a link to a folder that it lies in"),
    "deep loop": (
        lambda f: ((f / "b" / "c").mkdir(parents=True), (f / "b" / "c" / "a").symlink_to("..")),
        "is a link to a folder that it lies in",
    ),
    "pipe": (lambda f: os.mkfifo(f / "a"), "is not a regular file"),
    "signature that is a pipe": (lambda f: os.mkfifo(f / "model.sig"), "is not a regular file"),
    "device": (lambda f: (f / "a").symlink_to("/dev/zero"), "is not a regular file"),
    "line break": (lambda f: (f / "a\nb").touch(), "its name cannot be written in a receipt"),
    "backslash": (lambda f: (f / "a\\b").touch(), "its name cannot be written in a receipt"),
    "folder's name": (
        lambda f: make(f, {"a\x1b[31m/b": b""}),
        "its name cannot be written in a receipt",
    ),
    "no UTF-8": (
        lambda f: Path(os.fsdecode(bytes(f) + b"/a\xff")).touch(),
        "its name cannot be written in a receipt",
    ),
    "a path too long": (
        lambda f: (f / "/".join(["d" * 250] * 5)).mkdir(parents=True),
        "its name cannot be written in a receipt",
    ),
    "empty": (lambda f: None, "holds no files"),
    "empty but for a folder": (lambda f: (f / "a").mkdir(), "holds no files"),
    "empty but for git": (lambda f: make(f, {".git/HEAD": b"x"}), "holds no files"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_folder_that_is_no_model_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    plant, message = HOSTILE[name]
    plant(tmp_path)
    if not message.startswith("holds no"):
        make(tmp_path, {"config.json": b"{}"})
    assert refusal(tmp_path).message.startswith(message)


def test_a_socket_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's address is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("a")
        assert refusal(tmp_path).message == "is not a regular file"


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs Linux's /proc")
def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """Address 0 of a process is never mapped, so that reading it fails for every user."""
    (tmp_path / "a").symlink_to("/proc/self/mem")
    assert refusal(tmp_path).message == "cannot read: Input/output error"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_the_user_may_not_read(tmp_path: Path, kind: str) -> None:
    make(tmp_path, {"sub/a": b"", "b": b""})
    locked = tmp_path / ("b" if kind == "file" else "sub")
    locked.chmod(0)
    try:
        assert refusal(tmp_path).message.endswith("Permission denied")
    finally:
        locked.chmod(0o700)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none", "cannot open the folder: No such file or directory"),
        ("file", "is not a folder"),
        ("file/a", "cannot open the folder: Not a directory"),
    ],
)
def test_what_is_no_folder(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "file").touch()
    assert refusal(tmp_path / name).message == message


@pytest.mark.parametrize("what", ["files", "folders"])
def test_more_files_or_folders_than_a_model_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(checkpoint, "MAX_FILES", 20)
    make(tmp_path, {"a": b""})
    for number in range(19):
        path = tmp_path / str(number)
        path.touch() if what == "files" else path.mkdir()
    hash_folder(tmp_path)
    make(tmp_path, {"z": b""} if what == "files" else {"z/a": b""})
    assert refusal(tmp_path).message == "more than 20 files or folders"


def test_folders_that_multiply_through_links_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forty folders with two links each to the next are 2^40 paths."""
    monkeypatch.setattr(checkpoint, "MAX_FILES", 500)
    for number in range(40):
        (tmp_path / f"{number}").mkdir()
        for link in ("x", "y"):
            (tmp_path / f"{number}" / link).symlink_to(f"../{number + 1}")
    make(tmp_path, {"40/a": b""})
    assert refusal(tmp_path / "0").message == "more than 500 files or folders"


CHANGES: dict[str, Callable[[Path], object]] = {
    "longer": lambda file: file.write_bytes(file.read_bytes() + b"x"),
    "shorter": lambda file: file.write_bytes(b""),
    "touched": lambda file: os.utime(file, ns=(1, 1)),
    "replaced": lambda file: (
        file.with_name("new").write_bytes(file.read_bytes()),
        os.utime(file.with_name("new"), ns=(file.stat().st_mtime_ns,) * 2),
        file.with_name("new").replace(file),
    ),
    "joined": lambda file: file.with_name("another").touch(),
    "gone": lambda file: file.unlink(),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_while_hashing_is_noticed(tmp_path: Path, name: str) -> None:
    make(tmp_path, {"a": b"abc", "b": b"abcdef"})
    changed: list[object] = []

    def change(done: int, total: int) -> None:
        if not changed:
            changed.append(CHANGES[name](tmp_path / "a"))

    with pytest.raises(FileAccessError) as caught:
        hash_folder(tmp_path, progress=change)
    assert "changed while the folder was hashed" in caught.value.one_line() or name == "gone"
    assert caught.value.file == str(tmp_path / ("another" if name == "joined" else "a"))


def test_progress_ends_with_every_byte(tmp_path: Path) -> None:
    sizes = [0, 1, checkpoint._READ_BYTES, 3 * checkpoint._READ_BYTES + 5]
    make(tmp_path, {f"{size}.safetensors": bytes(size) for size in sizes})
    told: list[tuple[int, int]] = []
    hashed = hash_folder(tmp_path, progress=lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert len(told) > len(sizes)
    assert told[-1] == (sum(sizes), sum(sizes))
    for file in hashed.files:
        assert file.sha256 == sha(bytes(file.size)).hex()


def test_an_interrupt_stops_the_reading_of_all_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "_READ_BYTES", 4096)
    for name in ("a", "b"):
        make(tmp_path, {name: b""})
        os.truncate(tmp_path / name, 64 * 1024 * 1024)
    told: list[tuple[int, int]] = []

    def interrupt(done: int, total: int) -> None:
        told.append((done, total))
        if len(told) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hash_folder(tmp_path, progress=interrupt)
    done, total = told[-1]
    assert done < total / 2


def test_an_error_of_the_one_who_watches_is_not_the_files(tmp_path: Path) -> None:
    make(tmp_path, {"a": b"abc"})

    def closed(done: int, total: int) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        hash_folder(tmp_path, progress=closed)


def files_named(*paths: str) -> list[CheckpointFile]:
    return [CheckpointFile(path=path, sha256=ABC, size=3) for path in paths]


def test_pickles_are_known_by_their_names() -> None:
    pickles = [
        "pytorch_model.bin",
        "pytorch_model-00001-of-00002.bin",
        "training_args.bin",
        "original/consolidated.00.pth",
        "optimizer.pt",
        "last.ckpt",
        "a.PKL",
        "a.pickle",
    ]
    others = ["model.safetensors", "config.json", "tokenizer.model", "pytorch_model.bin.index.json"]
    assert pickled_files(files_named(*pickles, *others)) == pickles


def hashed_of(*paths: str) -> HashedFolder:
    return HashedFolder(tuple(files_named(*paths)), ABC, RootOrder.CODE_POINT, None, False)


@pytest.mark.parametrize(
    "paths",
    [
        ("model.safetensors",),
        ("model-00001-of-00002.safetensors", "pytorch_model.bin", "training_args.bin"),
    ],
)
def test_pickles_beside_safetensors_are_merely_hashed(paths: tuple[str, ...]) -> None:
    refuse_pickles(hashed_of(*paths), Path("model"), allow=False)


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (
            ("config.json", "pytorch_model.bin", "training_args.bin"),
            "its weights are pickles (pytorch_model.bin), which can run code when loaded",
        ),
        (
            ("a-1.bin", "a-2.bin", "original/model.safetensors"),
            "its weights are pickles (a-1.bin and 1 more), which can run code when loaded",
        ),
        (("config.json", "training_args.bin"), "holds no weights as safetensors"),
        (("config.json",), "holds no weights as safetensors"),
    ],
)
def test_weights_that_are_only_pickles_need_a_word_from_the_user(
    paths: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        refuse_pickles(hashed_of(*paths), Path("model"), allow=False)
    assert (caught.value.message, caught.value.file) == (message, "model")
    assert "--allow-pickle" in (caught.value.hint or "")
    refuse_pickles(hashed_of(*paths), Path("model"), allow=True)


def test_pickles_can_be_left_out(tmp_path: Path) -> None:
    make(tmp_path, {"model.safetensors": b"abc", "pytorch_model.bin": b"x"})
    hashed = hash_folder(tmp_path, pickles=False)
    assert paths_of(hashed) == ["model.safetensors"]
    assert hashed.root == sha(bytes.fromhex(ABC)).hex()


def test_a_path_starts_at_the_plan_files_folder(tmp_path: Path) -> None:
    (tmp_path / "models" / "a").mkdir(parents=True)
    assert locate(Located(path=Path("models/a")), root=tmp_path) == tmp_path / "models/a"
    absolute = Located(path=tmp_path / "models")
    assert locate(absolute, root=Path("/nowhere")) == tmp_path / "models"
    with pytest.raises(FileAccessError) as caught:
        locate(Located(path=Path("models/b")), root=tmp_path)
    assert caught.value.one_line().startswith(
        f"{tmp_path}/models/b: cannot open the folder: No such file or directory (name the folder"
    )


FETCH = """
import json, sys, time
time.sleep = lambda seconds: None  # the client waits ever longer between its attempts
from pathlib import Path
from safety_receipts.receipts.errors import ReceiptsError
from safety_receipts.runner.checkpoint.folder import hash_folder
from safety_receipts.runner.checkpoint.place import locate
from safety_receipts.runner.plan.entries.base import Located
for hub, revision, allow in json.loads(sys.argv[1]):
    try:
        entry = Located.model_construct(path=None, hub=hub, revision=revision)
        folder = locate(entry, root=Path("."), allow_pickle=allow)
    except ReceiptsError as error:
        print(json.dumps([type(error).__name__, error.one_line()]))
    else:
        hashed = hash_folder(folder, pickles=allow)
        paths = [file.path for file in hashed.files]
        print(json.dumps([folder.name, paths, hashed.root, hashed.symlinks_followed]))
"""


@dataclass
class Hub:
    """A server that answers as the hub does."""

    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refusals: dict[str, tuple[int, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    endpoint: str = ""


def handler_of(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def answer(self) -> None:
            hub.asked.append(f"{self.command} {self.path}")
            tree = re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/?]+)(\?.*)?", self.path)
            file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path)
            found = tree or file
            assert found is not None, self.path
            held = hub.repositories.get(found[1])
            if found[1] in hub.refusals:
                self.reply(*hub.refusals[found[1]])
            elif held is None:
                self.reply(404, "RepoNotFound")
            elif found[2] != COMMIT:
                self.reply(404, "RevisionNotFound")
            elif tree is not None:
                listed = [
                    {"type": "file", "path": path, "size": len(content), "oid": "0" * 40}
                    for path, content in held.items()
                ]
                self.reply(200, "", json.dumps(listed).encode())
            else:
                self.reply(200, "", held[found[3]])

        def reply(self, status: int, code: str, content: bytes = b"") -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def log_message(self, *arguments: Any) -> None:
            """Say nothing."""

    return Handler


@pytest.fixture
def server() -> Iterator[Hub]:
    hub = Hub()
    listener = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(hub))
    listener.daemon_threads = True
    thread = threading.Thread(target=listener.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    hub.endpoint = f"http://127.0.0.1:{listener.server_port}"
    yield hub
    listener.shutdown()
    listener.server_close()
    thread.join()


def fetch(
    server: Hub, home: Path, *asked: tuple[str, str, bool], **environment: str
) -> list[list[Any]]:
    """Locate and hash models in a process of its own, with a cache of its own."""
    pytest.importorskip("huggingface_hub")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    kept |= {"HF_HOME": str(home), "HF_ENDPOINT": server.endpoint, "NO_PROXY": "127.0.0.1"}
    finished = subprocess.run(
        [sys.executable, "-c", FETCH, json.dumps(asked)],
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return [json.loads(line) for line in finished.stdout.splitlines()]


def test_a_commit_is_fetched_without_pickles_and_is_one_model_whatever_the_cache_holds(
    server: Hub, tmp_path: Path
) -> None:
    weights = {"config.json": b"{}", "sub/model.safetensors": b"abc"}
    server.repositories["a/b"] = {**weights, ".gitattributes": b"x", "pytorch_model.bin": b"p"}
    without = [COMMIT, sorted(weights), sha(sha(b"{}") + bytes.fromhex(ABC)).hex(), True]
    assert fetch(server, tmp_path, ("a/b", COMMIT, False)) == [without]
    assert not any("pytorch_model" in path for path in server.asked)
    [whole] = fetch(server, tmp_path, ("a/b", COMMIT, True))
    assert whole[1] == ["config.json", "pytorch_model.bin", "sub/model.safetensors"]
    server.asked.clear()
    again = fetch(server, tmp_path, ("a/b", COMMIT, False), HF_HUB_OFFLINE="1")
    assert (again, server.asked) == ([without], [])


def test_refusals_of_the_hub_are_one_line_with_a_remedy(server: Hub, tmp_path: Path) -> None:
    server.repositories["a/b"] = {"config.json": b"{}"}
    server.refusals = {"a/gated": (403, "GatedRepo"), "a/broken": (418, "Other")}
    asked = [
        ("a/gated", COMMIT, False),
        ("no/where", COMMIT, False),
        ("a/b", "f" * 40, False),
        ("a b//c", COMMIT, False),
        ("a/broken", COMMIT, False),
    ]
    answers = fetch(server, tmp_path, *asked)
    expected = [
        "access to this model is gated (accept the terms at https://huggingface.co/a/gated, then",
        "no such model, or it is private (check the id; for a private or gated model set HF_TOKEN)",
        "the model has no such revision (copy a commit from https://huggingface.co/a/b/commits/ma",
        "not the id of a model (like owner/name)",
        "the hub",
    ]
    for (hub, revision, _), (_, line), message in zip(asked, answers, expected, strict=True):
        assert line.startswith(f"{hub}@{revision}: {message}")
        assert line.endswith(")")


def test_offline_a_missing_or_half_downloaded_model_is_refused(server: Hub, tmp_path: Path) -> None:
    server.repositories["a/b"] = {"config.json": b"{}", "model.safetensors": b"abc"}
    fetch(server, tmp_path, ("a/b", COMMIT, False))
    [half] = tmp_path.rglob(f"snapshots/{COMMIT}/model.safetensors")
    half.unlink()
    asked = [("a/b", COMMIT, False), ("a/none", COMMIT, False)]
    for error, line in fetch(server, tmp_path, *asked, HF_HUB_OFFLINE="1"):
        assert error == "FileAccessError"
        assert "the hub cannot be reached, and the local cache lacks files (connect" in line
        assert line.endswith("or name a downloaded folder with `path:`)")
