"""Asking a server over HTTP: JSON in, JSON out, bounded in time and size, sent again if need be.

No streams, which can end in silence; no redirects, which lead elsewhere; no other scheme than http
and https.  A server on this machine is asked without a proxy (:mod:`receipts.io.web`), and every
exchange ends by one moment (:mod:`receipts.io.exchange`).
"""

from __future__ import annotations

import http.client
import json
import math
import ssl
from dataclasses import dataclass
from threading import Event, Lock
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler

from safety_receipts.receipts.errors import IncompleteError, UsageError
from safety_receipts.receipts.io.exchange import (
    BoundedRequest,
    OverlongAnswerError,
    bounded_handlers,
)
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.io.web import web_opener
from safety_receipts.runner.engines.served.role import ServerRole

MAX_ANSWER: Final = 64 * 2**20
"""Most bytes of a reply, whatever was asked for."""
_PLAIN_ANSWER: Final = 2**21
"""Most bytes of a reply to what asks for no tokens."""
_TOKEN_ANSWER: Final = 2**12
"""Bytes that each new token adds to that: its id, and the log-probabilities of twenty."""
_BODY_ANSWER: Final = 2**6
"""Bytes that each byte of a request adds to that: a prompt is given back, by some as text."""
_MAX_NUMBER: Final = 2**64
"""No whole number of an answer has more digits than this one."""
_OVERLOADED: Final = frozenset({408, 425, 429, 502, 503, 504})
"""Statuses of a server, or of what stands before it, that may answer later."""
_OF_ONE_REQUEST: Final = frozenset({400, 413, 422, 500})
"""Statuses that may be about one request."""
_MEANINGS: Final = {
    401: "it wants a key",
    403: "it does not take this key",
    404: "it has no such model, or does not speak this dialect",
}
_CHUNK: Final = 2**16
_NEVER: Final = Event()
"""Is not set."""


class ServedError(Exception):
    """What a server answered to one request, if it is not a reply."""


class UnreachableError(ServedError):
    """There was no whole answer, or one that asks for patience: the same request may get one."""


class RefusedError(ServedError):
    """The server refuses this request, or fails on it."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the server answered {status}")
        self.status = status
        """The HTTP status, 400 to 599."""
        self.of_one_request = status in _OF_ONE_REQUEST
        """Whether it may answer other requests."""
        self.meaning = _MEANINGS.get(status, "it takes no such requests")
        """Why, as the status says, where it answers no request."""


class NonsenseError(ServedError):
    """The server is none that can be believed: its answer does not hold together."""


@dataclass(frozen=True)
class Patience:
    """How long a server is waited for."""

    seconds: float = 120.0
    """Time for one answer, beside that for its tokens."""
    token_seconds: float = 1.0
    """Time for each new token that is asked for."""
    attempts: int = 4
    """How often a request is sent in all."""
    pause: float = 1.0
    """Seconds before it is sent again; they double each time."""

    def of(self, tokens: int) -> float:
        """Return the time for an answer of so many tokens, in seconds."""
        return self.seconds + self.token_seconds * tokens


PATIENCE: Final = Patience()
"""How long a server is waited for, unless told otherwise."""


@dataclass(frozen=True)
class _Question:
    """What is asked once, or several times."""

    path: str
    """Where it goes."""
    body: bytes | None
    """The request; None: there is none."""
    seconds: float
    """Time for one answer."""
    tokens: int = 0
    """New tokens that it asks for."""

    @property
    def most(self) -> int:
        """Most bytes of an answer."""
        given = _TOKEN_ANSWER * self.tokens + _BODY_ANSWER * len(self.body or b"")
        return min(MAX_ANSWER, _PLAIN_ANSWER + given)


class _NoRedirect(HTTPRedirectHandler):
    """What is redirected is answered elsewhere, and a POST becomes a GET on the way."""

    def redirect_request(self, *_: Any) -> None:
        return None


class ServerClient:
    """Asks one server.

    Args:
        url: Its address.
        patience: How long it is waited for.
        key: Sent as a bearer token; never written anywhere.
        role: Who asks it.

    Raises:
        UsageError: The address is none, or holds a password; or no header can carry the key.
    """

    def __init__(
        self,
        url: str,
        patience: Patience | None = None,
        *,
        key: str | None = None,
        role: ServerRole = ServerRole.ENGINE,
    ) -> None:
        self.url = checked_address(url, role)
        """Its address, without a slash at the end."""
        self.role = role
        """Who asks it."""
        self.patience = patience or PATIENCE
        """How long it is waited for."""
        self._key = checked_key(key, role)
        self._opener = web_opener(self.url, _NoRedirect(), *bounded_handlers())
        self._lock = Lock()
        self._resent = 0
        self.answered = False
        """Whether it has answered anything."""

    @property
    def name(self) -> str:
        """What it is called in messages, with its address."""
        return f"{self.role.words} at {printable(self.url)}"

    def offers_no(self, model: str, offered: str) -> UsageError:
        """Return what is said where it offers no model of a name.

        Args:
            model: The name.
            offered: The names of what it offers, for people.
        """
        return UsageError(
            f"{self.name} offers no model {model!r}; it offers {offered}",
            hint=f"name what it offers in {self.role.entry}.model, if that is the plan's "
            f"{self.role.model}",
        )

    def take_resent(self) -> int:
        """Return how many requests were sent again since this was last asked."""
        with self._lock:
            resent, self._resent = self._resent, 0
        return resent

    def get(self, path: str) -> Any:
        """Return the JSON at a path.

        Raises:
            ServedError: There is none.
        """
        return self._asked(_Question(path, None, self.patience.seconds), _NEVER)

    def post(
        self, path: str, body: dict[str, Any], tokens: int, stopped: Event | None = None
    ) -> dict[str, Any]:
        """Return the JSON object that a request is answered with.

        Args:
            path: Where it goes.
            body: The request.
            tokens: New tokens that it asks for.
            stopped: Set when nothing is to be sent again.

        Raises:
            ServedError: There is no such answer.
        """
        data = json.dumps(body).encode()
        question = _Question(path, data, self.patience.of(tokens), tokens)
        reply = self._asked(question, stopped or _NEVER)
        if not isinstance(reply, dict):
            raise NonsenseError("the answer is no JSON object")
        return reply

    def _asked(self, question: _Question, stopped: Event) -> Any:
        for attempt in range(1, self.patience.attempts + 1):
            try:
                answer = self._once(question)
                self.answered = True
                return answer
            except (UnreachableError, RefusedError) as error:
                final = isinstance(error, RefusedError) and error.status < 500
                if final or attempt == self.patience.attempts or stopped.is_set():
                    raise
            if stopped.wait(self.patience.pause * 2 ** (attempt - 1)):
                raise UnreachableError("the run was stopped")
            with self._lock:
                self._resent += 1
        raise AssertionError("the last attempt returns or raises")

    def _once(self, question: _Question) -> Any:
        headers = {"Accept": "application/json"}
        if question.body is not None:
            headers["Content-Type"] = "application/json"
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        request = BoundedRequest(self.url + question.path, question.body, headers, question.most)
        return self._answer(request, question.seconds)

    def _answer(self, request: BoundedRequest, seconds: float) -> Any:
        try:
            with self._opener.open(request, timeout=seconds) as answer:
                kind = answer.headers.get_content_type()
                data = _read(answer, request.most)
        except HTTPError as error:
            error.close()
            if error.code in _OVERLOADED:
                raise UnreachableError(f"the server answered {error.code}") from None
            if error.code < 300:
                raise NonsenseError(f"it answers {error.code}, and gives no answer") from None
            if error.code < 400:
                raise NonsenseError(
                    f"the server sends on to another address ({error.code})"
                ) from None
            raise RefusedError(error.code) from None
        except TimeoutError:
            raise UnreachableError(f"no answer within {seconds:,.0f} s") from None
        except URLError as error:
            if isinstance(error.reason, TimeoutError):
                raise UnreachableError(f"no connection within {seconds:,.0f} s") from None
            if isinstance(error.reason, ssl.SSLError):
                raise NonsenseError(
                    f"no secure connection can be made ({_told(error.reason)}): does it speak "
                    "https, with a certificate that this system trusts, or is its address http://?"
                ) from None
            raise UnreachableError(f"no connection: {_told(error.reason)}") from None
        except OverlongAnswerError:
            raise NonsenseError(_too_long(request.most)) from None
        except http.client.IncompleteRead:
            raise UnreachableError("the answer was cut") from None
        except (http.client.HTTPException, OSError) as error:
            raise UnreachableError(f"the connection broke: {_told(error)}") from None
        return _parsed(data, kind)


def checked_address(url: str, role: ServerRole = ServerRole.ENGINE) -> str:
    """Return a server's address as it is asked.

    Raises:
        UsageError: It is none, or holds a password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
        (parts.hostname or "").encode("idna")  # as it is looked up
    except ValueError:
        parts, port = urlsplit(""), None
    known = parts.scheme in ("http", "https") and parts.hostname and port != 0
    if not known or not parts.path.isascii():
        raise UsageError(
            f"{_without_secrets(url)} is no address of a server", hint="write http://127.0.0.1:8000"
        )
    if parts.username is not None or parts.query or parts.fragment:
        raise UsageError(
            "a server's address holds no user, password, query or fragment",
            hint=f"give a key in the environment variable {role.key}",
        )
    path = parts.path.rstrip("/")
    if path.endswith(("/v1", "/v1/completions", "/v1/chat/completions")):
        raise UsageError(
            f"{printable(url)} ends with the path of one of a server's interfaces",
            hint="leave off /v1 and what follows it",
        )
    return f"{parts.scheme}://{parts.netloc}{path}"


def _without_secrets(url: str) -> str:
    """Return what may be shown of an address that may hold a password, or a key in its query."""
    if "@" in url:
        return "what is given, with a user or password,"
    return printable(url.partition("?")[0].partition("#")[0])


def checked_key(key: str | None, role: ServerRole = ServerRole.ENGINE) -> str | None:
    """Return a key as it is sent, without a line's end; None: there is none.

    Raises:
        UsageError: No header can carry it; the message does not show it.
    """
    key = (key or "").rstrip("\r\n")
    if not all(sign.isprintable() and ord(sign) < 256 for sign in key):
        raise UsageError(
            f"the key in {role.key} has a line break or characters that no header can carry",
            hint="copy it again, alone and on one line",
        )
    return key or None


def gone(client: ServerClient, error: UnreachableError) -> IncompleteError:
    """Return what is said where a server does not answer, however often it is asked."""
    hint = "is the address right, and does a server run there?"
    if client.answered:
        hint = (
            "what was answered is kept; when it answers again, run the same command again, with a "
            "lower concurrency where it was overloaded"
        )
    return IncompleteError(f"{client.name} does not answer: {error}", hint=hint)


def _read(answer: http.client.HTTPResponse, most: int) -> bytes:
    """Return a whole body, of so many bytes at most."""
    parts, length = [], 0
    while part := answer.read1(_CHUNK):
        length += len(part)
        if length > most:
            raise NonsenseError(_too_long(most))
        parts.append(part)
    stated = answer.headers.get("Content-Length")
    if stated is not None and stated.isdecimal() and length < int(stated):
        raise http.client.IncompleteRead(b"")  # read1 says nothing of it
    return b"".join(parts)


def _too_long(most: int) -> str:
    return f"an answer of more than {most:,} bytes, which is more than was asked for"


def _parsed(data: bytes, kind: str) -> Any:
    try:
        return json.loads(
            data, parse_constant=_no_number, parse_float=_number, parse_int=_whole_number
        )
    except _NumberError:
        raise NonsenseError("the answer has a number that no answer can have") from None
    except (ValueError, RecursionError):
        said = printable(kind, 60)
        raise NonsenseError(f"the answer is no JSON, but {said}: is there a proxy?") from None


class _NumberError(ValueError):
    """No number, or one without bound."""


def _no_number(name: str) -> Any:
    raise _NumberError(name)


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _NumberError(text)
    return value


def _whole_number(text: str) -> int:
    # Its length first: reading many digits takes long, and Python refuses to.
    if len(text) > len(str(_MAX_NUMBER)) + 1 or abs(value := int(text)) > _MAX_NUMBER:
        raise _NumberError(text[:60])
    return value


def _told(error: object) -> str:
    """Return an error of the system's in a few words."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return printable(" ".join(text.split()) or type(error).__name__, 120)
