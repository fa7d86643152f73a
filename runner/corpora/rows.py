"""Where a corpus comes from, and what reading it gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from safety_receipts.receipts.canonical import Sha256, tagged_digest
from safety_receipts.receipts.model.base import QueryId, SourceName

MAX_ID_CHARACTERS = 191
"""Longest row id: a query id has 256 characters, its source name up to 64, and a slash."""

_CONTENT_ID_DIGITS = 16

# What receipts.model.base.Query allows after the slash, without the percent sign, which spells
# the rest.
_SAFE_IN_ID = "!#$&'()*+,/:;<=>?@[]^`{|}"


@dataclass(frozen=True)
class CorpusSource:
    """A corpus as the plan names it: a file on disk, or a file of a dataset repository.

    Exactly one of ``path`` and ``hub`` is given.
    """

    corpus: str
    """Which reader understands it (a key of :data:`runner.corpora.read.READERS`)."""
    path: Path | None = None
    """The file, already resolved against the plan's folder."""
    hub: str | None = None
    """Dataset repository on the Hugging Face hub."""
    revision: str | None = None
    """Commit, branch or tag of that repository; required with ``hub``."""
    file: str | None = None
    """File in that repository; None: the reader's default for it."""
    where: Mapping[str, str] = field(default_factory=dict)
    """Column = value: rows to take; values are compared as text, exactly."""
    licence: str | None = None
    """Licence, where the plan states one; None: what the reader knows of its corpus."""


@dataclass(frozen=True, slots=True)
class CorpusRow:
    """One request of a corpus."""

    id: str
    """Unique in its corpus; visible ASCII without quotation mark and backslash."""
    request: str
    """What is asked, as in the file."""
    response: str | None
    """The answer shown with it; None where the corpus has none."""
    columns: Mapping[str, str]
    """Columns that hold neither request nor response, as text; null reads as empty text."""


@dataclass(frozen=True)
class CorpusRows:
    """What a corpus gives, with every row accounted for.

    ``rows`` = rows that ``where`` leaves out + ``empty_rows`` + ``duplicate_rows`` +
    ``len(selected)``.
    """

    selected: tuple[CorpusRow, ...]
    """Rows that are left, in the order of the file; at least one."""
    corpus: str
    """Which reader understood the file."""
    digest: Sha256
    """SHA-256 of the file's bytes."""
    rows: int
    """Rows in the file."""
    where: Mapping[str, str]
    """The filter that was applied."""
    empty_rows: int
    """Matching rows dropped because there is no request (or, in a conversation, no opening
    pair of request and response)."""
    duplicate_rows: int
    """Matching rows dropped because an earlier one has the same request, normalised."""
    hub: str | None
    """Dataset repository; None: a file on disk."""
    revision: str | None
    """Commit that was fetched, 40 hex digits, whatever name the plan gave it."""
    file: str | None
    """File within that repository; None: a file on disk."""
    licence: str | None
    """Licence of the corpus, where known."""


def encoded_id(text: str) -> str:
    r"""Return an id in the characters that query ids may hold, percent-encoded where needed.

    Everything but visible ASCII, and ``"``, ``\`` and ``%`` themselves, becomes ``%XX`` of
    its UTF-8 bytes (RFC 3986, section 2.1), so ``urllib.parse.unquote`` gives the original
    back and two ids never become one.
    """
    return quote(text, safe=_SAFE_IN_ID)


def content_id(request: str) -> str:
    """Return an id for a row of a corpus that has none: 64 bits of the request's SHA-256.

    It is the start of SHA-256 over JCS ``["safety-receipts/corpus-row/1", request]``.  Only the
    request counts, so that a CSV, a JSON and a Parquet export of one corpus give the same ids;
    it suffices, because of two rows with one request the later is dropped.
    """
    return tagged_digest("safety-receipts/corpus-row/1", request).hex()[:_CONTENT_ID_DIGITS]


def query_id(source: SourceName, row: CorpusRow) -> QueryId:
    """Return the id of an evaluation query: ``<source>/<id>``."""
    return QueryId(f"{source}/{row.id}")
