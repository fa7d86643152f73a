"""Attaching a verified receipt to a model card, and checking that a card says what it gives."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.errors import (
    FileAccessError,
    IntegrityError,
    MalformedError,
    PolicyError,
    ReceiptsError,
    UsageError,
)
from safety_receipts.receipts.io.files import atomic_writer, read_bounded
from safety_receipts.receipts.io.text import printable
from safety_receipts.verify.card.entries import index_entry
from safety_receipts.verify.card.eval_results import (
    Benchmark,
    existing_results,
    results_file,
    results_path,
)
from safety_receipts.verify.card.marks import (
    DamagedCardError,
    MarkedBlock,
    Region,
    line_of,
    mark_of,
)
from safety_receipts.verify.card.reading import check_by_hub, check_given, read_back
from safety_receipts.verify.card.section import section_lines
from safety_receipts.verify.card.splice import (
    CardParts,
    attached,
    entry_lines,
    lay_out,
    predecessors,
)
from safety_receipts.verify.verified import VerifiedReceipt

MAX_CARD_BYTES: Final = 4 * 1024 * 1024
"""Longest card."""
_URL: Final = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?([/?#][!#-;=?-Z_a-z~]*)?")
_LONGEST_URL: Final = 2048


@dataclass(frozen=True)
class NewCard:
    """What a card and the files beside it will be."""

    readme: Path
    """The card."""
    old: str
    """Its text."""
    new: str
    """Its text with the receipt; the same where nothing is to be done."""
    parts: CardParts
    """What the receipt gives."""
    replaced: tuple[Sha256, ...]
    """Receipts whose parts are taken out."""
    beside: tuple[Sha256, ...]
    """Other receipts of the same checkpoint and stage that stay."""
    planned: int
    """Conditions of the receipt; those without any rate have no entry."""
    results: tuple[Path, bytes] | None
    """The file of results on a benchmark; None: none is to be written."""


def card_parts(verified: VerifiedReceipt, url: str | None, *, instrument: bool) -> CardParts:
    """Return what a receipt gives a card.

    Args:
        verified: The receipt.
        url: Where it lies; None: that is not said.
        instrument: Whether a test instrument is accepted.

    Raises:
        PolicyError: It is of a test instrument.
        UsageError: ``url`` is no address that every program takes for one.
    """
    receipt, digest = verified.predicate, verified.signed.envelope.digest
    if receipt.instrument and not instrument:
        raise PolicyError(
            "the receipt is of a test instrument: its numbers say nothing about any real model",
            file=verified.bundle.folder,
            hint="--instrument attaches it all the same, and says so first",
        )
    if url is not None and (len(url) > _LONGEST_URL or _URL.fullmatch(url) is None):
        raise UsageError("--url should be an address that begins with https:// or http://")
    return CardParts(
        mark=mark_of(digest, receipt),
        section=tuple(section_lines(verified, url)),
        entry=index_entry(receipt, digest, url),
    )


def new_card(
    readme: Path,
    verified: VerifiedReceipt,
    parts: CardParts,
    *,
    benchmark: Benchmark | None = None,
    url: str | None = None,
    replace: bool = False,
) -> NewCard:
    """Return what a card will be; nothing is written.

    Args:
        readme: The card.
        verified: The receipt.
        parts: What it gives.
        benchmark: What it is stated as a result on; None: nothing.
        url: Where it lies; None: that is not said.
        replace: Whether it takes the place of other receipts of its checkpoint and stage.

    Raises:
        FileAccessError: The card cannot be read, or is a link.
        MalformedError: It is too long, no UTF-8, or of a form into which nothing can be put safely.
    """
    digest = parts.mark.digest
    text = read_card(readme)
    with _about(readme):
        others = tuple(predecessors(text, parts.mark))
        new = attached(text, parts, replace=replace)
        if len(new.encode()) > MAX_CARD_BYTES:
            raise MalformedError(f"would be longer than {MAX_CARD_BYTES:,} bytes")
        read_back(text, new, parts, others if replace else ())
    results = None
    if benchmark is not None:
        path = results_path(readme, digest)
        existing_results(path)
        results = path, results_file(verified.predicate, digest, benchmark, url)
    return NewCard(
        readme,
        text,
        new,
        parts,
        replaced=others if replace else (),
        beside=() if replace else others,
        planned=len(verified.predicate.conditions),
        results=results,
    )


def write_card(card: NewCard) -> str | None:
    """Write a card and what stands beside it; each file is there whole or as it was.

    Returns:
        Why the hub's own reader did not read it first; None: it did, or nothing was to be written.

    Raises:
        FileAccessError: A file cannot be written, or was changed meanwhile.
        ReceiptsError: It is read otherwise than it was meant; nothing was written then.
    """
    if card.results is not None:
        path, data = card.results
        if existing_results(path) != data:
            _write_results(path, data)
    unread = None
    if card.new != card.old:
        unread = _replace_card(card)
    for digest in card.replaced:
        path = results_path(card.readme, digest)
        if existing_results(path) is not None:
            path.unlink()
    return unread


def _write_results(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise FileAccessError.from_os(error, "write", path) from None
    with atomic_writer(path) as stream:
        stream.write(data)


def _replace_card(card: NewCard) -> str | None:
    mode = stat.S_IMODE(card.readme.stat().st_mode)
    if not mode & 0o222 or not os.access(card.readme, os.W_OK):
        raise FileAccessError("is read-only", file=card.readme, hint="chmod u+w lets it be written")
    data = card.new.encode()
    unread: list[str | None] = []

    def check(saved: Path) -> None:
        with _about(card.readme):
            if read_bounded(saved, MAX_CARD_BYTES) != data:
                raise ReceiptsError("the disk gave back other bytes than were written")
            unread.append(check_by_hub(saved, card.old, card.parts))
        if read_card(card.readme) != card.old:
            raise FileAccessError(
                "was changed while it was read", file=card.readme, hint="attach again"
            )

    with atomic_writer(card.readme, mode=mode, check=check) as stream:
        os.fchmod(stream.fileno(), mode)
        stream.write(data)
    return unread[0]


def read_card(path: Path) -> str:
    """Return the text of a card.

    Raises:
        FileAccessError: It cannot be read, or is a link.
        MalformedError: It is too long, or no UTF-8.
    """
    data = read_bounded(path, MAX_CARD_BYTES)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise MalformedError("is not valid UTF-8", file=path, place=f"line {line}") from None


def check_card(readme: Path, parts: CardParts) -> None:
    """Hold a card to what a receipt gives, line by line; ends of lines may differ.

    Raises:
        IntegrityError: Something was changed; names the line.
        FileAccessError, MalformedError: The card cannot be read.
    """
    text = read_card(readme)
    with _about(readme):
        try:
            layout = lay_out(text)
            entry = layout.block(Region.FRONT_MATTER, parts.mark.digest)
            section = layout.block(Region.BODY, parts.mark.digest)
            if entry is not None:
                column = _column(text, entry)
                lines = [line[column:] for line in entry_lines(parts, column)]
                _check_lines(text, entry, lines, column)
            if section is not None:
                marks = Region.BODY.begin(parts.mark), Region.BODY.end(parts.mark)
                _check_lines(text, section, [marks[0], *parts.section, marks[1]], 0)
            check_given(layout, parts)
        except DamagedCardError as error:
            raise IntegrityError(error.message, place=error.place, hint=error.hint) from None


def check_results(
    readme: Path,
    verified: VerifiedReceipt,
    benchmark: Benchmark | None,
    url: str | None,
) -> None:
    """Hold the file of results on a benchmark to what a receipt gives.

    Raises:
        IntegrityError: It is missing, or something in it was changed; names the line.
        UsageError: There is one, and no benchmark is named.
        FileAccessError, MalformedError: It cannot be read.
    """
    digest = verified.signed.envelope.digest
    path = results_path(readme, digest)
    if benchmark is None:
        if path.is_symlink() or path.exists():
            raise UsageError(
                f"{path} stands there: which result it should be is not said",
                hint="give --benchmark and --task",
            )
        return
    wanted = results_file(verified.predicate, digest, benchmark, url).decode()
    if not path.exists():
        raise IntegrityError("is not there", file=path, hint="attach the receipt again")
    text = read_bounded(path, MAX_CARD_BYTES).decode("utf-8", "replace")
    whole = MarkedBlock(mark_of(digest, verified.predicate), 0, len(text))
    with _about(path):
        _check_lines(text, whole, wanted.split("\n"), 0)


def _column(text: str, block: MarkedBlock) -> int:
    start = block.start
    while start and text[start - 1] == " ":
        start -= 1
    return block.start - start


def _check_lines(text: str, block: MarkedBlock, wanted: Sequence[str], column: int) -> None:
    """Hold the lines of a block to what they should be.

    Args:
        text: The file.
        block: Where they stand.
        wanted: What they should be, without indentation.
        column: How far all but the first are indented.
    """
    first = line_of(text, block.start)
    found = re.split(r"\r\n|\r|\n", text[block.start : block.end])
    indented = [wanted[0], *(" " * column + line for line in wanted[1:])]
    for number, line in enumerate(indented):
        if number >= len(found) or found[number] != line:
            raise IntegrityError(
                f"is not what the receipt gives, which is: {printable(line.strip())}",
                place=f"line {first + min(number, len(found) - 1)}",
                hint="attach again, with the same keys, --audits and --url as here",
            )
    if len(found) > len(indented):
        raise IntegrityError("a line was added", place=f"line {first + len(indented)}")


@contextmanager
def _about(path: Path) -> Iterator[None]:
    """Name the file in errors of what was found in its text."""
    try:
        yield
    except ReceiptsError as error:
        if error.file is None:
            error.file = os.fspath(path)
        raise
