"""Quorums of log policies, and the times by which they had seen, against brute force."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from witness_policies import VLOG, V, load, seen

from safety_receipts.receipts.errors import IntegrityError


@dataclass(frozen=True)
class Drawn:
    """A policy's groups, drawn."""

    groups: tuple[tuple[str, int, tuple[str, ...]], ...]
    quorum: str

    def lines(self) -> str:
        lines = [f"log {VLOG}", *(f"witness w{n} {vkey}" for n, vkey in enumerate(V))]
        lines += [f"group {name} {k} {' '.join(members)}" for name, k, members in self.groups]
        return "\n".join([*lines, f"quorum {self.quorum}", ""])

    def holds(self, seen: frozenset[int]) -> bool:
        """Say from the definition whether some witnesses are a quorum."""
        groups = {name: (k, members) for name, k, members in self.groups}

        def has(name: str) -> bool:
            if name not in groups:
                return int(name[1:]) in seen
            k, members = groups[name]
            return sum(map(has, members)) >= k

        return has(self.quorum)


@st.composite
def drawn_policies(draw: st.DrawFn) -> Drawn:
    free = [f"w{number}" for number in range(len(V))]
    names, groups = list(free), []
    for number in range(draw(st.integers(0, 5))):
        if not free:
            break
        members = draw(st.lists(st.sampled_from(free), min_size=1, max_size=4, unique=True))
        groups.append((f"g{number}", draw(st.integers(1, len(members))), tuple(members)))
        free = [name for name in free if name not in members] + [f"g{number}"]
        names.append(f"g{number}")
    return Drawn(tuple(groups), draw(st.sampled_from(names[::-1])))


@settings(max_examples=150, deadline=None)
@given(
    drawn=drawn_policies(),
    times=st.dictionaries(st.integers(0, len(V) - 1), st.integers(1, 9), max_size=len(V)),
)
def test_the_time_is_the_first_at_which_those_who_had_seen_it_are_a_quorum(
    drawn: Drawn, times: dict[int, int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    policy = load(drawn.lines(), tmp_path_factory.getbasetemp())
    earliest = next(
        (
            moment
            for moment in range(10)
            if drawn.holds(frozenset(who for who, time in times.items() if time <= moment))
        ),
        None,
    )
    signed = seen(times)
    assert policy.has_quorum(signed) is (earliest is not None)
    if earliest is None:
        with pytest.raises(IntegrityError, match="too few"):
            policy.accept(signed)
    else:
        assert policy.accept(signed).time == earliest
