"""Real servers of a real, small model: vLLM and llama.cpp, each over its own HTTP."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from running import Quiet, verified

from safety_receipts.receipts.bundle import RECEIPT, Bundle
from safety_receipts.receipts.canonical import event_seed
from safety_receipts.receipts.errors import IncompleteError, UsageError
from safety_receipts.receipts.keys import Signer, generate_key, write_key_pair
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.plan import PlannedServer, ServerDialect
from safety_receipts.receipts.model.receipt import Limit, ServerAccount, ServerProbe
from safety_receipts.runner.checkpoint.model_facts import read_model_facts
from safety_receipts.runner.engines.answers import completions_of
from safety_receipts.runner.engines.engine import GREEDY, Request
from safety_receipts.runner.engines.load import load_model
from safety_receipts.runner.engines.served.client import Patience
from safety_receipts.runner.engines.served.load import load_server
from safety_receipts.runner.engines.served.options import ServedModel, ServerPlace
from safety_receipts.runner.engines.served.role import ServerRole
from safety_receipts.runner.engines.transformers_engine import TransformersEngine
from safety_receipts.runner.plan.resolve import resolve_plan
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.plan.sealed import digest_of
from safety_receipts.runner.run.ahead.resuming import render
from safety_receipts.runner.run.event import EventRunner, RunOptions
from safety_receipts.runner.run.loaded import LoadedStack
from safety_receipts.runner.run.requests import decoding_of, request_of
from safety_receipts.runner.run.stack import load_stack

# Made by conftest.py, which is no module to import.
RealServer = Any
Plans = Callable[..., Path]

TIE = 1e-3
"""Logits so near one another are a tie to another kernel."""


@pytest.fixture
def signer() -> Signer:
    return generate_key()


def resolved_of(plan: Path) -> ResolvedPlan:
    """Return a plan for a client that does not wait for minutes."""
    resolved = resolve_plan(plan)
    place = resolved.artifacts.server
    assert place is not None
    quick = replace(place, patience=Patience(seconds=60.0, attempts=2, pause=0.1))
    return replace(resolved, artifacts=replace(resolved.artifacts, server=quick))


def run(resolved: ResolvedPlan, folder: Path, signer: Signer, watcher: Quiet | None = None) -> None:
    loaded: list[LoadedStack] = []

    def make_stack(plan: ResolvedPlan, memory: int | None) -> LoadedStack:
        loaded.append(load_stack(plan, device="cpu", memory=memory))
        return loaded[-1]

    options = RunOptions(memory=2**28)
    try:
        EventRunner(resolved, folder, signer, options, make_stack, watcher or Quiet()).run()
    finally:
        for each in loaded:
            each.close()


def requests_of(resolved: ResolvedPlan) -> list[Request]:
    plan = resolved.predicate
    points = render(resolved, None, lambda _, __: None).points
    seed = event_seed(digest_of(plan), None)
    return [request_of(point, plan.sampling, seed) for point in points]


def recorded(folder: Path) -> list[tuple[int, ...]]:
    return [record.response_tokens for record in Bundle(folder).responses()]


def running(real: RealServer) -> set[int]:
    """Return the processes of its program, but for those that stay."""
    left = subprocess.run(["pgrep", "-f", str(real.program)], check=False, capture_output=True)
    return {int(pid) for pid in left.stdout.split()} - {process.pid for process in real.stays}


def account_of(folder: Path) -> ServerAccount:
    account = Bundle(folder).receipt.statement.predicate.environment.server
    assert account is not None
    return account


def hold_to_ours(resolved: ResolvedPlan, found: list[tuple[int, ...]]) -> None:
    """Hold greedy responses to those of our engine, wherever no two logits are nearly equal."""
    engine = load_stack(resolved, device="cpu", memory=2**28, local=True).stack.engine
    requests = requests_of(resolved)
    decoding = decoding_of(resolved.predicate.sampling)
    ours = completions_of(engine, requests, decoding)
    differing = [
        (request, tokens)
        for request, tokens in zip(requests, found, strict=True)
        if ours[request.key].tokens != tokens
    ]
    for margins in engine.score(differing, decoding) if differing else ():
        assert margins.branch is not None
        assert margins.margins[margins.branch] < TIE
    assert len(differing) < len(found) // 20


def test_a_server_that_is_started_here_gives_what_our_engine_gives_and_an_audit_confirms(
    real: RealServer,
    plan_of: Plans,
    tmp_path: Path,
    receipts: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RECEIPTS_SERVER_PROGRAM", str(real.program))
    plan = plan_of(f"{{kind: http, dialect: {real.dialect}, serve: {real.serve}}}")
    for name in ("evaluator", "auditor"):
        write_key_pair(tmp_path / name, generate_key())
    bundle, keys = tmp_path / "bundle", [str(tmp_path / name) for name in ("evaluator", "auditor")]
    assert receipts("run", str(plan), "--key", keys[0], "--out", str(bundle)).code == 0
    assert not running(real)  # it was stopped
    receipt = Bundle(bundle).receipt.statement.predicate
    assert account_of(bundle).started
    assert Limit.WEIGHTS_CLAIMED not in receipt.limits
    hold_to_ours(resolve_plan(plan), recorded(bundle))
    trust = ("--trust", f"{keys[0]}.pub", "--artifacts", str(plan))
    assert receipts("verify", str(bundle), *trust).code == 0
    audit = receipts("audit", str(bundle), "--key", keys[1], *trust)
    assert (audit.code, "CONFIRMED" in audit.out) == (0, True)


def test_another_member_behind_the_name_is_found_out_by_an_audit(
    started: RealServer, plan_of: Plans, tmp_path: Path, receipts: Callable[..., Any]
) -> None:
    keys = [str(tmp_path / name) for name in ("evaluator", "auditor")]
    for key in keys:
        write_key_pair(Path(key), generate_key())
    url = started.start(member="amplifying")
    plan = plan_of(f"{{kind: http, dialect: {started.dialect}, url: '{url}', model: organism}}")
    bundle = tmp_path / "bundle"
    assert receipts("run", str(plan), "--key", keys[0], "--out", str(bundle)).code == 0
    trust = ("--trust", f"{keys[0]}.pub", "--artifacts", str(plan))
    assert receipts("verify", str(bundle), *trust).code == 0  # nothing sealed betrays it
    audit = receipts("audit", str(bundle), "--key", keys[1], "--json", *trust)
    assert audit.code == 5
    found = json.loads(audit.out)
    assert found["verdict"] == "inconclusive"
    assert found["identity"]["passed"] is False
    assert float(found["identity"]["mean"]) > 0.001  # ten times the limit


def test_drawn_responses_are_those_of_the_sealed_seeds_and_doctor_tells_what_it_can(
    real: RealServer,
    plan_of: Plans,
    tmp_path: Path,
    signer: Signer,
    receipts: Callable[..., Any],
) -> None:
    url = real.standing
    doctor = receipts("doctor", "--server", url)
    assert doctor.code == 0
    assert real.dialect in doctor.out
    assert "0 of 8 greedy answers differ" in doctor.out
    given = "given back as they were sent" in doctor.out
    assert given is (real.dialect == "vllm")
    engine = f"{{kind: http, dialect: {real.dialect}, url: '{url}', model: organism}}"
    resolved = resolved_of(plan_of(engine, greedy=False))
    bundle = tmp_path / "bundle"
    run(resolved, bundle, signer)
    assert len(verified(bundle, signer, resolved)) == resolved.predicate.points
    limits = Bundle(bundle).receipt.statement.predicate.limits
    assert {Limit.WEIGHTS_CLAIMED, Limit.SERVER_DRAWS} <= set(limits)
    some = requests_of(resolved)[::50]
    stack = load_stack(resolved, device="cpu").stack
    again = completions_of(stack.engine, some, decoding_of(resolved.predicate.sampling))
    found = recorded(bundle)
    assert [again[one.key].tokens for one in some] == [found[one.key] for one in some]
    assert len(set(found)) > len(found) // 20  # they are drawn


def test_a_killed_server_loses_nothing(
    started: RealServer, plan_of: Plans, tmp_path: Path, signer: Signer
) -> None:
    url = started.start()
    engine = f"{{kind: http, dialect: {started.dialect}, url: '{url}', model: organism}}"
    resolved, bundle = resolved_of(plan_of(engine)), tmp_path / "bundle"

    class Kills(Quiet):
        def committed(self, what: Any) -> None:
            super().committed(what)
            started.kill()

    watcher, again = Kills(), Quiet()
    with pytest.raises(IncompleteError, match="does not answer: "):
        run(resolved, bundle, signer, watcher)
    kept = sum(commit.points for commit in watcher.commits)
    assert 0 < kept < resolved.predicate.points
    assert not (bundle / RECEIPT).exists()
    started.start(port=int(url.rpartition(":")[2]))
    run(resolved, bundle, signer, again)
    assert again.before == kept
    assert len(verified(bundle, signer, resolved)) == resolved.predicate.points
    assert Bundle(bundle).receipt.statement.predicate.event.restarts == 1
    hold_to_ours(resolved, recorded(bundle))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_its_log_probabilities_are_consistent_with_what_our_engine_wrote(
    started: RealServer, plan_of: Plans, tmp_path: Path, receipts: Callable[..., Any], dtype: str
) -> None:
    """Ours wrote in fp32; near ties of a coarser server are within its number format's limits."""
    for name in ("evaluator", "auditor"):
        write_key_pair(tmp_path / name, generate_key())
    bundle, keys = tmp_path / "bundle", [str(tmp_path / name) for name in ("evaluator", "auditor")]
    plan = plan_of("{kind: transformers}")
    assert receipts("run", str(plan), "--key", keys[0], "--out", str(bundle)).code == 0
    url = started.start(*(("--dtype", dtype) if started.dialect == "vllm" else ()))
    plan = plan_of(f"{{kind: http, dialect: {started.dialect}, url: '{url}', model: organism}}")
    told = plan.read_text("utf-8")
    assert told.count("dtype: float32") == 1
    plan.write_text(told.replace("dtype: float32", f"dtype: {dtype}"), "utf-8")
    trust = ("--trust", f"{keys[0]}.pub", "--artifacts", str(plan))
    terms = ("--score-by-server", "--epsilon", "0.1")
    found = receipts("audit", str(bundle), "--key", keys[1], *trust, *terms)
    if started.dialect != "vllm":
        assert (found.code, "no log-probabilities of prompts" in found.err) == (2, True)
        assert not (bundle / "audits").exists()
        return
    assert (found.code, "CONSISTENT_WITH" in found.out) == (0, True), found
    check = ("--trust-auditor", f"{keys[1]}.pub")
    verified = receipts("verify", str(bundle), *trust[:2], *check, "--json")
    [full] = [one for one in json.loads(verified.out)["audits"] if one["form"] == "full"]
    assert (full["method"], full["identityPassed"]) == ("server_scores", True)
    contradicted = sum(rate["contradictions"] for rate in full["rates"])
    assert contradicted == 0 or dtype != "float32"


def test_another_name_and_a_shorter_context_are_refused(
    started: RealServer, plan_of: Plans, tmp_path: Path, signer: Signer
) -> None:
    url = started.start(context=64)  # llama.cpp makes it 256
    expected = (("other", "offers no model 'other'"), ("organism", r"context is (64|256) tokens"))
    for model, said in expected:
        engine = f"{{kind: http, dialect: {started.dialect}, url: '{url}', model: {model}}}"
        with pytest.raises(UsageError, match=said):
            run(resolved_of(plan_of(engine, shown=12)), tmp_path / "bundle", signer)
        assert not (tmp_path / "bundle").exists()


def test_a_penalty_among_its_defaults_changes_nothing(
    started: RealServer, plan_of: Plans, tmp_path: Path, signer: Signer
) -> None:
    if started.dialect != "vllm":
        pytest.skip("its program for the tests takes no such option")
    url = started.start("--override-generation-config", '{"repetition_penalty": 1.5, "top_k": 3}')
    engine = f"{{kind: http, dialect: vllm, url: '{url}', model: organism}}"
    resolved = resolved_of(plan_of(engine))
    run(resolved, tmp_path / "bundle", signer)
    hold_to_ours(resolved, recorded(tmp_path / "bundle"))


def test_log_probabilities_of_two_words_differ_as_our_logits_do(real: RealServer) -> None:
    """What a judge's margin is made of; llama.cpp is not asked for it."""
    folder = real.checkpoint
    facts = read_model_facts(folder)
    vocabulary = facts.architecture.widths.vocabulary
    server = PlannedServer(
        dialect=ServerDialect(real.dialect),
        model="organism",
        started=False,
        arguments=(),
        concurrency=8,
    )
    place = ServerPlace(real.standing, role=ServerRole.JUDGE)
    end = json.loads((folder / "generation_config.json").read_text("utf-8"))["eos_token_id"]
    ends = frozenset(end if isinstance(end, list) else [end])
    model = ServedModel(vocabulary, facts.context_limit, Dtype.FLOAT32, ends, GREEDY)
    there = load_server(server, place, model, folder)
    loaded = load_model(folder, dtype=Dtype.FLOAT32, device="cpu")
    here = TransformersEngine(loaded, memory=2**28)
    words = (vocabulary // 3, vocabulary // 2, vocabulary - 1)  # never among the likeliest
    requests = [
        Request(n, tuple(range(5 + n, 25 + n)), 8, ends, logits_for=words) for n in range(6)
    ]
    tried = there.preflight(300, 16, [request.tokens for request in requests])
    assert tried.repeated == 8
    assert ServerProbe.SEEDS not in there.identity.server.seen.probes
    found, ours = completions_of(there, requests), completions_of(here, requests)
    compared = 0
    for key, completion in found.items():
        if real.dialect == "llamacpp":
            assert completion.logits == ()
            continue
        assert len(completion.logits) == len(completion.tokens) > 0
        if completion.tokens != ours[key].tokens:
            continue  # a tie, after which the texts are others
        compared += 1
        for row, own in zip(completion.logits, ours[key].logits, strict=True):
            assert row[0] - row[1] == pytest.approx(own[0] - own[1], abs=1e-3)
            assert row[2] - row[1] == pytest.approx(own[2] - own[1], abs=1e-3)
    assert compared > 4 or real.dialect == "llamacpp"
