"""Which logs are accepted, and which witnesses have to have seen a checkpoint.

Source: https://c2sp.org/tlog-policy (June 2026).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from safety_receipts.receipts.errors import IntegrityError, MalformedError
from safety_receipts.receipts.io.files import read_own_file
from safety_receipts.receipts.log.formats.checkpoint import SignedCheckpoint
from safety_receipts.receipts.log.formats.cosignature import (
    COSIGNING,
    SeenBy,
    cosignatures,
    log_signed,
)
from safety_receipts.receipts.log.formats.note import NoteKey, SignatureKind

_MAX_POLICY_BYTES: Final = 1024 * 1024
_MOST: Final = 1024
"""Most logs, witnesses and groups; the specification wants at least 32 of each."""
_NONE: Final = "none"
_NEVER: Final = 2**64
"""Later than any time that can be said."""
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,5}")


@dataclass(frozen=True)
class KnownLog:
    """A log that a policy accepts."""

    key: NoteKey
    """Its key, whose name is its origin."""
    url: str | None
    """Where it is; None: not said."""


@dataclass(frozen=True)
class KnownWitness:
    """A witness that a policy knows."""

    name: str
    """What the policy calls it."""
    key: NoteKey
    """Its key."""
    url: str | None
    """Where it is; None: not said."""


@dataclass(frozen=True)
class WitnessGroup:
    """Several witnesses or groups, of which some have to have seen a checkpoint."""

    least: int
    """How many of them."""
    members: tuple[str, ...]
    """Their names."""


@dataclass(frozen=True)
class AcceptedCheckpoint:
    """A checkpoint that a policy accepts."""

    seen: tuple[SeenBy, ...]
    """Cosignatures of known witnesses that hold."""
    time: int | None
    """The earliest moment by which a quorum had seen it, in seconds since 1970; None: the policy
    asks for no witness, or those of the quorum say no time."""


@dataclass(frozen=True)
class LogPolicy:
    """A policy."""

    logs: tuple[KnownLog, ...]
    """Logs that are accepted."""
    witnesses: tuple[KnownWitness, ...]
    """Witnesses that are known."""
    groups: Mapping[str, WitnessGroup]
    """Groups by their names."""
    quorum: str | None
    """The witness or group that has to have seen a checkpoint; None: nobody."""

    def accept(self, signed: SignedCheckpoint) -> AcceptedCheckpoint:
        """Hold a checkpoint to the policy.

        Raises:
            IntegrityError: No accepted log of its origin signed it, a signature of a known key does
                not verify, or too few witnesses have seen it.
            IncompleteError: A cosignature is of a kind that cannot be verified here.
        """
        self.check_log_signature(signed)
        seen = cosignatures(signed, [witness.key for witness in self.witnesses])
        if self.quorum is None:
            return AcceptedCheckpoint(seen, None)
        time = self._quorum_time(seen)
        if time is None:
            raise IntegrityError(
                f"of the witnesses that the log policy asks for ({self.quorum}), too few have seen "
                "this checkpoint"
            )
        return AcceptedCheckpoint(seen, None if time == _NEVER else time)

    def check_log_signature(self, signed: SignedCheckpoint) -> None:
        """Hold a checkpoint to the accepted logs, whoever has seen it.

        Raises:
            IntegrityError: No accepted log of its origin signed it, or a signature of its key does
                not verify.
            IncompleteError: The signature is of a kind that cannot be verified here.
        """
        origin = signed.checkpoint.origin
        mine = [log.key for log in self.logs if log.key.name == origin]
        if not mine:
            raise IntegrityError(f"the log policy accepts no log {origin}")
        if not log_signed(signed, mine):
            raise IntegrityError(f"the log {origin} did not sign this checkpoint")
        if not signed.checkpoint.is_possible:
            raise IntegrityError(f"the log {origin} has no entries, and another root than no tree")

    def has_quorum(self, signed: SignedCheckpoint) -> bool:
        """Say whether enough witnesses have seen a checkpoint.

        Raises:
            IntegrityError: A cosignature of a known witness does not verify.
            IncompleteError: One is of a kind that cannot be verified here.
        """
        if self.quorum is None:
            return True
        seen = cosignatures(signed, [witness.key for witness in self.witnesses])
        return self._quorum_time(seen) is not None

    def _quorum_time(self, seen: Sequence[SeenBy]) -> int | None:
        """Return by when the quorum had seen a checkpoint; None: it has not."""
        names = {witness.key.vkey: witness.name for witness in self.witnesses}
        # Who says no time has seen it, and nobody knows when.
        times = {names[one.key.vkey]: one.time or _NEVER for one in seen}
        # A group names only what stands before it: no recursion, however deep they are nested.
        for name, group in self.groups.items():
            known = sorted(times[member] for member in group.members if member in times)
            if len(known) >= group.least:
                times[name] = known[group.least - 1]
        return None if self.quorum is None else times.get(self.quorum)


def load_log_policy(path: Path) -> LogPolicy:
    """Read a policy.

    Raises:
        FileAccessError: The file cannot be read.
        MalformedError: It is no policy; the error names the line.
    """
    return _Reader(path).policy(read_own_file(path, _MAX_POLICY_BYTES))


class _Reader:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._line = 0
        self._logs: list[KnownLog] = []
        self._witnesses: list[KnownWitness] = []
        self._groups: dict[str, WitnessGroup] = {}
        self._member_of: dict[str, str] = {}
        self._quorum: list[str | None] = []

    def _refuse(self, why: str) -> NoReturn:
        raise MalformedError(
            f"not a log policy: {why}", file=self._path, place=f"line {self._line}"
        )

    def policy(self, data: bytes) -> LogPolicy:
        """Read the bytes of a policy, line by line."""
        # Octets beyond ASCII are opaque.  This keeps each of them, UTF-8 or not, and two names are
        # equal exactly where their octets are; words of a command line are read in the same way.
        whole = data.decode("utf-8", "surrogateescape")
        for self._line, text in enumerate(whole.split("\n"), start=1):
            if any((char < " " and char != "\t") or char == "\x7f" for char in text):
                self._refuse("it holds a control character")
            words = re.findall(r"[^ \t]+", text)
            if words and not words[0].startswith("#"):
                self._take(words)
        if len(self._quorum) != 1:
            self._refuse("expected one line with the quorum")
        return LogPolicy(tuple(self._logs), tuple(self._witnesses), self._groups, self._quorum[0])

    def _take(self, words: list[str]) -> None:
        known = {"log": self._log, "witness": self._witness, "group": self._group}
        if words[0] == "quorum" and len(words) == 2:
            self._quorum.append(None if words[1] == _NONE else self._named(words[1]))
        elif (take := known.get(words[0])) is not None:
            take(words[1:])
        else:
            self._refuse(f"a line begins with log, witness, group or quorum, not {words[0][:40]}")
        if len(self._logs) + len(self._witnesses) + len(self._groups) > _MOST:
            self._refuse(f"more than {_MOST:,} logs, witnesses and groups")

    def _log(self, words: list[str]) -> None:
        if not 1 <= len(words) <= 2:
            self._refuse("expected: log VKEY [URL]")
        key = self._key(words[0], {log.key.material for log in self._logs})
        if key.kind is SignatureKind.ED25519_COSIGNATURE:
            self._refuse("a log's key is of kind 0x01 or 0x06")
        self._logs.append(KnownLog(key, words[1] if len(words) == 2 else None))

    def _witness(self, words: list[str]) -> None:
        if not 2 <= len(words) <= 3:
            self._refuse("expected: witness NAME VKEY [URL]")
        self._check_new(words[0])
        key = self._key(words[1], {witness.key.material for witness in self._witnesses})
        if key.kind not in COSIGNING:
            self._refuse("a witness's key is of kind 0x04 or 0x06")
        self._witnesses.append(KnownWitness(words[0], key, words[2] if len(words) == 3 else None))

    def _group(self, words: list[str]) -> None:
        if len(words) < 3:
            self._refuse("expected: group NAME all|any|NUMBER NAME…")
        name, how, *members = words
        self._check_new(name)
        for member in members:
            self._named(member)
            if member in self._member_of:
                self._refuse(f"{member} is a member twice")
            self._member_of[member] = name
        if how not in ("all", "any") and _NUMBER.fullmatch(how) is None:
            self._refuse(f"{how[:40]} is neither all, any nor a number")
        least = {"all": len(members), "any": 1}.get(how) or int(how)
        if not 1 <= least <= len(members):
            self._refuse(f"{least:,} of {len(members):,} members cannot be")
        self._groups[name] = WitnessGroup(least, tuple(members))

    def _key(self, vkey: str, known: set[bytes]) -> NoteKey:
        try:
            vkey.encode("utf-8")
        except UnicodeEncodeError:
            self._refuse("a key's name is not UTF-8")
        key = NoteKey.parse(vkey, file=self._path, place=f"line {self._line}")
        if key.material in known:
            self._refuse("this key is listed twice")
        return key

    def _check_new(self, name: str) -> None:
        if name == _NONE or name in self._groups or self._is_witness(name):
            self._refuse(f"the name {name[:40]} is taken")

    def _named(self, name: str) -> str:
        if name not in self._groups and not self._is_witness(name):
            self._refuse(f"{name[:40]} is no witness or group of a line before")
        return name

    def _is_witness(self, name: str) -> bool:
        return any(witness.name == name for witness in self._witnesses)
