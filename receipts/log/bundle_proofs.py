"""The statements of a bundle in a log, and the proofs of them that lie in the bundle.

::

    proofs/plan.tlog-proof
    proofs/receipt.tlog-proof
    proofs/audit-start-<digest>.tlog-proof
    proofs/audit-<digest>.tlog-proof
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from safety_receipts.receipts.bundle import (
    MAX_AUDIT_BYTES,
    MAX_PLAN_BYTES,
    PLAN,
    PROOFS,
    RECEIPT,
    Bundle,
    read_envelope,
)
from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.dsse import Envelope
from safety_receipts.receipts.errors import (
    FileAccessError,
    IntegrityError,
    MalformedError,
    UsageError,
)
from safety_receipts.receipts.io.files import atomic_write, read_bounded
from safety_receipts.receipts.log.formats.checkpoint import SignedCheckpoint
from safety_receipts.receipts.log.formats.entry import EntryKind, LogEntry, entry_of
from safety_receipts.receipts.log.formats.proof import MAX_LOG_PROOF_BYTES, PROOF_SUFFIX, LogProof
from safety_receipts.receipts.log.formats.tiles import TileSource, TileTree
from safety_receipts.receipts.log.survey import check_growth, find_leaves
from safety_receipts.receipts.merkle import leaf_hash


def proof_name(kind: EntryKind, digest: Sha256) -> str:
    """Return the name of a statement's proof in a bundle's folder of proofs."""
    # Of these a bundle has one.
    single = kind in (EntryKind.PLAN, EntryKind.RECEIPT)
    return f"{kind.value if single else f'{kind.value}-{digest}'}{PROOF_SUFFIX}"


def proof_path(folder: Path, entry: LogEntry) -> Path:
    """Return where the proof of a statement lies in a bundle's folder."""
    return folder / PROOFS / proof_name(entry.type, entry.digest)


@dataclass(frozen=True)
class Loggable:
    """A signed statement, and what is logged of it."""

    file: Path
    """Its file."""
    envelope: Envelope
    """As it was signed; no signature is verified."""
    entry: LogEntry
    """What is logged of it."""


@dataclass(frozen=True)
class ProvenStatement:
    """A statement whose place in a log is shown by a file."""

    of: Loggable
    """The statement."""
    file: Path
    """The proof."""
    proof: LogProof
    """What it says."""
    kept: bool
    """Whether it lay there before, and was left as it is."""


@dataclass(frozen=True)
class BundleProofs:
    """What became of the proofs of a bundle."""

    proven: tuple[ProvenStatement, ...]
    """Statements that are in the log."""
    missing: tuple[Loggable, ...]
    """Statements that are not."""


def read_loggable(file: Path) -> Loggable:
    """Read a signed plan, receipt, announcement or result of an audit.

    Raises:
        FileAccessError: It cannot be read.
        MalformedError: It is none of these, or has not its form.
    """
    limit = MAX_PLAN_BYTES if file.name == PLAN else MAX_AUDIT_BYTES
    envelope = read_envelope(file, limit)
    return Loggable(file, envelope, entry_of(envelope, file))


def is_folder(path: Path) -> bool:
    """Say whether a path is a folder, as a bundle is, and no file.

    Raises:
        FileAccessError: No path is of this form.
    """
    try:
        return path.is_dir()
    except OSError as error:  # a name that is too long, among others
        raise FileAccessError.from_os(error, "open", path) from None


def loggable_statements(folder: Path) -> Iterator[Loggable]:
    """Yield plan, receipt and audits of a bundle, in the order in which they are made.

    A run that is not finished has a plan alone, and a published copy what others may hold.

    Raises:
        FileAccessError: The folder is no bundle, or a file in it cannot be read.
        MalformedError: A file has not the form of what it should be.
    """
    bundle = Bundle(folder)
    there = [folder / name for name in (PLAN, RECEIPT) if bundle.has(name)]
    if not there:
        raise FileAccessError("is no bundle: it holds neither plan nor receipt", file=folder)
    receipt = None
    for file in there:
        found = read_loggable(file)
        wanted = EntryKind.PLAN if file.name == PLAN else EntryKind.RECEIPT
        if found.entry.type is not wanted:
            raise MalformedError(f"is no {wanted.value}, but a {found.entry.type.value}", file=file)
        if wanted is EntryKind.RECEIPT:
            receipt = found.entry.digest
        yield found
    audits = [read_loggable(file) for file in bundle.audit_files()]
    for kind in (EntryKind.AUDIT_START, EntryKind.AUDIT):
        for one in audits:
            if one.entry.receipt != receipt:
                raise MalformedError(
                    "is no audit of this bundle's receipt", file=one.file, hint="take it out"
                )
            if one.entry.type is kind:
                yield one


def prove_bundle(
    source: TileSource, signed: SignedCheckpoint, folder: Path, *, replace: bool = False
) -> BundleProofs:
    """Write the proofs of a bundle's statements into its folder of proofs.

    A proof that lies there and holds is kept: it says when witnesses had seen the statement, and a
    later one would say that they saw it later.  Two are not: one without cosignatures, where the
    checkpoint has some; and one of the same checkpoint, which gets the further ones.

    Args:
        source: The log.
        signed: Its checkpoint; its signatures are for who calls to verify.
        folder: The bundle.
        replace: Whether proofs that hold are replaced as well.

    Raises:
        UsageError: A proof of another log lies there, and is not to be replaced.
        IntegrityError: The log is damaged, or does not hold what it had when a proof that lies
            there was made; nothing is written.
        FileAccessError: A file cannot be read or written.
        MalformedError: A file of the bundle has not the form of what it should be.
    """
    statements = tuple(loggable_statements(folder))
    proven: list[ProvenStatement] = []
    missing: list[Loggable] = []
    for of, proof in zip(statements, prove_statements(source, signed, statements), strict=True):
        if proof is None:
            missing.append(of)
            continue
        path = folder / PROOFS / proof_name(of.entry.type, of.entry.digest)
        old = None if replace else _old_proof(path, of.entry.leaf())
        best = proof if old is None else _better(old, proof, path)
        if old is not None:
            check_growth(source, old.signed, signed)
        proven.append(ProvenStatement(of, path, best, kept=best is old))
    for one in proven:
        if not one.kept:
            write_proof(one.file, one.proof)
    return BundleProofs(tuple(proven), tuple(missing))


def prove_statements(
    source: TileSource, signed: SignedCheckpoint, statements: Sequence[Loggable]
) -> tuple[LogProof | None, ...]:
    """Return the proof of each statement that is in a log, held to the root of the checkpoint.

    Args:
        source: The log.
        signed: Its checkpoint.
        statements: The statements.

    Returns:
        One for each; None: it is not in the log.

    Raises:
        IntegrityError: A tile is missing or damaged.
        FileAccessError: One cannot be read.
    """
    tree = TileTree(source, signed.checkpoint.size)
    leaves = [one.entry.leaf() for one in statements]
    places = find_leaves(source, tree.size, set(map(leaf_hash, leaves)))
    proofs: list[LogProof | None] = []
    for leaf in leaves:
        index = places.get(leaf_hash(leaf))
        if index is None:
            proofs.append(None)
            continue
        proof = LogProof(index, tuple(tree.inclusion(index)), signed)
        if not proof.holds(leaf):
            raise IntegrityError(
                f"entry {index:,} does not lead to the root of the log's checkpoint: a tile is "
                "damaged",
                hint="see: receipts log verify",
            )
        proofs.append(proof)
    return tuple(proofs)


def write_proof(path: Path, proof: LogProof) -> None:
    """Write a proof; the folder is made where it is the one of a bundle.

    Raises:
        FileAccessError: It cannot be written.
    """
    if path.parent.name == PROOFS:
        try:
            path.parent.mkdir(exist_ok=True)
        except OSError as error:
            raise FileAccessError.from_os(error, "create", path.parent) from None
    atomic_write(path, proof.to_bytes())


def _old_proof(path: Path, leaf: bytes) -> LogProof | None:
    """Return a proof that lies there and holds, or None."""
    if not path.exists() and not path.is_symlink():
        return None
    try:
        old = LogProof.parse(read_bounded(path, MAX_LOG_PROOF_BYTES), file=path)
    except MalformedError:
        return None
    return old if old.holds(leaf) else None


def _better(old: LogProof, new: LogProof, path: Path) -> LogProof:
    """Return what is to lie in the place of a proof: itself, or what says more."""
    was, now = old.signed.note, new.signed.note
    origin = old.signed.checkpoint.origin
    keys = {line.id for line in now.signatures if line.name == origin}
    if not any(line.name == origin and line.id in keys for line in was.signatures):
        raise UsageError(
            f"is a proof of another log, {origin}, or by another key of it",
            file=path,
            hint="keep a copy of it, and give --replace",
        )
    if was.text == now.text:
        note = was.with_lines(now.signatures)
        if note == was:
            return old
        return LogProof(old.index, old.path, SignedCheckpoint(note, old.signed.checkpoint))
    return new if len(was.signatures) == 1 < len(now.signatures) else old
