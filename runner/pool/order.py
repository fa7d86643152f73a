"""Which part a free worker is given: it decides who computes what, and never what is computed."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet


def next_part(waiting: AbstractSet[int], last: int | None, others: Iterable[int | None]) -> int:
    """Return the key of the part that a worker is best given.

    Parts that follow each other share the beginnings of their prompts, which a worker keeps from
    one to the next.  So a worker goes on where it is; one that cannot begins in the middle of the
    longest stretch that nobody has begun, and leaves its first half to whoever comes from there.

    Args:
        waiting: Keys that nobody was given, at least one.
        last: What the worker was given last; None: nothing.
        others: The same of the others.
    """
    if last is not None and last + 1 in waiting:
        return last + 1
    stretches: list[list[int]] = []
    for key in sorted(waiting):
        if stretches and stretches[-1][-1] + 1 == key:
            stretches[-1].append(key)
        else:
            stretches.append([key])
    longest = max(stretches, key=len)
    coming = {other + 1 for other in others if other is not None}
    return longest[len(longest) // 2] if longest[0] in coming else longest[0]
