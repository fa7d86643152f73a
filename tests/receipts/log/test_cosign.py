"""``receipts log cosign``: witnesses of all kinds are asked, and only what holds is stored."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from witnessing import (
    NOW,
    ORIGIN,
    TWO_KINDS,
    MemoryLog,
    keys_of,
    new_witness,
    post,
    served,
    witness_signer,
)

from safety_receipts.receipts.keys import KeyType
from safety_receipts.receipts.log.folder import LogFolder, LogSigner, init_log
from safety_receipts.receipts.log.formats.cosignature import cosignatures
from safety_receipts.receipts.log.formats.note import NoteKey
from safety_receipts.receipts.log.witnessing.cosigning import ask_witness

Receipts = Callable[..., Any]


@contextmanager
def answering(answer: Callable[[bytes], tuple[int, dict[str, str], bytes]]) -> Iterator[str]:
    """Serve something that is no witness: what it answers is the test's."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, headers, data = answer(body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that hangs up is what is tested."""

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()


def policy(
    folder: Path, log: LogSigner, witnesses: dict[str, tuple[NoteKey, str]], quorum: str
) -> Path:
    lines = [f"log {log.public.vkey}"]
    lines += [f"witness {name} {key.vkey} {url}" for name, (key, url) in witnesses.items()]
    path = folder / "policy"
    path.write_text("\n".join([*lines, quorum, ""]))
    return path


@pytest.fixture
def grown(log: LogFolder, log_signer: LogSigner) -> LogFolder:
    log.add([b"entry %d" % number for number in range(20)], log_signer)
    return log


def told(body: bytes) -> Callable[[bytes], tuple[int, dict[str, str], bytes]]:
    return lambda _: (200, {"Content-Length": str(len(body))}, body)


def test_several_witnesses_of_which_some_fail(
    grown: LogFolder, log_signer: LogSigner, tmp_path: Path, receipts: Receipts
) -> None:
    ed, ml = map(witness_signer, TWO_KINDS)
    other = {name: witness_signer(name=f"example.com/{name}") for name in "defghij"}
    signed = grown.signed
    line = other["g"].cosign(signed.checkpoint, NOW).line().encode()
    wrong = other["h"].cosign(MemoryLog(log_signer).signed(19).checkpoint, NOW).line().encode()
    with ExitStack() as stack:
        up = [
            stack.enter_context(served(new_witness(tmp_path / name, (key,), log_signer.public)))
            for name, key in (("a", ed), ("b", ml))
        ]
        strange = new_witness(tmp_path / "d", (other["d"],))
        bad = {
            "refuses": (other["d"], stack.enter_context(served(strange))),
            "garbage": (other["e"], stack.enter_context(answering(told(b"\xff\x00 garbage")))),
            "others": (other["f"], stack.enter_context(answering(told(line)))),
            "false": (other["h"], stack.enter_context(answering(told(wrong)))),
            "enormous": (other["i"], stack.enter_context(answering(told(line * 20_000)))),
            "down": (other["j"], "http://127.0.0.1:1"),
        }
        known = {"ed": (ed.public, up[0]), "ml": (ml.public, up[1])}
        known |= {name: (key.public, url) for name, (key, url) in bad.items()}
        rules = policy(tmp_path, log_signer, known, "group both all ed ml\nquorum both")
        finished = receipts("log", "cosign", grown.folder, "--policy", rules, "--json")
        document = json.loads(finished.out)
        assert (finished.code, document["quorum"], document["size"]) == (0, True, 20)
        why = {one["name"]: one["why"] for one in document["witnesses"]}
        assert [one["name"] for one in document["witnesses"] if one["cosigned"]] == ["ed", "ml"]
        assert why["refuses"] == "it answered with 404: this log is not known here"
        assert why["garbage"] == "its answer does not hold: not UTF-8"
        assert why["others"] == "its answer holds no cosignature of a known key"
        assert why["false"].endswith("a cosignature of example.com/h does not verify")
        assert why["enormous"] == "its answer is longer than 262,144 bytes"
        assert "refused" in why["down"]
        stored = LogFolder(grown.folder, log_signer.public).signed
        assert len(stored.note.signatures) == 3
        assert len(cosignatures(stored, keys_of([ed, ml]))) == 2
        assert receipts("log", "verify", grown.folder, "--policy", rules).code == 0
        # One line a key, however often they are asked.
        before = (grown.folder / "checkpoint").read_bytes()
        finished = receipts("log", "cosign", grown.folder, "--policy", rules, "--witness", "ml")
        assert (finished.code, finished.out) == (0, "ml: cosigned\nenough witnesses have seen it\n")
        assert (grown.folder / "checkpoint").read_bytes() == before


def test_too_few_is_incomplete_and_what_there_is_is_kept(
    grown: LogFolder, log_signer: LogSigner, tmp_path: Path, receipts: Receipts
) -> None:
    ed, other = witness_signer(), witness_signer(name="example.com/other")
    witness = new_witness(tmp_path / "w", (ed,), log_signer.public)
    with served(witness) as url:
        known = {"up": (ed.public, url), "down": (other.public, "http://127.0.0.1:1")}
        rules = policy(tmp_path, log_signer, known, "group both all up down\nquorum both")
        finished = receipts("log", "cosign", grown.folder, "--policy", rules)
        assert finished.code == 5
        assert "up: cosigned\n" in finished.out
        assert finished.out.endswith("too few witnesses have seen it\n")
        assert len(LogFolder(grown.folder, log_signer.public).signed.note.signatures) == 2
        # It grows, and the witness goes with it from the size that it knows.
        grown.add([b"one more"], log_signer)
        assert "up: cosigned\n" in receipts("log", "cosign", grown.folder, "--policy", rules).out
        assert post(url, MemoryLog(log_signer).asks(0, 30)).body == b"21\n"


def test_a_witness_refuses_a_rewritten_log(
    grown: LogFolder, log_signer: LogSigner, tmp_path: Path, receipts: Receipts
) -> None:
    ed = witness_signer()
    init_log(tmp_path / "fork", log_signer)
    LogFolder(tmp_path / "fork", log_signer.public).add(
        [b"other %d" % number for number in range(25)], log_signer
    )
    with served(new_witness(tmp_path / "w", (ed,), log_signer.public)) as url:
        rules = policy(tmp_path, log_signer, {"w": (ed.public, url)}, "quorum w")
        assert receipts("log", "cosign", grown.folder, "--policy", rules).code == 0
        before = (tmp_path / "fork" / "checkpoint").read_bytes()
        finished = receipts("log", "cosign", tmp_path / "fork", "--policy", rules)
        assert finished.code == 5
        assert "w: it answered with 422: the consistency proof does not hold\n" in finished.out
        assert (tmp_path / "fork" / "checkpoint").read_bytes() == before
        # One that was cut is told so.
        init_log(tmp_path / "cut", log_signer)
        finished = receipts("log", "cosign", tmp_path / "cut", "--policy", rules)
        assert "w: it knows 20 entries, and the log has 0\n" in finished.out


@pytest.mark.parametrize("kind", TWO_KINDS)
def test_a_witness_that_is_asked_in_code(
    kind: KeyType, grown: LogFolder, log_signer: LogSigner, tmp_path: Path
) -> None:
    signer = witness_signer(kind)
    with served(new_witness(tmp_path / "w", (signer,), log_signer.public)) as url:
        # A prefix may end with a slash or not; others' keys are of no account.
        for prefix in (url, f"{url}/"):
            keys = (witness_signer(kind).public, signer.public)
            asked = ask_witness(prefix, keys, grown.signed, grown.tree())
            assert asked.problem is None
            assert [line.is_of(signer.public) for line in asked.lines] == [True]


def ask(url: str, log: LogFolder, seconds: float = 30.0) -> str:
    asked = ask_witness(url, (witness_signer().public,), log.signed, log.tree(), seconds)
    assert asked.lines == ()
    assert asked.problem is not None
    return asked.problem


def conflict(body: bytes) -> Callable[[bytes], tuple[int, dict[str, str], bytes]]:
    return lambda _: (409, {"Content-Type": "text/x.tlog.size"}, body)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (conflict(b"21\n"), "it knows 21 entries, and the log has 20"),
        (conflict(b"7\n"), "it knows 7 entries of another root"),
        (lambda body: conflict(b"%d\n" % (len(body) % 7 + 1))(body), "its view of the log changed"),
        (conflict(b"many\n"), "it knows another size, and does not say which"),
        (conflict(b"007\n"), "it knows another size, and does not say which"),
        (conflict(b"9" * 5000), "it knows another size, and does not say which"),
        (lambda _: (500, {}, b"oh\nno"), "it answered with 500: oh"),
        (lambda _: (500, {}, b"x" * 5000), f"it answered with 500: {'x' * 300}"),
        (lambda _: (302, {"Location": "/elsewhere"}, b""), "it answered with 302: "),
        (lambda _: (307, {"Location": "/elsewhere"}, b""), "it answered with 307: "),
        (told(b""), "its answer does not hold: not a signature line of a signed note"),
        (told(b"\n"), "its answer does not hold: not a signature line of a signed note"),
        (
            lambda _: (200, {"Content-Length": "50"}, b"cut"),
            "its answer does not hold: not a signature line",
        ),
    ],
    ids=range(13),
)
def test_what_is_no_answer(
    answer: Callable[[bytes], tuple[int, dict[str, str], bytes]], why: str, grown: LogFolder
) -> None:
    with answering(answer) as url:
        assert ask(url, grown).startswith(why)


@pytest.mark.parametrize(
    "url",
    [
        "example.com",
        "file:///etc/hostname",
        "ftp://127.0.0.1/",
        "http://",
        "http://127.0.0.1:port/",
        "http://127.0.0.1:99999/",
        "http://[::1/",
        "http://127.0.0.1:1/a b",
        "http://127.0.0.1:1/é",
        "http://\udcff/",
    ],
    ids=ascii,
)
def test_addresses_that_cannot_be_asked(url: str, grown: LogFolder) -> None:
    assert ask(url, grown)


def test_an_answer_that_never_ends_is_not_waited_for(grown: LogFolder) -> None:
    class Drip(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.end_headers()
            while not done.is_set():
                self.wfile.write(b"x")
                time.sleep(0.05)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that hangs up is what is tested."""

    done = threading.Event()
    with Server(("127.0.0.1", 0), Drip) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_address[1]}"
            assert ask(url, grown, 0.5) == "its answer takes too long"
        finally:
            done.set()
            server.shutdown()
            thread.join()


def test_a_witness_of_the_policy_has_an_address(
    grown: LogFolder, log_signer: LogSigner, tmp_path: Path, receipts: Receipts
) -> None:
    rules = policy(tmp_path, log_signer, {"w": (witness_signer().public, "")}, "quorum w")
    finished = receipts("log", "cosign", grown.folder, "--policy", rules, "--witness", "w")
    assert finished.code == 2
    assert "no witness w with an address" in finished.err
    assert ORIGIN in grown.signed.note.text
