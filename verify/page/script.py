"""The page's script: its modules as one text."""

from __future__ import annotations

import base64
import hashlib


def script() -> str:
    """Return the script."""
    return "'use strict';\n"


def csp_hash(text: str) -> str:
    """Return how a content security policy names an inline text."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
