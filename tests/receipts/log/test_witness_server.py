"""A witness over HTTP: every status, bounds, clients that are slow, many at once, and its end."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from witnessing import (
    NOW,
    ORIGIN,
    Answer,
    MemoryLog,
    get,
    keys_of,
    log_signer,
    post,
    seen_by,
    served,
)

from safety_receipts.receipts.log.formats.cosignature import WitnessSigner
from safety_receipts.receipts.log.formats.note import SignedNote
from safety_receipts.receipts.log.witnessing.witness import (
    MAX_REQUEST_BYTES,
    AddCheckpoint,
    Witness,
)
from safety_receipts.receipts.log.witnessing.witness_server import WitnessServer

TEXT = "text/plain; charset=utf-8"
PLACE = sha256(ORIGIN.encode()).hexdigest()


@pytest.fixture
def url(witness: Witness) -> Iterator[str]:
    with served(witness) as address:
        yield address


def test_every_status(url: str, memory: MemoryLog, signers: tuple[WitnessSigner, ...]) -> None:
    done = post(url, memory.asks(0, 20))
    assert (done.status, done.kind) == (200, TEXT)
    assert seen_by(done.body, memory.signed(20), keys_of(signers)) == [NOW, NOW]
    assert post(url, memory.asks(0, 30)) == Answer(409, "text/x.tlog.size", b"20\n")
    stranger, fork = MemoryLog(log_signer()), MemoryLog(memory.signer, fork=7)
    wrong = AddCheckpoint(20, memory.proof(20, 29), memory.signed(30)).to_bytes()
    asked = {
        400: [b"", b"old 20\n", memory.asks(31, 30), b"old 20\n" + b"A" * 1000],
        403: [stranger.asks(20, 30)],
        404: [MemoryLog(log_signer("example.com/other")).asks(0, 3)],
        422: [wrong, fork.asks(20, 20), fork.asks(20, 30)],
    }
    for status, bodies in asked.items():
        for body in bodies:
            answer = post(url, body)
            assert (answer.status, answer.kind) == (status, TEXT)
            # A sentence for who runs the log, and no signature.
            assert answer.body.endswith(b"\n")
            assert "—" not in answer.body.decode()
    assert post(url, memory.asks(20, 30)).status == 200


def test_other_places(url: str, memory: MemoryLog) -> None:
    assert get(url, f"/{PLACE}/checkpoint").status == 404
    assert post(url, memory.asks(0, 3)).status == 200
    newest = get(url, f"/{PLACE}/checkpoint")
    assert (newest.status, newest.kind) == (200, TEXT)
    note = SignedNote.parse(newest.body)
    assert (note.text, len(note.signatures)) == (memory.signed(3).note.text, 3)
    assert get(url, "/add-checkpoint").status == 405
    for path in ("/", f"/{PLACE}", f"/{PLACE.upper()}/checkpoint", f"/{'0' * 64}/checkpoint"):
        assert get(url, path).status == 404
    for path in ("/", "/add-checkpoint/", "/sign-subtree", f"/{PLACE}/checkpoint"):
        assert post(url, memory.asks(3, 4), path).status == 404


def talk(url: str, data: bytes, *, half: bool = False) -> bytes:
    """Send bytes over a connection, and return all that comes back until it is closed."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=60) as client:
        client.sendall(data)
        if half:
            client.shutdown(socket.SHUT_WR)
        read = bytearray()
        while piece := client.recv(1 << 16):
            read += piece
    return bytes(read)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ("", 411),
        ("Transfer-Encoding: chunked\r\n", 411),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", 411),
        ("Content-Length: -1\r\n", 400),
        ("Content-Length: +5\r\n", 400),
        ("Content-Length: 0x5\r\n", 400),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", 400),
        (f"Content-Length: {'9' * 5000}\r\n", 400),
        (f"Content-Length: {'9' * 12}\r\n", 413),
    ],
)
def test_bodies_have_a_length(headers: str, status: int, url: str) -> None:
    request = f"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\n{headers}\r\nold 0"
    answer = talk(url, request.encode(), half=True)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    # What comes after such a body is never taken for a request.
    assert answer.count(b"HTTP/1.1") == 1
    assert b"Connection: close" in answer


def test_a_body_that_is_too_long_is_refused_before_it_is_read(url: str) -> None:
    assert post(url, bytes(MAX_REQUEST_BYTES)).status == 400
    assert post(url, bytes(MAX_REQUEST_BYTES + 1)).status == 413
    assert post(url, bytes(4 * MAX_REQUEST_BYTES)).status == 413


def test_a_request_that_is_cut_is_none(url: str, memory: MemoryLog) -> None:
    """Even where what has come would be one: its last line may be missing."""
    body = memory.asks(0, 3)
    head = f"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: {len(body) + 1}\r\n\r\n"
    assert talk(url, head.encode() + body, half=True) == b""
    assert post(url, memory.asks(1, 3)).body == b"0\n"


def test_a_connection_takes_several_requests(url: str, memory: MemoryLog) -> None:
    requests = b""
    for old, size in ((0, 1), (1, 2), (5, 9)):
        body = memory.asks(old, size)
        head = f"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: {len(body)}\r\n\r\n"
        requests += head.encode() + body
    last = f"GET /{PLACE}/checkpoint HTTP/1.1\r\nHost: w\r\nConnection: close\r\n\r\n"
    answers = talk(url, requests + last.encode()).split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in answers] == [b"200", b"200", b"409", b"200"]


def slow_clients(url: str, number: int) -> list[socket.socket]:
    """Connect clients that begin a request each, half of them its body."""
    parts = urlsplit(url)
    clients = []
    for index in range(number):
        client = socket.create_connection((parts.hostname or "", parts.port or 0), timeout=60)
        head = b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: 3600\r\n\r\nold"
        client.sendall(head if index % 2 else head[:12])
        clients.append(client)
    return clients


def test_nobody_waits_for_slow_clients(witness: Witness, memory: MemoryLog) -> None:
    with served(witness, seconds=3600) as url:
        slow = slow_clients(url, 60)
        assert post(url, memory.asks(0, 3)).status == 200
        for client in slow:  # all of them are still there
            client.setblocking(False)
            with pytest.raises(BlockingIOError):
                client.recv(1)
            client.close()


def test_slow_clients_do_not_stay_for_ever(witness: Witness, memory: MemoryLog) -> None:
    """A byte now and then keeps no connection: the deadline is that of the whole request."""
    with served(witness, seconds=1.0) as url:
        slow = slow_clients(url, 20)
        for _ in range(8):
            time.sleep(0.2)
            for client in slow:
                with suppress(OSError):  # it is closed, as it should be
                    client.sendall(b" ")
        for client in slow:
            with suppress(ConnectionError):
                assert client.recv(1 << 16) == b""
            client.close()
        assert post(url, memory.asks(0, 3)).status == 200


def test_more_connections_than_there_are_threads_for_wait_their_turn(
    witness: Witness, memory: MemoryLog
) -> None:
    with served(witness, seconds=1.0) as url:
        parts = urlsplit(url)
        idle = [
            socket.create_connection((parts.hostname or "", parts.port or 0), timeout=60)
            for _ in range(200)
        ]
        before = threading.active_count()
        assert before <= 140
        assert post(url, memory.asks(0, 3)).status == 200
        for client in idle:
            client.close()


def test_a_hundred_requests_at_once_make_one_order(
    url: str, memory: MemoryLog, signers: tuple[WitnessSigner, ...]
) -> None:
    """Of the log and of a fork of it: what is signed is one growing view, whoever is first."""
    fork = MemoryLog(memory.signer, fork=40)
    memory.root(120)
    fork.root(120)
    signed: dict[int, set[bytes]] = {}
    replies: list[int] = []
    lock = threading.Lock()

    def ask(number: int) -> None:
        log, size = (memory, fork)[number % 2], 20 + number
        known = 0
        for _ in range(200):
            answer = post(url, log.asks(known, size))
            with lock:
                replies.append(answer.status)
                if answer.status == 200:
                    seen_by(answer.body, log.signed(size), keys_of(signers))
                    signed.setdefault(size, set()).add(log.root(size))
            if answer.status != 409:
                return
            known = int(answer.body)
            if known > size:
                return

    with ThreadPoolExecutor(100) as pool:
        list(pool.map(ask, range(100)))
    assert set(replies) <= {200, 409, 422}
    assert len(signed) > 1
    assert all(len(roots) == 1 for roots in signed.values())
    # All that was signed is of one log: the one in which the newest is.
    newest = max(signed)
    final = next(log for log in (memory, fork) if signed[newest] == {log.root(newest)})
    assert all(roots == {final.root(size)} for size, roots in signed.items())
    assert post(url, memory.asks(0, 1)).body == f"{newest}\n".encode()


def test_what_has_begun_is_answered_before_it_ends(
    witness: Witness, memory: MemoryLog, signers: tuple[WitnessSigner, ...]
) -> None:
    """While connections that idle are not waited for."""
    server = WitnessServer(("127.0.0.1", 0), witness)
    serving = threading.Thread(target=server.serve_forever, args=(0.01,))
    serving.start()
    parts = urlsplit(server.url)
    address = (parts.hostname or "", parts.port or 0)
    body = memory.asks(0, 3)
    head = f"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: {len(body)}\r\n\r\n"
    with (
        socket.create_connection(address, 60) as idle,
        socket.create_connection(address, 60) as one,
    ):
        one.sendall(head.encode() + body[:50])
        time.sleep(0.2)  # until both are accepted
        server.stop()
        serving.join()
        ending = threading.Thread(target=server.finish)
        ending.start()
        time.sleep(0.1)
        assert ending.is_alive()
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(address, 60)
        one.sendall(body[50:])
        answer = bytearray()
        while piece := one.recv(1 << 16):
            answer += piece
        ending.join(timeout=30)
        assert not ending.is_alive()
        assert answer.startswith(b"HTTP/1.1 200")
        lines = bytes(answer).partition(b"\r\n\r\n")[2]
        assert seen_by(lines, memory.signed(3), keys_of(signers)) == [NOW, NOW]
        # Nothing is begun any longer.
        idle.sendall(head.encode() + body)
        with suppress(ConnectionError):
            assert idle.recv(10) == b""


def test_a_state_that_fails_is_said_and_nothing_is_signed(
    tmp_path: Path, url: str, memory: MemoryLog
) -> None:
    (tmp_path / "state").rename(tmp_path / "elsewhere")
    for answer in (post(url, memory.asks(0, 3)), get(url, f"/{PLACE}/checkpoint")):
        assert answer.status == 503
        assert b"\xe2\x80\x94" not in answer.body
    assert not (tmp_path / "state").exists()
    (tmp_path / "elsewhere").rename(tmp_path / "state")
    assert post(url, memory.asks(0, 3)).status == 200


def test_clients_that_go_away_leave_no_word(
    url: str, memory: MemoryLog, capfd: pytest.CaptureFixture[str]
) -> None:
    parts = urlsplit(url)
    for data in (b"", b"\x00" * 40 + b"\r\n\r\n", b"GET / HTTP/1.1\r\n", b"POST"):
        with socket.create_connection((parts.hostname or "", parts.port or 0)) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00" + bytes(4))
            client.sendall(data)
    assert post(url, memory.asks(0, 3)).status == 200
    time.sleep(0.1)
    assert capfd.readouterr() == ("", "")
