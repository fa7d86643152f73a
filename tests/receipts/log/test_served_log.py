"""A log as a plain web server serves it, and servers that mean no good."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from kept_logs import KeptLog
from printed import held
from web_servers import web_server

from safety_receipts.receipts.bundle import PROOFS, Bundle
from safety_receipts.receipts.errors import FileAccessError, UsageError
from safety_receipts.receipts.keys import load_signer
from safety_receipts.receipts.log import sources
from safety_receipts.receipts.log.folder import LogFolder, LogSigner
from safety_receipts.receipts.log.sources import WebSource, log_source

Receipts = Callable[..., Any]


@pytest.fixture
def filled(kept_log: KeptLog, audited: Path, receipts: Receipts) -> KeptLog:
    """A log of a bundle and of more."""
    assert receipts("log", "add", kept_log.folder, audited, "--key", kept_log.key).code == 0
    signer = LogSigner.of("example.com/log", load_signer(kept_log.key), kept_log.key)
    opened = LogFolder(kept_log.folder, signer.public)
    opened.add([b"%d" % number for number in range(600)], signer)
    return kept_log


def test_reading_needs_no_more_than_a_web_server(
    filled: KeptLog, audited: Path, receipts: Receipts, tmp_path: Path
) -> None:
    root = Bundle(audited).plan.statement.predicate.checkpoint.root
    policy = ["--policy", filled.policy]
    with web_server(filled.folder) as url:
        seen = tmp_path / "seen"
        said = receipts("log", "verify", f"{url}/", *policy, "--keep", seen, "--json")
        assert held("cli-log-verify", said.out)["size"] == 605
        again = receipts("log", "verify", url, *policy, "--since", seen)
        assert (again.code, "grown from 605" in again.out) == (0, True)
        search = receipts("log", "search", url, *policy, "--checkpoint", root, "--json")
        document = held("cli-log-search", search.out)
        assert (document["plans"], document["receipts"], len(document["entries"])) == (1, 1, 5)
        assert receipts("log", "prove", url, audited).code == 0
    by_web = {path.name: path.read_bytes() for path in (audited / PROOFS).iterdir()}
    assert len(by_web) == 5
    assert receipts("log", "prove", filled.folder, audited, "--replace").code == 0
    assert by_web == {path.name: path.read_bytes() for path in (audited / PROOFS).iterdir()}


def test_a_prefix_below_the_server_s_root(filled: KeptLog, receipts: Receipts) -> None:
    with web_server(filled.folder.parent) as url:
        said = receipts("log", "verify", f"{url}/log", "--policy", filled.policy)
        assert said.code == 0
        none = receipts("log", "verify", f"{url}/nothing", "--policy", filled.policy)
        assert (none.code, none.err.count("\n")) == (2, 1)
        assert "this is no log" in none.err


def test_a_tile_that_is_gone_or_changed(filled: KeptLog, receipts: Receipts) -> None:
    verify = ["--policy", filled.policy]
    with web_server(filled.folder) as url:
        path = filled.folder / "tile" / "0" / "001"
        data = path.read_bytes()
        path.write_bytes(data[::-1])
        assert "has another hash" in receipts("log", "verify", url, *verify).err
        path.write_bytes(data[:-1])
        assert "8,191 bytes" in receipts("log", "verify", url, *verify).err
        path.unlink()
        said = receipts("log", "verify", url, *verify)
        assert (said.code, "tile/0/001: is missing" in said.err) == (3, True)
        path.write_bytes(data)
        assert receipts("log", "verify", url, *verify).code == 0


def test_another_server_is_not_gone_to(filled: KeptLog, receipts: Receipts) -> None:
    """A redirection could have a reader ask servers that only the reader can reach."""
    asked: list[str] = []

    def note(handler: SimpleHTTPRequestHandler) -> bool:
        asked.append(handler.path)
        return False

    with web_server(filled.folder, note) as elsewhere:
        for target in (elsewhere, "file:///etc", elsewhere.replace("http:", "ftp:")):

            def sent(handler: SimpleHTTPRequestHandler, to: str = target) -> bool:
                handler.send_response(302)
                handler.send_header("Location", f"{to}{handler.path}")
                handler.end_headers()
                return True

            with web_server(filled.folder, sent) as url:
                said = receipts("log", "verify", url, "--policy", filled.policy)
            assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
            assert "to another server" in said.err
    assert asked == []


def test_another_place_on_the_server_is(filled: KeptLog, receipts: Receipts) -> None:
    def sent(handler: SimpleHTTPRequestHandler) -> bool:
        if not handler.path.startswith("/old/"):
            return False
        handler.send_response(308)
        handler.send_header("Location", handler.path.removeprefix("/old"))
        handler.end_headers()
        return True

    def circle(handler: SimpleHTTPRequestHandler) -> bool:
        handler.send_response(302)
        handler.send_header("Location", handler.path)
        handler.end_headers()
        return True

    with web_server(filled.folder, sent) as url:
        assert receipts("log", "verify", f"{url}/old", "--policy", filled.policy).code == 0
    with web_server(filled.folder, circle) as url:
        said = receipts("log", "verify", url, "--policy", filled.policy)
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "in a circle" in said.err


@pytest.mark.parametrize("path", ["/checkpoint", "/tile/0/000", "/tile/entries/001"])
def test_a_file_without_end_is_not_read_to_its_end(
    path: str, filled: KeptLog, receipts: Receipts
) -> None:
    sent = 0

    def endless(handler: SimpleHTTPRequestHandler) -> bool:
        nonlocal sent
        if handler.path != path:
            return False
        handler.send_response(200)
        handler.end_headers()
        try:
            while sent < 10**9:
                sent += handler.wfile.write(b"a" * 65_536)
        except OSError:  # whoever reads has gone
            pass
        return True

    with web_server(filled.folder, endless) as url:
        said = receipts("log", "verify", url, "--policy", filled.policy)
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "longer than the" in said.err
    assert sent < 100 * 10**6


def test_servers_that_fail(filled: KeptLog, receipts: Receipts) -> None:
    def broken(handler: SimpleHTTPRequestHandler) -> bool:
        handler.send_error(503)
        return True

    def nonsense(handler: SimpleHTTPRequestHandler) -> bool:
        handler.wfile.write(b"what is this\r\n\r\n")
        return True

    def cut(handler: SimpleHTTPRequestHandler) -> bool:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"example.com/log\n")
        return True

    for answer, why in ((broken, "503"), (nonsense, "cannot be fetched"), (cut, "more expected")):
        with web_server(filled.folder, answer) as url:
            said = receipts("log", "verify", url, "--policy", filled.policy)
        assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
        assert why in said.err
    gone = receipts("log", "verify", url, "--policy", filled.policy, "--json")
    assert "cannot be fetched" in held("cli-error", gone.out)["error"]["message"]


@pytest.mark.parametrize(
    "place",
    [
        *("ftp://example.com/log", "file:///etc", "https://", "http://[::1", "http://a:b/"),
        *("https://example.com/log?a=b", "https://example.com/log#a", "http://a b/", "http://ä/"),
    ],
)
def test_what_is_no_address(place: str, filled: KeptLog, receipts: Receipts) -> None:
    with pytest.raises(UsageError, match="not an address of the web"):
        log_source(place)
    said = receipts("log", "verify", place, "--policy", filled.policy)
    assert (said.code, said.err.count("\n")) == (2, 1)


@pytest.mark.parametrize("host", ["a..b", "a" * 64, "127.0.0.1:1"])
def test_servers_that_are_not_there(host: str) -> None:
    with pytest.raises(FileAccessError, match="cannot be fetched"):
        WebSource(f"http://{host}/log").read("checkpoint", 100)


def test_a_server_that_sends_byte_by_byte_is_given_up(
    filled: KeptLog, receipts: Receipts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "_ALL_SECONDS", 0.2)

    def slow(handler: SimpleHTTPRequestHandler) -> bool:
        handler.send_response(200)
        handler.send_header("Content-Length", "900000")
        handler.end_headers()
        with suppress(OSError):
            for _ in range(100):
                handler.wfile.write(b"x")
                handler.wfile.flush()
                time.sleep(0.05)
        return True

    with web_server(filled.folder, slow) as url:
        said = receipts("log", "verify", url, "--policy", filled.policy)
    assert said.code == 2
    assert "not there after" in said.err
