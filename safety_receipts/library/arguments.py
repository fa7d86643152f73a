"""What callers give: a path or several, as text or as path."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from safety_receipts.receipts.keys import TrustSet
from safety_receipts.receipts.trust.load import load_trust
from safety_receipts.receipts.trust.trust_set import KeyRole
from safety_receipts.verify.levels.expected import is_root
from safety_receipts.verify.levels.times.terms import TrustTerms

if TYPE_CHECKING:
    from cryptography import x509

AnyPath: TypeAlias = str | PathLike[str]
"""A path, however it is written."""
AnyPaths: TypeAlias = AnyPath | Iterable[AnyPath]
"""One path or several."""


def path_of(path: AnyPath) -> Path:
    """Return a path; ``~`` is the caller's home."""
    return Path(path).expanduser()


def optional_path(path: AnyPath | None) -> Path | None:
    """Return a path, or None for none."""
    return None if path is None else path_of(path)


def paths_of(paths: AnyPaths | None) -> tuple[Path, ...]:
    """Return one path or several as a tuple; None: none.

    Raises:
        TypeError: One is neither text nor ``os.PathLike``.
    """
    if paths is None:
        return ()
    if isinstance(paths, bytes):
        raise TypeError("a path is text or os.PathLike, and not bytes")
    if isinstance(paths, str | PathLike):
        return (path_of(paths),)
    return tuple(path_of(path) for path in paths)


def evaluators_of(keys: AnyPaths | None) -> TrustSet:
    """Read the keys of evaluators: public keys in PEM, and trust files.

    Raises:
        KeyFileError: A file is no public key, or one of an unsupported kind.
        FileAccessError: A file cannot be read.
        MalformedError: A trust file is none, or has no key of an evaluator.
    """
    return load_trust(paths_of(keys), KeyRole.EVALUATOR)


def auditors_of(keys: AnyPaths | None) -> TrustSet:
    """Read the keys of auditors, as :func:`evaluators_of` those of evaluators.

    Raises:
        KeyFileError, FileAccessError, MalformedError: As there.
    """
    return load_trust(paths_of(keys), KeyRole.AUDITOR)


def trust_terms_of(
    require: AnyPaths | None, tsa_root: AnyPaths | None, log_policy: AnyPath | None
) -> TrustTerms:
    """Return what is asked of signatures besides whose they are.

    Raises:
        KeyFileError, FileAccessError, MalformedError: A file is not what it should be.
    """
    roots: tuple[x509.Certificate, ...] = ()
    log = None
    if tsa_root is not None:
        # Few ask for either, and both take a while to load.
        from safety_receipts.receipts.timestamps.certificates import read_certificates  # noqa: PLC0415

        roots = tuple(one for path in paths_of(tsa_root) for one in read_certificates(path))
    if log_policy is not None:
        from safety_receipts.receipts.log.formats.policy import load_log_policy  # noqa: PLC0415
        from safety_receipts.verify.levels.times.logged import LogTerms  # noqa: PLC0415

        log = LogTerms(load_log_policy(path_of(log_policy)))
    return TrustTerms(evaluators_of(require), roots, log)


def named_checkpoint(checkpoint: AnyPath) -> str:
    """Return a checkpoint's root as it is given, or the path of its folder."""
    text = fspath(checkpoint)
    return text if is_root(text) else str(path_of(checkpoint))
