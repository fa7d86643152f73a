"""What it costs to open a page in a browser, and to let it verify itself.

    python benchmarks/page.py
    python benchmarks/page.py --repeats 10 --record

Three pages are made and opened in turn by headless Chromium, each time in a new page of one
browser, so that nothing is kept from the time before:

- *evidence embedded*: a golden bundle of 50 conditions, whose 24,000 evidence lines stand in the
  page: the script unpacks them, works out their Merkle root and counts them all again;
- *evidence dropped*: the same bundle, whose ``points.jsonl.zst`` is given to the page;
- *paper size*: every condition of the preset ``paper``, 1,404 harmful-role queries and 250
  controls, two draws each, with findings; outcomes come from a hash.  Its evidence is held by
  auditors, so that it is not in the page.

*opened* is from the call to the browser's ``load`` event, *verified* what the page itself states
(``data-verified-ms``), from the start of the script's work to its verdict; of the dropped evidence
it is the second run, which reads it.  Wall-clock medians.  The wrong key is never given, so the
verdict is *incomplete* but where the key is pasted.

Exit code 1 if a target is missed or a verdict is not what it should be.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from browser import Browser, Page, find_browser  # noqa: E402 (where the tests keep it)
from paper_plan import paper_plan  # noqa: E402
from recording import machine, markdown_table, replace_section  # noqa: E402

GOLDEN: Final = ROOT / "tests" / "golden" / "known-answer"
MAX_SECONDS: Final = 1.0
"""Target: evidence of 24,000 points is verified, and a paper-size page is open, in less."""
MAX_BYTES: Final = 1_000_000
"""Target: a paper-size page without evidence is smaller."""
_COLUMNS = ("page", "kB", "opened, s", "verified, s", "verdict")
_DONE = (
    "document.documentElement.dataset.verifiedMs && "
    "!('working' in document.documentElement.dataset)"
)


@dataclass(frozen=True)
class Row:
    """What was measured of one page; times are medians in seconds."""

    name: str
    size: int
    opened: float
    verified: float
    verdicts: frozenset[str]

    @property
    def cells(self) -> tuple[str, ...]:
        """The row as it is printed."""
        return (
            self.name,
            f"{self.size / 1000:,.0f}",
            f"{self.opened:.2f}",
            f"{self.verified:.2f}",
            ", ".join(sorted(self.verdicts)),
        )


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(description="What a page costs in a browser.")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each page (default: 5)")
    parser.add_argument("--record", action="store_true", help="refresh the section of RESULTS.md")
    arguments = parser.parse_args()
    program = find_browser()
    if program is None:
        raise SystemExit("page: there is no chromium")
    with tempfile.TemporaryDirectory(prefix="page-") as folder:
        pages = _pages(Path(folder))
        browser = Browser(program)
        try:
            rows = _measure(browser, pages, arguments.repeats)
            about = browser.command("Browser.getVersion")["product"]
        finally:
            browser.close()
    targets = _targets(rows)
    lines = [
        *markdown_table(_COLUMNS, (row.cells for row in rows)),
        "",
        *(f"- {t}" for t in targets),
    ]
    print("\n".join(lines))
    if arguments.record:
        _record(lines, arguments.repeats, about)
    return 0 if all(": met" in target for target in targets) else 1


@dataclass(frozen=True)
class _Measured:
    """A page, and what is done to it before it has said what is measured."""

    name: str
    file: Path
    give: Callable[[Page], None] = lambda page: None


def _pages(folder: Path) -> list[_Measured]:
    key, bundle = GOLDEN / "evaluator.pub", GOLDEN / "diluting"
    embedded = _write(folder / "embedded.html", bundle, key, with_evidence=True)
    bare = _write(folder / "bare.html", bundle, key)
    _say("paper size: sealing")
    paper, paper_key = folder / "paper", folder / "paper.pub"
    _seal_paper(paper, paper_key)
    _say("paper size: making the page")
    return [
        _Measured("24,000 points embedded", embedded),
        _Measured(
            "24,000 points dropped",
            bare,
            lambda page: page.set_files("#evidence-file", [bundle / "points.jsonl.zst"]),
        ),
        _Measured("paper size", _write(folder / "paper.html", paper, paper_key)),
    ]


def _write(file: Path, bundle: Path, key: Path, **options: Any) -> Path:
    from safety_receipts.receipts.bundle import Bundle
    from safety_receipts.receipts.keys import TrustSet
    from safety_receipts.verify.page.page import report_page

    file.write_bytes(report_page(Bundle(bundle), TrustSet.load([key]), **options).html)
    return file


def _seal_paper(folder: Path, key: Path) -> None:
    """Seal an event of the preset's conditions, with made-up outcomes."""
    from safety_receipts.receipts.events import synthetic
    from safety_receipts.receipts.findings.derive import derive
    from safety_receipts.receipts.keys import generate_key
    from safety_receipts.receipts.seal import seal_event, seal_plan

    plan = paper_plan()
    signer = generate_key()
    key.write_bytes(signer.public.pem())
    envelope = seal_plan(plan, signer)
    seal_event(
        folder,
        plan_envelope=envelope,
        points=synthetic.synthetic_points(plan, envelope.digest),
        event=synthetic.EVENT,
        environment=synthetic.ENVIRONMENT,
        signer=signer,
        findings=derive,
    )
    _say(f"paper size: {len(plan.conditions)} conditions, {plan.points:,} points")


def _measure(browser: Browser, pages: list[_Measured], repeats: int) -> list[Row]:
    opened: dict[str, list[float]] = {measured.name: [] for measured in pages}
    verified: dict[str, list[float]] = {measured.name: [] for measured in pages}
    verdicts: dict[str, set[str]] = {measured.name: set() for measured in pages}
    for repeat in range(repeats):
        for measured in pages:
            page = browser.page()
            begin = time.perf_counter()
            page.open(measured.file)
            opened[measured.name].append(time.perf_counter() - begin)
            page.wait_for(_DONE)
            measured.give(page)
            page.wait_for(_DONE)
            state = page.evaluate("({...document.documentElement.dataset})")
            verified[measured.name].append(float(state["verifiedMs"]) / 1000)
            evidence = page.evaluate("document.querySelector('[data-check=evidence]').className")
            verdicts[measured.name].add(f"{state['verification']}, evidence {evidence}")
            page.close()
        _say(f"{repeat + 1} of {repeats}")
    return [
        Row(
            name=measured.name,
            size=measured.file.stat().st_size,
            opened=statistics.median(opened[measured.name]),
            verified=statistics.median(verified[measured.name]),
            verdicts=frozenset(verdicts[measured.name]),
        )
        for measured in pages
    ]


def _targets(rows: list[Row]) -> list[str]:
    embedded, dropped, paper = rows

    def said(what: str, met: bool, found: str) -> str:
        return f"{what}: {'met' if met else 'NOT met'} ({found})."

    slowest = max(embedded.verified, dropped.verified)
    whole = frozenset({"incomplete, evidence ok"})
    return [
        said(
            f"24,000 points verified in under {MAX_SECONDS:g} s",
            slowest < MAX_SECONDS and embedded.verdicts == dropped.verdicts == whole,
            f"{slowest:.2f} s",
        ),
        said(
            f"A paper-size page without evidence is open in under {MAX_SECONDS:g} s",
            paper.opened < MAX_SECONDS
            and paper.verdicts == frozenset({"incomplete, evidence open"}),
            f"{paper.opened:.2f} s",
        ),
        said(
            f"It is smaller than {MAX_BYTES / 1e6:g} MB",
            paper.size < MAX_BYTES,
            f"{paper.size / 1000:,.0f} kB",
        ),
    ]


def _record(lines: list[str], repeats: int, browser: str) -> None:
    text = [
        "## Pages in a browser",
        "",
        f"    python benchmarks/page.py --repeats {repeats} --record",
        "",
        f"- Date: {datetime.now(UTC):%Y-%m-%d}",
        f"- Machine: {machine()}",
        f"- {browser}",
        f"- Medians of {repeats} runs of each page, in turn, in one browser.",
        "",
        *lines,
    ]
    replace_section("page", text)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
