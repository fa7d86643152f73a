"""Keys and passwords, neither sealed nor shown; files and arguments that a plan may not name."""

from __future__ import annotations

from pathlib import Path

import pytest
from gguf_files import write_small_gguf
from served_judges import JudgedStudies
from studies import write_study

from safety_receipts.receipts.errors import MalformedError, UsageError
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.runner.engines.served.client import ServerClient, checked_address, checked_key
from safety_receipts.runner.engines.served.role import ServerRole
from safety_receipts.runner.engines.served.started.arguments import secret_problem
from safety_receipts.runner.plan.resolve import resolve_plan

SECRET = "sk-hidden"


def refused(folder: Path, entry: str) -> str:
    """Return what is said of a plan's engine."""
    with pytest.raises(MalformedError) as raised:
        resolve_plan(write_study(folder, more=f"engine: {entry}\n"))
    said = raised.value.one_line()
    assert SECRET not in said
    assert "\n" not in said
    return said


@pytest.mark.parametrize(
    "arguments",
    [
        ["--api-key", SECRET],
        [f"--hf-token={SECRET}"],
        ["-hft", SECRET],
        ["--more", f"api_key={SECRET}"],
        ["--max-model-len", "8", f"API_KEY={SECRET}"],
        [f"--ssl-keyfile-password={SECRET}"],
        [f"--extra.secret={SECRET}"],
        ["--header", f"Authorization: Bearer {SECRET}"],
        ["--kv-transfer-config", f'{{"a": 1, "apiKey": "{SECRET}"}}'],
        [f"Authorization: Bearer {SECRET}"],
    ],
)
def test_an_argument_that_may_hold_a_secret_is_refused(arguments: list[str]) -> None:
    problem = secret_problem(arguments)
    assert problem is not None
    assert SECRET not in problem


@pytest.mark.parametrize(
    "arguments",
    [
        ["--max-num-batched-tokens", "8192", "--tokenizer", "mine", "--tokenizer-mode=auto"],
        ["--return-tokens-as-token-ids", "--skip-tokenizer-init"],
        ["--cache-type-k", "f16", "--override-kv", "a=int:1"],
        ["--rope-scaling", '{"factor": 2.0}'],
    ],
)
def test_an_argument_that_holds_none_may_be_claimed(arguments: list[str]) -> None:
    assert secret_problem(arguments) is None


@pytest.mark.parametrize(
    "entry",
    [
        f"{{kind: http, dialect: vllm, url: 'http://h', claimed_arguments: [--api-key, {SECRET}]}}",
        f"{{kind: http, dialect: vllm, serve: {{arguments: [--api-key={SECRET}]}}}}",
    ],
)
def test_a_plan_with_a_key_among_arguments_is_refused(tmp_path: Path, entry: str) -> None:
    said = refused(tmp_path / "study", entry)
    assert "--api-key may hold a secret" in said
    assert ServerRole.ENGINE.key in said


@pytest.mark.parametrize(
    "address",
    [
        f"http://user:{SECRET}@h:99999",
        f"ftp://user:{SECRET}@h",
        f"http://user:{SECRET}@h",
        f"http://h:99999/?key={SECRET}",
        f"http://h/?key={SECRET}",
        f"http://h/#{SECRET}",
        f"http://user:{SECRET}@[::1",
        "http://a..b",
        f"http://{'a' * 64}.b",
        "http://h/caf\u00e9",
    ],
)
def test_an_address_that_is_none_is_refused_without_its_password(address: str) -> None:
    with pytest.raises(UsageError) as raised:
        checked_address(address)
    assert SECRET not in raised.value.one_line()
    assert "user:" not in raised.value.one_line()


def test_an_address_with_a_password_in_a_plan_is_not_shown(tmp_path: Path) -> None:
    for number, url in enumerate((f"http://u:{SECRET}@h:99999", f"http://u:{SECRET} @h")):
        refused(tmp_path / str(number), f"{{kind: http, dialect: vllm, url: '{url}'}}")


@pytest.mark.parametrize("key", [f"{SECRET}\n1", f"{SECRET}\u2019", f"{SECRET}\0", f"\r{SECRET}"])
def test_a_key_that_no_header_carries_is_refused_unseen(key: str) -> None:
    with pytest.raises(UsageError, match=ServerRole.JUDGE.key) as raised:
        ServerClient("http://127.0.0.1:9", key=key, role=ServerRole.JUDGE)
    assert SECRET not in raised.value.one_line()


def test_a_key_is_sent_without_the_end_of_its_line() -> None:
    assert checked_key(f"{SECRET}\n") == checked_key(f"{SECRET}\r\n") == SECRET
    assert checked_key("\n") is None
    assert checked_key(None) is None


@pytest.mark.parametrize("name", ["serve", "claimed"])
def test_an_argument_of_two_lines_is_refused_in_one(tmp_path: Path, name: str) -> None:
    words = '["--max-model-len", "81\\n92"]'
    entry = f"serve: {{arguments: {words}}}" if name == "serve" else f"claimed_arguments: {words}"
    where = "" if name == "serve" else ", url: 'http://h'"
    said = refused(tmp_path / "study", f"{{kind: http, dialect: vllm, {entry}{where}}}")
    assert "write it on one line" in said


# What a server is started on.


def serve_gguf(folder: Path, kind: str, arguments: str = "") -> str:
    """Put a GGUF file into a study's model, and return the engine that loads it."""
    write_study(folder)
    write_small_gguf(folder / "model" / "model.gguf", kind)
    return f"{{kind: http, dialect: llamacpp, serve: {{weights: model.gguf{arguments}}}}}"


def test_a_quantised_file_does_not_stand_for_the_checkpoint(tmp_path: Path) -> None:
    said = refused(tmp_path / "study", serve_gguf(tmp_path / "study", "Q2_K"))
    assert "model.gguf cannot stand for the checkpoint in float32: it stores blk.0" in said
    assert "as Q2_K" in said
    assert "--outtype f32, or start such a server yourself and name its url" in said


def test_the_file_that_is_loaded_is_sealed(tmp_path: Path) -> None:
    entry = serve_gguf(tmp_path / "study", "F32")
    plan = resolve_plan(write_study(tmp_path / "study", more=f"engine: {entry}\n")).predicate
    assert plan.server is not None
    assert plan.server.weights == "model.gguf"
    assert plan.checkpoint.dtype is Dtype.FLOAT32
    wire = plan.to_wire()["server"]
    assert isinstance(wire, dict)
    assert wire["weights"] == "model.gguf"


def test_a_server_without_such_a_file_is_sealed_as_before(tmp_path: Path) -> None:
    entry = "{kind: http, dialect: vllm, url: 'http://h'}"
    plan = resolve_plan(write_study(tmp_path / "study", more=f"engine: {entry}\n")).predicate
    wire = plan.to_wire()["server"]
    assert isinstance(wire, dict)
    assert sorted(wire) == ["arguments", "concurrency", "dialect", "model", "started"]


def test_a_quantised_file_does_not_stand_for_the_judge(judged: JudgedStudies) -> None:
    study = judged()
    for kind in ("F32", "Q4_0"):
        write_small_gguf(study.folder / "judge" / f"{kind}.gguf", kind)
    entry = "kind: chat, path: judge, server: {dialect: llamacpp, serve: {weights: F32.gguf}}"
    planned = resolve_plan(study.plan(entry)).predicate.judge_server
    assert planned is not None
    assert planned.weights == "F32.gguf"
    with pytest.raises(MalformedError, match=r"Q4_0\.gguf cannot stand for the judge") as raised:
        resolve_plan(study.plan(entry.replace("F32.gguf", "Q4_0.gguf")))
    assert "judge.server" in raised.value.one_line()


@pytest.mark.parametrize(
    "arguments", ["--cache-type-k, q4_0", "--cache-type-v=q8_0", "--cache-type-k"]
)
def test_a_quantised_cache_is_refused(tmp_path: Path, arguments: str) -> None:
    entry = serve_gguf(tmp_path / "study", "F32", f", arguments: [{arguments}]")
    assert "a quantised cache changes what is computed" in refused(tmp_path / "study", entry)


def test_a_cache_that_is_not_quantised_may_be_asked_for(tmp_path: Path) -> None:
    words = ", arguments: [--cache-type-k, f32, --cache-type-v=bf16]"
    entry = serve_gguf(tmp_path / "study", "F32", words)
    plan = resolve_plan(write_study(tmp_path / "study", more=f"engine: {entry}\n")).predicate
    assert plan.server is not None
    assert len(plan.server.arguments) == 3
