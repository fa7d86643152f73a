"""Real servers, in environments of their own: ``make servers`` makes these."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

import pytest
from wide_heads import widen_heads

from safety_receipts.runner import organism
from safety_receipts.runner.commands.init import write_preset
from safety_receipts.runner.engines.served.client import Patience, ServedError, ServerClient

ROOT = Path(__file__).parent.parent.parent
SUPPORT = ROOT / "tests" / "support"
CONTEXT = 1280
MEMBER = "diluting"
ASKED_FOR = "RECEIPTS_TEST_SERVERS"
"""Set by ``make test-servers``: these tests take minutes, and servers of several GB."""


@dataclass
class RealServer:
    """One kind of server, installed here."""

    dialect: str
    program: Path
    """What is started."""
    model: Callable[[str], Path]
    """Returns a member of the organism, as this server can load it."""
    serve: str
    """The plan's entry that starts it."""
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)
    stays: list[subprocess.Popen[bytes]] = field(default_factory=list)
    """What runs until all tests are over."""

    @cached_property
    def standing(self) -> str:
        """The address of one that is started once, for tests that do nothing to it."""
        url = self.start()
        self.stays.append(self.running.pop())
        return url

    @property
    def checkpoint(self) -> Path:
        """The member that plans name."""
        return self.model(MEMBER)

    def start(
        self,
        *more: str,
        member: str = MEMBER,
        context: int = CONTEXT,
        port: int | None = None,
    ) -> str:
        """Start it as an operator does, and return its address."""
        port = port or free_port()
        folder = self.model(member)
        if self.dialect == "vllm":
            words = ["serve", str(folder), "--served-model-name", "organism"]
            words += ["--dtype", "float32", "--max-model-len", str(context), "--enforce-eager"]
        else:
            words = ["--model", str(folder / "organism.gguf"), "--alias", "organism"]
            words += ["--ctx-size", str(4 * context), "--parallel", "4"]
            words += ["--cache-type-k", "f32", "--cache-type-v", "f32"]
        words += ["--host", "127.0.0.1", "--port", str(port), *more]
        process = subprocess.Popen(
            [str(self.program), *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.running.append(process)
        url = f"http://127.0.0.1:{port}"
        client = ServerClient(url, Patience(seconds=5.0, attempts=1))
        ends = time.monotonic() + 240
        while time.monotonic() < ends:
            assert process.poll() is None, "the server ended"
            try:
                client.get("/v1/models")
            except ServedError:
                time.sleep(0.2)
            else:
                return url
        raise AssertionError("the server took no requests")

    def kill(self) -> None:
        """Kill everything that was started for a test, at once."""
        _kill(self.running)

    def end(self) -> None:
        """Kill everything, at once."""
        _kill(self.running)
        _kill(self.stays)


def _kill(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        subprocess.run(["kill", "-9", "--", f"-{process.pid}"], check=False)
        process.wait(30)
    processes.clear()


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def _vllm(folder: Path) -> RealServer | None:
    program = ROOT / ".venv-vllm" / "bin" / "vllm"
    if not program.exists():
        return None

    @cache
    def model(member: str) -> Path:
        return widen_heads(organism.member(member).folder, folder / member)

    serve = f"{{arguments: [--max-model-len, '{CONTEXT}', --enforce-eager]}}"
    return RealServer("vllm", program, model, serve)


def _llamacpp(folder: Path) -> RealServer | None:
    python = ROOT / ".venv-llamacpp" / "bin" / "python"
    if not python.exists():
        return None
    program = folder / "llama-server"
    program.write_text(f'#!/bin/sh\nexec {python} {SUPPORT / "llama_server.py"} "$@"\n', "utf-8")
    program.chmod(0o755)

    @cache
    def model(member: str) -> Path:
        shutil.copytree(organism.member(member).folder, folder / member)
        gguf = folder / member / "organism.gguf"
        subprocess.run([python, SUPPORT / "write_gguf.py", folder / member, gguf], check=True)
        return folder / member

    serve = (
        f"{{weights: organism.gguf, arguments: [--ctx-size, '{4 * CONTEXT}', --parallel, '4', "
        "--cache-type-k, f32, --cache-type-v, f32]}"
    )
    return RealServer("llamacpp", program, model, serve)


@pytest.fixture(scope="session", params=["vllm", "llamacpp"])
def real(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RealServer]:
    """A kind of server, if it is installed."""
    if not os.environ.get(ASKED_FOR):
        pytest.skip("run by make test-servers")
    make: dict[str, Callable[[Path], RealServer | None]] = {"vllm": _vllm, "llamacpp": _llamacpp}
    found = make[request.param](tmp_path_factory.mktemp(request.param))
    if found is None:
        pytest.fail(f"{request.param} is not installed: make servers")
    with ExitStack() as stack:
        stack.callback(found.end)
        yield found


@pytest.fixture(autouse=True)
def few_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let servers leave some of the machine to others."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("VLLM_NO_USAGE_STATS", "1")


@pytest.fixture
def started(real: RealServer) -> Iterator[RealServer]:
    """The server, with whatever a test starts of it ended afterwards."""
    with ExitStack() as stack:
        stack.callback(real.kill)
        yield real


Plans = Callable[..., Path]


@pytest.fixture
def plan_of(tmp_path: Path, real: RealServer) -> Plans:
    """Write a small plan of the organism on a server."""

    def write(engine: str, *, greedy: bool = True, shown: int = 4) -> Path:
        folder = tmp_path / "study"
        shutil.rmtree(folder, ignore_errors=True)
        plan = write_preset(folder, "demo")
        shutil.rmtree(folder / "checkpoint")
        shutil.copytree(real.checkpoint, folder / "checkpoint")
        text = plan.read_text("utf-8")
        begin, end = text.index("experiments:"), text.index("effect_margin")
        text = (
            f"{text[:begin]}experiments:\n"
            f"  - fixed_harmful: {{harmful: [0, {shown}], benign: [0, {shown}]}}\n{text[end:]}"
        )
        text = text.replace("checkpoint:\n", f"engine: {engine}\ncheckpoint:\n", 1)
        if greedy:
            seeded = "{method: seeded, temperature: 1.0, max_new_tokens: 24}"
            assert seeded in text
            text = text.replace(seeded, "{method: greedy, max_new_tokens: 24}")
        plan.write_text(text, "utf-8")
        return plan

    return write
