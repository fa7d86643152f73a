"""What benchmarks share: the sections of RESULTS.md, and the machine they were measured on."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterable
from pathlib import Path

RESULTS = Path(__file__).with_name("RESULTS.md")
_TITLE = "# Measured results\n\nEach section is written by the benchmark it names.\n"


def replace_section(name: str, lines: Iterable[str], path: Path = RESULTS) -> None:
    """Put a section into the results, in place of an earlier one of the same name.

    Args:
        name: What the markers around the section say.
        lines: Its text, Markdown, without line breaks.
        path: The results' file; it is made if there is none.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    section = "\n".join([begin, *lines, end])
    before = path.read_text("utf-8") if path.exists() else _TITLE
    old = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if old.search(before):
        after = old.sub(lambda _: section, before)
    else:
        after = f"{before.rstrip()}\n\n{section}\n"
    path.write_text(after, "utf-8")
    print(f"recorded in {path.name}", file=sys.stderr, flush=True)


def markdown_table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """Return the lines of a table, every column aligned to the right."""
    columns = list(columns)
    return [
        "| " + " | ".join(columns) + " |",
        "|" + "---:|" * len(columns),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]


def machine() -> str:
    """Return cores, processor, memory and operating system in a line."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    model = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        found = re.search(r"^model name\s*:\s*(.+)$", information.read_text("utf-8"), re.MULTILINE)
        model = found[1] if found else model
    return f"{os.cpu_count()} × {model}, {memory:.0f} GiB RAM, {platform.system()}"
