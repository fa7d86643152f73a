"""Pages of receipts, and what somebody may do to one: to its words, its marks, its data."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from browser import Page
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.dsse import Envelope, Signature, pae
from safety_receipts.receipts.keys import Signer, TrustSet
from safety_receipts.verify.page.page import report_page

EVALUATOR: Final = Signer(
    Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"golden evaluator").digest())
)
"""The golden bundles' evaluator."""
DATA: Final = '<script type="application/json" id="data">'
DONE: Final = (
    "document.documentElement.dataset.verifiedMs && "
    "!('working' in document.documentElement.dataset)"
)
READ: Final = """({
  verdict: document.documentElement.dataset.verification,
  sentence: document.getElementById('verdict').textContent,
  detail: document.getElementById('verdict-detail').textContent,
  checks: Object.fromEntries([...document.querySelectorAll('#checks > li')].map(
    (item) => [item.dataset.check, [item.className, item.textContent]])),
})"""


Calculate = Callable[..., Any]
"""Returns the value of an expression that sees the script's functions and the named data."""
Show = Callable[[str], Page]
"""Opens HTML as a file."""


@dataclass(frozen=True)
class Published:
    """A bundle, the key that signed it, and its page."""

    folder: Path
    key: Path
    html: str

    @property
    def pem(self) -> str:
        """The key, as a reader pastes it."""
        return self.key.read_text(encoding="ascii")


@dataclass(frozen=True)
class Read:
    """What a page says of itself."""

    verdict: str
    """``passed``, ``failed`` or ``incomplete``."""
    sentence: str
    """The verdict in words."""
    detail: str
    """Further words."""
    checks: dict[str, tuple[str, str]]
    """Status (``ok``, ``bad``, ``open``) and text of each check."""

    @property
    def bad(self) -> set[str]:
        """Names of the checks that failed."""
        return {name for name, (status, _) in self.checks.items() if status == "bad"}


def read(page: Page) -> Read:
    """Wait until a page has verified itself, and return what it says."""
    page.wait_for(DONE)
    said = page.evaluate(READ)
    return Read(
        said["verdict"],
        said["sentence"],
        said["detail"],
        {name: (status, text) for name, (status, text) in said["checks"].items()},
    )


def give_key(page: Page, text: str) -> Read:
    """Paste a key, or a fingerprint, as a reader does."""
    page.evaluate(f"document.getElementById('trust-text').value = {json.dumps(text)}")
    page.evaluate("document.getElementById('trust-button').click()")
    return read(page)


def give_evidence(page: Page, file: Path) -> Read:
    """Choose a file of evidence, as a reader does."""
    page.set_files("#evidence-file", [file])
    return read(page)


def made_page(folder: Path, *keys: Path, auditors: TrustSet | None = None, **options: Any) -> str:
    """Return the page of a bundle as HTML."""
    made = report_page(Bundle(folder), TrustSet.load(keys), auditors, **options)
    return made.html.decode("utf-8")


Change = Callable[[str], str]
"""Makes another page of one."""


def replaced(pattern: str, by: str | Callable[[re.Match[str]], str]) -> Change:
    """Change what a pattern finds first, outside of the data."""

    def change(html: str) -> str:
        body, found, rest = html.partition(DATA)
        assert found
        changed, number = re.subn(pattern, by, body, count=1, flags=re.DOTALL)
        assert number == 1, pattern
        assert changed != body
        return changed + found + rest

    return change


def page_data(html: str) -> Any:
    """Return what a page embeds."""
    text = html.partition(DATA)[2].partition("</script>")[0]
    return json.loads(text)


def with_data(change: Callable[[Any], None]) -> Change:
    """Change what a page embeds."""

    def whole(html: str) -> str:
        before, _, rest = html.partition(DATA)
        _, end, after = rest.partition("</script>")
        data = page_data(html)
        change(data)
        text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
        return before + DATA + text + end + after

    return whole


def unpacked(blob: Any) -> bytes:
    """Return the bytes of an embedded file."""
    return gzip.decompress(base64.b64decode(blob["gzip"]))


def pack(blob: Any, data: bytes) -> None:
    """Put other bytes in an embedded file's place."""
    put(blob, gzip.compress(data, mtime=0))


def put(blob: Any, packed: bytes) -> None:
    """Put other packed bytes in an embedded file's place."""
    blob["gzip"] = base64.b64encode(packed).decode("ascii")


def with_file(change: Callable[[bytes], bytes], name: str = "receipt") -> Change:
    """Change the bytes of an embedded file: ``receipt``, ``plan`` or ``evidence``."""

    def edit(data: Any) -> None:
        changed = change(unpacked(data[name]))
        assert changed != unpacked(data[name])
        pack(data[name], changed)

    return with_data(edit)


def with_payload(
    change: Callable[[bytes], bytes], signer: Signer | None = None, name: str = "receipt"
) -> Change:
    """Change what is signed: with the old signature, or signed again with a key."""

    def edit(file: bytes) -> bytes:
        envelope = Envelope.from_json(file)
        payload = change(envelope.payload)
        assert payload != envelope.payload
        signatures = envelope.signatures
        if signer is not None:
            message = pae(envelope.payload_type, payload)
            signatures = (Signature(signer.public.keyid, signer.sign(message)),)
        return Envelope(payload, signatures).to_json()

    return with_file(edit, name)


def with_signature(change: Callable[[bytes], bytes], name: str = "receipt") -> Change:
    """Change the bytes of a signature."""

    def edit(file: bytes) -> bytes:
        envelope = Envelope.from_json(file)
        [signature] = envelope.signatures
        return Envelope(
            envelope.payload, (Signature(signature.keyid, change(signature.sig)),)
        ).to_json()

    return with_file(edit, name)


def in_turn(*changes: Change) -> Change:
    """Make several changes."""

    def change(html: str) -> str:
        for one in changes:
            html = one(html)
        return html

    return change
