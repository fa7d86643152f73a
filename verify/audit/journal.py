"""What an unfinished audit has replayed: one line a point, synced as it is written.

Drawn points never change, and what was replayed is not replayed again: an auditor who stops
and goes on ends with the same statement as one who never stopped.  Each line is signed with the
auditor's key: the file lies in the bundle, where the evaluator could write one as well.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from safety_receipts.receipts.bundle import AUDITS
from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.errors import FileAccessError, MalformedError, UsageError
from safety_receipts.receipts.io.files import make_private, open_regular
from safety_receipts.receipts.keys import Signer
from safety_receipts.receipts.model.base import ConditionId
from safety_receipts.receipts.model.point import Outcome
from safety_receipts.verify.audit.statistics.plausibility import MarginStatistics
from safety_receipts.verify.audit.statistics.replayed import ReplayedPoint

AUDIT_JOURNAL: Final = "replayed.jsonl"
"""What follows an announcement's digest in the name of its journal."""

_MAX_BYTES = 256 * 1024 * 1024
_TAG = b"safety-receipts/audit-journal/1"
_AGAIN = "move it away: its points are replayed again, and stay the same points"


def audit_journal_path(folder: Path, start: Sha256) -> Path:
    """Return where the journal of an announcement lies."""
    return folder / AUDITS / f"{start}.{AUDIT_JOURNAL}"


class AuditJournal:
    """Keeps replayed points in a file.

    Args:
        path: The file; made if it does not exist, readable by its owner only from then on.
        start: Digest of the announcement.
        stack: What the points are replayed with.
        signer: The auditor.

    Raises:
        UsageError: The file is of another stack.
        MalformedError: It is of another audit or auditor, or damaged other than by a kill.
        FileAccessError: It cannot be read or written.
    """

    def __init__(self, path: Path, start: Sha256, stack: Mapping[str, str], signer: Signer) -> None:
        self.path = path
        self._start, self._signer = start, signer
        self.replayed: dict[Sha256, ReplayedPoint] = {}
        """Points replayed, by id."""
        header = {"stack": dict(stack)}
        if not path.exists() or not self._read(header):
            self._append([header])

    def add(self, points: Iterable[ReplayedPoint]) -> None:
        """Keep replayed points; they are on disk when this returns.

        Raises:
            FileAccessError: The file cannot be written.
        """
        new = list(points)
        self._append([_to_json(one) for one in new])
        self.replayed.update((one.id, one) for one in new)

    def remove(self) -> None:
        """Remove the file: the audit is sealed."""
        self.path.unlink(missing_ok=True)

    def _read(self, header: dict[str, Any]) -> bool:
        """Take over what is there; say whether its header is whole."""
        make_private(self.path)
        with open_regular(self.path) as stream:
            data = stream.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise MalformedError(f"longer than the {_MAX_BYTES:,} bytes allowed", file=self.path)
        end = data.rfind(b"\n") + 1
        try:
            documents = [self._verified(line) for line in data[:end].splitlines()]
            points = [_from_json(document) for document in documents[1:]]
            replayed = {one.id: one for one in points}
        except (ValueError, KeyError, TypeError, RecursionError):
            raise MalformedError(
                "is damaged, or of another audit or auditor", file=self.path, hint=_AGAIN
            ) from None
        if documents and documents[0] != header:
            raise UsageError(
                "was begun with another device, number format or version",
                file=self.path,
                hint="go on with the same, or move it away: its points are replayed again",
            )
        if end < len(data):  # a kill in the middle of a line
            with self._opened("r+b") as stream:
                stream.truncate(end)
        self.replayed = replayed
        return bool(documents)

    def _append(self, documents: Iterable[Mapping[str, Any]]) -> None:
        data = b"".join(self._signed(json.dumps(document).encode()) for document in documents)
        with self._opened("ab") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())

    def _signed(self, text: bytes) -> bytes:
        return self._signer.sign(self._message(text)).hex().encode() + b" " + text + b"\n"

    def _verified(self, line: bytes) -> Any:
        """Return the document of a line; ValueError if it is none that the auditor signed."""
        signature, _, text = line.partition(b" ")
        raw = bytes.fromhex(signature.decode("ascii"))
        if not self._signer.public.verifies(raw, self._message(text)):
            raise ValueError("not signed")
        return json.loads(text)

    def _message(self, text: bytes) -> bytes:
        return b"\n".join((_TAG, self._start.encode("ascii"), text))

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


def _to_json(one: ReplayedPoint) -> dict[str, Any]:
    statistics = one.statistics
    return {
        "id": one.id,
        "condition": one.condition,
        "recorded": one.recorded.value,
        "label": None if one.label is None else one.label.value,
        "statistics": (
            None
            if statistics is None
            else [statistics.largest, statistics.clipped, statistics.tokens]
        ),
        "branched": one.branched,
        "missing": one.missing,
        "implausible": one.implausible,
        "ambiguous": one.ambiguous,
        "hard": one.hard,
        "judgeMargin": one.judge_margin,
        "ruledOut": one.ruled_out,
    }


def _from_json(document: Mapping[str, Any]) -> ReplayedPoint:
    statistics, label = document["statistics"], document["label"]
    return ReplayedPoint(
        id=Sha256(document["id"]),
        condition=ConditionId(document["condition"]),
        recorded=Outcome(document["recorded"]),
        label=None if label is None else Outcome(label),
        statistics=None if statistics is None else MarginStatistics(*statistics),
        branched=document["branched"],
        missing=document["missing"],
        implausible=document["implausible"],
        ambiguous=document["ambiguous"],
        hard=document["hard"],
        judge_margin=document["judgeMargin"],
        ruled_out=document["ruledOut"],
    )
