"""A file of JSON lines, each signed with the auditor's key and on disk before the next is made.

What an auditor who stops goes on with.  The file lies where others can write: a line that the
auditor did not sign is none of theirs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from safety_receipts.receipts.errors import FileAccessError, MalformedError
from safety_receipts.receipts.io.files import make_private, open_regular
from safety_receipts.receipts.keys import Signer


class SignedLines:
    """Keeps documents in a file.

    Args:
        path: The file; made when the first line is written, readable by its owner only.
        tag: What is signed with each line, so that no line stands in another file.
        signer: The auditor.
        limit: Longest that the file may be, in bytes.
    """

    def __init__(self, path: Path, tag: bytes, signer: Signer, limit: int) -> None:
        self.path = path
        self._tag, self._signer, self._limit = tag, signer, limit

    def read(self) -> list[Any] | None:
        """Return the documents; a line that a kill cut short is taken away.

        None: a line is damaged, or not of this auditor and file.

        Raises:
            MalformedError: The file is too long.
            FileAccessError: It cannot be read, or mended.
        """
        make_private(self.path)
        with open_regular(self.path) as stream:
            data = stream.read(self._limit + 1)
        if len(data) > self._limit:
            raise MalformedError(f"longer than the {self._limit:,} bytes allowed", file=self.path)
        end = data.rfind(b"\n") + 1
        try:
            documents = [self._verified(line) for line in data[:end].splitlines()]
        except (ValueError, RecursionError):
            return None
        if end < len(data):  # a kill in the middle of a line
            with self._opened("r+b") as stream:
                stream.truncate(end)
        return documents

    def append(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """Keep documents; they are on disk when this returns.

        Raises:
            FileAccessError: The file cannot be written.
        """
        data = b"".join(self._signed(json.dumps(document).encode()) for document in documents)
        with self._opened("ab") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())

    def remove(self) -> None:
        """Remove the file: what it was kept for is done.

        Raises:
            FileAccessError: It cannot be removed.
        """
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise FileAccessError.from_os(error, "remove", self.path) from None

    def _signed(self, text: bytes) -> bytes:
        return self._signer.sign(self._message(text)).hex().encode() + b" " + text + b"\n"

    def _verified(self, line: bytes) -> Any:
        """Return the document of a line; ValueError if it is none that the auditor signed."""
        signature, _, text = line.partition(b" ")
        raw = bytes.fromhex(signature.decode("ascii"))
        if not any(key.verifies(raw, self._message(text)) for key in self._signer.trust):
            raise ValueError("not signed")
        return json.loads(text)

    def _message(self, text: bytes) -> bytes:
        return self._tag + b"\n" + text

    @contextmanager
    def _opened(self, mode: str) -> Iterator[BinaryIO]:
        # Around the whole block: on a full disk what closes the file tries to write again.
        try:
            with cast(BinaryIO, open(self.path, mode, opener=_private)) as stream:
                yield stream
        except OSError as error:
            raise FileAccessError.from_os(error, "write", self.path) from None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
