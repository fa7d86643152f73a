"""The file that says to which log a run or an audit adds what it signs, and who has to see it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from safety_receipts.receipts.documents.written import Problem, WrittenModel, load_written
from safety_receipts.receipts.errors import MalformedError, ReceiptsError, UsageError
from safety_receipts.receipts.keys import load_signer
from safety_receipts.receipts.log.folder import LogFolder, LogSigner, read_checkpoint
from safety_receipts.receipts.log.formats.policy import load_log_policy
from safety_receipts.receipts.log.recording import OwnLog, StatementLog

FileName = Annotated[str, Field(min_length=1, max_length=4096)]
"""Name of a file or a folder, from the folder of the file that names it."""


class LogSettings(WrittenModel):
    """To which log statements are added, and who has to see them there."""

    version: Literal[1]
    """Version of this form."""
    policy: FileName
    """The log policy (C2SP tlog-policy): which log is accepted, and which witnesses have to have
    seen a statement in it before the run or the audit goes on."""
    log: FileName | None = None
    """The log's folder.  Absent where somebody else keeps the log: its proofs are put into the
    bundle by hand then."""
    key: FileName | None = None
    """The log's private key."""
    passphrase_env: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    """Environment variable with the key's passphrase."""


def load_statement_log(path: Path) -> StatementLog:
    """Read the settings of a log, and open it.

    Args:
        path: The file.

    Raises:
        FileAccessError: A file that is named cannot be read, or the log is none.
        MalformedError: The file or the policy is none.
        KeyFileError: The key is no Ed25519 key, or its passphrase is wrong.
        IntegrityError: The log is another key's.
        UsageError: The policy does not accept the log, or the passphrase's variable is unset.
    """
    settings, written = load_written(path, LogSettings, _contradictions)

    def named(name: str) -> Path:
        return path.parent / Path(name).expanduser()

    def refuse(key: str, message: str) -> MalformedError:
        return MalformedError(message, file=path, place=written.place((key,)))

    for key in ("policy", "log", "key"):
        value = getattr(settings, key)
        if value is not None and not named(value).exists():
            raise refuse(key, f"there is no {named(value)}")
    policy = load_log_policy(named(settings.policy))
    if settings.log is None or settings.key is None:
        return StatementLog(path, policy, None)
    passphrase = None
    if settings.passphrase_env is not None:
        value = os.environ.get(settings.passphrase_env, "")
        if not value:
            raise refuse(
                "passphrase_env",
                f"the environment variable {settings.passphrase_env} is unset or empty",
            )
        passphrase = value.encode("utf-8")
    folder, key_file = named(settings.log), named(settings.key)
    signer = LogSigner.of(
        read_checkpoint(folder).checkpoint.origin, load_signer(key_file, passphrase), key_file
    )
    opened = LogFolder(folder, signer.public)
    try:
        policy.check_log_signature(opened.signed)
    except ReceiptsError as error:
        raise UsageError(
            f"this policy does not accept the log: {error.message}",
            file=named(settings.policy),
            hint=f"it needs the line: log {signer.public.vkey}",
        ) from None
    return StatementLog(path, policy, OwnLog(opened, signer))


def _contradictions(settings: LogSettings) -> Iterator[Problem]:
    for one, other in (("log", "key"), ("key", "log"), ("passphrase_env", "key")):
        if getattr(settings, one) is not None and getattr(settings, other) is None:
            yield (one,), f"goes with `{other}`, which is missing"
