"""Temporary files of killed commands go with the next; those of living ones stay."""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from safety_receipts.receipts.bundle import (
    AUDITS,
    POINTS_FILE,
    RESPONSES_FILE,
    Bundle,
    BundleWriter,
)
from safety_receipts.receipts.errors import FileAccessError
from safety_receipts.receipts.io.files import atomic_write, atomic_writer, new_folder
from safety_receipts.receipts.io.temporary import remove_leftovers

Receipts = Callable[..., Any]

KILLED = """
import os, signal, sys
from pathlib import Path
from safety_receipts.receipts.io.files import atomic_writer, new_folder
folder = Path(sys.argv[1])
with atomic_writer(folder / "file") as stream, new_folder(folder / "made") as made:
    stream.write(b"new")
    stream.flush()
    (made / "inner").mkdir()
    (made / "inner" / "file").write_bytes(b"new")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def killed(code: str, *arguments: str | Path) -> None:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL


@contextmanager
def small_files(limit: int) -> Iterator[None]:
    """Let no file grow beyond a number of bytes: a real write fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_the_next_command_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    killed(KILLED, tmp_path)
    left = names(tmp_path)
    assert [name.rsplit(".", 2)[0] for name in left] == [".file", ".made"]
    # Whatever is written under another name: the folder may be anybody's.
    atomic_write(tmp_path / "other", b"")
    assert names(tmp_path) == [*left, "other"]
    atomic_write(tmp_path / "file", b"")
    with new_folder(tmp_path / "made") as made:
        (made / "file").touch()
    assert names(tmp_path) == ["file", "made", "other"]
    assert names(tmp_path / "made") == ["file"]


def test_a_bundle_is_cleared_of_all_of_them(tmp_path: Path, bundle: Path) -> None:
    for folder in (bundle, bundle / AUDITS):
        folder.mkdir(exist_ok=True)
        killed(KILLED, folder)
    writer = BundleWriter(bundle)
    assert [name for name in names(bundle) if name.startswith(".")] == []
    writer.write_audit(Bundle(bundle).receipt_envelope)
    assert [name for name in names(bundle / AUDITS) if name.startswith(".")] == []


def test_what_a_living_command_writes_stays(tmp_path: Path) -> None:
    with atomic_writer(tmp_path / "file") as stream, new_folder(tmp_path / "made") as made:
        stream.write(b"first")
        (made / "inner").touch()
        before = names(tmp_path)
        remove_leftovers(tmp_path)
        atomic_write(tmp_path / "file", b"second")
        assert names(tmp_path) == [*before, "file"]
    assert (tmp_path / "file").read_bytes() == b"first"
    assert names(tmp_path) == ["file", "made"]
    assert names(tmp_path / "made") == ["inner"]


OTHERS = (
    "file",
    ".file",
    ".file.tmp",
    ".file.1234567.tmp",
    ".file.0123456g.tmp",
    ".file.0123456A.tmp",
    "file.01234567.tmp",
    ".file.01234567.tmp.gz",
    "..01234567.tmp",
)


def test_other_files_stay(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in OTHERS:
        (folder / name).touch()
    (tmp_path / "precious").touch()
    (folder / ".link.01234567.tmp").symlink_to(tmp_path / "precious")
    os.mkfifo(folder / ".pipe.01234567.tmp")
    before = names(folder)
    remove_leftovers(folder)
    remove_leftovers(tmp_path / "nowhere")
    assert names(folder) == before
    assert (tmp_path / "precious").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_another_user_s_files_stay(tmp_path: Path) -> None:
    path = tmp_path / ".file.01234567.tmp"
    path.touch()
    os.chown(path, 12345, 12345)
    remove_leftovers(tmp_path)
    assert path.exists()


@pytest.mark.parametrize("folder", [False, True])
def test_one_that_is_taken_for_a_leftover_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: bool
) -> None:
    lock, taken = fcntl.flock, []

    def late(descriptor: int, how: int) -> None:
        if not taken:
            (path,) = tmp_path.iterdir()
            taken.append(path)
            shutil.rmtree(path) if folder else path.unlink()
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    if folder:
        with new_folder(tmp_path / "file") as made:
            assert made not in taken
    else:
        atomic_write(tmp_path / "file", b"whole")
        assert (tmp_path / "file").read_bytes() == b"whole"
    assert len(taken) == 1
    assert names(tmp_path) == ["file"]


def test_where_nothing_can_be_locked_nothing_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(KILLED, tmp_path)
    before = names(tmp_path)

    def unsupported(_: int, __: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    atomic_write(tmp_path / "file", b"whole")
    assert names(tmp_path) == [*before, "file"]


def test_a_folder_that_is_there_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "kept").touch()
    with pytest.raises(FileAccessError, match="cannot write"), new_folder(tmp_path / "made"):
        pass
    assert names(tmp_path) == ["made"]
    assert names(tmp_path / "made") == ["kept"]


PUBLISH = """
import os, signal, sys
os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
from safety_receipts.receipts.cli import main
main(["publish", *sys.argv[1:]])
"""


def test_a_killed_publication_leaves_nothing_for_long(
    tmp_path: Path, bundle: Path, receipts: Receipts
) -> None:
    (tmp_path / "out").mkdir()
    killed(PUBLISH, bundle, "--out", tmp_path / "out" / "public")
    assert len(names(tmp_path / "out")) == 1
    assert receipts("publish", bundle, "--out", tmp_path / "out" / "public").code == 0
    assert names(tmp_path / "out") == ["public"]


# A full disk


def test_of_two_files_the_one_that_is_full_is_named(tmp_path: Path) -> None:
    outer, inner = tmp_path / "outer", tmp_path / "inner"

    def write() -> None:
        with atomic_writer(outer) as one, atomic_writer(inner) as other:
            other.write(b"little")
            one.write(b"much" * 100_000)

    with small_files(4096), pytest.raises(FileAccessError, match="File too large") as caught:
        write()
    assert caught.value.file == str(outer)
    assert names(tmp_path) == []


def test_of_a_bundle_s_evidence_the_file_that_is_full_is_named(
    tmp_path: Path, bundle: Path
) -> None:
    pairs = list(zip(Bundle(bundle).points(), Bundle(bundle).responses(), strict=True))
    sizes = {name: (bundle / name).stat().st_size for name in (POINTS_FILE, RESPONSES_FILE)}
    smaller, larger = sorted(sizes, key=lambda name: sizes[name])

    def write() -> None:
        with BundleWriter(tmp_path / "full").evidence(public=False) as sink:
            for point, record in pairs:
                sink.append(point, record)

    limit = (sizes[smaller] + sizes[larger]) // 2
    with small_files(limit), pytest.raises(FileAccessError, match="File too large") as caught:
        write()
    assert caught.value.file == str(tmp_path / "full" / larger)
    assert names(tmp_path / "full") == []


def test_of_a_publication_the_file_that_is_full_is_named(
    tmp_path: Path, bundle: Path, receipts: Receipts
) -> None:
    with small_files(4096):
        finished = receipts("publish", bundle, "--out", tmp_path / "public")
    assert (finished.code, finished.out, finished.err.count("\n")) == (2, "", 1)
    assert f"{tmp_path / 'public'}/" in finished.err
    assert "cannot write: File too large" in finished.err
    assert "public" not in "".join(names(tmp_path))


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that takes no files")
def test_a_folder_that_takes_no_files_ends_in_an_error_and_not_never() -> None:
    with pytest.raises(FileAccessError):
        atomic_write(Path("/proc/page.html"), b"")
    with pytest.raises(FileAccessError), new_folder(Path("/proc/bundle")):
        pass
