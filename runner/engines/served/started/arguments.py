"""Which arguments a plan may start a server with, and which none may state.

What a server is started with is sealed: so no argument may hold a key, whoever starts it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from safety_receipts.receipts.events.dialects import FACTS
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.model.plan import ServerDialect

_FLAGS: Final = frozenset(
    {
        "--disable-log-stats",
        "--enable-chunked-prefill",
        "--enable-prefix-caching",
        "--enforce-eager",
        "--no-enable-chunked-prefill",
        "--no-enable-prefix-caching",
        "--no-warmup",
    }
)
"""Arguments without a value."""
_CACHES: Final = ("--cache-type-k", "--cache-type-v")
_WHOLE: Final = ("f32", "f16", "bf16")
"""Number formats of a cache that quantise nothing."""

_SECRET: Final = frozenset(
    {
        *("apikey", "apikeys", "authorization", "bearer", "credential", "credentials", "header"),
        *("headers", "passphrase", "passwd", "password", "passwords", "secret", "secrets"),
    }
)
"""Words that name a secret wherever they stand in a name."""
_SECRET_AT_END: Final = frozenset({"auth", "hft", "key", "keys", "pass", "token"})
"""Words that do so as its last one: ``--hf-token``, but not ``--return-tokens-as-token-ids``."""
_NAMED = re.compile(r"([A-Za-z][\w.-]*)[\"']?\s*[:=]")
"""A name within an argument, such as of a header or of a value in JSON."""


def argument_problem(dialect: ServerDialect, arguments: Sequence[str]) -> str | None:
    """Return what is wrong with the arguments of a plan's ``serve``, or None."""
    allowed = FACTS[dialect].arguments or frozenset()
    for place, argument in enumerate(arguments):
        name, _, value = argument.partition("=")
        if not argument.startswith("-"):
            before = arguments[place - 1] if place else ""
            if not before.startswith("-") or "=" in before or before in _FLAGS:
                return f"{printable(argument, 60)} is the value of no argument"
            continue
        if name not in allowed:
            known = ", ".join(sorted(allowed))
            return f"{printable(name, 60)} is not one of the arguments that may be given: {known}"
        if name in _CACHES:
            value = value or "".join(arguments[place + 1 : place + 2])
            if value not in _WHOLE:
                return (
                    f"{name} {printable(value, 60)} is not one of {', '.join(_WHOLE)}: a quantised "
                    "cache changes what is computed"
                )
    return None


def secret_problem(arguments: Sequence[str]) -> str | None:
    """Return what is wrong with arguments that would be sealed with a secret, or None.

    The secret itself is never part of what is said.
    """
    for argument in arguments:
        for name in _names(argument):
            words = [word for word in re.split(r"[^a-z0-9]+", name.lower()) if word]
            if words and (_SECRET & set(words) or words[-1] in _SECRET_AT_END):
                return (
                    f"{printable(name, 60)} may hold a secret, and arguments are sealed for "
                    "everybody to read"
                )
    return None


def _names(argument: str) -> Iterator[str]:
    """Yield the names that an argument gives values to."""
    if argument.startswith("-"):
        yield argument.partition("=")[0]
    for found in _NAMED.finditer(argument):
        yield found[1]
