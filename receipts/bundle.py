"""A bundle: the folder that holds a sealed event.

::

    plan.dsse.json           the signed plan
    receipt.dsse.json        the signed receipt
    points.jsonl.zst         evidence: one line a point
    responses.jsonl.zst      restricted: one record a point
    audits/<digest>.dsse.json

Reads are streaming and bounded; writes are atomic.  The receipt is written last: a folder
with a receipt is whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar

import zstandard

from safety_receipts.receipts.canonical import canonical_bytes
from safety_receipts.receipts.documents.versions import read_statement
from safety_receipts.receipts.dsse import Envelope
from safety_receipts.receipts.errors import (
    FileAccessError,
    IncompleteError,
    IntegrityError,
    MalformedError,
    ReceiptsError,
    UsageError,
)
from safety_receipts.receipts.io.files import atomic_write, atomic_writer, read_bounded
from safety_receipts.receipts.io.lines import read_lines
from safety_receipts.receipts.io.temporary import remove_leftovers
from safety_receipts.receipts.merkle import RootAccumulator
from safety_receipts.receipts.model.base import WireModel
from safety_receipts.receipts.model.point import (
    MAX_POINT_BYTES,
    MAX_RECORD_BYTES,
    Point,
    RestrictedRecord,
)
from safety_receipts.receipts.model.receipt import Evidence
from safety_receipts.receipts.model.statement import EvaluationStatement, PlanStatement
from safety_receipts.receipts.unfinished import unfinished_run

PLAN = "plan.dsse.json"
RECEIPT = "receipt.dsse.json"
POINTS_FILE = "points.jsonl.zst"
RESPONSES_FILE = "responses.jsonl.zst"
AUDITS = "audits"
PROOFS = "proofs"
"""Folder of a bundle in which proofs lie."""

MAX_PLAN_BYTES = 64 * 1024 * 1024
MAX_RECEIPT_BYTES = 16 * 1024 * 1024
MAX_AUDIT_BYTES = 32 * 1024 * 1024

T = TypeVar("T", bound=WireModel)


@dataclass(frozen=True)
class SignedStatement(Generic[T]):
    """A statement beside the signed bytes it was parsed from.

    Nothing here says that a signature was verified.
    """

    statement: T
    envelope: Envelope
    document: Any
    """The payload as plain JSON, unknown fields included."""
    unknown: tuple[str, ...] = ()
    """JSON paths of fields that this version does not know and so ignored."""

    @property
    def is_canonical(self) -> bool:
        """Whether the payload is the RFC 8785 form of its content."""
        return canonical_bytes(self.document) == self.envelope.payload


def read_envelope(path: Path, limit: int) -> Envelope:
    """Read an envelope of at most ``limit`` bytes; its payload is not parsed yet.

    Raises:
        FileAccessError: The file cannot be read.
        MalformedError: It is no envelope.
    """
    return Envelope.from_json(read_bounded(path, limit), file=path)


def parse_signed(envelope: Envelope, *wanted: type[T], file: Path) -> SignedStatement[T]:
    """Parse the statement in an envelope, as what it says it is.

    Raises:
        MalformedError: As :func:`receipts.documents.versions.read_statement`.
    """
    read = read_statement(envelope.payload, *wanted, file=file)
    return SignedStatement(read.statement, envelope, read.document, read.unknown)


class Bundle:
    """A bundle on disk; parts are read when asked for.

    Args:
        folder: The bundle.
        audits: Further folders with audits of it, as those of who could not write into the bundle:
            each holds them itself, or has a folder ``audits``.

    Raises:
        FileAccessError: The path is not a folder.
    """

    def __init__(self, folder: Path, *, audits: Sequence[Path] = ()) -> None:
        try:
            there = folder.is_dir()
        except OSError as error:  # a name that is too long, among others
            raise FileAccessError.from_os(error, "open", folder) from None
        if not there:
            missing = "is not a folder" if folder.exists() else "no such folder"
            raise FileAccessError(
                missing, file=folder, hint=f"a bundle is the folder that holds {RECEIPT}"
            )
        self.folder = folder
        self._elsewhere = tuple(audits)

    def has(self, name: str) -> bool:
        """Say whether the bundle has a file of this name."""
        return (self.folder / name).is_symlink() or (self.folder / name).exists()

    @cached_property
    def plan_envelope(self) -> Envelope:
        """The plan's envelope.

        Raises:
            FileAccessError, MalformedError: As :func:`read_envelope`.
        """
        return read_envelope(self.folder / PLAN, MAX_PLAN_BYTES)

    @cached_property
    def plan(self) -> SignedStatement[PlanStatement]:
        """The plan.

        Raises:
            FileAccessError, MalformedError: As :func:`read_envelope` and :func:`parse_signed`.
        """
        return parse_signed(self.plan_envelope, PlanStatement, file=self.folder / PLAN)

    @cached_property
    def receipt_envelope(self) -> Envelope:
        """The receipt's envelope.

        Raises:
            IncompleteError: Its run is not finished.
            FileAccessError, MalformedError: As :func:`read_envelope`.
        """
        if not self.has(RECEIPT):
            self._refuse_unfinished()
        self._refuse_missing(RECEIPT, f"a bundle is the folder that holds {RECEIPT}")
        return read_envelope(self.folder / RECEIPT, MAX_RECEIPT_BYTES)

    def _refuse_unfinished(self) -> None:
        """Say how far the run of a folder without a receipt came, where one was begun or planned.

        Raises:
            IncompleteError: It is not finished.
        """
        planned = None
        if self.has(PLAN):
            with suppress(ReceiptsError):  # whoever needs the plan says what is wrong with it
                planned = self.plan.statement.predicate.points
        run = unfinished_run(self.folder, planned)
        # Where evidence lies without a journal the event was sealed, and its receipt is gone.
        if run is not None and (run.begun or not self.has(POINTS_FILE)):
            raise IncompleteError(run.words, file=self.folder, hint=run.hint)

    def _refuse_missing(self, name: str, hint: str) -> None:
        if not self.has(name):
            raise FileAccessError("is not in this folder", file=self.folder / name, hint=hint)

    @cached_property
    def receipt(self) -> SignedStatement[EvaluationStatement]:
        """The receipt.

        Raises:
            FileAccessError, MalformedError: As :func:`read_envelope` and :func:`parse_signed`.
        """
        return parse_signed(self.receipt_envelope, EvaluationStatement, file=self.folder / RECEIPT)

    def lines(self, max_lines: int) -> Iterator[bytes]:
        """Yield at most ``max_lines`` evidence lines as bytes, without their line breaks.

        Raises:
            FileAccessError, MalformedError: As :func:`read_lines`.
        """
        hint = "a published copy may lack it: ask whoever holds the evidence"
        self._refuse_missing(POINTS_FILE, hint)
        return read_lines(self.folder / POINTS_FILE, max_line=MAX_POINT_BYTES, max_lines=max_lines)

    def sealed_lines(self, evidence: Evidence) -> Iterator[tuple[int, bytes]]:
        """Yield every evidence line with its number, from 1; they are those that were sealed.

        Args:
            evidence: What a receipt says of them: this bundle's, as it was when it was verified.

        Raises:
            FileAccessError, MalformedError: As :func:`receipts.io.lines.read_lines`.
            IntegrityError: After the last line: together they do not have the receipt's root.
        """
        root = RootAccumulator()
        for number, line in enumerate(self.lines(evidence.size), start=1):
            root.append(line)
            yield number, line
        if root.root().hex() != evidence.root:
            raise IntegrityError(
                "the evidence lines do not have the receipt's root",
                file=self.folder / POINTS_FILE,
                hint="see: receipts verify",
            )

    def points(self) -> Iterator[Point]:
        """Yield the points in file order, as many as the receipt says there are.

        Raises:
            MalformedError: With the number of the first line that is no evidence line.
        """
        size = self.receipt.statement.predicate.evidence.size
        for number, line in enumerate(self.lines(size), start=1):
            yield parse_point(line, number, self.folder / POINTS_FILE)

    def response_lines(self) -> Iterator[bytes]:
        """Yield the restricted records as bytes, as many as there are points.

        Raises:
            FileAccessError, MalformedError: As :func:`receipts.io.lines.read_lines`.
        """
        size = self.receipt.statement.predicate.evidence.size
        return read_lines(self.folder / RESPONSES_FILE, max_line=MAX_RECORD_BYTES, max_lines=size)

    def responses(self) -> Iterator[RestrictedRecord]:
        """Yield the restricted records in file order, as many as there are points.

        Raises:
            MalformedError: With the number of the first line that is no restricted record.
        """
        for number, line in enumerate(self.response_lines(), start=1):
            yield parse_record(line, number, self.folder / RESPONSES_FILE)

    def proof_file(self, name: str) -> Path | None:
        """Return the file of a proof, here or beside the audits of further folders.

        Args:
            name: The proof's name.

        Returns:
            The file; None: there is none.

        Raises:
            FileAccessError: A folder of proofs is a link, which may lead out of the bundle.
        """
        beside = (one if (one / AUDITS).is_dir() else one.parent for one in self._elsewhere)
        for folder in (self.folder, *beside):
            path = folder / PROOFS / name
            if path.parent.is_symlink():
                raise FileAccessError("is a symbolic link", file=path.parent)
            if path.is_symlink() or path.exists():
                return path
        return None

    def audit_files(self) -> list[Path]:
        """Return the files of the audits, sorted by name; what is none by its name is left out.

        Anybody can put files there, so how many there are is no fault of the bundle's.  One that
        lies in several folders is returned once.

        Raises:
            FileAccessError: The folder cannot be listed, or is a link, which may lead out of
                the bundle.
        """
        folder = self.folder / AUDITS
        if folder.is_symlink():
            raise FileAccessError("is a symbolic link", file=folder)
        places = [folder] if folder.exists() else []
        for elsewhere in self._elsewhere:
            inner = elsewhere / AUDITS
            places.append(inner if inner.is_dir() else elsewhere)
        files: dict[str, Path] = {}
        for place in places:
            try:
                names = [path for path in place.iterdir() if path.name.endswith(".dsse.json")]
            except OSError as error:
                raise FileAccessError.from_os(error, "list", place) from None
            for path in names:
                files.setdefault(path.name, path)
        return [files[name] for name in sorted(files)]


def parse_point(line: bytes, number: int, file: Path) -> Point:
    """Parse evidence line ``number`` (1-based) of ``file``.

    Raises:
        MalformedError: With file and line.
    """
    return _at_line(Point.from_line, line, number, file)


def parse_record(line: bytes, number: int, file: Path) -> RestrictedRecord:
    """Parse restricted record ``number`` (1-based) of ``file``.

    Raises:
        MalformedError: With file and line.
    """
    return _at_line(RestrictedRecord.from_line, line, number, file)


def _at_line(parse: Callable[[bytes], T], line: bytes, number: int, file: Path) -> T:
    try:
        return parse(line)
    except MalformedError as error:
        place = f"line {number}" + (f": {error.place}" if error.place else "")
        raise MalformedError(error.message, file=file, place=place) from None


class EvidenceSink:
    """Takes evidence lines and restricted records, in plan order."""

    def __init__(self, points: BinaryIO, responses: BinaryIO) -> None:
        self._points = points
        self._responses = responses

    def append(self, point: Point, record: RestrictedRecord) -> bytes:
        """Write one point and return its evidence line (the Merkle leaf).

        Raises:
            UsageError: A line is longer than readers accept.
        """
        line, restricted = point.to_line(), record.to_line()
        if len(line) > MAX_POINT_BYTES or len(restricted) > MAX_RECORD_BYTES:
            raise UsageError(f"point {point.index} is longer than readers accept")
        self._points.write(line + b"\n")
        self._responses.write(restricted + b"\n")
        return line


_NEW_FOLDER = "name a new folder"


class BundleWriter:
    """Writes a bundle, file by file; what killed commands left in its folder is removed.

    Args:
        folder: Made if it does not exist.

    Raises:
        FileAccessError: The folder cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileAccessError.from_os(error, "create", folder) from None
        self.folder = folder
        remove_leftovers(folder)

    def write_plan(self, envelope: Envelope) -> None:
        """Write the signed plan, unless it is there.

        Raises:
            UsageError: The folder holds a receipt, which is never overwritten, or another plan.
        """
        path = self.folder / PLAN
        if (self.folder / RECEIPT).exists():
            raise UsageError("holds a receipt already", file=self.folder, hint=_NEW_FOLDER)
        if path.exists():
            if read_envelope(path, MAX_PLAN_BYTES).digest != envelope.digest:
                raise UsageError("holds another plan", file=self.folder, hint=_NEW_FOLDER)
            return
        self._write(PLAN, envelope, MAX_PLAN_BYTES)

    def write_receipt(self, envelope: Envelope) -> None:
        """Write the signed receipt, which makes the bundle whole."""
        self._write(RECEIPT, envelope, MAX_RECEIPT_BYTES)

    def _write(self, name: str, envelope: Envelope, limit: int) -> None:
        data = envelope.to_json()
        if len(data) > limit:
            raise UsageError(
                f"{len(data):,} bytes are more than the {limit:,} that readers accept",
                file=self.folder / name,
                hint="plan fewer conditions, sources or queries",
            )
        atomic_write(self.folder / name, data)

    def write_audit(self, envelope: Envelope, *, private: bool = False) -> Path:
        """Write a signed audit or audit-start under its digest and return its path.

        Args:
            envelope: The statement.
            private: Whether its owner alone may read it, from its first byte on.
        """
        folder = self.folder / AUDITS
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise FileAccessError.from_os(error, "create", folder) from None
        remove_leftovers(folder)
        path = folder / f"{envelope.digest}.dsse.json"
        atomic_write(path, envelope.to_json(), mode=0o600 if private else 0o644)
        return path

    @contextmanager
    def evidence(self, *, public: bool) -> Iterator[EvidenceSink]:
        """Open both evidence files; neither appears unless the block ends without error.

        A disk that fails between the two last renames can leave one of them: what makes a
        bundle whole is its receipt, which comes after both.

        Args:
            public: Whether anybody may hold the evidence lines.  Otherwise they are readable
                by their owner only, as the restricted records always are.
        """
        with ExitStack() as stack:
            responses = stack.enter_context(atomic_writer(self.folder / RESPONSES_FILE, mode=0o600))
            mode = 0o644 if public else 0o600
            points = stack.enter_context(atomic_writer(self.folder / POINTS_FILE, mode=mode))
            yield EvidenceSink(
                *(
                    stack.enter_context(
                        zstandard.ZstdCompressor(level=9, write_checksum=True).stream_writer(
                            stream, closefd=False
                        )
                    )
                    for stream in (points, responses)
                )
            )
