"""The script of the page: plain modules, joined in order; nothing is minified or generated."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from importlib.resources import files
from typing import Final

MODULES: Final = (
    "vendor/fzstd.js",
    "vendor/sha256.js",
    "bytes.js",
    "json.js",
    "keys.js",
    "dsse.js",
    "merkle.js",
    "decimals.js",
    "lines.js",
    "evidence.js",
    "documents.js",
    "signatures.js",
    "binding.js",
    "charts.js",
    "words.js",
    "results.js",
    "main.js",
)
"""Files of ``assets``, each after those whose constants it uses; the last one starts the page."""

_ABOUT: Final = """\
// Verifies this page in the reader's browser: signatures, numbers, charts and evidence.  Nothing is
// loaded or sent.  Its modules are files of verify/page/assets in the sources of safety-receipts.
"""


def style_sheet() -> str:
    """Return the page's style sheet."""
    return (files("safety_receipts.verify.page") / "assets" / "style.css").read_text("utf-8")


def style_digest() -> str:
    """Return a line of script that knows the style sheet by its SHA-256: no other may be there."""
    digest = hashlib.sha256(style_sheet().encode()).hexdigest()
    return f"const STYLE_DIGEST = '{digest}';\n"


def script() -> str:
    """Return the whole script: one function, which leaves no name behind.

    It holds no ``</script`` and no ``<!--``, so that it can stand in a page as it is.
    """
    return wrapped([style_digest(), *(module(name) for name in MODULES)])


def module(name: str) -> str:
    """Return the text of one of :data:`MODULES`."""
    return (files("safety_receipts.verify.page") / "assets" / name).read_text(encoding="utf-8")


def wrapped(modules: Iterable[str]) -> str:
    """Return modules as one strict function that is called at once."""
    return f"{_ABOUT}(() => {{\n'use strict';\n\n{chr(10).join(modules)}}})();\n"


def csp_hash(text: str) -> str:
    """Return what a Content-Security-Policy names an inline script or style by, without quotes.

    CSP level 3, section 2.3.1.

    Args:
        text: All that stands between the tags; its line breaks are line feeds.
    """
    digest = base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
    return f"sha256-{digest}"
