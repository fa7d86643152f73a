"""The trust file: keys, what each is trusted with, and within which times its signatures count."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from safety_receipts.receipts.documents.moments import RFC_3339, moment
from safety_receipts.receipts.documents.written import (
    Distinct,
    Problem,
    WrittenModel,
    load_written,
)
from safety_receipts.receipts.documents.yaml_file import YamlFile
from safety_receipts.receipts.errors import FileAccessError, KeyFileError, MalformedError
from safety_receipts.receipts.keys import PublicKey, load_public_key, parse_public_key
from safety_receipts.receipts.model.base import Name, Text
from safety_receipts.receipts.trust.limits import KeyLimits
from safety_receipts.receipts.trust.trust_set import KeyRole

MAX_TRUSTED_KEYS = 256
"""Most keys of one file."""


def _moment(text: str) -> str:
    try:
        moment(text)
    except ValueError:
        raise ValueError(
            "is no moment with its time zone, as in RFC 3339: 2026-01-31T23:59:59Z"
        ) from None
    return text


MomentText = Annotated[
    str, AfterValidator(_moment), Field(json_schema_extra={"pattern": f"^{RFC_3339}$"})
]
"""A moment with its time zone (RFC 3339): ``2026-01-31T23:59:59Z``."""


class TrustedKey(WrittenModel):
    """A public key: its file or its text, what it is trusted with, and within which times."""

    file: Annotated[str, StringConstraints(min_length=1, max_length=1024)] | None = None
    """File of the public key in PEM, relative to the trust file's folder; or ``pem``."""
    pem: Annotated[str, StringConstraints(min_length=1, max_length=16_384)] | None = None
    """The public key itself, in PEM; or ``file``."""
    roles: Annotated[tuple[KeyRole, ...], Field(min_length=1), Distinct]
    """What it is trusted with."""
    valid_from: MomentText | None = None
    """What states an earlier time was not signed with it; default: at any time."""
    valid_until: MomentText | None = None
    """Last moment at which a signature has to have been seen; default: none."""
    revoked_at: MomentText | None = None
    """Moment before which a signature has to have been seen; default: it is not revoked."""
    name: Name | None = None
    """Whose key it is, for people."""
    comment: Text | None = None
    """What else there is to say, for people."""

    def limits(self) -> KeyLimits:
        """Return the times that it is held to."""
        return KeyLimits(
            _optional(self.valid_from), _optional(self.valid_until), _optional(self.revoked_at)
        )


class TrustFile(WrittenModel):
    """Public keys that a reader trusts."""

    version: Literal[1]
    """Version of this format."""
    keys: Annotated[tuple[TrustedKey, ...], Field(min_length=1, max_length=MAX_TRUSTED_KEYS)]
    """The keys."""


@dataclass(frozen=True)
class LoadedTrust:
    """A trust file whose keys are read."""

    file: YamlFile
    """The file."""
    keys: tuple[tuple[PublicKey, frozenset[KeyRole]], ...]
    """Keys and their roles."""
    limits: dict[str, KeyLimits]
    """Key id → the times that it is held to; of keys that have some."""

    def keys_of(self, role: KeyRole) -> tuple[PublicKey, ...]:
        """Return the keys of a role.

        Raises:
            MalformedError: There is none.
        """
        found = tuple(key for key, roles in self.keys if role in roles)
        if not found:
            raise MalformedError(
                f"no key has the role {role.value}",
                file=self.file.path,
                place=self.file.place(("keys",)),
                hint="give another trust file, or a key",
            )
        return found


def read_trust_file(path: Path) -> LoadedTrust:
    """Read a trust file and the keys that it names.

    Raises:
        FileAccessError: The file cannot be read.
        MalformedError: It is none, or names a key twice or one that cannot be read: with line and
            key path.
    """
    written, file = load_written(path, TrustFile, _contradictions)
    keys: dict[str, tuple[PublicKey, frozenset[KeyRole]]] = {}
    places: dict[str, int] = {}
    limits: dict[str, KeyLimits] = {}
    for index, entry in enumerate(written.keys):
        key = _key(entry, index, file)
        if key.keyid in keys:
            raise MalformedError(
                f"is the key of keys[{places[key.keyid]}] again",
                file=path,
                place=file.place(("keys", index)),
                hint="list each key once, with all its roles",
            )
        places[key.keyid] = index
        keys[key.keyid] = key, frozenset(entry.roles)
        if entry.limits():
            limits[key.keyid] = entry.limits()
    return LoadedTrust(file, tuple(keys.values()), limits)


def _key(entry: TrustedKey, index: int, file: YamlFile) -> PublicKey:
    try:
        if entry.pem is not None:
            return parse_public_key(entry.pem.encode("utf-8"), file.path)
        assert entry.file is not None  # one of the two is there, or the file were refused
        return load_public_key(file.path.parent / entry.file)
    except (KeyFileError, FileAccessError) as error:
        field = "file" if entry.pem is None else "pem"
        about = f"{entry.file}: " if entry.pem is None else ""
        raise MalformedError(
            f"{about}{error.message}",
            file=file.path,
            place=file.place(("keys", index, field)),
            hint=error.hint,
        ) from None


def _contradictions(written: TrustFile) -> Iterator[Problem]:
    """Yield what no key by itself is wrong about."""
    for index, entry in enumerate(written.keys):
        if (entry.file is None) is (entry.pem is None):
            why = "takes one of file and pem, and not both" if entry.file else "needs file or pem"
            yield ("keys", index), why
        for name in ("valid_from", "valid_until", "revoked_at"):
            if name in entry.model_fields_set and getattr(entry, name) is None:
                # Whoever begins to write a revocation must not have written none.
                yield ("keys", index, name), "says nothing: write a moment, or leave it out"
        begins, ends = entry.limits().valid_from, entry.limits().valid_until
        if begins is not None and ends is not None and ends < begins:
            yield ("keys", index, "valid_until"), "is before valid_from"


def _optional(text: str | None) -> datetime | None:
    return None if text is None else moment(text)
