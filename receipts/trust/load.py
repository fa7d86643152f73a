"""Reading what a reader trusts: public keys, and files that say more of several."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from safety_receipts.receipts.keys import PublicKey, TrustSet, load_public_key
from safety_receipts.receipts.trust.limits import KeyLimits
from safety_receipts.receipts.trust.trust_set import KeyRole, LimitedTrust

TRUST_SUFFIXES: Final = (".yaml", ".yml")
"""How names of trust files end; what is named otherwise is a public key in PEM."""


def load_trust(paths: Iterable[Path], role: KeyRole) -> TrustSet:
    """Read the keys that are trusted in a role.

    Roles of a key add up, and its limits all hold: a key that is given as PEM, and in a trust file
    beside it in whatever role, is held to the times of that file.

    Args:
        paths: Public keys in PEM, and trust files (``.yaml``, ``.yml``).
        role: The role; a trust file's keys without it are left out.

    Raises:
        MalformedError: A trust file is none, names a key twice or one that cannot be read, or has
            no key of that role; with line and key path.
        KeyFileError: A file is no public key, a weak one, or one of an unsupported kind.
        FileAccessError: A file cannot be read.
    """
    keys: list[PublicKey] = []
    limits: dict[str, KeyLimits] = {}
    for path in paths:
        if path.suffix.lower() not in TRUST_SUFFIXES:
            keys.append(load_public_key(path))
            continue
        # Most name a key alone, and a gate takes as long as what it loads.
        from safety_receipts.receipts.trust.file import read_trust_file  # noqa: PLC0415

        file = read_trust_file(path)
        keys += file.keys_of(role)
        for keyid, mine in file.limits.items():
            limits[keyid] = mine.and_those(limits.get(keyid, KeyLimits()))
    return LimitedTrust(keys, limits)
