"""Faults of this program: one line, one JSON document, an exit code of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from safety_receipts.receipts.cli import COMMANDS
from safety_receipts.receipts.errors import ExitCode, InternalError
from safety_receipts.receipts.present import output as output_module

Receipts = Callable[..., Any]

SECRET = "what a request says"


class Panic(BaseException):
    """What Rust libraries raise through pyo3: no Exception."""


class Strict(BaseModel):
    """A model whose errors quote what they were given."""

    number: int


def validate() -> None:
    Strict.model_validate({"number": SECRET})


def recurse(n: int = 0) -> int:
    return recurse(n + 1) + 1


def raise_(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


FAULTS: dict[str, tuple[Callable[[], object], str]] = {
    "value": (raise_(ValueError(SECRET)), "ValueError"),
    "key": (lambda: {}[SECRET], "KeyError"),
    "zip": (lambda: list(zip([1], [], strict=True)), "ValueError"),
    "pydantic": (validate, "ValidationError"),
    "unicode": (lambda: SECRET.encode().decode("utf-16"), "UnicodeDecodeError"),
    "recursion": (recurse, "RecursionError"),
    "panic": (raise_(Panic(SECRET)), "Panic"),
    "exit group": (raise_(BaseExceptionGroup(SECRET, [Panic(SECRET)])), "BaseExceptionGroup"),
    "generator": (raise_(GeneratorExit(SECRET)), "GeneratorExit"),
}


def plant(monkeypatch: pytest.MonkeyPatch, fault: Callable[[], object]) -> None:
    """Have ``verify`` meet a fault after it has read its options."""
    monkeypatch.setattr(
        "safety_receipts.verify.commands.verify.verify_bundle", lambda *_, **__: fault()
    )


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.filterwarnings("ignore")
def test_a_fault_is_one_line_and_one_document(
    name: str, golden: Path, receipts: Receipts, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault, kind = FAULTS[name]
    plant(monkeypatch, fault)
    bundle = golden / "good" / "ed25519"
    said = receipts("verify", bundle)
    assert (said.code, said.out) == (ExitCode.INTERNAL, "")
    assert said.err.startswith("receipts: internal error: ")
    assert kind in said.err
    assert "safety_receipts.verify.commands.verify:" in said.err
    assert "RECEIPTS_DEBUG=1" in said.err
    assert said.err.count("\n") == 1
    as_json = receipts("verify", bundle, "--json")
    error = json.loads(as_json.out)["error"]
    assert (as_json.code, as_json.err) == (ExitCode.INTERNAL, "")
    assert (error["kind"], error["exitCode"]) == ("internal", 70)
    assert SECRET not in said.err + as_json.out


def test_an_os_error_without_a_name_is_no_fault(
    golden: Path, receipts: Receipts, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch, raise_(OSError(5, "odd", 7)))
    said = receipts("verify", golden / "good" / "ed25519")
    assert (said.code, said.err) == (2, "receipts: cannot use: odd\n")


def test_the_traceback_is_for_those_who_ask(
    golden: Path, receipts: Receipts, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch, FAULTS["value"][0])
    monkeypatch.setenv("RECEIPTS_DEBUG", "1")
    said = receipts("verify", golden / "good" / "ed25519", "--json")
    assert f"ValueError: {SECRET}" in said.err
    assert "Traceback" in said.err
    assert json.loads(said.out)["error"]["kind"] == "internal"


def test_a_fault_while_a_table_is_drawn(
    golden: Path, receipts: Receipts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "safety_receipts.verify.commands.verify.show_verification", lambda *_, **__: {}[SECRET]
    )
    said = receipts("verify", golden / "good" / "ed25519")
    assert said.code == ExitCode.INTERNAL
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("written", [False, True], ids=["before", "after"])
def test_a_fault_around_the_document(
    written: bool, golden: Path, receipts: Receipts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Standard output holds one document, never two: a fault after it goes to stderr."""
    result = output_module.Output.result

    def fail(self: output_module.Output, document: Any, render: Any) -> None:
        if written:
            result(self, document, render)
        raise KeyError(SECRET)

    monkeypatch.setattr(output_module.Output, "result", fail)
    said = receipts("verify", golden / "good" / "ed25519", "--json")
    document = json.loads(said.out)
    assert said.code == ExitCode.INTERNAL
    assert ("verdict" in document) is written
    assert said.err.count("\n") == int(written)


def test_what_is_no_json_is_found_before_anything_is_written(
    golden: Path, receipts: Receipts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "safety_receipts.verify.commands.verify.verify_document", lambda _: {"set": {SECRET}}
    )
    said = receipts("verify", golden / "good" / "ed25519", "--json")
    assert json.loads(said.out)["error"]["exitCode"] == ExitCode.INTERNAL


THREAD = """
import threading
import safety_receipts.verify.commands.verify

real = safety_receipts.verify.commands.verify.verify_bundle

def with_a_thread(*args, **kwargs):
    thread = threading.Thread(target=lambda: {{}}["a secret"])
    thread.start()
    thread.join()
    return real(*args, **kwargs)

safety_receipts.verify.commands.verify.verify_bundle = with_a_thread
from safety_receipts.receipts.cli import main
main(["verify", {bundle!r}, "--level", "authentic", *{more!r}])
"""


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_fault_in_a_thread(more: list[str], golden: Path) -> None:
    code = THREAD.format(bundle=str(golden / "good" / "ed25519"), more=more)
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert finished.returncode == ExitCode.INTERNAL
    assert "secret" not in finished.stderr
    assert finished.stderr.startswith("receipts: internal error: KeyError in ")
    assert finished.stderr.count("\n") == 1
    if more:
        json.loads(finished.stdout)


def test_a_command_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch, receipts: Receipts) -> None:
    monkeypatch.setitem(COMMANDS, "verify", ("verify.commands.verify:no_such_command", ""))
    said = receipts("verify", "somewhere", "--json")
    assert said.code == ExitCode.INTERNAL
    assert (
        "AttributeError in safety_receipts.receipts.cli:"
        in json.loads(said.out)["error"]["message"]
    )


def test_a_fault_that_nobody_can_be_told(golden: Path) -> None:
    """Both streams closed or full: the exit code alone speaks."""
    code = (
        "from safety_receipts.verify.commands import verify\n"
        "verify.verify_bundle = lambda *a, **k: {}['x']\n"
        "from safety_receipts.receipts.cli import main\n"
        f"main(['verify', {str(golden / 'good' / 'ed25519')!r}])"
    )
    for stdout, stderr in (("/dev/full", "/dev/full"), (os.devnull, "/dev/full")):
        with Path(stdout).open("w") as out, Path(stderr).open("w") as err:
            finished = subprocess.run(
                [sys.executable, "-c", code], stdout=out, stderr=err, check=False
            )
        assert finished.returncode == ExitCode.INTERNAL


def test_the_place_is_the_innermost_of_our_own_code() -> None:
    with pytest.raises(TypeError) as raised:
        InternalError("x", file=7)  # type: ignore[arg-type]  # what is not foreseen
    message = InternalError.from_exception(raised.value).message
    assert message.startswith("internal error: TypeError in safety_receipts.receipts.errors:")
    assert "no frame" in InternalError.from_exception(ValueError(SECRET)).one_line()
