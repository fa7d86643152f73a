"""What an unfinished calibration has generated and replayed: it goes on where it stopped.

A calibration takes hours on a large model.  Its journal lies beside the file that it becomes,
readable by its owner only: it holds responses, and the calibration's own secrets.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from safety_receipts.receipts.bundle import parse_point, parse_record
from safety_receipts.receipts.errors import MalformedError, UsageError
from safety_receipts.receipts.io.locks import lock_file
from safety_receipts.receipts.keys import Signer
from safety_receipts.runner.run.journal import JournalEntry
from safety_receipts.verify.audit.journals.replays import replayed_from_json, replayed_to_json
from safety_receipts.verify.audit.journals.signed_lines import SignedLines
from safety_receipts.verify.audit.replay import Entry, Replays
from safety_receipts.verify.audit.statistics.replayed import ReplayedPoint

REPLAYED_AT_ONCE: Final = 512
"""Responses that are replayed before they are kept."""

_TAG: Final = b"safety-receipts/calibration-journal/1"
_MAX_BYTES: Final = 4 * 2**30
_MORE: Final = "move it away to start over"


class CalibrationJournal:
    """Keeps what a calibration generated and replayed, stage by stage.

    Args:
        lines: The file; None: nothing is kept.
        terms: What was asked for: a journal of other terms is not gone on with.

    Raises:
        UsageError: The file is of other terms.
        MalformedError: It is of another auditor, or damaged other than by a kill.
        FileAccessError: It cannot be read or written.
    """

    def __init__(self, lines: SignedLines | None, terms: Mapping[str, Any]) -> None:
        self._lines = lines
        self._generated: dict[str, list[Entry]] = {}
        self._replayed: dict[str, list[ReplayedPoint]] = {}
        header: dict[str, Any] = {"terms": dict(terms)}
        header |= {name: secrets.token_hex(32) for name in ("nonce", "secret")}
        documents = [] if lines is None or not lines.path.exists() else self._read(lines, terms)
        if documents:
            header = documents[0]
        elif lines is not None:
            lines.append([header])
        self.nonce: str = header["nonce"]
        """From which the calibration's seed follows, with the plan."""
        self.secret = bytes.fromhex(header["secret"])
        """The 32 random bytes of its commitments."""

    def generated(self, stage: str) -> list[Entry]:
        """Return the points that were generated in a stage, in the order of the plan."""
        return sorted(self._generated.get(stage, []), key=lambda entry: entry[0].index)

    def keep_generated(self, stage: str, entries: Sequence[JournalEntry]) -> None:
        """Keep the generated points of one unit.

        Raises:
            FileAccessError: The file cannot be written.
        """
        self._generated.setdefault(stage, []).extend((one.point, one.record) for one in entries)
        self._append(
            {
                "generated": stage,
                "points": [one.point.to_line().decode() for one in entries],
                "records": [one.record.to_line().decode() for one in entries],
            }
        )

    def replay(
        self,
        stage: str,
        entries: Sequence[Entry],
        replays: Replays,
        watch: Callable[[int], None],
    ) -> list[ReplayedPoint]:
        """Replay points in chunks, but for those that were replayed before in this stage.

        Args:
            stage: Name of the stage.
            entries: The points, with their records.
            replays: Replays them, chunk by chunk.
            watch: Told how many were replayed, after each chunk.

        Returns:
            What the replay says of each, in order.

        Raises:
            ReceiptsError: As ``replays``; or the file cannot be written.
        """
        found = self._replayed.setdefault(stage, [])
        if found:
            watch(len(found))
        left = entries[len(found) :]
        starts = range(0, len(left), REPLAYED_AT_ONCE)
        for new in replays(left[start : start + REPLAYED_AT_ONCE] for start in starts):
            found += new
            self._append({"replayed": stage, "points": [replayed_to_json(one) for one in new]})
            watch(len(new))
        return found

    def remove(self) -> None:
        """Remove the file: the calibration is written."""
        if self._lines is not None:
            self._lines.remove()

    def _append(self, document: Mapping[str, Any]) -> None:
        if self._lines is not None:
            self._lines.append([document])

    def _read(self, lines: SignedLines, terms: Mapping[str, Any]) -> list[Any]:
        documents = lines.read()
        try:
            if documents is None:
                raise ValueError("a line is not signed")
            for document in documents[1:]:
                self._take(document, lines.path)
        except (ValueError, KeyError, TypeError, MalformedError):
            raise MalformedError(
                "is damaged, or of another calibration or auditor", file=lines.path, hint=_MORE
            ) from None
        if documents and documents[0]["terms"] != terms:
            begun = documents[0]["terms"]
            other = ", ".join(name for name in terms if begun.get(name) != terms[name])
            raise UsageError(
                f"was begun on other terms ({other})",
                file=lines.path,
                hint=f"give the same plan and options again, or {_MORE}",
            )
        return documents

    def _take(self, document: Mapping[str, Any], path: Path) -> None:
        if "generated" in document:
            pairs = zip(document["points"], document["records"], strict=True)
            self._generated.setdefault(document["generated"], []).extend(
                (parse_point(point.encode(), 1, path), parse_record(record.encode(), 1, path))
                for point, record in pairs
            )
        else:
            points = [replayed_from_json(one) for one in document["points"]]
            self._replayed.setdefault(document["replayed"], []).extend(points)


def calibration_journal_path(out: Path) -> Path:
    """Return where the journal of a calibration lies: beside the file that it becomes."""
    return out.with_name(f".{out.name}.journal.jsonl")


@contextmanager
def calibration_lines(out: Path, signer: Signer) -> Iterator[SignedLines]:
    """Yield the file of a calibration's journal, held by this process.

    Raises:
        UsageError: Another process makes the same calibration.
        FileAccessError: The folder cannot be written.
    """
    with lock_file(out.with_name(f".{out.name}.lock"), "calibration"):
        yield SignedLines(calibration_journal_path(out), _TAG, signer, _MAX_BYTES)
