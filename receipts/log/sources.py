"""Where the files of a log come from: a folder, or a web server."""

from __future__ import annotations

from http.client import HTTPException, HTTPResponse, IncompleteRead
from pathlib import Path
from time import monotonic
from typing import IO, Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import HTTPRedirectHandler, Request

from safety_receipts.receipts.errors import FileAccessError, MalformedError, UsageError
from safety_receipts.receipts.io.files import read_bounded
from safety_receipts.receipts.io.web import web_opener
from safety_receipts.receipts.log.formats.tiles import CHECKPOINT, TileSource

_SECONDS: Final = 30.0
"""Longest wait for a server's next bytes."""
_ALL_SECONDS: Final = 300.0
"""Longest wait for a whole file: 16 MB at most, however slowly its bytes come."""
_PIECE: Final = 64 * 1024
_NOT_THERE: Final = (404, 410)
_ELSEWHERE: Final = (301, 302, 303, 307, 308)


class FolderSource:
    """A log in a folder.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, name: str, limit: int) -> bytes | None:
        """Return a file of at most ``limit`` bytes; None: there is none.

        Raises:
            FileAccessError: It cannot be read, or is no regular file.
            MalformedError: It is longer.
        """
        path = self._folder / name
        try:
            return read_bounded(path, limit)
        except FileAccessError:
            if path.exists() or path.is_symlink():
                raise
            return None


class _SameServer(HTTPRedirectHandler):
    """Follows no redirection to another server or scheme."""

    # The signature is the standard library's.
    def redirect_request(  # noqa: PLR0917
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        """Return the request of another place; None: it is on another server."""
        if urlsplit(newurl)[:2] != urlsplit(req.full_url)[:2]:
            return None
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class WebSource:
    """A log on a web server, read by plain GET.

    Args:
        url: Its prefix, ``https://`` or ``http://``.

    Raises:
        UsageError: It is no such address.
    """

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            good = parts.scheme in ("http", "https") and bool(parts.hostname)
            good = good and not (parts.query or parts.fragment)
            _ = parts.port
        except ValueError:
            good = False
        if not good or not url.isascii() or not url.isprintable() or " " in url:
            raise UsageError(f"{url}: not an address of the web", hint="https://example.com/log")
        self._prefix = url.rstrip("/")
        self._opener = web_opener(url, _SameServer())

    def read(self, name: str, limit: int) -> bytes | None:
        """Return a file of at most ``limit`` bytes; None: there is none.

        Raises:
            FileAccessError: The server cannot be reached, or refuses.
            MalformedError: It is longer.
        """
        address = f"{self._prefix}/{quote(name)}"
        try:
            with self._opener.open(Request(address), timeout=_SECONDS) as answer:
                data = _bounded(answer, limit + 1)
        except HTTPError as error:
            error.close()
            if error.code in _NOT_THERE:
                return None
            if error.code in _ELSEWHERE:
                raise FileAccessError(
                    "the server sends to another server, or in a circle, which is not followed",
                    file=address,
                    hint="give the address at which the log lies",
                ) from None
            raise FileAccessError(f"the server answered with {error.code}", file=address) from None
        except (URLError, HTTPException, OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise FileAccessError(f"cannot be fetched: {reason}", file=address) from None
        if len(data) > limit:
            raise MalformedError(f"longer than the {limit:,} bytes allowed here", file=address)
        return data


def _bounded(answer: HTTPResponse, limit: int) -> bytes:
    """Read an answer in pieces as they come: a server may send one byte after the other."""
    until, read = monotonic() + _ALL_SECONDS, bytearray()
    while len(read) < limit and (piece := answer.read1(min(_PIECE, limit - len(read)))):
        read += piece
        if monotonic() > until:
            raise TimeoutError(f"not there after {_ALL_SECONDS:,.0f} seconds")
    # A connection that ends early raises nothing here, unlike where all is read at once.
    if answer.length and len(read) < limit:
        raise IncompleteRead(bytes(read), answer.length)
    return bytes(read)


def log_source(place: str) -> TileSource:
    """Return the log in a folder or at an address of the web.

    Raises:
        UsageError: It is an address of another kind.
        FileAccessError: There is no such folder.
    """
    if "://" in place:
        return WebSource(place)
    folder = Path(place)
    try:
        there = folder.is_dir()
    except OSError as error:  # a name that is too long, among others
        raise FileAccessError.from_os(error, "open", folder) from None
    if not there:
        raise FileAccessError(
            "no such folder", file=folder, hint="a log is a folder, or an address https://…"
        )
    if not (folder / CHECKPOINT).exists():
        raise FileAccessError(
            "is no log: it holds no checkpoint", file=folder, hint="name the log's own folder"
        )
    return FolderSource(folder)
