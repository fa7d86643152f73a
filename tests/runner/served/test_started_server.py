"""Servers that the tool starts: which is believed, what it is given, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from running import run
from served_studies import ServedStudies
from started_programs import (
    STARTS,
    command,
    ends_soon,
    noted,
    runs,
    write_program,
    write_server,
)

from safety_receipts.receipts.errors import IncompleteError, UsageError
from safety_receipts.receipts.keys import Signer
from safety_receipts.receipts.model.plan import ServerDialect
from safety_receipts.runner.engines.engine import UnbelievableServerError
from safety_receipts.runner.engines.served import launch
from safety_receipts.runner.engines.served.client import (
    NonsenseError,
    Patience,
    UnreachableError,
)
from safety_receipts.runner.engines.served.http_engine import HttpEngine
from safety_receipts.runner.engines.served.launch import StartedServer
from safety_receipts.runner.engines.served.role import ServerRole
from safety_receipts.runner.engines.served.started.listener import Listening, listening
from safety_receipts.runner.engines.served.started.own_client import OwnServerClient
from safety_receipts.runner.engines.served.started.variables import server_variables

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux tells whose a socket is")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Name a program that answers, and return the folder of its notes."""
    monkeypatch.setenv(ServerRole.ENGINE.program, str(write_server(tmp_path)))
    return tmp_path


@contextmanager
def stranger(port: int) -> Iterator[None]:
    """Answer at a port, in this process."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", port), Handler) as http:
        thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield
        finally:
            http.shutdown()
            thread.join()


def test_a_server_is_told_folder_name_and_format() -> None:
    vllm = command(ServerDialect.VLLM).words("vllm", 8000)
    assert vllm[:3] == ["vllm", "serve", "/m"]
    for pair in (
        ("--host", "127.0.0.1"),
        ("--dtype", "float32"),
        ("--generation-config", "vllm"),
        ("--served-model-name", "model"),
    ):
        assert vllm[vllm.index(pair[0]) + 1] == pair[1]
    assert command().words("llama-server", 8000)[:3] == ["llama-server", "--model", "/m/m.gguf"]


def test_no_server_of_sglang_is_started() -> None:
    with pytest.raises(UsageError, match="starts no server of SGLang"):
        command(ServerDialect.SGLANG).words("sglang", 8000)


def test_a_server_that_ends_at_once_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "print('loading'); print('Error: no such device'); exit(3)"
    monkeypatch.setenv(ServerRole.ENGINE.program, str(write_program(tmp_path, text)))
    with pytest.raises(IncompleteError, match="ended before it took requests: Error: no such"):
        StartedServer(command())


def test_of_several_errors_the_cause_is_told_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = ("ValueError: too little memory", "RuntimeError: no start. See root cause above")
    text = "; ".join(f"print({line!r})" for line in said) + "; exit(1)"
    program = write_program(tmp_path, text)
    monkeypatch.setenv(ServerRole.ENGINE.program, str(program))
    with pytest.raises(IncompleteError) as raised:
        StartedServer(command())
    assert "took requests: ValueError: too little memory" in raised.value.one_line()
    assert f"{program} --model /m/m.gguf" in raised.value.one_line()


def test_a_program_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ServerRole.ENGINE.program, "no-such-program")
    with pytest.raises(UsageError, match="no-such-program is not installed"):
        StartedServer(command())


def test_a_program_that_cannot_be_run_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "server"
    program.write_bytes(b"\0\0\0\0")
    program.chmod(0o755)
    monkeypatch.setenv(ServerRole.ENGINE.program, str(program))
    with pytest.raises(IncompleteError, match="server cannot be started: Exec format error"):
        StartedServer(command())


def test_a_system_that_does_not_tell_whose_a_socket_is_starts_no_server(
    server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "can_tell", lambda: False)
    with pytest.raises(UsageError, match="does not tell whose server") as raised:
        StartedServer(command())
    assert "name its address" in str(raised.value.hint)
    assert not (server / "server").exists()


# Who is believed.


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::", "::ffff:127.0.0.1"])
def test_a_port_is_of_who_listens_there(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        with socket.socket(family) as taken:
            if family == socket.AF_INET6:
                taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            taken.bind((address, 0))
            port = taken.getsockname()[1]
            assert listening(os.getpid(), port) is Listening.NOBODY
            taken.listen()
            assert listening(os.getpid(), port) is Listening.OWN
            assert listening(child.pid, port) is Listening.FOREIGN
        assert listening(os.getpid(), port) is Listening.NOBODY
    finally:
        child.communicate(b"\n")


def test_a_port_that_two_share_is_not_ones_own(tmp_path: Path) -> None:
    shares = (
        "import socket, sys, time; s = socket.socket(); "
        "s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1); "
        "s.bind(('127.0.0.1', int(sys.argv[1]))); s.listen(); print('up', flush=True); input()"
    )
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        words = [sys.executable, "-c", shares, str(port)]
        child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == b"up\n"
            assert listening(child.pid, port) is Listening.FOREIGN
            assert listening(os.getpid(), port) is Listening.OWN  # the child is this process's
        finally:
            child.communicate(b"\n")


def test_who_takes_the_port_first_is_not_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        ServerRole.ENGINE.program,
        str(write_server(tmp_path, "note('port', str(port)); time.sleep(600)")),
    )

    def answer() -> None:
        with stranger(int(noted(tmp_path / "port"))):
            noted(tmp_path / "over")

    thread = Thread(target=answer)
    thread.start()
    try:
        with pytest.raises(IncompleteError, match="another process takes requests at 127"):
            StartedServer(command())
    finally:
        (tmp_path / "over").write_text("", "utf-8")
        thread.join()


def test_who_takes_a_servers_place_is_not_believed(server: Path) -> None:
    with closing(StartedServer(command())) as started:
        started.confirm()
        client = OwnServerClient(started.url, started.confirm, Patience(seconds=5.0, attempts=1))
        assert client.get("/v1/models") == {}
        os.kill(int(noted(server / "server")), signal.SIGKILL)
        assert ends_soon(started._process.pid)
        with pytest.raises(UnreachableError, match="no connection"):
            client.get("/v1/models")
        with pytest.raises(UnreachableError, match="it has ended"):
            started.confirm()
        with stranger(int(started.url.rpartition(":")[2])):
            with pytest.raises(NonsenseError, match="another process takes requests"):
                client.get("/v1/models")
            with pytest.raises(NonsenseError, match="another process takes requests"):
                started.confirm()


@pytest.mark.parametrize("last", [1, 3])
def test_answers_are_kept_and_sealed_only_from_the_server_that_was_started(
    last: int,
    served: ServedStudies,
    tmp_path: Path,
    signer: Signer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []

    def confirm(engine: HttpEngine) -> None:
        calls.append(engine)
        if len(calls) == last:
            raise UnbelievableServerError("another process takes requests")

    monkeypatch.setattr(HttpEngine, "confirm", confirm)
    with pytest.raises(UnbelievableServerError):
        run(served().resolved(), tmp_path / "bundle", signer)
    assert len(calls) == last  # after each of two units, and before sealing
    assert not (tmp_path / "bundle" / "receipt.dsse.json").exists()


# What it is given.


def test_a_server_gets_no_keys_and_nothing_that_changes_what_it_computes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = "note('variables', json.dumps(dict(os.environ)))"
    monkeypatch.setenv(ServerRole.ENGINE.program, str(write_server(tmp_path, before)))
    secret = {
        ServerRole.ENGINE.key: "a",
        ServerRole.JUDGE.key: "b",
        "RECEIPTS_KEY_PASSPHRASE": "c",
        "HF_TOKEN": "d",
        "LLAMA_ARG_CACHE_TYPE_K": "q4_0",
        "VLLM_ATTENTION_BACKEND": "OTHER",
        "VLLM_API_KEY": "e",
        "NVIDIA_TF32_OVERRIDE": "1",
        "LD_PRELOAD": "",
        "PYTHONPATH": str(tmp_path),
    }
    kept = {"OMP_NUM_THREADS": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "LC_ALL": "C.UTF-8"}
    for name, value in (secret | kept).items():
        monkeypatch.setenv(name, value)
    with closing(StartedServer(command())):
        given = json.loads(noted(tmp_path / "variables"))
    assert not secret.keys() & given.keys()
    assert kept.items() <= given.items()
    assert given["HF_HUB_OFFLINE"] == "1"
    assert {"PATH", "HOME"} <= given.keys() or "HOME" not in os.environ


def test_what_the_tool_sets_is_not_the_environments_to_say() -> None:
    assert server_variables({"HF_HUB_OFFLINE": "0"})["HF_HUB_OFFLINE"] == "1"


# How it ends.

_CHILDREN = """
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
apart = subprocess.Popen(
    [sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True
)
note("children", f"{child.pid} {apart.pid}")
"""


def children(folder: Path) -> list[int]:
    return [int(each) for each in noted(folder / "children").split()]


def test_a_server_that_is_stopped_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ServerRole.ENGINE.program, str(write_server(tmp_path, _CHILDREN)))
    started = StartedServer(command())
    assert all(runs(child) for child in children(tmp_path))
    started.close()
    started.close()  # again changes nothing
    assert all(ends_soon(child) for child in children(tmp_path))


def test_a_server_that_breaks_down_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ServerRole.ENGINE.program, str(write_server(tmp_path, _CHILDREN)))
    with closing(StartedServer(command())):
        os.kill(int(noted(tmp_path / "server")), signal.SIGKILL)
        assert all(ends_soon(child) for child in children(tmp_path))


def test_a_server_behind_a_wrapper_ends_with_a_run_that_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = write_server(tmp_path, _CHILDREN)
    wrapper = tmp_path / "wrapper"
    wrapper.write_text(f'#!/bin/sh\n{python} "$@"\necho ended\n', "utf-8")
    wrapper.chmod(0o755)
    monkeypatch.setenv(ServerRole.ENGINE.program, str(wrapper))
    code = STARTS + "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"
    finished = subprocess.run([sys.executable, "-c", code], check=False)
    assert finished.returncode == -signal.SIGKILL
    for process in (int(noted(tmp_path / "server")), *children(tmp_path)):
        assert ends_soon(process)


@pytest.mark.parametrize("times", [1, 2])
def test_a_stubborn_server_ends_with_a_run_that_is_interrupted(
    times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stubborn = f"signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{_CHILDREN}"
    monkeypatch.setenv(ServerRole.ENGINE.program, str(write_server(tmp_path, stubborn)))
    code = STARTS + (
        "import time\n"
        "from safety_receipts.runner.engines.served import launch\n"
        f"launch._GRACE = {2.0 if times == 1 else 60.0}\n"
        "try:\n"
        "    print('up', flush=True)\n"
        "    time.sleep(600)\n"
        "finally:\n"
        "    print('closing', flush=True)\n"
        "    started.close()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    try:
        for said in (b"up\n", b"closing\n")[:times]:
            assert process.stdout.readline() == said
            time.sleep(0.5)  # until it waits
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait(30)
        process.stdout.close()
    for each in (int(noted(tmp_path / "server")), *children(tmp_path)):
        assert ends_soon(each)
