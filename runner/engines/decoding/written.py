"""Who is told of tokens as they are written: a batch may take minutes, and nothing moves meanwhile.

Nothing that is computed depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

_watchers: list[Callable[[int], None]] = []


@contextmanager
def watching_tokens(watch: Callable[[int], None]) -> Iterator[None]:
    """Have somebody told, while the block runs, how many tokens each step writes.

    Args:
        watch: Told from whichever thread decodes.
    """
    _watchers.append(watch)
    try:
        yield
    finally:
        _watchers.remove(watch)


def tell_written(tokens: int) -> None:
    """Tell of tokens that one step wrote."""
    for watch in _watchers:
        watch(tokens)
