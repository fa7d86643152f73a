"""What the client makes of answers that never end, and of numbers and bodies without bound."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread

import pytest

from safety_receipts.runner.engines.served import client as client_module
from safety_receipts.runner.engines.served.client import (
    NonsenseError,
    Patience,
    ServerClient,
    UnreachableError,
)

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
SHORT = Patience(seconds=0.5, token_seconds=0.0, attempts=1, pause=0.01)
_GIVE_UP = 20.0
"""Seconds after which a test takes an answer to be waited for without end."""


@contextmanager
def server(act: Callable[[socket.socket], None]) -> Iterator[str]:
    """Answer each connection by bytes of a test's own."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(8)

        def serve() -> None:
            with suppress(OSError):
                while True:
                    one, _ = listening.accept()
                    with one, suppress(OSError):
                        one.recv(2**16)
                        act(one)

        Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)


def drip(start: bytes, piece: bytes, pause: float = 0.05) -> Callable[[socket.socket], None]:
    """Return what sends something and then goes on without end, slower than no time-out is."""

    def act(one: socket.socket) -> None:
        one.sendall(start)
        while True:
            one.sendall(piece)
            time.sleep(pause)

    return act


def raised_by(act: Callable[[socket.socket], None], patience: Patience = SHORT) -> BaseException:
    """Return what asking such a server raises; a test must not hang where the client does."""
    found: list[BaseException] = []
    done = Event()

    def ask(url: str) -> None:
        try:
            ServerClient(url, patience).post("/x", {}, 0)
        except BaseException as error:
            found.append(error)
        done.set()

    with server(act) as url:
        Thread(target=ask, args=(url,), daemon=True).start()
        assert done.wait(_GIVE_UP), "it waits without end"
    return found[0]


@pytest.mark.parametrize(
    "act",
    [
        drip(b"HTTP/1.1 200 OK\r\n", b"X"),
        drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        drip(OK + b"\r\n", b" "),
        drip(CHUNKED + b"2", b";"),
        drip(CHUNKED + b"2\r\n{}\r\n0\r\n", b"X: 1\r\n"),
        drip(b"HTTP/1.1 500 no\r\n", b"X"),
    ],
    ids=["headers", "interim", "body", "chunk-extension", "trailers", "headers-of-an-error"],
)
def test_an_answer_that_never_ends_ends_by_one_moment(
    act: Callable[[socket.socket], None],
) -> None:
    error = raised_by(act)
    assert isinstance(error, UnreachableError)
    assert "no answer within" in str(error)


@pytest.mark.parametrize(
    "act",
    [
        drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 4096, 0),
        drip(CHUNKED + b"2\r\n{}\r\n0\r\n", b"X: 1\r\n" * 4096, 0),
    ],
    ids=["interim", "trailers"],
)
def test_what_stands_around_an_answer_has_a_bound(act: Callable[[socket.socket], None]) -> None:
    error = raised_by(act, Patience(seconds=15.0, attempts=1))
    assert isinstance(error, NonsenseError)
    assert "an answer of more than" in str(error)


def whole(body: bytes) -> Callable[[socket.socket], None]:
    return lambda one: one.sendall(OK + b"Content-Length: %d\r\n\r\n" % len(body) + body)


@pytest.mark.parametrize(
    "number", [b"1" * 400, b"-" + b"1" * 5000, b"1e999", b"NaN", b"18446744073709551617"]
)
def test_a_number_without_bound_is_nonsense(number: bytes) -> None:
    error = raised_by(whole(b'{"a": ' + number + b"}"))
    assert isinstance(error, NonsenseError)
    assert str(error) == "the answer has a number that no answer can have"


def test_numbers_that_answers_have_are_taken() -> None:
    with server(whole(b'{"a": [-9999, 18446744073709551615, -1e-7]}')) as url:
        assert ServerClient(url, SHORT).get("/x") == {"a": [-9999, 2**64 - 1, -1e-7]}


def test_an_answer_has_room_for_what_was_asked_for_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client_module, "_PLAIN_ANSWER", 64)
    monkeypatch.setattr(client_module, "_TOKEN_ANSWER", 16)
    monkeypatch.setattr(client_module, "_BODY_ANSWER", 1)
    body = b'{"a": "' + b"x" * 100 + b'"}'
    with server(whole(body)) as url:
        asked = ServerClient(url, SHORT)
        with pytest.raises(NonsenseError, match="more than 66 bytes, which is more than was"):
            asked.post("/x", {}, 0)
        assert len(asked.post("/x", {}, 8)["a"]) == 100
        assert len(asked.post("/x", {"prompt": "y" * 50}, 0)["a"]) == 100


def test_an_answer_between_answers_is_none() -> None:
    error = raised_by(lambda one: one.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n"))
    assert isinstance(error, NonsenseError)
    assert str(error) == "it answers 103, and gives no answer"
