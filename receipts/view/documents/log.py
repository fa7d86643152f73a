"""What ``receipts log`` and its commands print with ``--json``."""

from __future__ import annotations

from typing import Annotated, Literal

from safety_receipts.receipts.log.formats.entry import EntryKind
from safety_receipts.receipts.model.base import Count, Digest
from safety_receipts.receipts.view.documents.base import SCHEMA, Document


class LogInitDocument(Document):
    """An empty log that was made."""

    document: Annotated[Literal["cli-log-init/1"], SCHEMA] = "cli-log-init/1"
    log: str
    """Its folder."""
    origin: str
    """Its origin, which is the name of its key."""
    vkey: str
    """Its public key, as a policy of logs names it."""


class LoggedPart(Document):
    """A statement that is in the log."""

    file: str
    """Its file."""
    type: EntryKind
    """What it is."""
    digest: Digest
    """SHA-256 of its payload."""
    index: Count
    """Its place in the log."""


class LogAddDocument(Document):
    """Statements that are in the log now."""

    document: Annotated[Literal["cli-log-add/1"], SCHEMA] = "cli-log-add/1"
    log: str
    """Its folder."""
    size: Count
    """How many entries it has."""
    new: Count
    """How many of these were not there before."""
    entries: tuple[LoggedPart, ...]
    """The statements, in the order given."""


class LogProofPart(Document):
    """A proof that a statement is in the log."""

    file: str
    """The statement's file."""
    type: EntryKind
    """What it is."""
    digest: Digest
    """SHA-256 of its payload."""
    proof: str
    """File of the proof (C2SP tlog-proof)."""
    index: Count
    """Place of the statement in the log."""
    size: Count
    """Entries of the checkpoint in the proof."""
    cosignatures: Count
    """Signature lines of that checkpoint beside the log's own; nobody has verified them."""
    kept: bool
    """Whether the proof lay there before, and was left as it is."""


class LogProveDocument(Document):
    """Proofs that statements are in a log."""

    document: Annotated[Literal["cli-log-prove/1"], SCHEMA] = "cli-log-prove/1"
    log: str
    """Where the log is."""
    size: Count
    """How many entries it has."""
    proofs: tuple[LogProofPart, ...]
    """The proofs, in the order in which the statements were made."""
    missing: tuple[str, ...]
    """Files of a bundle's statements that are not in the log."""


class LogVerifyDocument(Document):
    """A log that was read to its end."""

    document: Annotated[Literal["cli-log-verify/1"], SCHEMA] = "cli-log-verify/1"
    log: str
    """Where it is."""
    origin: str
    """Its origin."""
    size: Count
    """How many entries it has."""
    root: Digest
    """Root of its tree."""
    since: Count | None
    """Entries of the earlier checkpoint that it was held to; null: it was held to none."""
    witnesses: tuple[str, ...]
    """Names of the witnesses whose cosignatures hold."""


class FoundEntryPart(Document):
    """An entry of the log."""

    index: Count
    """Its place."""
    type: EntryKind
    """What it is."""
    digest: Digest
    """SHA-256 of the statement's payload."""
    keyid: str
    """Id of the key that is said to have signed it."""
    plan: Digest | None
    """Digest of the plan that a receipt names; else null."""
    receipt: Digest | None
    """Digest of the receipt that an audit is of; else null."""


class LogSearchDocument(Document):
    """What a log holds of one checkpoint of a model."""

    document: Annotated[Literal["cli-log-search/1"], SCHEMA] = "cli-log-search/1"
    log: str
    """Where it is."""
    size: Count
    """How many entries it has."""
    plans: Count
    """Plans that are found."""
    receipts: Count
    """Receipts that are found."""
    entries: tuple[FoundEntryPart, ...]
    """What is found, in the order of the log: plans and receipts of the checkpoint, and audits of
    these receipts."""


class AskedWitnessPart(Document):
    """A witness that was asked."""

    name: str
    """What the policy calls it."""
    url: str
    """Where it is."""
    cosigned: bool
    """Whether it cosigned."""
    why: str | None
    """Why not; null: it did."""


class LogCosignDocument(Document):
    """Witnesses that were asked to cosign a log."""

    document: Annotated[Literal["cli-log-cosign/1"], SCHEMA] = "cli-log-cosign/1"
    log: str
    """Its folder."""
    size: Count
    """How many entries it has."""
    quorum: bool
    """Whether enough witnesses have seen it by now, as the policy asks."""
    witnesses: tuple[AskedWitnessPart, ...]
    """The witnesses."""


class WitnessInitDocument(Document):
    """The state of a new witness."""

    document: Annotated[Literal["cli-log-witness-init/1"], SCHEMA] = "cli-log-witness-init/1"
    state: str
    """Its file."""
    name: str
    """Name of the witness, which is that of its keys."""
    vkeys: tuple[str, ...]
    """Its public keys, as a policy of logs names them."""


class WitnessServeDocument(Document):
    """A witness that began to serve."""

    document: Annotated[Literal["cli-log-witness-serve/1"], SCHEMA] = "cli-log-witness-serve/1"
    url: str
    """Where it serves: its submission prefix, and its monitoring prefix."""
    state: str
    """File of its state."""
    vkeys: tuple[str, ...]
    """Its public keys, as a policy of logs names them."""
    logs: tuple[str, ...]
    """Origins of the logs that it knows."""
