"""Documents that carry others: the DSSE envelope and the inclusion proof."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from safety_receipts.receipts.model.base import MAX_POINTS, Digest, PointCount, WireModel
from safety_receipts.receipts.model.point import MAX_POINT_BYTES

Base64 = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/_-]*={0,2}$")]


class EnvelopeSignature(WireModel):
    """One signature."""

    keyid: Annotated[str, Field(max_length=256)] = ""
    """Who is said to have signed: a hint, never trusted."""
    sig: Annotated[Base64, Field(min_length=1, max_length=1024)]
    """The signature, base64."""


class EnvelopeDocument(WireModel):
    """A DSSE envelope, version 1, around an in-toto statement."""

    model_config = ConfigDict(title="DSSE envelope")

    payload: Annotated[Base64, Field(min_length=1)]
    """The signed bytes, base64."""
    payload_type: Literal["application/vnd.in-toto+json"]
    """What they are."""
    signatures: Annotated[tuple[EnvelopeSignature, ...], Field(min_length=1, max_length=16)]
    """Who signed."""


class InclusionProof(WireModel):
    """Proof that one evidence line is in a receipt; it stands without the other lines."""

    model_config = ConfigDict(title="Inclusion proof")

    type: Literal["urn:safety-receipts:inclusion-proof:1"]
    """Marks an inclusion proof."""
    receipt: Digest
    """Digest of the receipt."""
    index: PointCount
    """Place of the line."""
    size: Annotated[int, Field(ge=1, le=MAX_POINTS)]
    """Number of lines."""
    line: Annotated[str, Field(min_length=2, max_length=MAX_POINT_BYTES)]
    """The evidence line, without its line break."""
    path: Annotated[tuple[Digest, ...], Field(max_length=64)]
    """Audit path from the leaf upward (RFC 6962, section 2.1.1)."""
