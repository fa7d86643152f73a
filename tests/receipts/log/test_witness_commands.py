"""``receipts log witness``: made, served, ended and killed, as a process of its own."""

from __future__ import annotations

import http.client
import json
import random
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from printed import held
from witnessing import (
    NAME,
    ORIGIN,
    MemoryLog,
    Serving,
    keys_of,
    log_signer,
    post,
    seen_by,
)

from safety_receipts.receipts.keys import KeyType, generate_key, load_signer, write_key_pair
from safety_receipts.receipts.log.formats.cosignature import WitnessSigner
from safety_receipts.receipts.log.formats.note import NoteKey, SignatureKind

Receipts = Callable[..., Any]


@dataclass
class Site:
    """A folder with keys, a policy and a state."""

    folder: Path
    memory: MemoryLog
    keys: tuple[Path, ...]
    signers: tuple[WitnessSigner, ...]

    @property
    def state(self) -> Path:
        return self.folder / "witness.db"

    @property
    def words(self) -> list[str | Path]:
        """What follows ``init``, and without the policy ``serve``."""
        keys = [word for key in self.keys for word in ("--key", key)]
        return [self.state, "--name", NAME, *keys]

    @property
    def policy(self) -> list[str | Path]:
        return ["--policy", self.folder / "policy"]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    memory, keys = MemoryLog(log_signer()), (tmp_path / "ed", tmp_path / "ml")
    for path, kind in zip(keys, (KeyType.ED25519, KeyType.ML_DSA_44), strict=True):
        write_key_pair(path, generate_key(kind))
    (tmp_path / "policy").write_text(f"log {memory.signer.public.vkey}\nquorum none\n")
    signers = tuple(WitnessSigner.of(NAME, load_signer(path), path) for path in keys)
    return Site(tmp_path, memory, keys, signers)


def test_init_prints_the_lines_of_a_policy(site: Site, receipts: Receipts) -> None:
    finished = receipts("log", "witness", "init", *site.words)
    assert finished.code == 0
    rows = [line.split(" ") for line in finished.out.splitlines()]
    assert [(word, name) for word, name, _ in rows] == [
        ("witness", NAME),
        ("witness", f"{NAME}-ml-dsa-44"),
    ]
    keys = [NoteKey.parse(vkey) for _, _, vkey in rows]
    assert keys == keys_of(site.signers)
    assert [key.kind for key in keys] == [
        SignatureKind.ED25519_COSIGNATURE,
        SignatureKind.MLDSA44_COSIGNATURE,
    ]
    assert "ends these keys" in finished.err
    before = site.state.read_bytes()
    again = receipts("log", "witness", "init", *site.words)
    assert (again.code, site.state.read_bytes()) == (2, before)
    assert "witness.db: already exists (name a new file)" in again.err


def test_init_with_json(site: Site, receipts: Receipts) -> None:
    finished = receipts("log", "witness", "init", *site.words, "--json")
    document = held("cli-log-witness-init", finished.out)
    assert document["name"] == NAME
    assert document["vkeys"] == [key.vkey for key in keys_of(site.signers)]
    assert (finished.code, finished.err) == (0, "")


def test_keys_with_passphrases(
    site: Site, receipts: Receipts, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = site.folder / "locked"
    write_key_pair(path, generate_key(), b"correct horse")
    words = ["log", "witness", "init", site.state, "--name", NAME, "--key", path]
    assert receipts(*words).code == 2
    monkeypatch.setenv("SECRET_WORDS", "correct horse")
    assert receipts(*words, "--passphrase-env", "SECRET_WORDS").code == 0


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--listen", "127.0.0.1"], "expected HOST:PORT"),
        (["--listen", ":80"], "expected HOST:PORT"),
        (["--listen", "127.0.0.1:65536"], "expected HOST:PORT"),
        (["--listen", "127.0.0.1:8x"], "expected HOST:PORT"),
        (["--listen", "192.0.2.1:0"], "cannot listen on 192.0.2.1:0"),
        (["--policy", "no-such-file"], "no-such-file"),
        (["--policy", "EMPTY"], "names no log"),
        (["--policy", "WRONG"], "line 1"),
        (["--name", "example.com/other"], "belongs to other keys"),
        (["--name", "a b"], "the name of a witness"),
        (["--key", "EXTRA"], "two keys of one kind"),
        (["--key", "P256"], "Ed25519 or an ML-DSA-44 key"),
    ],
)
def test_what_serve_refuses(words: list[str], why: str, site: Site, receipts: Receipts) -> None:
    assert receipts("log", "witness", "init", *site.words).code == 0
    (site.folder / "EMPTY").write_text("quorum none\n")
    (site.folder / "WRONG").write_text("log x\nquorum none\n")
    write_key_pair(site.folder / "EXTRA", generate_key())
    write_key_pair(site.folder / "P256", generate_key(KeyType.P256))
    said = [site.folder / word if word.isupper() else word for word in words]
    finished = receipts("log", "witness", "serve", *site.words, *site.policy, *said)
    assert finished.code == 2
    assert why in finished.err
    assert finished.err.count("\n") == 1


def test_serve_refuses_a_state_that_is_gone(site: Site, receipts: Receipts) -> None:
    finished = receipts("log", "witness", "serve", *site.words, *site.policy)
    assert finished.code == 2
    assert "for keys that never cosigned" in finished.err
    assert not site.state.exists()


def test_serve_refuses_a_port_that_is_taken(site: Site, receipts: Receipts) -> None:
    assert receipts("log", "witness", "init", *site.words).code == 0
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        words = [*site.words, *site.policy, "--listen", listen]
        finished = receipts("log", "witness", "serve", *words)
    assert finished.code == 2
    assert f"cannot listen on {listen}: Address already in use" in finished.err


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_serve_says_where_and_nothing_else(
    how: signal.Signals, site: Site, receipts: Receipts
) -> None:
    assert receipts("log", "witness", "init", *site.words).code == 0
    for old, size in ((0, 5), (5, 6)):  # and remembers
        with Serving(*site.words, *site.policy) as serving:
            text = json.dumps(serving.document)
            document = held("cli-log-witness-serve", text)
            assert document["logs"] == [ORIGIN]
            answer = post(serving.url, site.memory.asks(old, size))
            times = seen_by(answer.body, site.memory.signed(size), keys_of(site.signers))
            assert all(abs(at - time.time()) < 600 for at in times)
            assert post(serving.url, b"nonsense").status == 400
            assert serving.end(how) == (0, "")


def test_a_second_signal_interrupts(site: Site, receipts: Receipts) -> None:
    assert receipts("log", "witness", "init", *site.words).code == 0
    with Serving(*site.words, *site.policy) as serving:
        address = (serving.url.split("//")[1].split(":")[0], int(serving.url.rpartition(":")[2]))
        with socket.create_connection(address) as client:
            client.sendall(b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 9\r\n\r\n")
            time.sleep(0.3)
            serving.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            assert serving.process.poll() is None
            code, said = serving.end()
    assert code == 130
    assert said == "receipts: interrupted, before all requests were answered\n"


@dataclass
class Told:
    """What a witness said to anybody, over all its lives."""

    site: Site
    signed: dict[int, set[bytes]] = field(default_factory=dict)
    """Size → roots that it signed."""
    largest: int = 0
    """The largest size that was acknowledged."""
    refused: int = 0
    """How often it refused the fork."""
    lost: list[str] = field(default_factory=list)
    """What it said that an acknowledged answer contradicts."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, url: str, log: MemoryLog, steps: int) -> None:
        """Ask a witness to go with a log some steps further."""
        with self.lock:
            floor = self.largest  # acknowledged before this request began
        known = int(post(url, log.asks(0, 0)).body)
        size = known + steps
        answer = post(url, log.asks(known, size))
        with self.lock:
            if known < floor:
                self.lost.append(f"it knows {known}, and had signed {floor}")
            if answer.status == 200:
                seen_by(answer.body, log.signed(size), keys_of(self.site.signers))
                self.signed.setdefault(size, set()).add(log.root(size))
                self.largest = max(self.largest, size)
                if size <= floor:
                    self.lost.append(f"it signed {size} after {floor}")
            elif answer.status == 422:
                self.refused += 1
            elif answer.status != 409:
                self.lost.append(f"it answered with {answer.status}")

    def ask_on(self, url: str, log: MemoryLog, seed: int) -> None:
        """Go on asking until the witness is gone."""
        steps = random.Random(seed)
        with suppress(OSError, http.client.HTTPException):
            while True:
                self.ask(url, log, steps.randint(1, 3))


@pytest.mark.long
def test_killed_at_forty_moments_it_never_signs_two_views(site: Site, receipts: Receipts) -> None:
    """While a log and a fork of it go on asking; whichever is signed, the other one never is."""
    assert receipts("log", "witness", "init", *site.words).code == 0
    moments, told = random.Random(11), Told(site)
    logs = (site.memory, MemoryLog(site.memory.signer, fork=1), site.memory)
    for life in range(40):
        with Serving(*site.words, *site.policy) as serving:
            if life == 0:
                assert post(serving.url, site.memory.asks(0, 2)).status == 200
                told.largest = 2
            askers = [
                threading.Thread(target=told.ask_on, args=(serving.url, log, life * 10 + number))
                for number, log in enumerate(logs)
            ]
            for asker in askers:
                asker.start()
            time.sleep(moments.random() * 0.15)
            serving.kill()
            for asker in askers:
                asker.join()
    assert not told.lost
    assert len(told.signed) > 40
    assert told.refused > 0
    assert all(roots == {site.memory.root(size)} for size, roots in told.signed.items())
    with Serving(*site.words, *site.policy) as serving:
        newest = int(post(serving.url, site.memory.asks(0, 0)).body)
        # What was stored and never answered may be more, and is of the same log.
        assert newest >= told.largest
        assert post(serving.url, site.memory.asks(newest, newest + 1)).status == 200
        assert serving.end() == (0, "")
