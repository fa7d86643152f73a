"""axe-core finds no serious barrier in a page: in light and dark, before and after verification."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from browser import REQUIRED
from tampered_pages import Published, Show, give_key, read, replaced

AXE = Path(__file__).parents[4] / ".venv" / "axe" / "axe.min.js"
RUN = """axe.run(document).then((found) => found.violations
  .filter((one) => ['serious', 'critical'].includes(one.impact))
  .map((one) => `${one.id}: ${one.nodes[0].failureSummary} ${one.nodes[0].html}`))"""


@pytest.fixture(scope="session")
def axe() -> str:
    """The script of axe-core, which ``make`` fetches."""
    if not AXE.exists():
        if os.environ.get(REQUIRED):
            pytest.fail(f"{AXE} is missing, and {REQUIRED} is set")
        pytest.skip("axe-core is not here: make .venv/axe/axe.min.js")
    return AXE.read_text("utf-8")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("state", ["passed", "incomplete", "failed"])
def test_no_serious_barrier(
    embedded: Published, show: Show, axe: str, scheme: str, state: str
) -> None:
    html = embedded.html
    if state == "failed":
        html = replaced("<main>", "<main><p>Complied: 3 of 4.</p>")(html)
    page = show(html)
    page.resize(1000, 900)
    page.emulate(scheme=scheme)
    said = give_key(page, embedded.pem) if state == "passed" else read(page)
    assert said.verdict == state
    page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    page.evaluate(f"{axe};0")
    assert page.evaluate(RUN) == []


def test_axe_finds_a_barrier(embedded: Published, show: Show, axe: str) -> None:
    """Else the test above could not fail."""
    page = show(replaced("<main>", '<main><img src="data:,">')(embedded.html))
    read(page)
    page.evaluate(f"{axe};0")
    assert any("image-alt" in one for one in page.evaluate(RUN))


def test_the_form_is_used_with_the_keyboard_alone(embedded: Published, show: Show) -> None:
    page = show(embedded.html)
    read(page)
    reached = set()
    for _ in range(40):
        for kind in ("keyDown", "keyUp"):
            page.command("Input.dispatchKeyEvent", type=kind, key="Tab", windowsVirtualKeyCode=9)
        reached.add(page.evaluate("document.activeElement.id"))
    assert reached >= {"trust-text", "trust-file", "trust-button", "forget-button", "evidence-file"}
