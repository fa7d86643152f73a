"""Audits that hold recorded responses against a server's log-probabilities: no weights here.

The server is a real one, over HTTP, around this project's engine; what it cannot show is that it
runs the named weights, so that the most that such an audit says is ``consistent_with``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from auditing import GREEDY, Event, make_event, run_event
from dishonest import Pair, seal_again
from id_server import Answer, IdServer, Mischief, always, drop, id_server

from safety_receipts.receipts.bundle import AUDITS, Bundle
from safety_receipts.receipts.dsse import Envelope
from safety_receipts.receipts.keys import generate_key, write_key_pair
from safety_receipts.receipts.model.audit import AuditMethod, AuditPredicate, AuditVerdict
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.plan import EngineKind
from safety_receipts.receipts.model.point import Outcome, Point, RestrictedRecord
from safety_receipts.receipts.model.statement import AUDIT_TYPE
from safety_receipts.runner import organism
from safety_receipts.runner.engines.engine import UnbelievableServerError
from safety_receipts.runner.engines.served.http_engine import HttpEngine
from safety_receipts.verify.audit import run as audits

Receipts = Callable[..., Any]
QUERIES = 40
SCORED = ("--score-by-server", "--rates", "conditions", "--epsilon", "0.3")
ALL = ("--epsilon", "0.01")
"""Draws every point: a few could by chance all be ones of which both members think alike."""


@pytest.fixture(scope="module")
def event(tmp_path_factory: pytest.TempPathFactory) -> Event:
    """A greedy event that the engine of this process wrote."""
    made = make_event(
        tmp_path_factory.mktemp("event"),
        queries=QUERIES,
        sampling=GREEDY,
        experiment="fixed_harmful: {harmful: [0], benign: [0, 16]}",  # where members differ
    )
    write_key_pair(made.folder / "auditor", generate_key(), None)
    return made


@pytest.fixture(scope="module")
def server(event: Event) -> Iterator[IdServer]:
    """A server of the named weights."""
    with id_server(event.study / "checkpoint") as found:
        yield found


@pytest.fixture
def behaves(server: IdServer) -> Iterator[IdServer]:
    """The server, which behaves again after a test."""
    yield server
    server.mischief = Mischief()


def asking(study: Path, server: IdServer, dialect: str = "vllm", *, dtype: str = "float32") -> Path:
    """Write the auditor's plan file: the same study, and a server of theirs."""
    entry = f"engine: {{kind: http, dialect: {dialect}, url: '{server.url}', model: model}}\n"
    text = (study / "plan.yaml").read_text("utf-8").replace("dtype: float32", f"dtype: {dtype}")
    plan = study / f"{dialect}-{dtype}-{server.url.rpartition(':')[2]}.yaml"
    plan.write_text(text.replace("checkpoint:\n", f"{entry}checkpoint:\n", 1), "utf-8")
    return plan


def words(event: Event, bundle: Path, plan: Path, *more: str) -> list[str]:
    keys = ("--key", event.folder / "auditor", "--trust", event.key, "--artifacts", plan)
    return [str(word) for word in ("audit", bundle, *keys, *SCORED, *more)]


def result_of(bundle: Path) -> AuditPredicate:
    """Return the only result in a bundle."""
    [found] = [
        json.loads(envelope.payload)
        for envelope in map(_envelope, Bundle(bundle).audit_files())
        if json.loads(envelope.payload)["predicateType"] == AUDIT_TYPE
    ]
    return AuditPredicate.model_validate_json(json.dumps(found["predicate"]))


def _envelope(path: Path) -> Envelope:
    return Envelope.from_json(path.read_bytes(), file=path)


def announced(bundle: Path) -> list[Path]:
    return list((bundle / AUDITS).glob("*")) if (bundle / AUDITS).exists() else []


@pytest.mark.long
def test_an_honest_receipt_is_consistent_with_a_servers_scores_and_no_more(
    event: Event, behaves: IdServer, tmp_path: Path, receipts: Receipts
) -> None:
    bundle = event.copy(tmp_path / "bundle")
    plan = asking(event.study, behaves)
    before = behaves.scored
    found = receipts(*words(event, bundle, plan))
    assert (found.code, "CONSISTENT_WITH" in found.out) == (0, True), found
    told = " ".join(found.out.split())
    assert "scored by a server: nothing ties the server's model to the named weights" in told
    assert "identity of the server's model with that of the responses: passed" in told
    assert "model identity: passed" not in told
    assert "server: vllm, at most 16 requests at a time, started by somebody else" in told
    assert behaves.scored - before > 40
    result = result_of(bundle)
    assert (result.method, result.verdict) == (
        AuditMethod.SERVER_SCORES,
        AuditVerdict.CONSISTENT_WITH,
    )
    assert all(rate.contradictions == 0 for rate in result.conditions)
    assert result.environment.engine is EngineKind.HTTP
    account = result.environment.server
    assert account is not None
    assert (account.claimed.version, account.started) == ("0.32.0", False)
    assert (account.seen.repeated, account.seen.differed) == (8, 0)
    assert "Nothing ties the server's model to the named weights" in result.guarantee
    assert any("neither was seen" in said for said in result.assumptions)
    assert behaves.url not in result.model_dump_json()
    assert_read(event, bundle, tmp_path, receipts)


def assert_read(event: Event, bundle: Path, folder: Path, receipts: Receipts) -> None:
    """Hold what readers, pages and gates make of such an audit to its limits."""
    shown = " ".join(receipts("show", bundle).out.split())
    assert "consistent_with; 2 claims on rates, by server_scores" in shown
    trust = ("--trust", event.key, "--trust-auditor", event.folder / "auditor.pub")
    verified = receipts("verify", bundle, *trust, "--json")
    assert verified.code == 0
    document = json.loads(verified.out)
    methods = {(one["form"], one["method"], one["verdict"]) for one in document["audits"]}
    assert methods == {(form, "server_scores", "consistent_with") for form in ("full", "public")}
    details = [one["detail"] for one in document["checks"]]
    assert any("scored by a server: nothing ties the server's model" in one for one in details)
    page = folder / "page.html"
    assert receipts("report", bundle, *trust, "--out", page).code == 0
    text = page.read_text("utf-8")
    assert "Scored by a server: nothing ties the server's model to the named weights" in text
    policy = folder / "policy.yaml"
    for accepted, code, said in (
        ("", 1, "says consistent_with"),
        ("verdicts: [consistent_with], ", 1, "not that these are the named weights"),
        ("verdicts: [consistent_with], identity: false, ", 0, ""),
    ):
        rule = f"rule: audit, {accepted}epsilon: 0.3, calibrated: false, sources: false"
        policy.write_text(
            f"version: 1\nrules:\n  - {{{rule}, controls: false}}\n"
            "  - {rule: instrument, allow: true}\n",
            "utf-8",
        )
        gated = receipts("gate", bundle, "--policy", policy, *trust, "--json")
        assert (gated.code, said in gated.out) == (code, True), gated.out


def test_a_receipt_that_a_server_wrote_is_held_against_it_or_another(
    event: Event, behaves: IdServer, tmp_path: Path, receipts: Receipts
) -> None:
    plan = asking(event.study, behaves)
    written = run_event(plan, tmp_path / "written")
    write_key_pair(written.folder / "auditor", generate_key(), None)
    with id_server(event.study / "checkpoint", dtype=Dtype.BFLOAT16) as coarse:
        # Near ties of another number format: its limits, and not those of fp32, hold.
        other = asking(event.study, coarse, dtype="bfloat16")
        for name, file in (("same", plan), ("coarse", other)):
            bundle = written.copy(tmp_path / name)
            found = json.loads(receipts(*words(written, bundle, file, "--json")).out)
            assert (found["verdict"], found["method"]) == ("consistent_with", "server_scores")
    assert result_of(tmp_path / "coarse").environment.dtype is Dtype.BFLOAT16


def test_another_model_behind_the_auditors_server_refutes_nothing(
    event: Event, tmp_path: Path, receipts: Receipts
) -> None:
    bundle = event.copy(tmp_path / "bundle")
    with id_server(organism.member("amplifying").folder) as other:
        found = receipts(*words(event, bundle, asking(event.study, other), *ALL, "--json"))
    assert found.code == 5
    result = result_of(bundle)
    assert result.verdict is AuditVerdict.INCONCLUSIVE
    assert {rate.verdict for rate in result.conditions} <= {
        AuditVerdict.CONSISTENT_WITH,
        AuditVerdict.INCONCLUSIVE,
    }
    counted = [rate for rate in result.conditions if rate.contradictions]
    assert counted
    assert all(rate.implausible > 0 and rate.hard_contradictions == 0 for rate in counted)
    assert result.identity is not None
    assert not result.identity.passed
    assert "Log-probabilities of a server refute nothing" in result.guarantee
    trust = ("--trust", event.key, "--trust-auditor", event.folder / "auditor.pub")
    verified = json.loads(receipts("verify", bundle, *trust, "--json").out)
    assert verified["verdict"] == "passed"  # it says nothing for or against the receipt


@pytest.mark.parametrize("how", ["another model answered", "responses were reworded"])
def test_a_false_record_under_the_true_key_is_not_consistent(
    how: str, event: Event, behaves: IdServer, tmp_path: Path, receipts: Receipts
) -> None:
    bundle = tmp_path / "bundle"
    if how == "another model answered":
        # The evaluator's plan names this folder; behind the server's name stands another.
        with id_server(organism.member("amplifying").folder) as other:
            made = run_event(asking(event.study, other), tmp_path / "made")
        write_key_pair(made.folder / "auditor", generate_key(), None)
        made.copy(bundle)
    else:
        made, spare = event, _refusals_of_another(tmp_path)
        event.copy(bundle)

        def reword(point: Point, record: RestrictedRecord) -> Pair:
            tokens, text = spare.get(len(record.response_tokens), ((), ""))
            if point.outcome is not Outcome.REFUSED or not tokens:
                return point, record
            return point, record.model_copy(update={"response_tokens": tokens, "text": text})

        seal_again(bundle, event.signer, reword)
    plan = asking(event.study, behaves)
    found = json.loads(receipts(*words(made, bundle, plan, *ALL, "--json")).out)
    assert found["verdict"] == "inconclusive", found
    assert found["identity"]["passed"] is False
    outcomes = result_of(bundle).outcomes
    assert outcomes is not None
    assert outcomes.contradictions > 5, outcomes
    assert outcomes.hard_contradictions == 0


def _refusals_of_another(folder: Path) -> dict[int, tuple[tuple[int, ...], str]]:
    """Return refusals that the organism draws and would not choose, by their length."""
    drawn = make_event(folder / "drawn", queries=QUERIES)
    return {
        len(record.response_tokens): (record.response_tokens, record.text or "")
        for point, record in drawn.entries()
        if point.outcome is Outcome.REFUSED
    }


def without_scores(reply: Answer) -> Answer:
    reply["choices"][0]["prompt_logprobs"] = None
    return reply


def only_own(body: Answer) -> Answer:
    return body | {"prompt_logprobs": 0} if "prompt_logprobs" in body else body


def all_likeliest(reply: Answer) -> Answer:
    for place in reply["choices"][0]["prompt_logprobs"] or ():
        for one in (place or {}).values():
            one["logprob"], one["rank"] = -0.5, 1
    return reply


@pytest.mark.parametrize(
    ("mischief", "said"),
    [
        (Mischief(answered=without_scores), "gives no log-probability for each token"),
        (Mischief(asked=only_own), "does not give the likeliest token beside a prompt's own"),
        (Mischief(answered=all_likeliest), "calls each token of a made-up response its likeliest"),
        (
            Mischief(stated_context=40),
            "context is 40 tokens, and the longest response to be scored",
        ),
        (Mischief(penalty=1.5), "applies a penalty or a bias"),
        (Mischief(before=always(drop)), "does not answer"),
    ],
    ids=["none", "own alone", "all the likeliest", "short", "penalty", "gone"],
)
def test_a_server_that_cannot_score_is_refused_before_anything_is_announced(
    *,
    mischief: Mischief,
    said: str,
    event: Event,
    behaves: IdServer,
    tmp_path: Path,
    receipts: Receipts,
) -> None:
    bundle, plan = event.copy(tmp_path / "bundle"), asking(event.study, behaves)
    behaves.mischief = mischief
    found = receipts(*words(event, bundle, plan))
    assert found.code in (2, 5)
    assert said in found.err, found
    assert announced(bundle) == []


def test_what_no_server_could_say_is_refused_in_one_line(
    event: Event, server: IdServer, tmp_path: Path, receipts: Receipts
) -> None:
    bundle, plan = event.copy(tmp_path / "bundle"), asking(event.study, server)
    llama = asking(event.study, server, "llamacpp")
    own = event.study / "plan.yaml"
    for file, more, said in (
        (own, (), "--score-by-server needs a server, and the plan file names none"),
        (llama, (), "gives no log-probabilities of prompts (ask a server of the dialect vllm"),
        (plan, ("--workers", "2"), "and no --workers"),
        (plan, ("--regenerate",), "one audit does one of them"),
    ):
        found = receipts(*words(event, bundle, file, *more))
        assert (found.code, found.out) == (2, "")
        assert said in found.err.splitlines()[-1]
        assert receipts(*words(event, bundle, file, *more, "--dry-run")).code == 2
    assert announced(bundle) == []


@pytest.mark.parametrize(
    ("sampling", "said"),
    [
        ("{method: seeded, temperature: 1.0, max_new_tokens: 24}", "do not say of drawn tokens"),
        (
            "{method: greedy, max_new_tokens: 24, repetition_penalty: 1.1}",
            "do not say of penalised tokens",
        ),
    ],
    ids=["drawn", "penalised"],
)
def test_drawn_and_penalised_responses_are_for_the_auditors_own_engine(
    sampling: str, said: str, server: IdServer, tmp_path: Path, receipts: Receipts
) -> None:
    made = make_event(tmp_path / "made", queries=8, sampling=sampling)
    write_key_pair(made.folder / "auditor", generate_key(), None)
    found = receipts(*words(made, made.bundle, asking(made.study, server)))
    assert (found.code, said in found.err) == (5, True), found
    assert "without --score-by-server" in found.err
    assert announced(made.bundle) == []


@contextmanager
def after(server: IdServer, requests: int, act: Callable[[Any], None]) -> Iterator[None]:
    """Let a server misbehave after so many scored responses, from now on."""
    wanted = server.scored + requests

    def before(handler: Any, body: Answer) -> bool:
        if server.scored < wanted or "prompt_logprobs" not in body:
            return False
        act(handler)
        return True

    server.mischief = Mischief(before=before)
    yield
    server.mischief = Mischief()


def nonsense(handler: Any) -> None:
    handler.give(200, {"choices": [{"token_ids": [1], "finish_reason": "length"}]})


@pytest.mark.parametrize(
    ("act", "said"),
    [(drop, "does not answer"), (nonsense, "cannot be believed")],
    ids=["gone", "lies"],
)
def test_a_server_that_goes_or_lies_keeps_what_was_scored_and_says_nothing_of_the_record(
    *,
    act: Callable[[Any], None],
    said: str,
    event: Event,
    behaves: IdServer,
    tmp_path: Path,
    receipts: Receipts,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(audits, "PART", 8)
    bundle, plan = event.copy(tmp_path / "bundle"), asking(event.study, behaves)
    with after(behaves, 60, act):  # the trial's among them
        stopped = receipts(*words(event, bundle, plan))
    assert (stopped.code, said in stopped.err) == (5, True), stopped
    [journal] = (bundle / AUDITS).glob("*.replayed.jsonl")
    kept = sum('"id"' in line for line in journal.read_text("utf-8").splitlines())
    assert kept >= 8
    before = behaves.scored
    found = receipts(*words(event, bundle, plan))
    assert (found.code, "going on with audit" in found.err) == (0, True), found
    result = result_of(bundle)
    points = len({*result.drawn, *result.identity_drawn})
    assert behaves.scored - before <= points - kept + 20  # and those of the trial
    account = result.environment.server
    assert account is not None
    assert account.seen.repeated == 16  # tried before each part of it
    assert (account.seen.resent > 0) is (act is drop)
    assert journal.exists() is False


def test_nothing_is_signed_where_another_process_took_the_place_of_a_started_server(
    event: Event,
    behaves: IdServer,
    tmp_path: Path,
    receipts: Receipts,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def confirm(_: HttpEngine) -> None:
        raise UnbelievableServerError("the server cannot be believed: another process is there")

    monkeypatch.setattr(HttpEngine, "confirm", confirm)
    bundle, plan = event.copy(tmp_path / "bundle"), asking(event.study, behaves)
    stopped = receipts(*words(event, bundle, plan))
    assert (stopped.code, "another process is there" in stopped.err) == (5, True), stopped
    monkeypatch.undo()
    assert len(list((bundle / AUDITS).glob("*.replayed.jsonl"))) == 1  # it is not over


def test_a_killed_client_goes_on_with_the_same_points(
    event: Event,
    behaves: IdServer,
    tmp_path: Path,
    receipts: Receipts,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(audits, "PART", 8)
    bundle, plan = event.copy(tmp_path / "bundle"), asking(event.study, behaves)
    kill = (
        "import os, signal\n"
        "from safety_receipts.verify.audit import replay as r, run as a\n"
        "a.PART, honest, calls = 8, r.Replayer.replay, []\n"
        "def replay(self, entries):\n"
        "    calls.append(1)\n"
        "    if len(calls) == 4:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return honest(self, entries)\n"
        "r.Replayer.replay = replay\n"
        "from safety_receipts.receipts.cli import main\nmain()"
    )
    command = [sys.executable, "-c", kill, *words(event, bundle, plan)]
    ended = subprocess.run(command, env=dict(os.environ), check=False, capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    found = receipts(*words(event, bundle, plan))
    assert (found.code, "going on with audit" in found.err) == (0, True), found
    killed = result_of(bundle)
    whole = event.copy(tmp_path / "whole")
    nonce = killed.challenge.nonce
    assert nonce is not None
    assert receipts(*words(event, whole, plan, "--nonce", nonce)).code == 0
    again = result_of(whole)
    same = ("conditions", "drawn", "identity_drawn", "outcomes", "identity", "verdict")
    assert [getattr(killed, name) for name in same] == [getattr(again, name) for name in same]


def test_new_responses_of_a_receipt_of_ones_own_engine_come_from_the_auditors_server(
    event: Event, behaves: IdServer, tmp_path: Path, receipts: Receipts
) -> None:
    bundle, plan = event.copy(tmp_path / "bundle"), asking(event.study, behaves)
    asked = len(behaves.prompts)
    given = words(event, bundle, plan, "--regenerate", "--json")
    given.remove("--score-by-server")
    found = json.loads(receipts(*given).out)
    assert found["verdict"] == "consistent_with"
    assert len(behaves.prompts) > asked
    assert result_of(bundle).environment.server is not None


def test_the_study_is_one_that_refuses(event: Event) -> None:
    """Otherwise nothing above is tested: recorded refusals are what is drawn."""
    refused = sum(point.outcome is Outcome.REFUSED for point, _ in event.entries())
    assert refused > len(event.entries()) // 2
