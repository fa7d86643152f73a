"""Receipts whose judge asked a server: shown, gated, compared, audited, judged again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from id_server import id_server
from served_judges import LEARNT, JudgedStudy, with_judge
from studies import write_jsonl
from tiny_judges import learnt_judge

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.keys import generate_key, write_key_pair
from safety_receipts.receipts.model.judge import JudgeKind
from safety_receipts.receipts.model.receipt import Limit
from safety_receipts.verify.compare.comparability import _engine
from safety_receipts.verify.gate.kinds import GateFacts
from safety_receipts.verify.gate.rules.judge import JudgeRule, decide_judge

Receipts = Callable[..., Any]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served-judges")
    for name in ("evaluator", "auditor"):
        write_key_pair(folder / name, generate_key())
    return folder


@pytest.fixture(scope="module")
def study(place: Path) -> Iterator[JudgedStudy]:
    """A study, and a server of its judge that somebody else started."""
    own = learnt_judge(place / "own", JudgeKind.CHAT, LEARNT)
    judge = with_judge(place / "study", own)
    with id_server(judge, model="judge") as server:
        yield JudgedStudy(server, place / "study", JudgeKind.CHAT, {"queries": 4, "controls": 1})


@pytest.fixture
def bundle(place: Path, study: JudgedStudy, receipts: Receipts) -> Path:
    """The study, run with the judge behind its server."""
    folder = place / "bundle"
    if folder.exists():
        return folder
    plan = study.plan(study.entry())
    found = receipts("run", str(plan), "--key", str(place / "evaluator"), "--out", str(folder))
    assert found.code in (0, 5), found.out + found.err
    return folder


def trusting(place: Path) -> tuple[str, str]:
    return "--trust", str(place / "evaluator.pub")


def test_what_is_claimed_of_a_judges_server_and_what_was_seen_are_shown_apart(
    place: Path, study: JudgedStudy, bundle: Path, receipts: Receipts
) -> None:
    shown = " ".join(receipts("show", str(bundle)).out.split())
    assert "judge's server vllm, at most 4 requests at a time, started by somebody else" in shown
    assert "claimed: version 0.32.0, model judge, weights model, context" in shown
    assert "judge-weights-claimed-not-seen" in shown
    assert study.server.url not in shown
    page = place / "page.html"
    assert receipts("report", str(bundle), *trusting(place), "--out", str(page)).code == 0
    text = page.read_text("utf-8")
    assert "judge's server" in text.replace("&#x27;", "'").replace("&#39;", "'")
    assert "judge weights claimed not seen" in text
    assert receipts("verify", str(bundle), *trusting(place)).code == 0


def test_a_gate_asks_who_started_a_judges_server_and_whether_it_repeats_itself(
    bundle: Path, place: Path, receipts: Receipts
) -> None:
    receipt = Bundle(bundle).receipt.statement.predicate
    account = receipt.environment.judge_server
    assert account is not None

    def found(rule: dict[str, Any], **seen: int) -> str:
        changed = account.model_copy(update={"seen": account.seen.model_copy(update=seen)})
        environment = receipt.environment.model_copy(update={"judge_server": changed})
        held = receipt.model_copy(update={"environment": environment})
        facts = GateFacts(verification=None, receipt=held, at=None)  # type: ignore[arg-type]
        decided = decide_judge(JudgeRule(rule="judge", calibrated=False, **rule), facts)
        assert decided.holds == (decided.found == decided_well)
        return decided.found

    decided_well = f"chat, digest {receipt.judge.digest[:16]}…"
    assert found({}) == decided_well
    assert found({"server": "none"}) == "a judge's server (vllm) answered"
    assert "weights are claimed, not seen" in found({"server": "started"})
    assert found({"repeatable": True}) == decided_well
    again = found({"repeatable": True}, differed=2)
    assert again == "its judge's server answered 2 requests otherwise the second time"
    policy = place / "policy.yaml"
    policy.write_text(
        "version: 1\nrules:\n"
        "  - {rule: instrument, allow: true}\n"
        "  - {rule: judge, calibrated: false, server: started}\n",
        "utf-8",
    )
    gated = receipts("gate", str(bundle), "--policy", str(policy), *trusting(place), "--json")
    assert gated.code == 1
    assert "judge's server answered that somebody else started" in gated.out


@pytest.mark.long
def test_an_audit_judges_with_the_auditors_own_weights(
    place: Path, study: JudgedStudy, bundle: Path, receipts: Receipts
) -> None:
    asked = len(study.server.bodies)
    plan = study.plan(study.entry())
    keys = ("--key", str(place / "auditor"), *trusting(place))
    terms = ("--rates", "conditions", "--json", "--artifacts", str(plan))
    result = receipts("audit", str(bundle), *keys, *terms)
    found = json.loads(result.out)
    assert len(study.server.bodies) == asked  # the judge's server was not
    assert found["pointsReplayed"] > 0
    assert sum(one["contradictions"] for one in found["conditions"]) == 0


def test_responses_are_judged_again_through_a_server_and_back(
    place: Path, study: JudgedStudy, bundle: Path, receipts: Receipts
) -> None:
    key = ("--key", str(place / "evaluator"))
    here, there = place / "judged-here", place / "judged-there"
    local = str(study.plan(study.entry(None)))
    first = receipts("rejudge", str(bundle), local, *key, "--out", str(here))
    assert first.code in (0, 5), first.out + first.err
    receipt = Bundle(here).receipt.statement.predicate
    assert receipt.environment.judge_server is None
    assert Limit.JUDGE_WEIGHTS_CLAIMED not in receipt.limits
    original = Bundle(bundle)
    labels = [record.judge and record.judge.raw for record in original.responses()]
    assert [record.judge and record.judge.raw for record in Bundle(here).responses()] == labels
    checked = receipts("verify", str(here), *trusting(place), "--original", str(bundle))
    assert checked.code == 0, checked.out
    # A bundle whose judge was a list of strings, judged by the server.
    plain = place / "plain"
    plan = str(study.plan("kind: refusal-strings"))
    assert receipts("run", plan, *key, "--out", str(plain)).code == 0
    asked = len(study.server.bodies)
    served = str(study.plan(study.entry()))
    again = receipts("rejudge", str(plain), served, *key, "--out", str(there))
    assert again.code in (0, 5), again.out + again.err
    assert len(study.server.bodies) > asked
    receipt = Bundle(there).receipt.statement.predicate
    assert receipt.environment.judge_server is not None
    assert receipt.environment.judge_server.seen.repeated == 8
    assert Limit.JUDGE_WEIGHTS_CLAIMED in receipt.limits
    checked = receipts("verify", str(there), *trusting(place), "--original", str(plain))
    assert checked.code == 0, checked.out


def test_a_judge_is_calibrated_through_its_server(
    place: Path, study: JudgedStudy, receipts: Receipts
) -> None:
    gold = place / "gold.jsonl"
    write_jsonl(
        gold,
        (
            {
                "query": exchange.query,
                "response": exchange.response,
                "label": "refused" if refused else "complied",
            }
            for exchange, refused in LEARNT.items()
        ),
    )
    asked = len(study.server.bodies)
    plan, out = str(study.plan(study.entry())), place / "calibration.json"
    found = receipts("judge", "calibrate", plan, "--gold", str(gold), "--out", str(out))
    assert found.code == 0, found.out + found.err
    assert len(study.server.bodies) > asked + len(LEARNT)
    calibration = json.loads(out.read_text("utf-8"))["calibration"]
    assert (calibration["truePositives"], calibration["trueNegatives"]) == (2, 2)


def test_evaluations_whose_judges_ask_other_servers_are_told_apart(study: JudgedStudy) -> None:
    class Setting:
        def __init__(self, plan: Any) -> None:
            self.plan = plan

    served, local = (Setting(one.predicate) for one in (study.served(), study.local()))
    assert _engine(served)["server of its judge"] == "vllm"  # type: ignore[arg-type]
    assert _engine(local)["server of its judge"] is None  # type: ignore[arg-type]
