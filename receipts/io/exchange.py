"""One exchange over HTTP with one moment by which it ends, and a bound on all that is read.

The standard library's client bounds single waits: whoever sends a byte now and then, in endless
header lines, interim answers (``100 Continue``), extensions of chunks or trailers, is read for
ever.  Here every wait is as long as is left of the whole exchange, and every byte is counted.
"""

from __future__ import annotations

import io
import socket
import time
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any, Final
from urllib.request import HTTPHandler, HTTPSHandler, Request

FRAMING: Final = 2**18
"""Bytes that headers and what holds a body together may have, beside twice the body."""


class OverlongAnswerError(HTTPException):
    """More was sent than an answer may have."""


class BoundedRequest(Request):
    """A request whose answer has a bound.

    Args:
        url: Where it goes.
        data: Its body; None: it has none.
        headers: Its headers.
        most: Most bytes of the answer's body.
    """

    def __init__(self, url: str, data: bytes | None, headers: dict[str, str], most: int) -> None:
        super().__init__(url, data, headers)
        self.most = most
        """Most bytes of the answer's body."""


def bounded_handlers() -> tuple[HTTPHandler, HTTPSHandler]:
    """Return what opens :class:`BoundedRequest` and no other."""
    return _Http(), _Https()


class _Http(HTTPHandler):
    def http_open(self, req: Request) -> HTTPResponse:
        return self.do_open(partial(_Connection, most=_most(req)), req)


class _Https(HTTPSHandler):
    def https_open(self, req: Request) -> HTTPResponse:
        return self.do_open(partial(_SecureConnection, most=_most(req)), req)


def _most(request: Request) -> int:
    if not isinstance(request, BoundedRequest):
        raise TypeError("a request without a bound")
    return FRAMING + 2 * request.most


class _Connection(HTTPConnection):
    def __init__(self, host: str, *, timeout: float, most: int, **more: Any) -> None:
        super().__init__(host, timeout=timeout, **more)
        self._ends = time.monotonic() + timeout
        _bound(self, self._ends, most)

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(_left(self._ends))


class _SecureConnection(HTTPSConnection):
    def __init__(self, host: str, *, timeout: float, most: int, **more: Any) -> None:
        super().__init__(host, timeout=timeout, **more)
        self._ends = time.monotonic() + timeout
        _bound(self, self._ends, most)

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(_left(self._ends))


def _bound(connection: HTTPConnection, ends: float, most: int) -> None:
    connection.response_class = partial(_Response, ends=ends, most=most)  # type: ignore[assignment]


def _left(ends: float) -> float:
    """Return the seconds until a moment.

    Raises:
        TimeoutError: It is past.
    """
    left = ends - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class _Response(HTTPResponse):
    def __init__(
        self, sock: socket.socket, *about: Any, ends: float, most: int, **more: Any
    ) -> None:
        super().__init__(sock, *about, **more)
        self.fp.close()
        self.fp = io.BufferedReader(_Reader(sock, ends, most))


class _Reader(io.RawIOBase):
    """Reads a socket until a moment, and so many bytes."""

    def __init__(self, sock: socket.socket, ends: float, most: int) -> None:
        super().__init__()
        self._sock, self._ends, self._most = sock, ends, most
        self._raw = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(_left(self._ends))
        read = self._raw.readinto(buffer)
        self._most -= read or 0
        if self._most < 0:
            raise OverlongAnswerError
        return read

    def close(self) -> None:
        self._raw.close()
        super().close()
