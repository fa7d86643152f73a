"""Judges that ask a server, over HTTP, of a real model: as the same judge in this process."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from id_server import Answer, Mischief, always, cut, drop, first_time, html, status
from running import Quiet, run, verified
from served_judges import JudgedStudies
from served_studies import QUICK

from safety_receipts.receipts.bundle import RECEIPT, Bundle
from safety_receipts.receipts.errors import (
    IncompleteError,
    IntegrityError,
    MalformedError,
    UsageError,
)
from safety_receipts.receipts.keys import Signer
from safety_receipts.receipts.model.judge import JudgeKind
from safety_receipts.receipts.model.point import RecordedJudgement
from safety_receipts.receipts.model.receipt import EvaluationPredicate, Limit, ServerProbe
from safety_receipts.runner.judges.judge import Exchange, Judgement
from safety_receipts.runner.judges.make import load_judge
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.run.event import EventRunner, RunOptions
from safety_receipts.runner.run.loaded import LoadedStack
from safety_receipts.runner.run.pilot import run_pilot
from safety_receipts.runner.run.pooled.opening import refuse_served_file, refuse_served_judges
from safety_receipts.runner.run.stack import load_stack

OPTIONS = RunOptions(memory=2**26, accept_unscored=True)
TRIED = 40
"""A server is tried with fewer requests than these."""
GENERATES = (JudgeKind.CHAT, JudgeKind.WILDGUARD)


def both_of(
    folder: Path, resolved: ResolvedPlan, signer: Signer
) -> list[tuple[RecordedJudgement, Judgement]]:
    """Run a plan; return what the judge said there of each response, and what it says here."""
    run(resolved, folder, signer, options=OPTIONS)
    verified(folder, signer, resolved)
    queries = dict(zip(resolved.predicate.query_ids, resolved.artifacts.texts.queries, strict=True))
    said = [record for record in Bundle(folder).responses() if record.judge is not None]
    judge = load_judge(resolved.predicate.judge, resolved.artifacts.judge_folder, device="cpu")
    here = judge.judge_many([Exchange(queries[each.query], each.text) for each in said])
    return [(each.judge, one) for each, one in zip(said, here, strict=True) if each.judge]


def receipt_of(folder: Path) -> EvaluationPredicate:
    return Bundle(folder).receipt.statement.predicate


@pytest.mark.parametrize("kind", GENERATES)
def test_a_judge_behind_a_server_says_what_it_says_here(
    judged: JudgedStudies, tmp_path: Path, signer: Signer, kind: JudgeKind
) -> None:
    study = judged(kind)
    pairs = both_of(tmp_path / "there", study.served(), signer)
    assert len(pairs) > 20
    assert any(one.margin is not None for _, one in pairs)
    for there, here in pairs:
        assert (there.outcome, there.reason, there.raw) == (here.outcome, here.reason, here.raw)
        assert (there.margin is None) == (here.margin is None)
        if there.margin is not None:
            assert float(there.margin) == pytest.approx(here.margin, abs=1e-4)
    receipt, plan = receipt_of(tmp_path / "there"), study.served().predicate
    account = receipt.environment.judge_server
    assert account is not None
    assert account.seen.probes == tuple(p for p in ServerProbe if p is not ServerProbe.SEEDS)
    assert (account.seen.repeated, account.seen.differed, account.seen.resent) == (8, 0, 0)
    assert (account.claimed.version, account.claimed.model) == ("0.32.0", "judge")
    assert plan.judge_server is not None
    assert plan.judge == study.local().predicate.judge
    assert study.server.url not in json.dumps(plan.to_wire())
    assert not study.server.seeds  # greedy
    assert Limit.JUDGE_WEIGHTS_CLAIMED in receipt.limits
    assert not {Limit.WEIGHTS_CLAIMED, Limit.JUDGE_NOT_REPEATABLE} & set(receipt.limits)
    assert "judgeServer" not in study.local().predicate.to_wire()


def test_a_server_that_does_not_say_how_likely_the_words_are_gives_no_margin(
    judged: JudgedStudies, tmp_path: Path, signer: Signer
) -> None:
    study = judged(mischief=Mischief(ignores_ids=True))
    pairs = both_of(tmp_path / "there", study.served(), signer)
    assert [there.raw for there, _ in pairs] == [here.raw for _, here in pairs]
    assert any(here.margin is not None for _, here in pairs)
    assert all(there.margin is None for there, _ in pairs)
    asked = [body for body in study.server.bodies if body.get("logprob_token_ids")]
    assert all(body["logprobs"] == 20 for body in asked)
    assert len(asked) > 10


def test_a_second_judge_has_a_server_of_its_own(
    judged: JudgedStudies, tmp_path: Path, signer: Signer
) -> None:
    study = judged(JudgeKind.WILDGUARD)
    resolved = study.served(f"kind: refusal-strings, second: {{{study.entry()}}}")
    assert resolved.predicate.judge_server is None
    run(resolved, tmp_path / "bundle", signer, options=OPTIONS)
    verified(tmp_path / "bundle", signer, resolved)
    receipt = receipt_of(tmp_path / "bundle")
    assert receipt.environment.judge_server is None
    account = receipt.environment.second_judge_server
    assert account is not None
    assert account.seen.repeated == 8
    assert Limit.JUDGE_WEIGHTS_CLAIMED in receipt.limits
    assert any(record.second_judge for record in Bundle(tmp_path / "bundle").responses())


def test_a_judges_server_that_is_started_here_is_of_the_hashed_folder_and_ends_with_the_run(
    judged: JudgedStudies, tmp_path: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, program = judged(), tmp_path / "program"
    script = Path(__file__).parents[2] / "support" / "id_server.py"
    started = tmp_path / "started"
    paths = ":".join(sys.path)  # a started server gets no PYTHONPATH
    program.write_text(
        f'#!/bin/sh\necho $$ "$@" >>{started}\n'
        f'PYTHONPATH="{paths}" exec {sys.executable} {script} "$@"\n',
        "utf-8",
    )
    program.chmod(0o755)
    monkeypatch.setenv("RECEIPTS_SERVER_PROGRAM", "no-such-program")
    monkeypatch.setenv("RECEIPTS_JUDGE_SERVER_PROGRAM", str(program))
    serve = "dialect: vllm, serve: {arguments: [--max-model-len, '1600']}, concurrency: 4"
    resolved = study.served(study.entry(serve))
    loaded: list[LoadedStack[Any]] = []

    def make_stack(plan: ResolvedPlan, memory: int | None) -> LoadedStack[Any]:
        loaded.append(load_stack(plan, device="cpu", memory=memory))
        return loaded[0]

    EventRunner(resolved, tmp_path / "bundle", signer, OPTIONS, make_stack, Quiet()).run()
    process, *words = started.read_text("utf-8").split()
    os.kill(int(process), 0)
    loaded[0].close()
    with pytest.raises(ProcessLookupError):
        os.kill(int(process), 0)
    assert words[:2] == ["serve", str(study.folder / "judge")]
    assert words[words.index("--served-model-name") + 1] == "judge"
    assert not study.server.bodies
    receipt = receipt_of(tmp_path / "bundle")
    account = receipt.environment.judge_server
    assert account is not None
    assert (account.started, account.arguments) == (True, ("--max-model-len", "1600"))
    assert Limit.JUDGE_WEIGHTS_CLAIMED not in receipt.limits


@pytest.mark.parametrize("act", [status(503), cut], ids=["503", "cut"])
def test_what_passes_is_sent_again_and_counted_as_the_judges(
    judged: JudgedStudies, tmp_path: Path, signer: Signer, act: Callable[[Any], None]
) -> None:
    study = judged()
    study.server.mischief.before = first_time(5, act)
    run(study.served(), tmp_path / "bundle", signer, options=OPTIONS)
    receipt = receipt_of(tmp_path / "bundle")
    assert receipt.environment.judge_server is not None
    assert receipt.environment.judge_server.seen.resent == receipt.event.retries > 0


def test_a_judges_server_that_dies_stops_the_run_which_goes_on_later(
    judged: JudgedStudies, tmp_path: Path, signer: Signer
) -> None:
    study, watcher = judged(queries=10, controls=2), Quiet()

    def before(handler: Any, _: Answer) -> bool:
        if watcher.commits:
            drop(handler)
        return bool(watcher.commits)

    study.server.mischief.before = before
    said = f"the judge's server at {study.server.url} does not answer: "
    with pytest.raises(IncompleteError, match=said) as raised:
        run(study.served(), tmp_path / "bundle", signer, options=OPTIONS, watcher=watcher)
    assert "run the same command again" in str(raised.value.hint)
    assert not (tmp_path / "bundle" / RECEIPT).exists()
    study.server.mischief.before = Mischief().before
    again = Quiet()
    run(study.served(), tmp_path / "bundle", signer, options=OPTIONS, watcher=again)
    assert again.before == sum(commit.points for commit in watcher.commits) > 0
    points = verified(tmp_path / "bundle", signer, study.served())
    assert len(points) == study.served().predicate.points
    account = receipt_of(tmp_path / "bundle").environment.judge_server
    assert account is not None
    assert (account.seen.repeated, account.seen.differed) == (16, 0)  # two starts


@pytest.mark.parametrize(
    ("mischief", "said"),
    [
        (Mischief(before=always(html)), "no JSON, but text/html: is there a proxy"),
        (Mischief(before=always(status(401))), "answered 401: it wants a key"),
        (Mischief(stated_context=100), "the judge's server's context is 100 tokens, and what"),
        (Mischief(context=100), "the judge's server does not answer a prompt of"),
    ],
    ids=["html", "401", "stated context", "context"],
)
def test_a_judges_server_that_cannot_be_used_is_refused_before_anything_is_sealed(
    judged: JudgedStudies, tmp_path: Path, signer: Signer, mischief: Mischief, said: str
) -> None:
    study = judged(mischief=mischief)
    with pytest.raises(UsageError, match=said) as raised:
        run(study.served(), tmp_path / "bundle", signer)
    assert "\n" not in raised.value.one_line()
    assert not (tmp_path / "bundle").exists()
    if "401" in said:
        assert "RECEIPTS_JUDGE_SERVER_KEY" in str(raised.value.hint)


def test_a_penalty_that_turns_verdicts_shows_in_the_judges_own_question(
    judged: JudgedStudies, tmp_path: Path, signer: Signer
) -> None:
    """It changes none of the prompts without sense, whose replies are short."""
    study = judged(JudgeKind.WILDGUARD, Mischief(penalty=1.1))
    said = "the judge's server does not choose its likeliest token"
    with pytest.raises(UsageError, match=said):
        run(study.served(), tmp_path / "bundle", signer)
    assert not (tmp_path / "bundle").exists()


def test_a_judges_server_is_given_no_other_server_s_key(
    judged: JudgedStudies, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, seen = judged(), []

    def before(handler: Any, _: Answer) -> bool:
        seen.append(handler.headers["Authorization"])
        return False

    study.server.mischief.before = before
    monkeypatch.setenv("RECEIPTS_SERVER_KEY", "the-models")
    resolved = study.served()
    run_pilot(resolved, load_stack(resolved, device="cpu", memory=2**26), 2)
    assert set(seen) == {None}
    monkeypatch.setenv("RECEIPTS_JUDGE_SERVER_KEY", "the-judges")
    run_pilot(resolved, load_stack(resolved, device="cpu", memory=2**26), 2)
    assert set(seen) == {None, "Bearer the-judges"}


def test_a_judges_server_that_begins_to_lie_stops_the_run(
    judged: JudgedStudies, tmp_path: Path, signer: Signer
) -> None:
    study = judged()

    def answered(reply: Answer) -> Answer:
        if len(study.server.bodies) > TRIED:
            reply["choices"][0]["prompt_token_ids"][0] += 1
        return reply

    study.server.mischief.answered = answered
    with pytest.raises(IntegrityError, match=r"the judge's server at .* cannot be believed"):
        run(study.served(), tmp_path / "bundle", signer)
    assert not (tmp_path / "bundle" / RECEIPT).exists()


def test_another_verdict_on_the_same_response_is_a_limit_of_the_receipt(
    judged: JudgedStudies, tmp_path: Path, signer: Signer
) -> None:
    study = judged()
    failing: list[list[int]] = []

    def before(handler: Any, body: Answer) -> bool:
        if not failing and len(study.server.bodies) > TRIED:
            failing.append(body["prompt"])
        if body["prompt"] not in failing:
            return False
        handler.give(400, {"error": {"message": "no"}})
        return True

    study.server.mischief.before = before
    with pytest.raises(IncompleteError, match=r"points failed .*judge_error"):
        run(study.served(), tmp_path / "bundle", signer, options=OPTIONS)

    begun = len(study.server.bodies)

    def answered(reply: Answer) -> Answer:
        choice = reply["choices"][0]
        judging = len(study.server.bodies) > begun + TRIED
        if judging and len(choice["token_ids"]) > 1:
            other = 20 if choice["token_ids"][0] != 20 else 21
            choice["token_ids"][0] = other
            choice["logprobs"]["tokens"][0] = f"token_id:{other}"
        return reply

    study.server.mischief = Mischief(answered=answered)
    options = RunOptions(memory=2**26, retry_failed=True, accept_unscored=True)
    run(study.served(), tmp_path / "bundle", signer, options=options)
    receipt = receipt_of(tmp_path / "bundle")
    account = receipt.environment.judge_server
    assert account is not None
    assert 0 < account.seen.differed < account.seen.repeated
    assert Limit.JUDGE_NOT_REPEATABLE in receipt.limits
    assert Limit.NOT_REPEATABLE not in receipt.limits


@pytest.mark.parametrize(
    ("judge", "said"),
    [
        (
            "kind: refusal-strings, server: {dialect: vllm, url: 'http://127.0.0.1:9'}",
            "refusal-strings generates nothing that a server could give: leave server out, or name "
            "kind wildguard or chat",
        ),
        (
            "kind: classifier, path: judge, server: {dialect: vllm, url: 'http://127.0.0.1:9'}",
            "classifier generates nothing that a server could give",
        ),
        (
            "kind: chat, name: a, base_url: 'http://a', server: {dialect: vllm, url: 'http://a'}",
            "leave base_url out",
        ),
        ("kind: chat, path: judge, server: {url: 'http://a'}", "a server needs a dialect: vllm"),
        ("kind: chat, path: judge, server: {dialect: vllm}", "a server needs url"),
        (
            "kind: chat, path: judge, server: {dialect: vllm, serve: {arguments: [--model, x]}}",
            "--model is not one of the arguments that may be given",
        ),
        (
            "kind: chat, path: judge, server: {dialect: llamacpp, serve: {weights: x.gguf}}",
            "x.gguf is not among the judge's files",
        ),
        ("kind: chat, path: judge, server: {dialect: openai, url: 'http://a'}", "dialect"),
        (
            "kind: chat, path: judge, server: {dialect: vllm, url: 'http://u:p@a'}",
            "holds no user, password",
        ),
    ],
)
def test_a_plan_that_names_a_judges_server_wrongly_is_told_how(
    judged: JudgedStudies, judge: str, said: str
) -> None:
    with pytest.raises(MalformedError, match="judge") as raised:
        judged().served(judge)
    assert said in raised.value.one_line()


def test_workers_are_refused_for_a_judge_that_asks_a_server(judged: JudgedStudies) -> None:
    study = judged()
    with pytest.raises(UsageError, match="the judge asks a server, which takes many requests"):
        refuse_served_judges(study.served().predicate)
    file = study.plan(study.entry())
    with pytest.raises(UsageError, match="the judge asks a server"):
        refuse_served_file(file, judges=True)
    refuse_served_file(file, judges=False)  # an audit judges with its own engine


def test_a_dry_run_says_which_server_will_judge(
    judged: JudgedStudies, receipts: Callable[..., Any]
) -> None:
    study = judged()
    plan = str(study.plan(study.entry()))
    shown = " ".join(receipts("plan", plan).out.split())
    asked = "judge's server vllm, at most 4 requests at a time, started by somebody else"
    assert f"{asked} at {study.server.url}, as model judge" in shown
    assert "limits judge-weights-claimed-not-seen: A judge asked a server" in shown
    assert "not the server's" not in shown  # responses are this machine's
    (named,) = json.loads(receipts("plan", plan, "--json").out)["servers"]
    assert (named["askedFor"], named["address"]) == ("verdicts", study.server.url)
    refuse_served_judges(study.local().predicate)


def test_another_model_than_the_plan_names_is_refused(
    judged: JudgedStudies, tmp_path: Path, signer: Signer
) -> None:
    study = judged()
    url = study.server.url
    resolved = study.served(study.entry(f"dialect: vllm, url: '{url}', model: other"))
    with pytest.raises(UsageError, match=r"the judge's server at .* offers no model") as it:
        run(resolved, tmp_path / "bundle", signer)
    assert "judge.server.model" in str(it.value.hint)
    assert QUICK.attempts == 3
