"""The HTTP service of a witness: ``add-checkpoint``, and the newest checkpoint of each log.

Whoever asks may be slow, or mean: a request has one deadline for all of its bytes, its body a
bound, and there are so many connections at a time; further ones wait until one is free.
"""

from __future__ import annotations

import io
import re
import socket
import sys
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from threading import BoundedSemaphore, Condition
from time import monotonic
from typing import Any, Final

from safety_receipts.receipts.errors import FileAccessError, InternalError
from safety_receipts.receipts.log.witnessing.witness import (
    MAX_REQUEST_BYTES,
    Witness,
    WitnessStatus,
)

_CHECKPOINT: Final = re.compile(r"/([0-9a-f]{64})/checkpoint")
_LENGTH: Final = re.compile(r"0|[1-9][0-9]{0,11}")
_ADD: Final = "/add-checkpoint"
_TEXT: Final = "text/plain; charset=utf-8"
_SIZE: Final = "text/x.tlog.size"
_SECONDS: Final = 30.0
"""Longest time that a request may take to arrive, a reply to be taken, and a connection to idle."""
_CONNECTIONS: Final = 128
_DRAINED: Final = 8 * 1024 * 1024
"""Bytes of a body that is too long which are still read, so that its sender reads the reply."""


class WitnessServer(ThreadingHTTPServer):
    """Serves a witness until :meth:`stop`; :meth:`finish` then waits for what has begun.

    Args:
        address: Host and port; port 0: any that is free.
        witness: The witness.
        seconds: Longest time that a request may take to arrive.

    Raises:
        OSError: It cannot listen there.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(
        self, address: tuple[str, int], witness: Witness, seconds: float = _SECONDS
    ) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self.witness, self.seconds = witness, seconds
        self._slots = BoundedSemaphore(_CONNECTIONS)
        self._quiet = Condition()
        self._busy = 0
        self.stopping = False
        super().__init__(address, _Handler)

    @property
    def url(self) -> str:
        """Where it serves: the submission prefix and the monitoring prefix."""
        host, port = self.server_address[:2]
        name = host if isinstance(host, str) else host.decode("ascii")
        return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"

    def server_bind(self) -> None:
        """Take the port, and ask no name server about it, as the standard library would."""
        TCPServer.server_bind(self)
        host, port = self.server_address[:2]
        self.server_name, self.server_port = str(host), port

    def stop(self) -> None:
        """End :meth:`serve_forever`, which another thread runs; nothing is accepted any longer."""
        self.stopping = True
        self.shutdown()

    def finish(self) -> None:
        """Close the port, and wait until every request that has begun is answered or too late."""
        self.server_close()
        with self._quiet:
            self._quiet.wait_for(lambda: self._busy == 0, timeout=2 * self.seconds)

    def begun(self) -> None:
        """Count a request as begun."""
        with self._quiet:
            self._busy += 1

    def ended(self) -> None:
        """Count a request as ended."""
        with self._quiet:
            self._busy -= 1
            self._quiet.notify_all()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a connection in a thread of its own, once there are not too many."""
        while not self._slots.acquire(timeout=0.25):
            if self.stopping:
                self.shutdown_request(request)
                return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer a connection, and make room for another."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what is a fault of this program, and nothing of clients that went away."""
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, (ConnectionError, TimeoutError)):
            sys.stderr.write(f"receipts: {InternalError.from_exception(error).one_line()}\n")


class _TimedReader(io.RawIOBase):
    """Reads a socket until a deadline, however small the pieces are in which its bytes come."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.deadline = 0.0

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what is there."""
        left = self.deadline - monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: WitnessServer
    server_version = "safety-receipts"
    sys_version = ""

    def setup(self) -> None:
        """Read with a deadline."""
        super().setup()
        self._timed = _TimedReader(self.connection)
        self.rfile = self._buffered = io.BufferedReader(self._timed)

    def handle_one_request(self) -> None:
        """Answer one request, or end the connection."""
        self._timed.deadline = monotonic() + self.server.seconds
        # Between requests a connection idles, and whoever stops the server need not wait for it.
        if not self._arrives() or self.server.stopping:
            self.close_connection = True
            return
        self.server.begun()
        try:
            super().handle_one_request()
        finally:
            self.server.ended()

    def _arrives(self) -> bool:
        """Wait for the first byte of a request; False: there is none."""
        try:
            return bool(self._buffered.peek(1))
        except (TimeoutError, ConnectionError):
            return False

    def do_POST(self) -> None:  # as the standard library calls it
        """Answer add-checkpoint."""
        body = self._body()
        if body is None:
            return
        if self.path != _ADD:
            self._answer(HTTPStatus.NOT_FOUND, b"there is no such request here\n")
            return
        try:
            reply = self.server.witness.add_checkpoint(body)
        except FileAccessError:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, b"the state failed: nothing is cosigned\n")
            return
        kind = _SIZE if reply.status is WitnessStatus.CONFLICT else _TEXT
        self._answer(HTTPStatus(reply.status), reply.body, kind)

    def do_GET(self) -> None:  # as the standard library calls it
        """Answer with the newest checkpoint of a log."""
        # A body is not read, and must not be taken for the next request.
        if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            self.close_connection = True
        if self.path == _ADD:
            self._answer(HTTPStatus.METHOD_NOT_ALLOWED, b"this is a POST\n")
            return
        match = _CHECKPOINT.fullmatch(self.path)
        try:
            note = None if match is None else self.server.witness.newest(match[1])
        except FileAccessError:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, b"the state cannot be read\n")
            return
        if note is None:
            self._answer(HTTPStatus.NOT_FOUND, b"no checkpoint of such a log was cosigned here\n")
        else:
            self._answer(HTTPStatus.OK, note)

    def _body(self) -> bytes | None:
        """Return the body of a request; None: it has none that can be read, which is answered."""
        lengths = self.headers.get_all("Content-Length", [])
        if "Transfer-Encoding" in self.headers or not lengths:
            self.close_connection = True
            self._answer(HTTPStatus.LENGTH_REQUIRED, b"the body needs a Content-Length\n")
            return None
        if len(lengths) > 1 or _LENGTH.fullmatch(lengths[0]) is None:
            self.close_connection = True
            self._answer(HTTPStatus.BAD_REQUEST, b"the Content-Length is no length\n")
            return None
        length = int(lengths[0])
        if length > MAX_REQUEST_BYTES:
            self.close_connection = True
            self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, b"the body is too long\n")
            self._drain(min(length, _DRAINED))
            return None
        body = self.rfile.read(length)
        if len(body) < length:  # the rest never comes
            self.close_connection = True
            return None
        return body

    def _drain(self, length: int) -> None:
        with suppress(TimeoutError, ConnectionError):
            while length > 0 and (piece := self.rfile.read(min(length, 1 << 16))):
                length -= len(piece)

    def _answer(self, status: HTTPStatus, body: bytes, kind: str = _TEXT) -> None:
        if self.server.stopping:
            self.close_connection = True
        self.connection.settimeout(self.server.seconds)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: requests are not for a terminal."""
