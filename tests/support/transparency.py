"""A log with its witnesses, served on this machine, and the settings of those who add to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from safety_receipts.receipts.keys import generate_key, load_signer, write_key_pair
from safety_receipts.receipts.log.folder import LogFolder, LogSigner, init_log
from safety_receipts.receipts.log.formats.cosignature import WitnessSigner
from safety_receipts.receipts.log.recording import StatementLog
from safety_receipts.receipts.log.settings import load_statement_log
from safety_receipts.receipts.log.witnessing.witness import Witness, init_witness
from safety_receipts.receipts.log.witnessing.witness_server import WitnessServer

ORIGIN = "example.com/log"


def now() -> int:
    """Return the time in seconds since 1970."""
    return int(time.time())


@dataclass
class WitnessedLog:
    """A log, its policy and its settings."""

    folder: Path
    """The log."""
    policy: Path
    """The policy: all of its witnesses have to have seen a statement."""
    settings: Path
    """What ``--log`` of run and audit takes."""
    servers: list[WitnessServer] = field(default_factory=list)
    """The witnesses."""
    strangers: list[Witness] = field(default_factory=list)
    """The same witnesses, as they are when they know no log."""

    @property
    def log(self) -> LogFolder:
        """The log as it is now."""
        return LogFolder(self.folder)

    def swap(self, number: int) -> None:
        """Let a witness forget the log, or know it again."""
        server = self.servers[number]
        server.witness, self.strangers[number] = self.strangers[number], server.witness

    @property
    def own(self) -> StatementLog:
        """The log, to be added to."""
        return load_statement_log(self.settings)


def make_log(place: Path, witnesses: Sequence[tuple[str, str]] = ()) -> WitnessedLog:
    """Make an empty log, with a policy that asks for all of some witnesses.

    Args:
        place: An empty folder.
        witnesses: Key and address of each.
    """
    place.mkdir(parents=True, exist_ok=True)
    write_key_pair(place / "log-key", generate_key())
    signer = LogSigner.of(ORIGIN, load_signer(place / "log-key"), place / "log-key")
    init_log(place / "log", signer)
    lines = [f"log {signer.public.vkey}"]
    lines += [f"witness w{i} {vkey} {url}" for i, (vkey, url) in enumerate(witnesses)]
    names = " ".join(f"w{i}" for i in range(len(witnesses)))
    lines += [f"group all-of-them all {names}", "quorum all-of-them"] if names else ["quorum none"]
    (place / "log-policy").write_text("\n".join(lines) + "\n", encoding="utf-8")
    settings = "version: 1\npolicy: log-policy\nlog: log\nkey: log-key\n"
    (place / "log.yaml").write_text(settings, encoding="utf-8")
    return WitnessedLog(place / "log", place / "log-policy", place / "log.yaml")


@contextmanager
def witnessed_log(
    place: Path, *, witnesses: int = 2, clock: Callable[[], int] = now
) -> Iterator[WitnessedLog]:
    """Serve witnesses, and make a log that they know.

    Args:
        place: An empty folder.
        witnesses: How many.
        clock: Theirs.
    """
    with ExitStack() as stack:
        keys = [
            WitnessSigner.of(f"example.com/w{i}", generate_key(), Path("key"))
            for i in range(witnesses)
        ]
        servers = []
        for i, key in enumerate(keys):
            place.mkdir(parents=True, exist_ok=True)
            init_witness(place / f"w{i}.sqlite", [key.public])
            witness = Witness(place / f"w{i}.sqlite", (key,), {}, clock)
            server = WitnessServer(("127.0.0.1", 0), witness)
            thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
            thread.start()
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            servers.append(server)
        where = [f"http://127.0.0.1:{server.server_address[1]}" for server in servers]
        made = make_log(
            place, [(key.public.vkey, url) for key, url in zip(keys, where, strict=True)]
        )
        signer = load_signer(place / "log-key")
        known = {ORIGIN: (LogSigner.of(ORIGIN, signer, place / "log-key").public,)}
        strangers = [server.witness for server in servers]
        for i, (server, key) in enumerate(zip(servers, keys, strict=True)):
            server.witness = Witness(place / f"w{i}.sqlite", (key,), known, clock)
        made.servers = servers
        made.strangers = strangers
        yield made
