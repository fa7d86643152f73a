"""What ``keygen``, ``publish`` and ``schema`` print with ``--json``."""

from __future__ import annotations

from typing import Annotated, Literal

from safety_receipts.receipts.keys import KeyType
from safety_receipts.receipts.model.plan import EvidenceAccess
from safety_receipts.receipts.view.documents.base import SCHEMA, Document


class KeygenDocument(Document):
    """A signing key pair that was made."""

    document: Annotated[Literal["cli-keygen/1"], SCHEMA] = "cli-keygen/1"
    key: str
    """File of the private key."""
    public_key: str
    """File of the public key."""
    keyid: str
    """Id of the key."""
    key_type: KeyType
    """Kind of key."""


class LeftOutPart(Document):
    """An audit, a proof or a page that was not copied."""

    file: str
    """The file."""
    why: str
    """Why it was not."""


class PublishDocument(Document):
    """What was copied for others to hold, and what was not."""

    document: Annotated[Literal["cli-publish/1"], SCHEMA] = "cli-publish/1"
    out: str
    """The folder that it was copied to."""
    evidence_access: EvidenceAccess
    """Who may hold per-point outcomes, as receipt and plan say."""
    copied: tuple[str, ...]
    """Files that were copied as they are."""
    signed: tuple[str, ...]
    """Public forms of audits that were signed for it."""
    withheld: tuple[str, ...]
    """Files of evidence that were not copied."""
    left_out: tuple[LeftOutPart, ...]
    """Audits, proofs and pages that were not copied, and why."""
    made: tuple[str, ...]
    """Files that were made anew: the page."""


class SchemaListDocument(Document):
    """The JSON Schemas that there are; with a name, ``receipts schema`` prints that schema."""

    document: Annotated[Literal["cli-schema/1"], SCHEMA] = "cli-schema/1"
    schemas: dict[str, str]
    """Name of a schema → title of what it describes."""
