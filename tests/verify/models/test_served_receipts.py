"""Receipts whose responses a server gave: shown, gated, replayed, asked anew; and doctor."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import id_server as id_server_module
import pytest
from id_server import IdServer, Mischief, id_server
from studies import write_study

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.keys import generate_key, write_key_pair
from safety_receipts.verify.gate.servers import answering_problems

Receipts = Callable[..., Any]
SEEDED = "{method: seeded, temperature: 0.9, max_new_tokens: 6}"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served-receipts")
    for name in ("evaluator", "auditor"):
        write_key_pair(folder / name, generate_key())
    write_study(folder / "greedy")
    return folder


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[IdServer]:
    with id_server(place / "greedy" / "model") as found:
        yield found


def sealed(place: Path, server: IdServer, receipts: Receipts, name: str, **settings: str) -> Path:
    """Return the bundle of a study, run on the server once."""
    bundle = place / f"{name}-bundle"
    if not bundle.exists():
        entry = f"engine: {{kind: http, dialect: vllm, url: '{server.url}', model: model}}\n"
        plan = write_study(place / name, more=entry, **settings)  # type: ignore[arg-type]
        key = str(place / "evaluator")
        assert receipts("run", str(plan), "--key", key, "--out", str(bundle)).code == 0
    return bundle


def audit(place: Path, receipts: Receipts, bundle: Path, name: str, *more: str) -> Any:
    keys = ("--key", str(place / "auditor"), "--trust", str(place / "evaluator.pub"))
    plan = str(place / name / "plan.yaml")
    terms = ("--rates", "conditions", "--json", "--artifacts", plan)
    return receipts("audit", str(bundle), *keys, *terms, *more)


@pytest.mark.long
def test_a_served_receipt_is_replayed_by_the_auditors_own_engine(
    place: Path, server: IdServer, receipts: Receipts
) -> None:
    bundle = sealed(place, server, receipts, "greedy")
    asked = len(server.bodies)
    found = json.loads(audit(place, receipts, bundle, "greedy").out)
    assert len(server.bodies) == asked  # the server was not
    assert found["identity"]["passed"] is True
    assert sum(one["contradictions"] for one in found["conditions"]) == 0
    assert found["pointsReplayed"] > 0


def test_drawn_responses_of_a_server_are_not_replayed_but_asked_anew(
    place: Path, server: IdServer, receipts: Receipts
) -> None:
    bundle = sealed(place, server, receipts, "seeded", sampling=SEEDED)
    refused = audit(place, receipts, bundle, "seeded")
    assert refused.code == 5
    assert "noise of its own" in refused.out
    assert "--regenerate" in refused.out
    asked = len(server.bodies)
    found = json.loads(audit(place, receipts, bundle, "seeded", "--regenerate").out)
    assert found["verdict"] in ("consistent_with", "inconclusive")
    assert len(server.bodies) > asked


def test_what_is_claimed_and_what_was_seen_are_shown_apart(
    place: Path, server: IdServer, receipts: Receipts
) -> None:
    bundle = sealed(place, server, receipts, "greedy")
    shown = " ".join(receipts("show", str(bundle)).out.split())
    assert "started by somebody else: which weights answered was not seen" in shown
    assert "claimed: version 0.32.0, model model, weights model, context" in shown
    assert "seen: gave the prompts' token ids back; chose its likeliest tokens" in shown
    assert "drew by the seed" not in shown  # a greedy run tries none
    drawn = sealed(place, server, receipts, "seeded", sampling=SEEDED)
    seen = " ".join(receipts("show", str(drawn)).out.split())
    assert "gave the prompts' token ids back; drew by the seed it was given;" in seen
    assert "8 requests answered twice, 0 otherwise" in shown
    assert "weights-claimed-not-seen" in shown
    assert server.url not in shown
    assert "0 restarts" in shown
    trust = ("--trust", str(place / "evaluator.pub"))
    page = place / "page.html"
    assert receipts("report", str(bundle), *trust, "--out", str(page)).code == 0
    text = page.read_text("utf-8")
    assert "which weights answered was not seen" in text
    assert "weights claimed not seen" in text
    # What a server claims is held to nothing but its own account.
    [claimed] = re.findall(r"<dd><bdi>claimed: (.*?)</dd>", text)
    bound = re.findall(r'data-at="([^"]*)"', claimed)
    assert bound
    assert all(place.startswith("/r/environment/server/") for place in bound)


def test_a_verification_says_that_a_server_answered(
    place: Path, server: IdServer, receipts: Receipts
) -> None:
    bundle = sealed(place, server, receipts, "greedy")
    words = ("verify", str(bundle), "--trust", str(place / "evaluator.pub"))
    shown = " ".join(receipts(*words).out.split())
    assert "server vllm, started by somebody else: which weights answered was not seen" in shown
    found = json.loads(receipts(*words, "--json").out)
    stated = {"askedFor": "responses", "dialect": "vllm", "started": False}
    assert found["subject"]["servers"] == [stated]


def test_an_audit_is_told_what_cannot_be_before_anything_is_hashed(
    place: Path, server: IdServer, receipts: Receipts
) -> None:
    bundle = sealed(place, server, receipts, "seeded", sampling=SEEDED)
    bad = place / "no-calibration.json"
    bad.write_text("{", "utf-8")
    for more, said in (
        (("--regenerate", "--workers", "2"), "leave --workers out"),
        (("--regenerate", "--calibration", str(bad)), "no-calibration.json"),
    ):
        refused = audit(place, receipts, bundle, "seeded", *more)
        assert refused.code == 2
        assert said in refused.out
        assert "hashing" not in refused.err


def test_an_audit_with_new_responses_says_that_points_were_asked_again(
    place: Path, server: IdServer, receipts: Receipts
) -> None:
    bundle = sealed(place, server, receipts, "seeded", sampling=SEEDED)
    keys = ("--key", str(place / "auditor"), "--trust", str(place / "evaluator.pub"))
    terms = ("--rates", "conditions", "--artifacts", str(place / "seeded" / "plan.yaml"))
    found = receipts("audit", str(bundle), *keys, *terms, "--regenerate", "--new")
    lines = found.out.splitlines()
    begins = next(number for number, line in enumerate(lines) if line.startswith("server: vllm"))
    assert lines[begins + 1].startswith("  claimed: ")
    assert any(line.startswith("  seen: ") for line in lines)
    assert "points asked again" in " ".join(found.out.split())
    assert "points replayed" not in found.out


def test_a_calibration_says_that_it_asks_no_server(
    place: Path, server: IdServer, receipts: Receipts
) -> None:
    sealed(place, server, receipts, "greedy")
    asked = len(server.bodies)
    plan, out = str(place / "greedy" / "plan.yaml"), str(place / "calibration.json")
    found = receipts("calibrate", plan, "--key", str(place / "auditor"), "--out", out)
    assert "the plan's server is not asked" in found.err
    assert "points are too few to calibrate on" in found.err
    assert len(server.bodies) == asked


def test_a_gate_asks_who_started_the_server_and_whether_it_repeats_itself(
    place: Path, server: IdServer, receipts: Receipts
) -> None:
    bundle = sealed(place, server, receipts, "greedy")
    account = Bundle(bundle).receipt.statement.predicate.environment.server
    assert account is not None

    def said(
        started: bool = False, differed: int = 0, server: Any = None, repeatable: bool = False
    ) -> list[str]:
        seen = account.seen.model_copy(update={"differed": differed})
        held = account.model_copy(update={"started": started, "seen": seen})
        return list(answering_problems(held, accepted=server, repeatable=repeatable))

    assert said() == []
    assert said(server="none") == ["a server (vllm) answered"]
    assert said(started=True, server="none") != []
    assert "claimed, not seen" in said(server="started")[0]
    assert said(started=True, server="started") == []
    assert said(differed=1) == []
    assert "1 request otherwise" in said(differed=1, repeatable=True)[0]
    assert list(answering_problems(None, accepted="none", repeatable=True)) == []


def doctor(receipts: Receipts, url: str, *more: str) -> tuple[int, dict[str, dict[str, Any]]]:
    found = receipts("doctor", "--json", "--server", url, *more)
    document = json.loads(found.out)
    assert {line["section"] for line in document["lines"]} == {"server"}
    return found.code, {line["name"]: line for line in document["lines"]}


def test_doctor_tells_what_a_server_can(server: IdServer, receipts: Receipts) -> None:
    code, lines = doctor(receipts, server.url)
    assert code == 0
    assert lines["dialect"]["detail"] == "vllm"
    good = ("token ids", "penalties", "seeds", "repeatable")
    assert [lines[name]["good"] for name in good] == [True] * 4
    assert "0 of 8 greedy answers differ" in lines["repeatable"]["detail"]


def test_doctor_tells_what_a_server_cannot(server: IdServer, receipts: Receipts) -> None:
    server.mischief = Mischief(penalty=1.4)
    try:
        code, lines = doctor(receipts, server.url)
    finally:
        server.mischief = Mischief()
    assert code == 5
    assert lines["penalties"]["good"] is False
    assert lines["token ids"]["good"] is lines["seeds"]["good"] is True
    server.mischief = Mischief(seeds=False)
    try:
        code, lines = doctor(receipts, server.url)
    finally:
        server.mischief = Mischief()
    assert (code, lines["seeds"]["good"], lines["penalties"]["good"]) == (5, False, True)
    assert "two answers to one request with one seed" in lines["seeds"]["detail"]
    code, lines = doctor(receipts, server.url, "--server-model", "other")
    assert (code, lines["model"]["good"]) == (5, False)
    code, lines = doctor(receipts, "http://127.0.0.1:9")
    assert (code, list(lines)) == (5, ["connection"])
    assert receipts("doctor", "--server-model", "other").code == 2


def of_gets(
    monkeypatch: pytest.MonkeyPatch, said: Callable[[str], tuple[int, dict[str, Any]]]
) -> None:
    """Let a server answer what is asked of itself otherwise, by its path."""
    monkeypatch.setattr(
        id_server_module._Handler, "do_GET", lambda self: self.give(*said(self.path))
    )


@pytest.mark.parametrize("open_path", ["/version", None])
def test_doctor_says_that_a_server_wants_a_key(
    server: IdServer,
    receipts: Receipts,
    monkeypatch: pytest.MonkeyPatch,
    open_path: str | None,
) -> None:
    def said(path: str) -> tuple[int, dict[str, Any]]:
        return (200, {"version": "0.32.0"}) if path == open_path else (401, {})

    of_gets(monkeypatch, said)
    code, lines = doctor(receipts, server.url)
    [(name, line)] = lines.items()
    assert (code, name) == (5, "model" if open_path else "dialect")
    assert line["detail"] == (
        "it answered 401: it wants a key, or another one (RECEIPTS_SERVER_KEY)"
    )


def test_doctor_says_what_a_server_does_not_say(
    server: IdServer, receipts: Receipts, monkeypatch: pytest.MonkeyPatch
) -> None:
    props = {"model_path": "/x/m.gguf", "model_alias": "m", "eos_token": "</s>"}
    of_gets(monkeypatch, lambda path: (200, props) if path == "/props" else (404, {}))
    code, lines = doctor(receipts, server.url)
    assert code == 5
    assert lines["end tokens"]["detail"] == (
        "it answered 404 where servers of its kind name their end tokens"
    )


def test_doctor_tries_the_log_probabilities_of_prompts(
    server: IdServer, receipts: Receipts
) -> None:
    _, lines = doctor(receipts, server.url)
    given = lines["prompt log-probabilities"]
    assert (given["good"], given["detail"]) == (True, "given")

    def own(reply: dict[str, Any]) -> dict[str, Any]:
        for place in reply["choices"][0]["prompt_logprobs"] or ():
            for one in (place or {}).values():
                one["logprob"] = -0.5
        return reply

    server.mischief = Mischief(answered=own)
    try:
        code, lines = doctor(receipts, server.url)
    finally:
        server.mischief = Mischief()
    given = lines["prompt log-probabilities"]
    assert (code, given["good"]) == (0, None)
    assert given["detail"].startswith("not given: ")
    assert "calls each token of a made-up response its likeliest" in given["detail"]
