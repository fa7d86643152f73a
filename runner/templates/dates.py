"""Dates as templates print them: one fixed day, in English whatever the locale."""

from __future__ import annotations

import datetime
import re
from functools import lru_cache

from safety_receipts.receipts.errors import UsageError

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)


@lru_cache(maxsize=64)
def written_date(day: datetime.date, form: str) -> str:
    """Return a date in the form of ``strftime``, in English whatever the locale.

    Raises:
        UsageError: The form asks for a time of day, a time zone or something unknown.
    """
    parts = {
        "Y": str(day.year).zfill(4),
        "y": f"{day.year % 100:02}",
        "m": f"{day.month:02}",
        "d": f"{day.day:02}",
        "e": f"{day.day:2}",
        "j": f"{day.timetuple().tm_yday:03}",
        "B": _MONTHS[day.month - 1],
        "b": _MONTHS[day.month - 1][:3],
        "A": _DAYS[day.weekday()],
        "a": _DAYS[day.weekday()][:3],
        "F": day.isoformat(),
        "%": "%",
    }

    def part(match: re.Match[str]) -> str:
        if match[2] not in parts:
            raise UsageError(
                f"the chat template prints the time as {form!r}, and only a date can be fixed"
            )
        value = parts[match[2]]
        return (value.lstrip("0 ") or "0") if match[1] else value

    return re.sub(r"%(-?)(.?)", part, form, flags=re.DOTALL)


def parsed_date(date: str) -> datetime.date:
    """Return the day that a plan names.

    Raises:
        UsageError: There is none of that name.
    """
    try:
        return datetime.date.fromisoformat(date)
    except ValueError:
        raise UsageError(f"{date!r} is not a date", hint="write it as 2026-01-31") from None
