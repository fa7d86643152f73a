"""What is asked of servers, read from them and started, part by part."""

from __future__ import annotations

from pathlib import Path

import pytest
from studies import write_study

from safety_receipts.receipts.errors import MalformedError, UsageError
from safety_receipts.receipts.model.plan import ServerDialect
from safety_receipts.receipts.model.point import Finish
from safety_receipts.runner.engines.engine import GREEDY, Decoding, Request
from safety_receipts.runner.engines.served.client import (
    NonsenseError,
    ServerClient,
    checked_address,
)
from safety_receipts.runner.engines.served.generation import UNIT, units_of
from safety_receipts.runner.engines.served.llamacpp import LlamaCpp
from safety_receipts.runner.engines.served.reply import check_server_reply
from safety_receipts.runner.engines.served.started.arguments import argument_problem
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


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/completions", "/models/v1/chat/completions"])
def test_an_address_is_that_of_the_server_and_of_none_of_its_interfaces(path: str) -> None:
    with pytest.raises(UsageError) as raised:
        checked_address(f"http://127.0.0.1:8000{path}")
    assert "leave off /v1 and what follows it" in raised.value.one_line()


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
        (["--enforce-eager", "/other/model"], "/other/model is the value of no argument"),
        (["--max-num-seqs=8", "/other/model"], "/other/model is the value of no argument"),
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
