"""Servers on this machine are asked without a proxy, others as the environment says."""

from __future__ import annotations

import pytest

from safety_receipts.receipts.io.web import web_opener


@pytest.mark.parametrize(
    ("url", "proxied"),
    [
        ("http://127.0.0.1:8000/x", False),
        ("http://localhost:8000", False),
        ("http://[::1]:8000", False),
        ("http://example.com/log", True),
        ("http://10.0.0.1/log", True),
        ("no address", True),
        ("http://[half", True),
    ],
)
def test_a_server_on_this_machine_is_asked_without_a_proxy(
    monkeypatch: pytest.MonkeyPatch, url: str, *, proxied: bool
) -> None:
    monkeypatch.setenv("http_proxy", "http://192.0.2.1:3128")
    names = [type(handler).__name__ for handler in web_opener(url).handlers]
    assert ("ProxyHandler" in names) is proxied
