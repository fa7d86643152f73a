"""Asking witnesses to cosign a log's newest checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from time import monotonic
from typing import IO, Any, Final, TypeAlias
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request

from safety_receipts.receipts.errors import ReceiptsError, UsageError
from safety_receipts.receipts.io.web import web_opener
from safety_receipts.receipts.log.formats.checkpoint import SignedCheckpoint, parse_size
from safety_receipts.receipts.log.formats.cosignature import cosignatures
from safety_receipts.receipts.log.formats.note import (
    NoteKey,
    NoteSignature,
    SignedNote,
    parse_signature,
)
from safety_receipts.receipts.log.formats.policy import LogPolicy
from safety_receipts.receipts.log.formats.tiles import TileTree
from safety_receipts.receipts.log.witnessing.witness import AddCheckpoint, WitnessStatus

_SECONDS: Final = 30.0
"""Longest time that a witness may take for one answer."""
_MOST_BYTES: Final = 256 * 1024
"""Longest answer that is read: 70 signature lines of the longest kind."""
_PIECE: Final = 16 * 1024
_TRIES: Final = 3
_MOST_WORDS: Final = 300
"""Longest part of a refusal that is passed on."""

Post: TypeAlias = Callable[[str, bytes, float], tuple[int, bytes]]
"""Sends a body to a witness's prefix, within so many seconds; returns the answer's status and body.
"""


@dataclass(frozen=True)
class Asked:
    """What a witness answered."""

    lines: tuple[NoteSignature, ...]
    """Its cosignatures, verified; empty: it refused, or could not be asked."""
    problem: str | None
    """Why there are none."""


class _NoAnswerError(Exception):
    """There is no answer, or one that is longer than is read."""


class _NoRedirection(HTTPRedirectHandler):
    """Follows no redirection: a request that is repeated elsewhere would be another one."""

    # The signature is the standard library's.
    def redirect_request(  # noqa: PLR0917
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> None:
        """Return no request."""


@dataclass(frozen=True)
class AskedWitness:
    """A witness of a policy that was asked."""

    name: str
    """What the policy calls it."""
    url: str
    """Where it is."""
    answer: Asked
    """What it answered."""


def ask_witnesses(
    policy: LogPolicy,
    only: Sequence[str],
    signed: SignedCheckpoint,
    tree: TileTree,
    post: Post | None = None,
) -> list[AskedWitness]:
    """Ask the witnesses of a policy that have an address to cosign a checkpoint.

    Args:
        policy: The policy.
        only: Names of those that are asked; empty: all.
        signed: The checkpoint.
        tree: Its tree, for consistency proofs.
        post: How they are reached; None: over HTTP.

    Raises:
        UsageError: One that is named is not in the policy, or has no address.
        IntegrityError, FileAccessError: A tile of the log is damaged, or cannot be read.
    """
    known = {one.name: (one.url, one.key) for one in policy.witnesses if one.url is not None}
    for name in only:
        if name not in known:
            raise UsageError(
                f"the policy has no witness {name} with an address",
                hint=f"one of {', '.join(known) or 'none'}",
            )
    return [
        AskedWitness(name, url, ask_witness(url, (key,), signed, tree, post=post))
        for name, (url, key) in known.items()
        if not only or name in only
    ]


def ask_witness(
    url: str,
    keys: tuple[NoteKey, ...],
    signed: SignedCheckpoint,
    tree: TileTree,
    seconds: float = _SECONDS,
    *,
    post: Post | None = None,
) -> Asked:
    """Ask a witness to cosign a checkpoint, from whatever size it knows.

    Args:
        url: Its submission prefix.
        keys: Its known keys; others' lines are ignored.
        signed: The checkpoint.
        tree: The tree of the checkpoint, for consistency proofs.
        seconds: Longest time that one answer may take.
        post: How it is reached; None: over HTTP.

    Raises:
        IntegrityError, FileAccessError: A tile of the log is damaged, or cannot be read.
    """
    old = 0
    for _ in range(_TRIES):
        proof = tuple(tree.consistency(old)) if 0 < old < tree.size else ()
        try:
            asked = AddCheckpoint(old, proof, signed).to_bytes()
            status, body = (post or _post)(url, asked, seconds)
        except _NoAnswerError as error:
            return Asked((), str(error))
        if status == WitnessStatus.OK:
            return _verified(body, keys, signed)
        if status != WitnessStatus.CONFLICT:
            why = body.decode("utf-8", "replace").strip().partition("\n")[0]
            return Asked((), f"it answered with {status}: {why[:_MOST_WORDS]}")
        known = parse_size(body.decode("ascii", "replace").removesuffix("\n"))
        if known is None or known > tree.size or known == old > 0:
            return Asked((), _conflict(known, old, tree.size))
        old = known
    return Asked((), "its view of the log changed with every request")


def _conflict(known: int | None, old: int, size: int) -> str:
    """Return why there is nothing to ask again with the size that a witness knows."""
    if known is None:
        return "it knows another size, and does not say which"
    if known > size:
        return f"it knows {known:,} entries, and the log has {size:,}"
    # As witnesses answered before July 2026, where 422 is said now.
    return f"it knows {old:,} entries of another root"


def _verified(body: bytes, keys: tuple[NoteKey, ...], signed: SignedCheckpoint) -> Asked:
    """Return the lines of an answer that known keys made."""
    try:
        text = body.decode("utf-8").removesuffix("\n")
        lines = [parse_signature(line) for line in text.split("\n")]
        mine = tuple(line for line in lines if any(line.is_of(key) for key in keys))
        with_them = SignedNote(signed.note.text, mine)
        if not mine or not cosignatures(SignedCheckpoint(with_them, signed.checkpoint), keys):
            return Asked((), "its answer holds no cosignature of a known key")
    except UnicodeDecodeError:
        return Asked((), "its answer does not hold: not UTF-8")
    # One witness whose answer is wrong, or of a kind not known here, takes nothing from others'.
    except ReceiptsError as error:
        return Asked((), f"its answer does not hold: {error.message}")
    return Asked(mine, None)


def _post(url: str, body: bytes, seconds: float) -> tuple[int, bytes]:
    """Return status and body of an answer.

    Raises:
        _NoAnswerError: The witness cannot be asked; says why.
    """
    until = monotonic() + seconds
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise _NoAnswerError("its address is none of the web")
        request = Request(
            f"{url.rstrip('/')}/add-checkpoint",
            data=body,
            headers={"Content-Type": "text/plain; charset=utf-8"},
            method="POST",
        )
        try:
            with web_opener(url, _NoRedirection()).open(request, timeout=seconds) as answer:
                return answer.status, _bounded(answer, until)
        except HTTPError as error:
            with error:
                return error.code, _bounded(error, until)
    # Of an address some mistakes are a ValueError: a port that is no number.
    except (URLError, HTTPException, OSError, ValueError) as error:
        raise _NoAnswerError(f"cannot be asked: {getattr(error, 'reason', error)}") from None


def _bounded(answer: HTTPResponse | HTTPError, until: float) -> bytes:
    """Read an answer, in pieces as they come: a witness may send one byte after the other."""
    read = bytearray()
    while piece := answer.read1(_PIECE):
        read += piece
        if len(read) > _MOST_BYTES:
            raise _NoAnswerError(f"its answer is longer than {_MOST_BYTES:,} bytes")
        if monotonic() > until:
            raise _NoAnswerError("its answer takes too long")
    return bytes(read)
