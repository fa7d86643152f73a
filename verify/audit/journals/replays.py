"""What an unfinished audit has replayed: one line a point, synced as it is written.

Drawn points never change, and what was replayed is not replayed again: an auditor who stops
and goes on ends with the same statement as one who never stopped.  Each line is signed with the
auditor's key: the file lies in the bundle, where the evaluator could write one as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from safety_receipts.receipts.bundle import AUDITS
from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.errors import MalformedError, UsageError
from safety_receipts.receipts.keys import Signer
from safety_receipts.receipts.model.base import ConditionId
from safety_receipts.receipts.model.point import Outcome
from safety_receipts.runner.run.served import ServerCounts
from safety_receipts.verify.audit.journals.signed_lines import SignedLines
from safety_receipts.verify.audit.statistics.plausibility import MarginStatistics
from safety_receipts.verify.audit.statistics.replayed import ReplayedPoint

AUDIT_JOURNAL: Final = "replayed.jsonl"
"""What follows an announcement's digest in the name of its journal."""

_MAX_BYTES = 256 * 1024 * 1024
_TAG = b"safety-receipts/audit-journal/1"
_COUNTS = "server"
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
        tag = b"\n".join((_TAG, start.encode("ascii")))
        self._lines = SignedLines(path, tag, signer, _MAX_BYTES)
        self.replayed: dict[Sha256, ReplayedPoint] = {}
        """Points replayed, by id."""
        self.counts = ServerCounts()
        """What was counted of the server that scored, or answered anew."""
        header = {"stack": dict(stack)}
        if not path.exists() or not self._read(header):
            self._lines.append([header])

    def add(self, points: Iterable[ReplayedPoint]) -> None:
        """Keep replayed points; they are on disk when this returns.

        Raises:
            FileAccessError: The file cannot be written.
        """
        new = list(points)
        self._lines.append([replayed_to_json(one) for one in new])
        self.replayed.update((one.id, one) for one in new)

    def count(self, counts: ServerCounts) -> None:
        """Keep what was counted of a server since this was last told.

        Raises:
            FileAccessError: The file cannot be written.
        """
        if counts != ServerCounts():
            self._lines.append([{_COUNTS: asdict(counts)}])
            self.counts += counts

    def remove(self) -> None:
        """Remove the file: the audit is sealed."""
        self._lines.remove()

    def _read(self, header: dict[str, Any]) -> bool:
        """Take over what is there; say whether its header is whole."""
        documents, replayed, counts = self._lines.read(), {}, ServerCounts()
        try:
            for document in (documents or [])[1:]:
                if _COUNTS in document:
                    counts += ServerCounts(**document[_COUNTS])
                else:
                    one = replayed_from_json(document)
                    replayed[one.id] = one
        except (ValueError, KeyError, TypeError):
            documents = None
        if documents is None:
            raise MalformedError(
                "is damaged, or of another audit or auditor", file=self.path, hint=_AGAIN
            )
        if documents and documents[0] != header:
            raise UsageError(
                "was begun with another device, number format, server or version",
                file=self.path,
                hint="go on with the same, or move it away: its points are replayed again",
            )
        self.replayed, self.counts = replayed, counts
        return bool(documents)


def replayed_to_json(one: ReplayedPoint) -> dict[str, Any]:
    """Return a replayed point as a JSON object."""
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


def replayed_from_json(document: Mapping[str, Any]) -> ReplayedPoint:
    """Return the replayed point of a JSON object.

    Raises:
        ValueError, KeyError, TypeError: It is of none.
    """
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
