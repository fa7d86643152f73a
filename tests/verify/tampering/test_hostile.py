"""Small files made to exhaust a reader: each ends quickly, in bounded memory, in one line."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
from fuzzing.examine import Ended

from safety_receipts.receipts.bundle import AUDITS, PLAN, POINTS_FILE, RECEIPT
from safety_receipts.receipts.canonical import MAX_SAFE_INTEGER, canonical_bytes
from safety_receipts.receipts.dsse import Envelope

Receipts = Callable[..., Any]

MEMORY = 1_500_000_000
"""Bytes of address space; an honest verification of this size takes a third."""

SECONDS = 60
"""A hang, not a slow machine."""


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, with little memory and an end."""
    return subprocess.run(
        [sys.executable, "-m", "safety_receipts", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
    )


SERVER = """\
import json, os, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]),) * 2)
from fuzzing.examine import run
answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
for line in sys.stdin:
    ended = run(json.loads(line))
    print(json.dumps([ended.code, ended.out, ended.err]), file=answers, flush=True)
"""
"""Runs one command after the other; what only a process shows is seen by ``run``."""


class Worker:
    """A process with little memory that runs commands, and is stopped where one does not end."""

    def __init__(self) -> None:
        support = str(Path(__file__).parents[2] / "support")
        path = os.pathsep.join(filter(None, [support, os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(MEMORY)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": path},
        )

    def run(self, *words: str | Path) -> Ended:
        """Run a command; fail where it takes too long, or the process dies of it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(list(map(str, words))), file=self._process.stdin, flush=True)
        watchdog = Timer(SECONDS, self._process.kill)
        watchdog.start()
        line = self._process.stdout.readline()
        watchdog.cancel()
        assert line, f"no answer: the process ended with {self._process.wait()}"
        return Ended(*json.loads(line))

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    """One process for the commands of all tests of this module."""
    made = Worker()
    yield made
    made.stop()


def rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a statement, leaving its signature to rot."""
    envelope = Envelope.from_json(path.read_bytes())
    statement = json.loads(envelope.payload)
    change(statement)
    path.write_bytes(Envelope(canonical_bytes(statement), envelope.signatures).to_json())


def integers(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the paths of all integers."""
    if isinstance(value, int) and not isinstance(value, bool):
        yield path
    if isinstance(value, (dict, list)):
        for step, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from integers(item, (*path, step))


def put(document: Any, path: tuple[str | int, ...], value: Any) -> None:
    """Set the value at a path."""
    for step in path[:-1]:
        document = document[step]
    document[path[-1]] = value


@pytest.mark.parametrize("value", [MAX_SAFE_INTEGER, 10_000_000, 10_000])
def test_large_numbers_in_a_plan(bundle: Path, golden: Path, worker: Worker, value: int) -> None:
    """No number anybody writes decides how much a reader does."""
    statement = json.loads(Envelope.from_json((bundle / PLAN).read_bytes()).payload)
    seen = set()
    for path in integers(statement):
        shape = tuple(step for step in path if isinstance(step, str))
        if shape in seen:
            continue
        seen.add(shape)
        original = (bundle / PLAN).read_bytes()
        rewrite(bundle / PLAN, lambda s, path=path: put(s, path, value))
        finished = worker.run("verify", bundle, "--trust", golden / "ed25519.pub")
        assert finished.code == 3, (path, finished.err)
        (bundle / PLAN).write_bytes(original)
    assert len(seen) > 15


def lists(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the paths of all lists."""
    if isinstance(value, list):
        yield path
    if isinstance(value, (dict, list)):
        for step, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from lists(item, (*path, step))


def get(document: Any, path: tuple[str | int, ...]) -> Any:
    """Return the value at a path."""
    for step in path:
        document = document[step]
    return document


def of_each_shape(
    paths: Iterator[tuple[str | int, ...]],
) -> Iterator[tuple[str | int, ...]]:
    """Yield the first path of each shape: those that differ in their numbers only are one."""
    shapes: dict[tuple[str, ...], tuple[str | int, ...]] = {}
    for path in paths:
        shapes.setdefault(tuple(step for step in path if isinstance(step, str)), path)
    yield from shapes.values()


@pytest.mark.long
def test_large_numbers_in_a_receipt(bundle: Path, golden: Path, receipts: Receipts) -> None:
    """Sums of counts leave what a count can be: that is a finding, and no fault."""
    check_receipts(
        bundle, golden, receipts, integers, lambda s, path: put(s, path, MAX_SAFE_INTEGER)
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda items: items[:-1],
        lambda items: items[:1],
        lambda items: [*items, *items[-1:]],
        lambda items: items[::-1],
        lambda items: [],
    ],
    ids=["one-too-few", "one", "one-too-many", "reversed", "none"],
)
def test_lists_of_other_lengths_in_a_receipt(
    bundle: Path, golden: Path, receipts: Receipts, change: Callable[[list[Any]], list[Any]]
) -> None:
    """No check takes two lists of a hostile document to be of one length."""
    check_receipts(
        bundle, golden, receipts, lists, lambda s, path: put(s, path, change(get(s, path)))
    )


def check_receipts(
    bundle: Path,
    golden: Path,
    receipts: Receipts,
    paths: Callable[[Any], Iterator[tuple[str | int, ...]]],
    change: Callable[[Any, tuple[str | int, ...]], None],
) -> None:
    """Change a receipt at one path of each shape; hold commands to a verdict or one line."""
    original = (bundle / RECEIPT).read_bytes()
    statement = json.loads(Envelope.from_json(original).payload)
    tried = 0
    for path in of_each_shape(paths(statement)):
        if path[:1] != ("predicate",):
            continue
        (bundle / RECEIPT).write_bytes(original)
        rewrite(bundle / RECEIPT, lambda s, path=path: change(s, path))
        if (bundle / RECEIPT).read_bytes() == original:
            continue
        verified = receipts("verify", bundle, "--trust", golden / "ed25519.pub", "--json")
        assert verified.code in (2, 3), (path, verified)
        json.loads(verified.out)
        assert receipts("show", bundle).code in (0, 2), path
        tried += 1
    assert tried > 10


def test_other_commands_meet_a_source_too_few(
    bundle: Path, golden: Path, receipts: Receipts
) -> None:
    rewrite(bundle / RECEIPT, lambda s: s["predicate"]["conditions"][1]["bySource"].pop())
    good = golden / "good" / "ed25519"
    compared = receipts("compare", bundle, good, "--json")
    assert compared.code == 3
    assert "does not list the plan's sources" in json.loads(compared.out)["error"]["message"]
    for words in (["show", bundle], ["prove", bundle, "3"]):
        assert receipts(*words).code == 0


@pytest.mark.parametrize(
    "document",
    [
        '{"' + "k" * 100_000 + '":[' + "0," * 100_000 + "0]}",
        '{"' + "k" * 3_000_000 + '":0,"' + "k" * 3_000_000 + '":0}',
        '{"x":[' + "[]," * 2_000_000 + "[]]}",
        '{"x":' + "[0," * 31 + "0" + "]" * 31 + "}",
        '{"signatures":[' + "{}," * 500_000 + "{}]}",
    ],
    ids=["long-key", "long-key-twice", "empty-arrays", "deep", "many-signatures"],
)
@pytest.mark.parametrize("place", ["receipt", "plan", "proof", "audit"])
def test_hostile_json(
    document: str, place: str, bundle: Path, golden: Path, worker: Worker
) -> None:
    (bundle / AUDITS).mkdir()
    proof = bundle.parent / "proof.json"
    target = {
        "receipt": bundle / RECEIPT,
        "plan": bundle / PLAN,
        "proof": proof,
        "audit": bundle / AUDITS / f"{'0' * 64}.dsse.json",
    }[place]
    target.write_text(document)
    key = golden / "ed25519.pub"
    words = ["--proof", proof] if place == "proof" else []
    finished = worker.run("verify", bundle, "--trust", key, "--trust-auditor", key, *words)
    assert finished.code == (0 if place == "audit" else 2), finished.err
    assert len(finished.err) < 2000
    assert finished.err.count("\n") == (0 if place == "audit" else 1)


def test_hostile_lists(bundle: Path, golden: Path) -> None:
    """Schema validation does not look at every item of a list that is too long."""

    def grow(statement: dict[str, Any]) -> None:
        statement["predicate"]["conditions"] = [{}] * 300_000

    rewrite(bundle / RECEIPT, grow)
    finished = run("show", bundle)
    assert finished.returncode == 2
    assert "has 300,000 entries or characters, at most 4096" in finished.stderr


def test_a_plan_of_many_points(bundle: Path) -> None:
    """``prove`` does not look for a point in a plan that cannot be this receipt's."""

    def grow(statement: dict[str, Any]) -> None:
        statement["predicate"]["demonstrations"]["draws"] = 10_000
        statement["predicate"]["queryIds"] = [f"alpha/{i}" for i in range(10_000)]

    rewrite(bundle / PLAN, grow)
    finished = run("prove", bundle, "deadbeef")
    assert finished.returncode == 3
    assert "the receipt names another plan" in finished.stderr


def test_bound_without_the_evidence(bundle: Path, golden: Path) -> None:
    (bundle / POINTS_FILE).unlink()
    finished = run("verify", bundle, "--trust", golden / "ed25519.pub", "--level", "bound")
    assert finished.returncode == 5
    assert "points.jsonl.zst not in this bundle" in finished.stdout
