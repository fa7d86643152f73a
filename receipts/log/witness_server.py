"""The HTTP service of a witness: ``add-checkpoint``, and the newest checkpoint of each log."""

from __future__ import annotations

import re
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from safety_receipts.receipts.errors import FileAccessError
from safety_receipts.receipts.log.witness import (
    MAX_REQUEST_BYTES,
    Witness,
    WitnessReply,
    WitnessStatus,
)

_CHECKPOINT: Final = re.compile(r"/([0-9a-f]{64})/checkpoint")
_TEXT: Final = "text/plain; charset=utf-8"
_SIZE: Final = "text/x.tlog.size"
_SECONDS: Final = 30.0


class WitnessServer(ThreadingHTTPServer):
    """Serves a witness until :meth:`shutdown`.

    Args:
        address: Host and port; port 0: any that is free.
        witness: The witness.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], witness: Witness) -> None:
        super().__init__(address, _Handler)
        self.witness = witness


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: WitnessServer
    timeout = _SECONDS
    server_version = "safety-receipts"
    sys_version = ""

    def do_POST(self) -> None:  # as the standard library calls it
        """Answer add-checkpoint."""
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdecimal() or int(length) > MAX_REQUEST_BYTES:
            self.close_connection = True
            self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, b"too long, or of no stated length\n")
            return
        body = self.rfile.read(int(length))
        if self.path != "/add-checkpoint":
            self._answer(HTTPStatus.NOT_FOUND, b"there is no such request here\n")
            return
        try:
            reply = self.server.witness.add_checkpoint(body)
        except FileAccessError:
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, b"nothing was cosigned\n")
            return
        self._reply(reply)

    def do_GET(self) -> None:  # as the standard library calls it
        """Answer with the newest checkpoint of a log."""
        match = _CHECKPOINT.fullmatch(self.path)
        try:
            note = None if match is None else self.server.witness.newest(match[1])
        except FileAccessError:
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, b"the state cannot be read\n")
            return
        if note is None:
            self._answer(HTTPStatus.NOT_FOUND, b"no checkpoint of such a log was cosigned here\n")
        else:
            self._answer(HTTPStatus.OK, note)

    def _reply(self, reply: WitnessReply) -> None:
        kind = _SIZE if reply.status is WitnessStatus.CONFLICT else _TEXT
        self._answer(HTTPStatus(reply.status), reply.body, kind)

    def _answer(self, status: HTTPStatus, body: bytes, kind: str = _TEXT) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: requests are not for a terminal."""
