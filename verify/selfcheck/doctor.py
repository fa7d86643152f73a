"""What ``receipts doctor`` looks at: versions, devices, the engine, keys, and the self-test."""

from __future__ import annotations

import importlib.util
import platform
import stat
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from pathlib import Path

from safety_receipts.receipts.errors import ReceiptsError
from safety_receipts.receipts.extras import Extra, install
from safety_receipts.receipts.keys import (
    EncryptedKeyError,
    load_public_key,
    load_signer,
    public_path,
)
from safety_receipts.runner.checkpoint.config import error_line
from safety_receipts.verify.selfcheck import log_test, selftest

ENGINE_SECTION = "engine"
"""The section that says whether models can be run."""
SERVER_SECTION = "server"
"""The section that says whether a server can be used."""
TRIED_SECTIONS = (ENGINE_SECTION, SERVER_SECTION)
"""What may be missing without anything being wrong with this program."""

_BASE = (
    "safety-receipts",
    "pydantic",
    "jsonschema",
    "cryptography",
    "rfc8785",
    "zstandard",
    "numpy",
    "PyYAML",
    "click",
    "rich",
    "markdown-it-py",
)
_EXTRA: dict[Extra, tuple[str, ...]] = {
    "run": ("torch", "transformers", "huggingface_hub", "pyarrow"),
    "findings": ("statsmodels", "matplotlib"),
    "log": ("rfc3161-client", "py-arkworks-bls12381"),
}


@dataclass(frozen=True)
class DiagnosticLine:
    """One thing looked at; ``good`` is None where it is neither right nor wrong."""

    section: str
    name: str
    detail: str
    good: bool | None = None


def examine(keys: tuple[Path, ...]) -> list[DiagnosticLine]:
    """Look at everything; ``keys`` are private keys to look at besides."""
    from safety_receipts.verify.selfcheck import engine_test  # noqa: PLC0415  # a gate that verifies loads no such thing

    engine = [
        DiagnosticLine(ENGINE_SECTION, name, detail, good)
        for name, good, detail in engine_test.run_engine_test()
    ]
    return [*_versions(), *_devices(), *engine, *(_key(path) for path in keys), *_self_test()]


def examine_server(url: str, model: str | None) -> list[DiagnosticLine]:
    """Try a server.

    Args:
        url: Its address.
        model: Name under which it offers the model; None: the first one.

    Raises:
        UsageError: The address is none.
    """
    from safety_receipts.verify.selfcheck.server_test import try_server  # noqa: PLC0415  # as above

    return [
        DiagnosticLine(SERVER_SECTION, name, detail, good)
        for name, good, detail in try_server(url, model)
    ]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _versions() -> list[DiagnosticLine]:
    lines = [
        DiagnosticLine(
            "versions", "python", f"{platform.python_version()} on {platform.platform()}"
        )
    ]
    for name in _BASE:
        found = _version(name)
        lines.append(DiagnosticLine("versions", name, found or "missing", found is not None))
    for extra, names in _EXTRA.items():
        for name in names:
            found = _version(name)
            lines.append(
                DiagnosticLine("versions", name, found or f"not installed: {install(extra)}")
            )
    return lines


def _devices() -> list[DiagnosticLine]:
    if importlib.util.find_spec("torch") is None:
        return [
            DiagnosticLine(
                "devices", "torch", "not installed: runs and replays need it, checks do not"
            )
        ]
    # The one command that loads torch on purpose, and only to ask what it can see.
    try:
        torch = importlib.import_module("torch")
    except Exception as error:  # what a broken installation raises is open
        # Whether that is an illness the engine's own line says.
        return [DiagnosticLine("devices", "torch", f"cannot be loaded: {error_line(error)}")]
    threads = torch.get_num_threads()
    said = "1 thread" if threads == 1 else f"{threads} threads"
    lines = [DiagnosticLine("devices", "cpu", said)]
    if torch.cuda.is_available():
        lines += [
            DiagnosticLine("devices", f"cuda:{i}", torch.cuda.get_device_name(i))
            for i in range(torch.cuda.device_count())
        ]
    if torch.backends.mps.is_available():
        lines.append(DiagnosticLine("devices", "mps", "available"))
    return lines


def _key(path: Path) -> DiagnosticLine:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        return DiagnosticLine("keys", str(path), error.strerror or "cannot be read", good=False)
    if mode & 0o077:
        detail = f"mode {mode:04o}: others can read it; run: chmod 600"
        if path.suffix == ".pub":
            detail = f"is the public half, which others may read; give {path.stem}"
        return DiagnosticLine("keys", str(path), detail, good=False)
    try:
        keyid = load_public_key(public_path(path)).keyid
        own = _own_keyid(path)
    except ReceiptsError as error:
        return DiagnosticLine("keys", str(path), error.message, good=False)
    if own is None:
        detail = f"mode {mode:04o}, encrypted, key id {keyid[:16]}…"
        return DiagnosticLine("keys", str(path), detail, good=True)
    if own != keyid:
        return DiagnosticLine("keys", str(path), "is not the private half of its .pub", good=False)
    return DiagnosticLine("keys", str(path), f"mode {mode:04o}, key id {keyid[:16]}…", good=True)


def _own_keyid(path: Path) -> str | None:
    """Return the id of the key in a private file; None: it is encrypted."""
    try:
        return load_signer(path).public.keyid
    except EncryptedKeyError:
        return None


def _self_test() -> list[DiagnosticLine]:
    with tempfile.TemporaryDirectory(prefix="receipts-doctor-") as folder:
        return [
            DiagnosticLine("self-test", name, detail, passed)
            for name, passed, detail in chain(
                selftest.run_selftest(Path(folder) / "event"),
                log_test.run_log_test(Path(folder) / "log"),
            )
        ]
