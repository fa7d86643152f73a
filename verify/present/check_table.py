"""Writes the tables of checks in ``docs/protocol.md`` from the names of all checks.

Run by ``make schemas``, or ``python -m safety_receipts.verify.present.check_table``.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from safety_receipts.receipts.io.files import atomic_write
from safety_receipts.verify.check_names import CheckName, CheckUse

PAGE = Path(__file__).resolve().parents[2] / "docs" / "protocol.md"
"""The page, in a source tree."""

_TABLES = {"checks of verification": False, "checks of an audit": True}
"""Names of the tables, each with whether it holds what an audit's statement checks itself."""


def checks_table(*, sealed: bool) -> str:
    """Return a table of checks in Markdown.

    Checks that follow each other and mean the same share a row.

    Args:
        sealed: Whether of the checks that an audit's statement makes of its own replay; else of
            those of verification.
    """
    rows = ["| check | level | passes if |", "|---|---|---|"]
    for use, pairs in groupby(_uses(sealed), key=lambda pair: pair[1]):
        names = ", ".join(f"`{_spelt(name, use)}`" for name, _ in pairs)
        rows.append(f"| {names} | {use.level.value} | {use.meaning} |")
    return "\n".join(rows)


def with_check_tables(page: str) -> str:
    """Return the page with its tables as they should be.

    Raises:
        ValueError: A table's two markers are not in the page, each once.
    """
    for name, sealed in _TABLES.items():
        begin, end = f"<!-- {name}, by make schemas -->\n\n", f"\n\n<!-- end of {name} -->"
        if page.count(begin) != 1 or page.count(end) != 1:
            raise ValueError(f"the page needs the markers {begin.strip()} and {end.strip()}")
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(end)
        page = f"{before}{begin}{checks_table(sealed=sealed)}{end}{after}"
    return page


def main() -> None:
    """Write the tables into the source tree."""
    atomic_write(PAGE, with_check_tables(PAGE.read_text("utf-8")).encode("utf-8"))


def _uses(sealed: bool) -> Iterator[tuple[CheckName, CheckUse]]:
    for name in CheckName:
        for use in name.uses:
            if use.sealed is sealed:
                yield name, use


def _spelt(name: CheckName, use: CheckUse) -> str:
    return name.value if use.about is None else f"{name.value} {use.about}"


if __name__ == "__main__":
    main()
