"""What an unfinished audit has replayed: one line a point, synced as it is written.

Drawn points never change, and what was replayed is not replayed again: an auditor who stops
and goes on ends with the same statement as one who never stopped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from receipts.canonical import Sha256
from receipts.errors import FileAccessError, MalformedError, UsageError
from receipts.files import open_regular
from receipts.model.base import ConditionId
from receipts.model.point import Outcome
from verify.plausibility import Statistics
from verify.replay import Replayed

_MAX_BYTES = 256 * 1024 * 1024
_AGAIN = "move it away: its points are replayed again, and stay the same points"


class AuditJournal:
    """Keeps replayed points in a file.

    Args:
        path: The file; made if it does not exist, readable by its owner only.
        start: Digest of the announcement.
        stack: What the points are replayed with.

    Raises:
        UsageError: The file is of another audit, or of another stack.
        MalformedError: It is damaged other than by a kill.
        FileAccessError: It cannot be read or written.
    """

    def __init__(self, path: Path, start: Sha256, stack: Mapping[str, str]) -> None:
        self.path = path
        self.replayed: dict[Sha256, Replayed] = {}
        """Points replayed, by id."""
        header = {"start": start, "stack": dict(stack)}
        if not path.exists() or not self._read(header):
            self._append([header])

    def add(self, points: Iterable[Replayed]) -> None:
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
        with open_regular(self.path) as stream:
            data = stream.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise MalformedError(f"longer than the {_MAX_BYTES:,} bytes allowed", file=self.path)
        end = data.rfind(b"\n") + 1
        try:
            documents = [json.loads(line) for line in data[:end].splitlines()]
            points = [_from_json(document) for document in documents[1:]]
            start = documents[0]["start"] if documents else None
        except (ValueError, KeyError, TypeError):
            raise MalformedError("is damaged", file=self.path, hint=_AGAIN) from None
        if documents and start != header["start"]:
            raise UsageError("is of another audit", file=self.path, hint=_AGAIN)
        if documents and documents[0] != header:
            raise UsageError(
                "was begun with another device, number format or version",
                file=self.path,
                hint="go on with the same, or move it away: its points are replayed again",
            )
        if end < len(data):  # a kill in the middle of a line
            with self._opened("r+b") as stream:
                stream.truncate(end)
        self.replayed = {one.id: one for one in points}
        return bool(documents)

    def _append(self, documents: Iterable[Mapping[str, Any]]) -> None:
        text = "".join(json.dumps(document) + "\n" for document in documents)
        with self._opened("ab") as stream:
            try:
                stream.write(text.encode("utf-8"))
                stream.flush()
                os.fsync(stream.fileno())
            except OSError as error:
                raise FileAccessError.from_os(error, "write", self.path) from None

    def _opened(self, mode: str) -> Any:
        try:
            return open(self.path, mode, opener=_private)
        except OSError as error:
            raise FileAccessError.from_os(error, "write", self.path) from None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _to_json(one: Replayed) -> dict[str, Any]:
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
    }


def _from_json(document: Mapping[str, Any]) -> Replayed:
    statistics, label = document["statistics"], document["label"]
    return Replayed(
        id=Sha256(document["id"]),
        condition=ConditionId(document["condition"]),
        recorded=Outcome(document["recorded"]),
        label=None if label is None else Outcome(label),
        statistics=None if statistics is None else Statistics(*statistics),
        branched=document["branched"],
        missing=document["missing"],
        implausible=document["implausible"],
        ambiguous=document["ambiguous"],
        hard=document["hard"],
        judge_margin=document["judgeMargin"],
    )
