"""A browser for the tests of a module's process, and a page for each test."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from browser import REQUIRED, Browser, Page, find_browser
from tampered_pages import EVALUATOR, Calculate, Published, Show, made_page

from safety_receipts.receipts.events.synthetic import Mixture, synthetic_event, synthetic_plan
from safety_receipts.receipts.model.demonstrations import Ordering
from safety_receipts.verify.page.script import MODULES, module, wrapped

GOLDEN: Final = Path(__file__).parents[3] / "golden" / "0.1"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, closed with all its processes when the session ends."""
    program = find_browser()
    if program is None:
        if os.environ.get(REQUIRED):
            pytest.fail(f"there is no chromium, and {REQUIRED} is set")
        pytest.skip("there is no chromium")
    browser = Browser(program)
    try:
        yield browser
    finally:
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A new page."""
    page = browser.page()
    try:
        yield page
    finally:
        page.close()


@pytest.fixture
def calculate(page: Page) -> Calculate:
    """The script's modules, without the last one, which starts a page."""
    modules = [module(name) for name in MODULES[:-1]]

    def run(expression: str, **data: Any) -> Any:
        values = "".join(f"const {name} = {json.dumps(value)};\n" for name, value in data.items())
        return page.evaluate(wrapped([*modules, values, f"return ({expression});\n"]))

    return run


@pytest.fixture
def show(page: Page, tmp_path: Path) -> Show:
    """Opens HTML as a file in the test's page."""

    def run(html: str) -> Page:
        file = tmp_path / "report.html"
        file.write_text(html, encoding="utf-8")
        return page.open(file)

    return run


@pytest.fixture(scope="session")
def ed25519(golden: Path) -> Published:
    """The golden bundle of an Ed25519 key."""
    folder, key = golden / "good" / "ed25519", golden / "ed25519.pub"
    return Published(folder, key, made_page(folder, key))


@pytest.fixture(scope="session")
def p256(golden: Path) -> Published:
    """The golden bundle of a P-256 key."""
    folder, key = golden / "good" / "p256", golden / "p256.pub"
    return Published(folder, key, made_page(folder, key))


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Published:
    """A small event with public evidence, which is embedded; its key is the golden one."""
    folder = tmp_path_factory.mktemp("embedded")
    key = GOLDEN / "ed25519.pub"
    mixtures = [
        Mixture(0, 0, None),
        Mixture(4, 0, None),
        Mixture(0, 4, None),
        Mixture(2, 2, Ordering.SUFFIX),
        Mixture(4, 4, Ordering.SUFFIX),
    ]
    plan = synthetic_plan(mixtures, {"alpha": 20, "beta": 11}, controls={"control": 9})
    synthetic_event(folder / "bundle", plan, EVALUATOR)
    html = made_page(folder / "bundle", key, with_evidence=True)
    return Published(folder / "bundle", key, html)
