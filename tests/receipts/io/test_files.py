"""Bounded reads; writes that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from safety_receipts.receipts.errors import FileAccessError, MalformedError
from safety_receipts.receipts.io.files import (
    atomic_write,
    atomic_writer,
    create_exclusive,
    open_regular,
    read_bounded,
    read_own_file,
)


def names(folder: Path) -> list[str]:
    """Return what lies in a folder, hidden files included."""
    return sorted(path.name for path in folder.iterdir())


def full_disk(descriptor: int) -> None:
    """Stand in for os.fsync where the disk is full."""
    raise OSError(errno.ENOSPC, "No space left on device")


def run_python(code: str, *arguments: Path) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a process of its own."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


# Reading


def test_reads_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_bounded(path, 5) == b"12345"
    with pytest.raises(MalformedError, match="longer than the 4 bytes") as caught:
        read_bounded(path, 4)
    assert caught.value.file == str(path)


def test_an_empty_file_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert read_bounded(tmp_path / "file", 0) == b""


def test_a_sparse_giant_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as stream:
        stream.truncate(1 << 34)
    with pytest.raises(MalformedError, match="longer than"):
        read_bounded(path, 1000)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileAccessError, match="cannot open: No such file") as caught:
        read_bounded(tmp_path / "missing", 10)
    assert caught.value.file == str(tmp_path / "missing")


@pytest.mark.parametrize("target", ["file", "missing", "folder"])
def test_symbolic_links_are_refused(tmp_path: Path, target: str) -> None:
    (tmp_path / "file").write_text("secret of the reader's")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / target)
    with pytest.raises(FileAccessError, match="is a symbolic link"):
        read_bounded(tmp_path / "link", 100)


def _in_time(action: Callable[[], object]) -> None:
    """Run ``action`` in a thread, so that one that blocks fails the test and not the run."""
    errors: list[BaseException] = []

    def target() -> None:
        try:
            action()
        except BaseException as error:  # handed to the test's own thread
            errors.append(error)

    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    thread.join(timeout=30)
    assert not thread.is_alive(), "it blocks"
    if errors:
        raise errors[0]


def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(FileAccessError, match="is not a regular file"):
        _in_time(lambda: read_bounded(path, 10))


def test_a_device_that_never_ends_is_refused() -> None:
    with pytest.raises(FileAccessError, match="is not a regular file"):
        _in_time(lambda: read_bounded(Path("/dev/zero"), 10))


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileAccessError, match="is not a regular file"):
        read_bounded(tmp_path, 10)


def test_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's name may have 107 bytes only
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        with pytest.raises(FileAccessError):
            read_bounded(Path("socket"), 10)


def test_a_file_that_the_user_names_may_be_a_link_or_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("file")
    assert read_own_file(tmp_path / "link", 5) == b"12345"
    reader, writer = os.pipe()
    os.write(writer, b"12345")
    os.close(writer)
    assert read_own_file(Path(f"/dev/fd/{reader}"), 5) == b"12345"
    os.close(reader)


def test_a_file_that_the_user_names_is_bounded_and_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    with pytest.raises(MalformedError, match="longer than the 4 bytes"):
        read_own_file(tmp_path / "file", 4)
    with pytest.raises(MalformedError, match="longer than the 4 bytes"):
        _in_time(lambda: read_own_file(Path("/dev/zero"), 4))
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(FileAccessError, match="cannot read") as caught:
            read_own_file(path, 4)
        assert caught.value.file == str(path)


def test_the_file_is_closed_when_the_block_ends(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    with open_regular(tmp_path / "file") as stream:
        assert stream.read() == b"abc"
    assert stream.closed


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    before = names(Path("/dev/fd"))
    for number in range(10):
        with pytest.raises(FileAccessError):
            read_bounded(tmp_path, 10)
        atomic_write(tmp_path / "file", b"data")
        create_exclusive(tmp_path / f"{number}", b"data", mode=0o600)
        with pytest.raises(FileAccessError):
            create_exclusive(tmp_path / f"{number}", b"data", mode=0o600)
    assert names(Path("/dev/fd")) == before


# Writing


def test_a_write_replaces_the_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    atomic_write(path, b"old")
    atomic_write(path, b"new")
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["file"]


def test_the_file_appears_only_when_the_block_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with atomic_writer(path) as stream:
        stream.write(b"half")
        stream.flush()
        assert not path.exists()
    assert path.read_bytes() == b"half"


@pytest.mark.parametrize("mode", [0o600, 0o644, None])
def test_the_mode_is_the_one_asked_for(tmp_path: Path, mode: int | None) -> None:
    options = {} if mode is None else {"mode": mode}
    before = os.umask(0)
    try:
        atomic_write(tmp_path / "whole", b"", **options)
        with atomic_writer(tmp_path / "streamed", **options):
            pass
    finally:
        os.umask(before)
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == (mode or 0o644)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError, SystemExit])
@pytest.mark.parametrize("existing", [True, False])
def test_any_exception_leaves_the_folder_as_it_was(
    tmp_path: Path, error: type[BaseException], existing: bool
) -> None:
    path = tmp_path / "file"
    if existing:
        path.write_bytes(b"old")
    expected = FileAccessError if error is OSError else error

    def write() -> None:
        with atomic_writer(path) as stream:
            stream.write(b"new" * 100_000)
            raise error

    with pytest.raises(expected):
        write()
    assert names(tmp_path) == (["file"] if existing else [])
    assert not existing or path.read_bytes() == b"old"


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failing_system_call_leaves_the_folder_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, failing, lambda *_: full_disk(0))
    with pytest.raises(FileAccessError, match="cannot write: No space left") as caught:
        atomic_write(path, b"new")
    assert caught.value.file == str(path)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


# A limit on the size of files makes a real write fail half way, as a full disk does.
_LIMITED = """
import resource, sys
from pathlib import Path
from safety_receipts.receipts.errors import FileAccessError
from safety_receipts.receipts.io.files import atomic_write, create_exclusive
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
path = Path(sys.argv[1])
for write in (atomic_write, lambda path, data: create_exclusive(path, data, mode=0o600)):
    path.unlink(missing_ok=True)
    try:
        write(path, b"x" * 100_000)
    except FileAccessError as error:
        print(error.message)
    print([item.name for item in path.parent.iterdir()])
"""


def test_a_write_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    finished = run_python(_LIMITED, tmp_path / "file")
    assert finished.stderr == ""
    assert finished.stdout.splitlines() == ["cannot write: File too large", "[]"] * 2


_KILLED = """
import os, signal, sys
from pathlib import Path
from safety_receipts.receipts.io.files import atomic_writer
with atomic_writer(Path(sys.argv[1])) as stream:
    stream.write(b"new" * 100_000)
    stream.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    assert run_python(_KILLED, path).returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    assert len(names(tmp_path)) == 2
    atomic_write(path, b"newer")
    assert path.read_bytes() == b"newer"
    assert names(tmp_path) == ["file"]


def test_a_write_replaces_a_link_and_spares_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"precious")
    (tmp_path / "file").symlink_to(tmp_path / "elsewhere")
    atomic_write(tmp_path / "file", b"new")
    assert (tmp_path / "elsewhere").read_bytes() == b"precious"
    assert not (tmp_path / "file").is_symlink()


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    for path in (tmp_path / "file", Path(), Path("/")):
        with pytest.raises(FileAccessError, match="is a folder"):
            atomic_write(path, b"new")
        with pytest.raises(FileAccessError, match="is a folder"):
            create_exclusive(path, b"new", mode=0o600)
    assert names(tmp_path) == ["file"]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileAccessError, match="cannot write: No such file"):
        atomic_write(tmp_path / "nowhere" / "file", b"new")


def test_written_bytes_are_synced_before_they_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a power cut could leave an empty file under the right name."""
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        folder = stat.S_ISDIR(status.st_mode)
        done.append("sync folder" if folder else f"sync {status.st_size} bytes")
        fsync(descriptor)

    def noted_replace(source: Path, target: Path) -> None:
        done.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    atomic_write(tmp_path / "file", b"data")
    assert done == ["sync 4 bytes", "rename", "sync folder"]
    done.clear()
    create_exclusive(tmp_path / "another", b"data", mode=0o600)
    assert done == ["sync 4 bytes", "sync folder"]


def test_create_exclusive_never_replaces(tmp_path: Path) -> None:
    path = tmp_path / "file"
    create_exclusive(path, b"first", mode=0o600)
    with pytest.raises(FileAccessError, match="cannot create: File exists"):
        create_exclusive(path, b"second", mode=0o600)
    assert path.read_bytes() == b"first"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_create_exclusive_stopped_half_way_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a key must not stay, whatever stopped it."""

    def stop(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        create_exclusive(tmp_path / "file", b"data", mode=0o600)
    assert names(tmp_path) == []


def test_create_exclusive_on_a_full_disk_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(FileAccessError, match="No space left"):
        create_exclusive(tmp_path / "file", b"data", mode=0o600)
    assert names(tmp_path) == []
