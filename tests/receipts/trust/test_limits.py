"""A signature counts if, and only if, all limits of its key hold."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_receipts.receipts.trust.limits import KeyLimits, Seen

ZERO = datetime(2026, 1, 1, tzinfo=UTC)


def day(number: int) -> datetime:
    return ZERO + timedelta(days=number)


# Few days, so that equal ones are met.
DAYS = st.integers(0, 6).map(day)
LIMITS = st.builds(KeyLimits, *[st.none() | DAYS] * 3)
SEEN = st.builds(Seen, DAYS, st.sampled_from([None, "a timestamp"]))
STATED = st.none() | DAYS


@given(LIMITS, SEEN, STATED)
def test_it_counts_if_all_limits_hold(
    limits: KeyLimits, seen: Seen, stated: datetime | None
) -> None:
    begins, ends, revoked = limits.valid_from, limits.valid_until, limits.revoked_at
    holds = (
        (revoked is None or seen.time < revoked)
        and (ends is None or seen.time <= ends)
        and (begins is None or (seen.time >= begins and (stated is None or stated >= begins)))
    )
    problem = limits.problem(seen, stated)
    assert (problem is None) is holds
    assert bool(limits) is (limits != KeyLimits())


@given(LIMITS, LIMITS, SEEN, STATED)
def test_where_both_hold_each_does(
    one: KeyLimits, other: KeyLimits, seen: Seen, stated: datetime | None
) -> None:
    both = one.and_those(other)
    each = [limits.problem(seen, stated) is None for limits in (one, other)]
    assert (both.problem(seen, stated) is None) is all(each)
    assert both == other.and_those(one)


@given(LIMITS, SEEN, STATED, st.integers(-12, 12))
def test_zones_say_the_same(
    limits: KeyLimits, seen: Seen, stated: datetime | None, hour: int
) -> None:
    zone = timezone(timedelta(hours=hour))
    moved = KeyLimits(
        *(
            None if moment is None else moment.astimezone(zone)
            for moment in (limits.valid_from, limits.valid_until, limits.revoked_at)
        )
    )
    assert moved.problem(seen, stated) == limits.problem(seen, stated)


@pytest.mark.parametrize(
    ("limits", "seen", "said"),
    [
        (
            KeyLimits(revoked_at=day(1)),
            Seen(day(2), None),
            "was revoked at 2026-01-02T00:00:00Z, and nothing shows that the signature was there "
            "before",
        ),
        (
            KeyLimits(revoked_at=day(1)),
            Seen(day(1), "a timestamp"),
            "was revoked at 2026-01-02T00:00:00Z, and the earliest that shows the signature, a "
            "timestamp, is of 2026-01-02T00:00:00Z",
        ),
        (
            KeyLimits(valid_until=day(1)),
            Seen(day(2), None),
            "was valid until 2026-01-02T00:00:00Z, and nothing shows that the signature was there "
            "by then",
        ),
        (
            KeyLimits(valid_from=day(1)),
            Seen(day(0), "a timestamp"),
            "is valid from 2026-01-02T00:00:00Z on, and a timestamp shows the signature at "
            "2026-01-01T00:00:00Z",
        ),
        (
            KeyLimits(valid_from=day(1)),
            Seen(day(0), None),
            "is valid from 2026-01-02T00:00:00Z on, and it is 2026-01-01T00:00:00Z",
        ),
    ],
)
def test_why_it_does_not_count(limits: KeyLimits, seen: Seen, said: str) -> None:
    assert limits.problem(seen, None) == said


def test_a_statement_of_an_earlier_event() -> None:
    problem = KeyLimits(valid_from=day(1)).problem(Seen(day(2), None), day(0))
    assert problem == "is valid from 2026-01-02T00:00:00Z on, and this is of 2026-01-01T00:00:00Z"
