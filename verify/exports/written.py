"""Bytes of exports: JSON that every reader takes alike, and identifiers that repeat."""

from __future__ import annotations

import json
import uuid
from typing import Any, Final

from safety_receipts.receipts.canonical import Sha256

_UUID_NAMESPACE: Final = uuid.UUID(bytes=b"safety-receipts/", version=4)


def json_text(value: Any, *, indent: int | None = 2) -> bytes:
    """Return a JSON value in ASCII, with a line break at its end.

    Raises:
        ValueError: It holds NaN or an infinity, which JSON has not.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=True, allow_nan=False)
    return text.encode("ascii") + b"\n"


def repeatable_uuid(kind: str, digest: Sha256) -> str:
    """Return the UUID of an export: the same one for the same receipt, in the form of version 4.

    Some formats ask for version 4, whose bits are random; these are a digest's, so that a second
    export of one receipt replaces the first and does not stand beside it.
    """
    named = uuid.uuid5(_UUID_NAMESPACE, f"{kind}/{digest}")
    return str(uuid.UUID(bytes=named.bytes, version=4))
