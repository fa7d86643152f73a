"""The model's folder: finding it, and binding the bytes of its files.

The root is the one of OpenSSF Model Signing: SHA-256 over the concatenated SHA-256 digests of
all files, in the order of their paths.  It binds no names; the list of files binds both.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.errors import FileAccessError, MalformedError, UsageError
from safety_receipts.receipts.model.base import RelativePath
from safety_receipts.receipts.model.checkpoint import CheckpointFile, RootOrder, model_root
from safety_receipts.runner.checkpoint.model_files import (
    PICKLE_ENDINGS,
    is_training_state,
    weight_files,
)

SIGNATURE = "model.sig"
"""Name of a signature at the model root: the one that the Model Signing tools write."""

IGNORED = (".git", ".gitattributes", ".github", ".gitignore", ".cache/huggingface")
"""Paths below the model root that are no part of the model."""

MAX_FILES = 10_000
"""Most files of a model, and most folders."""

_MAX_SIGNATURE_BYTES = 16 * 1024 * 1024
_READ_BYTES = 1024 * 1024
_MAX_THREADS = 16

_PATH: TypeAdapter[str] = TypeAdapter(RelativePath)


@dataclass(frozen=True)
class HashedFolder:
    """What a model's folder holds."""

    files: tuple[CheckpointFile, ...]
    """Every file, by the code points of its path."""
    root: Sha256
    """OpenSSF Model Signing root."""
    root_order: RootOrder
    """Order of the files in the root."""
    alternative_root: Sha256 | None
    """The root in the other order, where the two differ."""
    symlinks_followed: bool
    """True where a file, or a folder on the way to it, is a symbolic link."""


def hash_folder(
    folder: Path,
    *,
    pickles: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> HashedFolder:
    """Hash every file of a model's folder.

    Symbolic links are followed, as a hub cache consists of them, wherever they lead; the bytes
    are hashed, no name is trusted.  At the model root :data:`IGNORED` and a file named
    :data:`SIGNATURE` are left out; under any other name a signature is a file like another.

    Where the two orders of the root differ, the one whose root stands in the signature is
    taken, else that of code points.  The signature is not verified: it chooses between two
    roots that are both the folder's.

    Args:
        folder: The model root.
        pickles: Hash the files that :func:`pickled_files` names.  False for a snapshot fetched
            without them, whose cache may hold some from another program: a commit then has one
            list of files, whatever happened to the cache before.
        progress: Told how many bytes are hashed, and of how many; from any thread, one call at
            a time.

    Raises:
        FileAccessError: The folder or something in it cannot be read, is no regular file, or
            changes meanwhile.
        MalformedError: No files, too many, or a name that a receipt cannot hold.
    """
    before = _listing(folder, pickles)
    digests = _hash_all(folder, before, progress)
    after = _listing(folder, pickles)
    if before != after:
        changed = min({path for path, _ in before.items() ^ after.items()})
        raise _changed(folder / changed)
    files = tuple(
        CheckpointFile(path=path, sha256=digests[path], size=before[path].size)
        for path in sorted(before)
    )
    roots = {order: model_root(files, order) for order in RootOrder}
    order = RootOrder.CODE_POINT
    if len(set(roots.values())) > 1:
        order = _signed_order(folder / SIGNATURE, roots) or order
    root = roots.pop(order)
    [other] = roots.values()
    return HashedFolder(
        files=files,
        root=root,
        root_order=order,
        alternative_root=None if other == root else other,
        symlinks_followed=any(entry.linked for entry in before.values()),
    )


@dataclass(frozen=True)
class _Entry:
    """A file as the folder lists it; a file that changes has another."""

    device: int
    inode: int
    size: int
    modified_ns: int
    linked: bool


def _listing(folder: Path, pickles: bool) -> dict[str, _Entry]:
    """Return path in the folder → entry, of all that is hashed."""
    status = folder_status(folder)
    entries: dict[str, _Entry] = {}
    folders = 1
    # Path, whether a link leads there, and the folders above, by which a loop is known.
    to_visit = [("", False, frozenset({(status.st_dev, status.st_ino)}))]
    while to_visit:
        place, linked, above = to_visit.pop()
        for name, is_link in _names(folder / place):
            path = f"{place}{name}"
            if path in IGNORED:
                continue
            file = folder / path
            status = _status(file)
            through = linked or is_link
            if stat.S_ISDIR(status.st_mode):
                key = (status.st_dev, status.st_ino)
                if key in above:
                    raise FileAccessError(
                        "is a link to a folder that it lies in", file=file, hint="remove the link"
                    )
                folders += 1
                to_visit.append((f"{_named(path, file)}/", through, above | {key}))
            elif not stat.S_ISREG(status.st_mode):
                raise FileAccessError(
                    "is not a regular file", file=file, hint="a model's folder holds files only"
                )
            elif path != SIGNATURE and (pickles or not _is_pickle(path)):
                entries[_named(path, file)] = _Entry(
                    device=status.st_dev,
                    inode=status.st_ino,
                    size=status.st_size,
                    modified_ns=status.st_mtime_ns,
                    linked=through,
                )
            if max(len(entries), folders) > MAX_FILES:
                raise MalformedError(
                    f"more than {MAX_FILES:,} files or folders",
                    file=folder,
                    hint="name the model's own folder, not one that holds many",
                )
    if not entries:
        raise MalformedError("holds no files", file=folder, hint="name the model's folder")
    return entries


def folder_status(folder: Path) -> os.stat_result:
    """Return what the system says of a model's folder.

    Raises:
        FileAccessError: It is none, or cannot be opened.
    """
    hint = "name the folder of config.json; in a plan, paths start at the plan file's folder"
    try:
        status = folder.stat()
    except OSError as error:
        raise FileAccessError.from_os(error, "open the folder", folder, hint) from None
    if not stat.S_ISDIR(status.st_mode):
        raise FileAccessError("is not a folder", file=folder, hint=hint)
    return status


def _names(folder: Path) -> list[tuple[str, bool]]:
    """Return the names in a folder, sorted, each with whether it is a symbolic link."""
    try:
        with os.scandir(folder) as found:
            return sorted((entry.name, entry.is_symlink()) for entry in found)
    except OSError as error:
        raise FileAccessError.from_os(error, "list the folder", folder, _RIGHTS) from None


_RIGHTS = "check its rights, or get it again from its source"


def _status(file: Path) -> os.stat_result:
    try:
        return file.stat()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP) and file.is_symlink():
            raise FileAccessError(
                "is a symbolic link that leads nowhere",
                file=file,
                hint="download the model again, or remove the link",
            ) from None
        raise FileAccessError.from_os(error, "open", file, _RIGHTS) from None


def _named(path: str, file: Path) -> str:
    try:
        return _PATH.validate_python(path)
    except ValidationError:
        raise MalformedError(
            "its name cannot be written in a receipt",
            file=os.fsencode(file).decode("utf-8", "backslashreplace"),
            hint="rename it: UTF-8, no control characters or backslashes, a path up to 1,024 long",
        ) from None


def _changed(file: Path) -> FileAccessError:
    return FileAccessError(
        "changed while the folder was hashed",
        file=file,
        hint="let the download or the training end, then try again",
    )


def _hash_all(
    folder: Path, entries: dict[str, _Entry], progress: Callable[[int, int], None] | None
) -> dict[str, Sha256]:
    """Return path → SHA-256, hashed in threads: hashlib lets go of the interpreter's lock."""
    total = sum(entry.size for entry in entries.values())
    done = 0
    lock = threading.Lock()
    stop = threading.Event()
    local = threading.local()

    def advance(count: int) -> None:
        nonlocal done
        with lock:
            done += count
            if progress is not None:
                progress(done, total)

    def digest(path: str) -> Sha256:
        if not hasattr(local, "buffer"):
            local.buffer = bytearray(_READ_BYTES)
        sha256, length = hashlib.sha256(), 0
        for chunk in _chunks(folder / path, local.buffer):
            sha256.update(chunk)
            length += len(chunk)
            if stop.is_set() or length > entries[path].size:
                break
            advance(len(chunk))
        if length != entries[path].size:
            raise _changed(folder / path)
        return Sha256(sha256.hexdigest())

    largest_first = sorted(entries, key=lambda path: (-entries[path].size, path))
    threads = min(_MAX_THREADS, os.cpu_count() or 1, len(entries))
    with ThreadPoolExecutor(threads) as pool:
        futures = {pool.submit(digest, path): path for path in largest_first}
        try:
            return {futures[future]: future.result() for future in as_completed(futures)}
        except BaseException:  # an interrupt too: no thread goes on reading
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _chunks(file: Path, buffer: bytearray) -> Iterator[memoryview]:
    """Yield the bytes of a regular file, through links, in pieces that the next one replaces."""
    view = memoryview(buffer)
    try:
        # O_NONBLOCK: a pipe put in the file's place must not hold us up.
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb", buffering=0) as stream:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise FileAccessError("is not a regular file", file=file)
            while count := stream.readinto(view):
                yield view[:count]
    except OSError as error:
        raise FileAccessError.from_os(error, "read", file, _RIGHTS) from None


def _signed_order(signature: Path, roots: dict[RootOrder, Sha256]) -> RootOrder | None:
    """Return the order whose root stands in a signature, or None.

    The file is a Sigstore bundle or a DSSE envelope around an in-toto statement.  A root is 64
    hex digits that occur nowhere by chance, so that the statement, whose shape differs between
    versions, is searched and not parsed.
    """
    content = bytearray()
    try:
        for chunk in _chunks(signature, bytearray(_READ_BYTES)):
            content += chunk
            if len(content) > _MAX_SIGNATURE_BYTES:
                return None
        bundle: Any = json.loads(content)
        envelope = bundle.get("dsseEnvelope", bundle)
        statement = base64.b64decode(envelope["payload"])
    except (FileAccessError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None  # no signature, or none that is understood: it is a hint and no more
    signed = [order for order, root in roots.items() if root.encode() in statement.lower()]
    return signed[0] if len(signed) == 1 else None


def _is_pickle(path: str) -> bool:
    return path.lower().endswith(PICKLE_ENDINGS)


def pickled_files(files: Iterable[CheckpointFile]) -> list[str]:
    """Return the paths that hold pickles, judged by their names; nothing is opened.

    ``pytorch_model.bin`` is one, and so is ``training_args.bin``.
    """
    return [file.path for file in files if _is_pickle(file.path)]


def refuse_pickles(hashed: HashedFolder, folder: Path, *, allow: bool) -> None:
    """Refuse a model whose weights exist only as pickles.

    Weights are looked for where they are loaded from, at the model root: one safetensors file
    there is enough, and pickles beside it are hashed but never loaded.  A folder without any
    weights is refused as well; it is what fetching a repository of pickles leaves.

    Args:
        hashed: The folder's files.
        folder: Named in the error.
        allow: The user accepts pickles.

    Raises:
        UsageError: There is no safetensors file at the model root.
    """
    paths = [file.path.lower() for file in hashed.files]
    if allow or any("/" not in path and path.endswith(".safetensors") for path in paths):
        return
    weights = [path for path in pickled_files(hashed.files) if not is_training_state(path)]
    if weights:
        more = f" and {len(weights) - 1} more" if len(weights) > 1 else ""
        raise UsageError(
            f"its weights are pickles ({weights[0]}{more}), which can run code when loaded",
            file=folder,
            hint="convert them to safetensors, or accept the risk with --allow-pickle",
        )
    raise UsageError(
        "holds no weights as safetensors",
        file=folder,
        hint="name a folder that does; a repository of pickles takes --allow-pickle",
    )


def refuse_unhashed_weights(hashed: HashedFolder, folder: Path, *, allow_pickle: bool) -> None:
    """Refuse a folder of which not all weights that will be loaded are among the files hashed.

    Files of weights are known by the names that transformers looks for: another file of weights
    in the list would bind nothing.

    Args:
        hashed: The folder's files.
        folder: The folder.
        allow_pickle: Whether weights may be pickles, where there are no others.

    Raises:
        UsageError: There are no weights that can be loaded, an adapter lies beside them, or a file
            of them was not hashed.
        FileAccessError: The folder or an index of weights cannot be read.
        MalformedError: An index is damaged.
    """
    paths = {file.path for file in hashed.files}
    for name in weight_files(folder, allow_pickle=allow_pickle):
        if name not in paths:
            raise UsageError(
                f"its weights are loaded from {name}, which is not among the files hashed",
                file=folder,
                hint="get the folder again from its source",
            )
