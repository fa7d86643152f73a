"""Asking a timestamp authority over HTTP (RFC 3161, section 3.4)."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from typing import Final
from urllib.parse import urlsplit

from safety_receipts.receipts.errors import FileAccessError, UsageError
from safety_receipts.receipts.io.web import web_opener
from safety_receipts.receipts.timestamps.replies import MAX_REPLY

_SECONDS: Final = 30


def ask(url: str, query: bytes) -> bytes:
    """Send a question to an authority, and return its reply.

    Args:
        url: Where it listens: http or https.  A reply is held to its question, so that http is
            no weaker.
        query: DER of a ``TimeStampReq``.

    Raises:
        UsageError: The address is none.
        FileAccessError: The authority cannot be reached, answers with an error, or at length.
    """
    try:
        usable = urlsplit(url).scheme in ("http", "https") and bool(urlsplit(url).hostname)
    except ValueError:
        usable = False
    if not usable:
        raise UsageError(f"--tsa {url}: should be an address that begins with https:// or http://")
    request = urllib.request.Request(  # the scheme is one of these two
        url,
        data=query,
        headers={
            "Content-Type": "application/timestamp-query",
            "Accept": "application/timestamp-reply",
        },
        method="POST",
    )
    try:
        with web_opener(url).open(request, timeout=_SECONDS) as answer:  # likewise
            reply: bytes = answer.read(MAX_REPLY + 1)
    except urllib.error.HTTPError as error:
        raise FileAccessError(f"the authority answers {error.code}", file=url) from None
    except (urllib.error.URLError, OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise FileAccessError(f"the authority cannot be reached: {reason}", file=url) from None
    if len(reply) > MAX_REPLY:
        raise FileAccessError(f"the reply is longer than {MAX_REPLY:,} bytes", file=url)
    return reply
