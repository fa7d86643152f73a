"""What is asked of servers, read from them and started, part by part."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from studies import write_study

from safety_receipts.receipts.errors import IncompleteError, MalformedError, UsageError
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.plan import ServerDialect
from safety_receipts.receipts.model.point import Finish
from safety_receipts.runner.engines.engine import GREEDY, Decoding, Request
from safety_receipts.runner.engines.served.client import (
    NonsenseError,
    ServerClient,
    checked_address,
)
from safety_receipts.runner.engines.served.generation import UNIT, units_of
from safety_receipts.runner.engines.served.launch import (
    ServerCommand,
    StartedServer,
    argument_problem,
)
from safety_receipts.runner.engines.served.llamacpp import LlamaCpp
from safety_receipts.runner.engines.served.reply import check_server_reply
from safety_receipts.runner.engines.served.role import ServerRole
from safety_receipts.runner.plan.file import load_plan_file
from safety_receipts.runner.plan.resolve import resolve_plan

ASKED = Request(0, (5, 6, 7), 4, frozenset({2}))


def llama_reply(tokens: list[int], stop: str = "eos", **changes: object) -> dict[str, object]:
    """Return a reply of llama.cpp's server, in the parts that are read."""
    settings = {
        "min_p": 0.0,
        "typical_p": 1.0,
        "top_n_sigma": -1.0,
        "repeat_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "dry_multiplier": 0.0,
        "xtc_probability": 0.0,
        "mirostat": 0,
        "dynatemp_range": 0.0,
    }
    return {
        "tokens": tokens,
        "tokens_predicted": len(tokens),
        "tokens_evaluated": 3,
        "stop_type": stop,
        "generation_settings": settings,
        "completion_probabilities": [
            {"id": token, "logprob": -0.5, "top_logprobs": [{"id": token, "logprob": -0.5}]}
            for token in tokens
        ],
    } | changes


def held(reply: dict[str, object], request: Request = ASKED) -> tuple[tuple[int, ...], Finish]:
    said = LlamaCpp().read(reply, request)
    check_server_reply(request, said, 100)
    return said.tokens, said.finish


def test_a_response_of_llama_cpp_is_cut_at_the_plans_first_end() -> None:
    assert held(llama_reply([9, 2])) == ((9, 2), Finish.STOP)
    assert held(llama_reply([9, 2, 8, 8], "limit")) == ((9, 2), Finish.STOP)
    assert held(llama_reply([9, 8, 8, 8], "limit")) == ((9, 8, 8, 8), Finish.LENGTH)


def test_log_probabilities_of_llama_cpp_are_paired_by_id() -> None:
    """Inside a character entries are missing."""
    reply = llama_reply([9, 8, 7, 2])
    del reply["completion_probabilities"][1]  # type: ignore[attr-defined]
    said = LlamaCpp().read(reply, ASKED)
    assert said.logprobs == (-0.5, None, -0.5, -0.5)
    assert held(reply)[0] == (9, 8, 7, 2)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (llama_reply([9, 8]), "without an end token of the plan's"),
        (llama_reply([9, 8], "limit"), "cut a response after 2 of 4 tokens"),
        (llama_reply([9, 2], tokens_evaluated=4), "counts 4 tokens of a prompt of 3"),
        (llama_reply([], tokens_predicted=2), "cannot give token ids"),
        (llama_reply([9, 2], tokens_predicted=3), "gives 2 token ids and counts 3"),
        (llama_reply([900, 2]), "none of the model's 100"),
        (llama_reply([9, 2], "word"), "for the reason 'word'"),
        (llama_reply([9, 2]) | {"tokens": [9, True]}, "no token ids"),
        (llama_reply([9, 2], completion_probabilities=[{"id": 5}]), "of other tokens|no "),
        (llama_reply([9, 2], generation_settings={}), "samples with min_p None"),
    ],
)
def test_a_reply_of_llama_cpp_that_does_not_hold_together(
    reply: dict[str, object], said: str
) -> None:
    with pytest.raises(NonsenseError, match=said):
        held(reply)


def test_a_hidden_setting_of_llama_cpp_is_seen() -> None:
    reply = llama_reply([9, 2])
    reply["generation_settings"] |= {"repeat_penalty": 1.1}  # type: ignore[operator]
    with pytest.raises(NonsenseError, match=r"repeat_penalty 1\.1, and was asked for 1\.0"):
        held(reply)


def test_what_llama_cpp_cannot_do_is_refused() -> None:
    assert LlamaCpp().why_not(GREEDY) is None
    assert LlamaCpp().why_not(Decoding(repetition_penalty=1.2)) is not None


@pytest.mark.parametrize(
    "url",
    [
        "ftp://127.0.0.1",
        "file:///etc/passwd",
        "http://",
        "127.0.0.1:8000",
        "http://127.0.0.1:99999",
        "http://user:word@127.0.0.1:8000",
        "http://127.0.0.1:8000/?key=1",
    ],
)
def test_what_is_no_address_is_not_asked(url: str) -> None:
    with pytest.raises(UsageError):
        ServerClient(url)


def test_an_address_may_have_a_path() -> None:
    assert checked_address("https://example.org/models/") == "https://example.org/models"


def test_units_follow_the_tree_and_depend_on_nothing_else() -> None:
    prompts = [(1, i % 3, i) for i in range(100)]
    requests = [Request(i, prompt, 4, frozenset()) for i, prompt in enumerate(prompts)]
    units = units_of(requests)
    assert sorted(index for unit in units for index in unit) == list(range(100))
    assert [len(unit) for unit in units] == [UNIT, UNIT, UNIT, 100 - 3 * UNIT]
    assert [prompts[i][1] for unit in units for i in unit] == [0] * 34 + [1] * 33 + [2] * 33
    assert units == units_of(requests)
    assert units_of([]) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--trust-remote-code"], "--trust-remote-code is not one of"),
        (["--model=other"], "--model is not one of"),
        (["--middleware", "mine.run"], "--middleware is not one of"),
        (["--max-model-len", "4096", "other"], "other is the value of no argument"),
        (["other"], "other is the value of no argument"),
        (["-tp", "2"], "-tp is not one of"),
    ],
)
def test_a_plan_starts_no_other_model_and_no_code(arguments: list[str], said: str) -> None:
    problem = argument_problem(ServerDialect.VLLM, arguments)
    assert problem is not None
    assert said in problem


def test_arguments_that_change_no_answer_may_be_given() -> None:
    good = ["--max-model-len", "4096", "--enforce-eager", "--max-num-seqs=8"]
    assert argument_problem(ServerDialect.VLLM, good) is None


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("{kind: http, url: 'http://127.0.0.1:1'}", "needs a dialect: vllm, llamacpp, sglang"),
        ("{kind: http, dialect: vllm}", "needs url, for a server that runs, or serve"),
        ("{kind: http, dialect: vllm, url: 'http://h', serve: {}}", "one of url and serve, not"),
        ("{kind: http, dialect: vllm, serve: }", "serve has no value: write serve: {} to start"),
        (
            "{kind: http, dialect: llamacpp, serve: {weights: ../model.gguf}}",
            "should be the name of a .gguf file in the model's folder",
        ),
        (
            "{kind: http, dialect: vllm, serve: {}, concurrency: many}",
            "engine.concurrency: should be a whole number",
        ),
        (
            "{kind: http, dialect: vllm, serve: {}, concurrency: 1.5}",
            "engine.concurrency: should be a whole number",
        ),
        ("{kind: http, dialect: vllm, base_url: 'http://h'}", "kind http takes url"),
        ("{kind: http, dialect: vllm, serve: {}, model: m}", "for a server that runs"),
        ("{kind: http, dialect: vllm, serve: {weights: a.gguf}}", "names the GGUF file"),
        ("{kind: http, dialect: llamacpp, serve: {}}", "names the GGUF file"),
        ("{kind: transformers, concurrency: 4}", "are for kind http"),
        ("{dialect: vllm}", "are for kind http"),
        ("{kind: http, dialect: sglang, serve: {}}", "start its server yourself, and name its url"),
        ("{kind: http, dialect: tgi, url: 'http://h'}", "vllm"),
    ],
)
def test_a_plan_that_names_its_server_wrongly_is_told_how(
    tmp_path: Path, entry: str, said: str
) -> None:
    plan = write_study(tmp_path / "study", more=f"engine: {entry}\n")
    with pytest.raises(MalformedError) as raised:
        load_plan_file(plan)
    assert said in raised.value.one_line()
    assert "engine" in raised.value.one_line()


def test_an_engine_that_cannot_be_run_is_told_what_asks_a_server(tmp_path: Path) -> None:
    entry = "engine: {kind: openai, base_url: 'http://127.0.0.1:8000/v1'}\n"
    with pytest.raises(MalformedError) as raised:
        resolve_plan(write_study(tmp_path / "study", more=entry))
    assert "or kind: http for a server of token ids" in raised.value.one_line()


def command(dialect: ServerDialect = ServerDialect.LLAMACPP) -> ServerCommand:
    return ServerCommand(dialect, Path("/m"), "m.gguf", Dtype.FLOAT32, "model", ["--threads", "2"])


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


def program(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write what is started in a server's place."""
    path = folder / "server"
    path.write_text(f"#!{sys.executable}\n{text}\n", "utf-8")
    path.chmod(0o755)
    monkeypatch.setenv(ServerRole.ENGINE.program, str(path))


def test_a_server_that_ends_at_once_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "print('loading'); print('Error: no such device'); exit(3)", monkeypatch)
    with pytest.raises(IncompleteError, match="ended before it took requests: Error: no such"):
        StartedServer(command())


def test_a_program_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ServerRole.ENGINE.program, "no-such-program")
    with pytest.raises(UsageError, match="no-such-program is not installed"):
        StartedServer(command())


_SERVES = """
import json, subprocess, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open({place!r}, "w").write(str(child.pid))
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "2"); self.end_headers()
        self.wfile.write(b"{{}}")
    def log_message(self, *_): pass
HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_server_that_is_stopped_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "child"
    program(tmp_path, _SERVES.format(place=str(place)), monkeypatch)
    started = StartedServer(command())
    child = int(place.read_text("utf-8"))
    assert alive(child)
    started.close()
    started.close()  # again changes nothing
    ends = time.monotonic() + 10
    while alive(child) and time.monotonic() < ends:
        time.sleep(0.05)
    assert not alive(child)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells a process of its parent's end")
def test_a_server_ends_with_a_run_that_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "child"
    text = _SERVES.format(place=str(place)).replace("child.pid", "__import__('os').getpid()")
    program(tmp_path, text, monkeypatch)
    code = (
        "import os, signal\n"
        "from pathlib import Path\n"
        "from safety_receipts.receipts.model.checkpoint import Dtype\n"
        "from safety_receipts.receipts.model.plan import ServerDialect\n"
        "from safety_receipts.runner.engines.served.launch import ServerCommand, StartedServer\n"
        "StartedServer(ServerCommand(ServerDialect.LLAMACPP, Path('/m'), 'm.gguf',\n"
        "    Dtype.FLOAT32, 'model', []))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    finished = subprocess.run([sys.executable, "-c", code], check=False)
    assert finished.returncode == -signal.SIGKILL
    server = int(place.read_text("utf-8"))
    ends = time.monotonic() + 10
    while alive(server) and time.monotonic() < ends:
        time.sleep(0.05)
    assert not alive(server)
