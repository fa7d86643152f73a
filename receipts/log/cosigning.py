"""Asking witnesses to cosign a log's newest checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException
from typing import Final
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from safety_receipts.receipts.errors import (
    IntegrityError,
    MalformedError,
    ReceiptsError,
    UsageError,
)
from safety_receipts.receipts.log.checkpoint import SignedCheckpoint, parse_size
from safety_receipts.receipts.log.cosignature import cosignatures
from safety_receipts.receipts.log.note import NoteKey, NoteSignature, SignedNote, parse_signature
from safety_receipts.receipts.log.policy import LogPolicy
from safety_receipts.receipts.log.tiles import TileTree
from safety_receipts.receipts.log.witness import AddCheckpoint, WitnessStatus

_SECONDS: Final = 30.0
_MOST_BYTES: Final = 1024 * 1024
_TRIES: Final = 3


@dataclass(frozen=True)
class Asked:
    """What a witness answered."""

    lines: tuple[NoteSignature, ...]
    """Its cosignatures, verified; empty: it refused, or could not be asked."""
    problem: str | None
    """Why there are none."""


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
    policy: LogPolicy, only: Sequence[str], signed: SignedCheckpoint, tree: TileTree
) -> list[AskedWitness]:
    """Ask the witnesses of a policy that have an address to cosign a checkpoint.

    Args:
        policy: The policy.
        only: Names of those that are asked; empty: all.
        signed: The checkpoint.
        tree: Its tree, for consistency proofs.

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
        AskedWitness(name, url, ask_witness(url, (key,), signed, tree))
        for name, (url, key) in known.items()
        if not only or name in only
    ]


def ask_witness(
    url: str, keys: tuple[NoteKey, ...], signed: SignedCheckpoint, tree: TileTree
) -> Asked:
    """Ask a witness to cosign a checkpoint, from whatever size it knows.

    Args:
        url: Its submission prefix.
        keys: Its known keys; others' lines are ignored.
        signed: The checkpoint.
        tree: The tree of the checkpoint, for consistency proofs.

    Raises:
        IntegrityError, FileAccessError: A tile of the log is damaged, or cannot be read.
    """
    old = 0
    for _ in range(_TRIES):
        proof = tuple(tree.consistency(old)) if 0 < old < tree.size else ()
        try:
            status, body = _post(url, AddCheckpoint(old, proof, signed).to_bytes())
        except (URLError, HTTPException, OSError) as error:
            return Asked((), f"cannot be asked: {getattr(error, 'reason', error)}")
        if status == WitnessStatus.CONFLICT:
            known = parse_size(body.decode("ascii", "replace").strip())
            if known is None or known > tree.size:
                said = (
                    "no size" if known is None else f"{known:,} entries, the log has {tree.size:,}"
                )
                return Asked((), f"it knows {said}")
            old = known
            continue
        if status != WitnessStatus.OK:
            why = body.decode("utf-8", "replace").strip().partition("\n")[0]
            return Asked((), f"it answered with {status}: {why}")
        return _verified(body, keys, signed)
    return Asked((), "its view of the log changed with every request")


def _verified(body: bytes, keys: tuple[NoteKey, ...], signed: SignedCheckpoint) -> Asked:
    """Return the lines of an answer that known keys made."""
    try:
        lines = [parse_signature(line) for line in body.decode("utf-8").splitlines()]
        mine = tuple(line for line in lines if any(line.is_of(key) for key in keys))
        with_them = SignedNote(signed.note.text, mine)
        if not mine or not cosignatures(SignedCheckpoint(with_them, signed.checkpoint), keys):
            return Asked((), "its answer holds no cosignature of a known key")
    except (MalformedError, IntegrityError, UnicodeDecodeError) as error:
        why = error.message if isinstance(error, ReceiptsError) else "not UTF-8"
        return Asked((), f"its answer does not hold: {why}")
    return Asked(mine, None)


def _post(url: str, body: bytes) -> tuple[int, bytes]:
    request = Request(
        f"{url.rstrip('/')}/add-checkpoint",
        data=body,
        headers={"Content-Type": "text/plain; charset=utf-8"},
        method="POST",
    )
    try:
        with urlopen(request, timeout=_SECONDS) as answer:
            return answer.status, answer.read(_MOST_BYTES)
    except HTTPError as error:
        with error:
            return error.code, error.read(_MOST_BYTES)
