"""One process at a time goes on with an audit: two would make two results of one announcement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from safety_receipts.receipts.bundle import AUDITS
from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.io.locks import lock_file, locked
from safety_receipts.receipts.keys import Signer
from safety_receipts.verify.audit.run import AnnouncedAudit

_DIGITS = 12


@contextmanager
def audit_lock(folder: Path, receipt: Sha256, signer: Signer) -> Iterator[None]:
    """Hold a key's audits of a receipt in a folder, from before the announcement to the result.

    Raises:
        UsageError: Another process holds them.
        FileAccessError: The folder cannot be written.
    """
    name = f".audit-{receipt[:_DIGITS]}-{signer.public.keyid[:_DIGITS]}.lock"
    with lock_file(folder / name, "audit"):
        yield


@contextmanager
def announcement_lock(announced: AnnouncedAudit, folders: Sequence[Path]) -> Iterator[None]:
    """Hold an announcement wherever it lies: it may be gone on with in another folder.

    Raises:
        UsageError: Another process goes on with it.
        FileAccessError: It cannot be read.
    """
    for folder in folders:
        path = folder / AUDITS / f"{announced.envelope.digest}.dsse.json"
        if path.exists():
            with locked(path, "audit"):
                yield
            return
    yield
