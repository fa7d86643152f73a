"""A browser for the tests of a module's process, and a page for each test."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from browser import REQUIRED, Browser, Page, find_browser

from safety_receipts.verify.page.script import MODULES, module, wrapped

Calculate = Callable[..., Any]
"""Returns the value of an expression that sees the script's functions and the named data."""


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
