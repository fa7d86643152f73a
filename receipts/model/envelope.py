"""Documents that carry others: the DSSE envelope and the inclusion proof."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from safety_receipts.receipts.model.base import MAX_POINTS, Digest, PointCount, WireModel
from safety_receipts.receipts.model.point import MAX_POINT_BYTES

Base64 = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/_-]*={0,2}$")]


class EnvelopeSignature(WireModel):
    """One signature of a DSSE envelope."""

    keyid: Annotated[str, Field(max_length=256)] = ""
    """Id of the key that is claimed to have signed: a hint that is never trusted."""
    sig: Annotated[Base64, Field(min_length=1, max_length=8192)]
    """The signature, in base64."""


class EnvelopeDocument(WireModel):
    """A DSSE envelope, version 1, around an in-toto statement."""

    model_config = ConfigDict(title="DSSE envelope")

    payload: Annotated[Base64, Field(min_length=1)]
    """The signed bytes, in base64."""
    payload_type: Literal["application/vnd.in-toto+json"]
    """Media type of the payload."""
    signatures: Annotated[tuple[EnvelopeSignature, ...], Field(min_length=1, max_length=16)]
    """The signatures of the payload."""


class InclusionProof(WireModel):
    """Proof that one evidence line belongs to a receipt; the other lines are not needed to check
    it.
    """

    model_config = ConfigDict(title="Inclusion proof")

    type: Literal["urn:safety-receipts:inclusion-proof:1"]
    """Type of this document."""
    receipt: Digest
    """Digest of the receipt."""
    index: PointCount
    """Position of the line in plan order, from 0."""
    size: Annotated[int, Field(ge=1, le=MAX_POINTS)]
    """Number of evidence lines in the receipt."""
    line: Annotated[str, Field(min_length=2, max_length=MAX_POINT_BYTES)]
    """The evidence line, without its line break."""
    path: Annotated[tuple[Digest, ...], Field(max_length=64)]
    """Audit path from the leaf upward (RFC 6962, section 2.1.1)."""
