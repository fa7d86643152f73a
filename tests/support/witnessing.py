"""Logs in memory, with forks of them, and witnesses that are asked over HTTP."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from safety_receipts.receipts.keys import KeyType, generate_key
from safety_receipts.receipts.log.folder import LogSigner
from safety_receipts.receipts.log.formats.checkpoint import LogCheckpoint, SignedCheckpoint
from safety_receipts.receipts.log.formats.cosignature import WitnessSigner, cosignatures
from safety_receipts.receipts.log.formats.note import NoteKey, SignedNote, parse_signature
from safety_receipts.receipts.log.witnessing.witness import AddCheckpoint, Witness, init_witness
from safety_receipts.receipts.log.witnessing.witness_server import WitnessServer
from safety_receipts.receipts.merkle import consistency_proof, leaf_hash, merkle_root

ORIGIN = "example.com/log"
NAME = "example.com/witness"
NOW = 1_790_000_000

TWO_KINDS = (KeyType.ED25519, KeyType.ML_DSA_44)


class MemoryLog:
    """A log in memory.

    Args:
        signer: What signs its checkpoints.
        fork: From which entry on it is another log under the same key; None: it is the log.
    """

    def __init__(self, signer: LogSigner, fork: int | None = None) -> None:
        self.signer, self._fork = signer, fork
        self._leaves: list[bytes] = []
        self._hashes: list[bytes] = []

    def _grow(self, size: int) -> None:
        for index in range(len(self._leaves), size):
            other = self._fork is not None and index >= self._fork
            self._leaves.append(b"%s %d" % (b"fork" if other else b"entry", index))
            self._hashes.append(leaf_hash(self._leaves[-1]))

    def root(self, size: int) -> bytes:
        self._grow(size)
        return merkle_root(self._leaves[:size])

    def signed(self, size: int) -> SignedCheckpoint:
        return self.signer.sign(LogCheckpoint(self.signer.origin, size, self.root(size)))

    def proof(self, old: int, size: int) -> tuple[bytes, ...]:
        self._grow(size)
        return tuple(consistency_proof(self._hashes[:size], old)) if 0 < old < size else ()

    def asks(self, old: int, size: int) -> bytes:
        """Return the body of an honest request."""
        return AddCheckpoint(old, self.proof(old, size), self.signed(size)).to_bytes()


def log_signer(origin: str = ORIGIN) -> LogSigner:
    return LogSigner.of(origin, generate_key(), Path("log-key"))


def witness_signer(kind: KeyType = KeyType.ED25519, name: str = NAME) -> WitnessSigner:
    return WitnessSigner.of(name, generate_key(kind), Path("witness-key"))


def keys_of(signers: Sequence[WitnessSigner]) -> list[NoteKey]:
    return [signer.public for signer in signers]


def new_witness(
    state: Path, signers: tuple[WitnessSigner, ...], *logs: NoteKey, clock: int = NOW
) -> Witness:
    """Return a witness with a new state."""
    init_witness(state, keys_of(signers))
    known = {log.name: tuple(key for key in logs if key.name == log.name) for log in logs}
    return Witness(state, signers, known, lambda: clock)


def seen_by(body: bytes, signed: SignedCheckpoint, keys: Sequence[NoteKey]) -> list[int]:
    """Return the times of an answer's cosignatures, one for each of the keys, all verified."""
    lines = tuple(parse_signature(line) for line in body.decode().removesuffix("\n").split("\n"))
    assert len(lines) == len(keys)
    found = cosignatures(
        SignedCheckpoint(SignedNote(signed.note.text, lines), signed.checkpoint), keys
    )
    assert [one.key for one in found] == list(keys)
    return [one.time for one in found]


@dataclass(frozen=True)
class Answer:
    """What a server answered."""

    status: int
    kind: str | None
    body: bytes


def post(url: str, body: bytes, path: str = "/add-checkpoint", **headers: str) -> Answer:
    """POST a body over a connection of its own."""
    return _request(url, "POST", path, body, headers)


def get(url: str, path: str) -> Answer:
    return _request(url, "GET", path, None, {})


def _request(
    url: str, method: str, path: str, body: bytes | None, headers: dict[str, str]
) -> Answer:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return Answer(answer.status, answer.getheader("Content-Type"), answer.read())
    finally:
        connection.close()


@contextmanager
def served(witness: Witness, seconds: float = 30.0) -> Iterator[str]:
    """Serve a witness in a thread of this process, and yield its address."""
    server = WitnessServer(("127.0.0.1", 0), witness, seconds)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.url
    finally:
        server.stop()
        thread.join()
        server.finish()


class Serving:
    """``receipts log witness serve`` in a process of its own.

    Args:
        arguments: After ``serve``.
    """

    def __init__(self, *arguments: str | Path) -> None:
        words = ["log", "witness", "serve", *map(str, arguments), "--json"]
        script = "import sys; from safety_receipts.receipts.cli import main; main(sys.argv[1:])"
        self.process = subprocess.Popen(
            [sys.executable, "-c", script, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.document: Any = None

    def __enter__(self) -> Serving:
        assert self.process.stdout is not None
        text = ""
        for line in self.process.stdout:
            text += line
            if line == "}\n":
                self.document = json.loads(text)
                return self
        _, said = self.process.communicate()
        raise AssertionError(f"it does not serve: {text}{said}")

    @property
    def url(self) -> str:
        return str(self.document["url"])

    def kill(self) -> None:
        """End it as a power cut would, but for what the disk does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()

    def end(self, how: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """End it, and return its exit code and all that it said meanwhile."""
        self.process.send_signal(how)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out + err

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()
