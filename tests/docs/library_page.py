"""Runs the examples of docs/library.md: ``python tests/docs/library_page.py``, wherever the
library and its extra ``findings`` are installed.
"""

from __future__ import annotations

import doctest
import os
import re
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "library.md"


def failures(page: str, folder: Path) -> str:
    """Run a page's examples in order, and return what came out otherwise than it says.

    Args:
        page: The page, in Markdown; its fenced blocks of Python are one session.
        folder: The reader's folder, which the page calls ``folder``.
    """
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    session = doctest.DocTestParser().get_doctest(
        "\n".join(blocks), {"folder": folder}, PAGE.name, str(PAGE), 0
    )
    report: list[str] = []
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    doctest.DocTestRunner(optionflags=flags).run(session, out=report.append)
    return "".join(report)


def main() -> None:
    """Run them from the repository's root; exit with what fails."""
    os.chdir(ROOT)
    with tempfile.TemporaryDirectory() as folder:
        if found := failures(PAGE.read_text("utf-8"), Path(folder)):
            sys.exit(found)
    print(f"{PAGE.name}: every example gives what the page says")


if __name__ == "__main__":
    main()
