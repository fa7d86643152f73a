"""A run whose responses a server gives, over HTTP, from a real model."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from running import run, verified
from served_studies import ServedStudies

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.canonical import event_seed
from safety_receipts.receipts.keys import Signer, generate_key, write_key_pair
from safety_receipts.receipts.model.receipt import Limit, ServerProbe
from safety_receipts.runner.engines.answers import completions_of
from safety_receipts.runner.engines.served.seeds import server_seed
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.plan.sealed import digest_of
from safety_receipts.runner.run.ahead.resuming import render
from safety_receipts.runner.run.requests import decoding_of, request_of
from safety_receipts.runner.run.stack import load_stack


def generated_here(resolved: ResolvedPlan) -> list[tuple[int, ...]]:
    """Return the responses that the engine of this process gives to a plan's points."""
    plan = resolved.predicate
    points = render(resolved, None, lambda _, __: None).points
    seed = event_seed(digest_of(plan), None)
    engine = load_stack(resolved, device="cpu", memory=2**26, local=True).stack.engine
    requests = [request_of(point, plan.sampling, seed) for point in points]
    found = completions_of(engine, requests, decoding_of(plan.sampling))
    return [found[request.key].tokens for request in requests]


SEEDED = "{method: seeded, temperature: 0.9, top_k: 30, max_new_tokens: 6}"


def test_a_server_gives_the_points_that_the_engine_of_this_process_gives(
    served: ServedStudies, tmp_path: Path, signer: Signer
) -> None:
    study = served()
    resolved = study.resolved()
    run(resolved, tmp_path / "there", signer)
    assert len(verified(tmp_path / "there", signer, resolved)) == 64
    there = [record.response_tokens for record in Bundle(tmp_path / "there").responses()]
    assert there == generated_here(resolved)
    receipt = Bundle(tmp_path / "there").receipt.statement.predicate
    account = receipt.environment.server
    assert account is not None
    assert account.seen.probes == tuple(one for one in ServerProbe if one is not ServerProbe.SEEDS)
    assert (account.seen.repeated, account.seen.differed, account.seen.resent) == (8, 0, 0)
    assert account.claimed.version == "0.32.0"
    assert account.claimed.weights == "model"  # not where it lies
    assert Limit.WEIGHTS_CLAIMED in receipt.limits
    assert Limit.SERVER_DRAWS not in receipt.limits
    assert Limit.NOT_REPEATABLE not in receipt.limits
    assert 1 < study.server.most <= 8  # the preflight asks eight together


def test_everything_that_changes_tokens_is_written_out(
    served: ServedStudies, tmp_path: Path, signer: Signer
) -> None:
    study = served()
    run(study.resolved(), tmp_path / "bundle", signer)
    ends = list(study.resolved().predicate.sampling.end_tokens)
    for body in study.server.bodies[-64:]:
        assert {key: body[key] for key in body if key not in ("prompt", "model")} == {
            "max_tokens": 6,
            "temperature": 0.0,
            "n": 1,
            "top_p": 1.0,
            "top_k": 0,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "ignore_eos": True,
            "stop_token_ids": ends,
            "logprobs": 1,  # the likeliest as well, to which a greedy token is held
            "return_token_ids": True,
            "return_tokens_as_token_ids": True,
            "echo": False,
            "stream": False,
        }


def test_drawn_responses_get_the_seeds_of_the_sealed_rule(
    served: ServedStudies, tmp_path: Path, signer: Signer
) -> None:
    study = served(sampling=SEEDED)
    resolved = study.resolved()
    plan = resolved.predicate
    assert plan.sampling.noise == "server-seed-63/1"
    run(resolved, tmp_path / "bundle", signer)
    verified(tmp_path / "bundle", signer, resolved)
    seed = event_seed(digest_of(plan), None)
    points = render(resolved, None, lambda _, __: None).points
    wanted = [request_of(point, plan.sampling, seed).seed >> 1 for point in points]
    assert all(study.server.seeds[each] == 1 for each in wanted)
    assert len(set(wanted)) == plan.points
    receipt = Bundle(tmp_path / "bundle").receipt.statement.predicate
    assert Limit.SERVER_DRAWS in receipt.limits
    assert receipt.environment.server is not None
    assert receipt.environment.server.seen.probes == tuple(ServerProbe)


def test_seeds_are_those_that_a_server_takes() -> None:
    assert server_seed("server-seed-63/1", 2**64 - 1) == 2**63 - 1
    assert server_seed("server-seed-32/1", 2**64 - 1) == (2**64 - 1) % (2**32 - 1)
    assert server_seed("server-seed-32/1", 2**32 - 1) == 0  # all ones would mean any seed


def test_prompts_come_in_the_order_of_their_tree(
    served: ServedStudies, tmp_path: Path, signer: Signer
) -> None:
    study = served()
    run(study.resolved(), tmp_path / "bundle", signer)
    asked = [tuple(body["prompt"]) for body in study.server.bodies[-64:]]

    def shared(one: tuple[int, ...], other: tuple[int, ...]) -> int:
        differs = (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
        return next(differs, min(len(one), len(other)))

    by_tree = sum(shared(*pair) for pair in pairwise(asked))
    points = render(study.resolved(), None, lambda _, __: None).points
    in_plan_order = [tuple(point.tokens) for point in points]
    assert by_tree > sum(shared(*pair) for pair in pairwise(in_plan_order))


def test_a_plan_names_its_server_in_one_way(served: ServedStudies, signer: Signer) -> None:
    resolved = served().resolved()
    server = resolved.predicate.server
    assert server is not None
    assert (server.model, server.started, server.concurrency) == ("model", False, 4)
    assert resolved.predicate.batch_rule == "served-units/1"
    assert "127.0.0.1" not in str(resolved.predicate.to_wire())


def test_a_dry_run_says_which_server_will_answer(
    served: ServedStudies, receipts: Callable[..., Any]
) -> None:
    study = served(sampling="{method: seeded, temperature: 0.9, max_new_tokens: 6}")
    study.resolved()
    plan, url = str(study.folder / "plan.yaml"), study.server.url
    shown = " ".join(receipts("plan", plan).out.split())
    asked = "server vllm, at most 4 requests at a time, started by somebody else"
    assert f"{asked} at {url}, as model model" in shown
    assert "weights-claimed-not-seen: Responses came from a server" in shown
    assert "server-draws-not-replayable: The server drew tokens" in shown
    assert "judge-weights-claimed-not-seen" not in shown
    assert "The times are this machine's, not the server's." in shown
    found = json.loads(receipts("plan", plan, "--json").out)
    assert found["servers"] == [
        {
            "askedFor": "responses",
            "dialect": "vllm",
            "model": "model",
            "started": False,
            "address": url,
            "arguments": [],
            "concurrency": 4,
        }
    ]
    assert {"weights-claimed-not-seen", "server-draws-not-replayable"} < set(found["limits"])
    study.local()
    shown = receipts("plan", plan).out
    assert "server" not in shown
    found = json.loads(receipts("plan", plan, "--json").out)
    assert (found["servers"], "weights-claimed-not-seen" in found["limits"]) == ([], False)


def test_a_few_points_at_a_server_give_no_estimate(
    served: ServedStudies, receipts: Callable[..., Any]
) -> None:
    study = served()
    whole = study.resolved().predicate.points
    assert whole > 4 * 4
    plan = str(study.folder / "plan.yaml")
    few = receipts("run", plan, "--limit", "8")
    assert few.code == 0
    assert "would take about" not in few.out
    assert "--limit 16 gives an estimate" in " ".join(few.out.split())
    found = json.loads(receipts("run", plan, "--limit", "15", "--json").out)
    assert found["wholeRunSeconds"] is None
    assert "would take about" in receipts("run", plan, "--limit", "16").out
    study.local()
    assert "would take about" in receipts("run", plan, "--limit", "2", "--device", "cpu").out


def test_workers_are_refused_before_anything_is_hashed(
    served: ServedStudies, receipts: Callable[..., Any]
) -> None:
    study = served()
    study.resolved()
    weights = study.folder / "model" / "model.safetensors"
    weights.unlink()
    plan = str(study.folder / "plan.yaml")
    refused = receipts("run", plan, "--limit", "8", "--workers", "2")
    assert refused.code == 2
    assert "leave --workers out; the plan's engine.concurrency says" in refused.err


def test_a_plan_is_sealed_with_the_advice_to_try_its_server_first(
    served: ServedStudies, tmp_path: Path, receipts: Callable[..., Any]
) -> None:
    study = served()
    study.resolved()
    write_key_pair(tmp_path / "key", generate_key())
    seal = ("--seal", "--key", str(tmp_path / "key"), "--out", str(tmp_path / "bundle"))
    found = receipts("plan", str(study.folder / "plan.yaml"), *seal)
    assert found.code == 0
    assert study.server.bodies == []
    assert "no server was asked: receipts run PLAN --limit 8 tries all" in found.err
    study.local()
    assert "no server" not in receipts("plan", str(study.folder / "plan.yaml")).err
