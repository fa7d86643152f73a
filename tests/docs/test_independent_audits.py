"""The second verifier derives what audits say of findings, and refuses what does not follow."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.events.synthetic import ENVIRONMENT
from safety_receipts.receipts.model.audit import (
    AuditPredicate,
    AuditStartPredicate,
    PublicAuditPredicate,
)
from safety_receipts.verify.audit.sealed.problems import result_problems
from safety_receipts.verify.audit.statistics.findings import breakdowns_of

Audit = dict[str, Any]
Change = Callable[[Audit, Audit], object]
RECEIPT = Bundle(
    Path(__file__).parents[1] / "golden" / "known-answer" / "diluting"
).receipt.statement.predicate
WIRE = RECEIPT.to_wire()
JOINT = breakdowns_of(RECEIPT)["joint"]
SHARE = JOINT.share
"""What the joint finding stands: 0.089."""
WAYS = ("not_understated", "not_overstated")
BEST = {"replay": "confirmed", "server_scores": "consistent_with", "regenerate": "consistent_with"}


@pytest.fixture(scope="module")
def second() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        module = importlib.import_module("independent_audits")
        known = module.stands(WIRE)
        patch.setattr(module, "stands", lambda receipt: known)  # a second each time
        yield module


def honest(method: str = "replay", *, public: bool = False) -> tuple[Audit, Audit]:
    """Return an announcement and a result that confirms the joint finding."""
    rates = {condition.id: condition.compliance_rate for condition in RECEIPT.conditions}
    ways = [(id_, way) for id_ in JOINT.conditions for way in WAYS]
    terms: Audit = {
        "receipt": {"digest": "a" * 64},
        "challenge": {"kind": "nonce", "nonce": "b" * 64, "beacon": None},
        "epsilon": SHARE,
        "alpha": "0.05",
        "expectedFlipRate": "0.005",
        "calibration": None,
        "budget": {"maxPoints": None},
        "method": method,
        "identityPoints": 60,
        "findings": ["joint"],
    }
    start = terms | {
        "auditor": None,
        "startedAt": "2026-02-01T00:00:00Z",
        "rates": [{"condition": id_, "direction": way} for id_, way in ways],
        "tool": "test",
    }
    drawn = [f"{number:064x}" for number in range(60)]
    lists = {} if public else {"contradicted": [], "hard": []}
    result = terms | {
        "start": {"digest": "c" * 64},
        "knownStarts": 1,
        "beaconValue": None,
        "finishedAt": "2026-02-01T01:00:00Z",
        "verdict": BEST[method],
        "identity": identity(),
        "pointsTotal": RECEIPT.evidence.size,
        "checks": [],
        "environment": ENVIRONMENT.to_wire(),
        "findingVerdicts": [{"finding": "joint", "share": SHARE, "verdict": BEST[method]}],
        "guarantee": "none",
        "assumptions": [],
        "conditions": [rate(id_, way, BEST[method], rates[id_]) | lists for id_, way in ways],
        "drawn": 0 if public else [],
        "identityDrawn": len(drawn) if public else drawn,
        "outcomes": outcomes() | lists,
        "secondJudge": second_judge(BEST[method], lists),
    }
    return start, result | ({"full": None} if public else {"blinding": None})


def rate(id_: str, way: str, verdict: str, recorded: str | None) -> Audit:
    return {
        "id": id_,
        "direction": way,
        "recordedRate": recorded,
        "recorded": 100,
        "hidden": 10,
        **dict.fromkeys(("draws", "contradictions", "implausible", "ambiguous", "missing"), 0),
        "hardContradictions": 0,
        "pValue": "0.01",
        "refutingPValue": "1",
        "verdict": verdict,
        "reason": None,
        "source": None,
        "control": None,
    }


def identity() -> Audit:
    return {
        "statistic": "mean clipped margin",
        "responses": 60,
        "pValue": None,
        "level": "0.01",
        "power": None,
        "passed": True,
        "mean": "0.000000",
        "powers": [],
    }


def outcomes() -> Audit:
    counts = dict.fromkeys(("contradictions", "hardContradictions", "falseLabels"), 0)
    of = {"recorded": 1000, "hidden": 50, "draws": 60}
    return of | counts | {"pValue": "1", "refutingPValue": "1"}


def second_judge(verdict: str, lists: Audit) -> Audit:
    said = {"recorded": 100, "hidden": 10, "verdict": verdict}
    drawn = {"draws": 60, "contradictions": 0, "pValue": "0.01", "contradicted": []}
    return said | (drawn if lists else {})


def believed(start: Audit, result: Audit) -> bool:
    """Say whether the product believes it."""
    model = PublicAuditPredicate if "full" in result else AuditPredicate
    read = model.model_validate_json(json.dumps(result))
    announced = AuditStartPredicate.model_validate_json(json.dumps(start))
    return not list(result_problems(read, announced, RECEIPT))


def follows(second: ModuleType, start: Audit, result: Audit) -> bool:
    """Say whether the second verifier does."""
    try:
        second.check_audit(result, start, WIRE)
    except ValueError:
        return False
    return True


def both(second: ModuleType, start: Audit, result: Audit) -> bool:
    found = believed(start, result)
    assert follows(second, start, result) is found
    return found


@pytest.mark.parametrize("public", [False, True])
@pytest.mark.parametrize("method", BEST)
def test_what_follows_is_believed_of_each_method_in_either_form(
    second: ModuleType, method: str, public: bool
) -> None:
    assert both(second, *honest(method, public=public))


def without(place: int) -> Change:
    """Leave a rate out, of announcement and result alike."""

    def change(start: Audit, result: Audit) -> None:
        del start["rates"][place], result["conditions"][place]

    return change


def part_alone(start: Audit, result: Audit) -> None:
    """Audit a rate over one source of the queries in place of all of them."""
    first = next(one for one in RECEIPT.conditions if one.id == JOINT.conditions[0])
    source = first.by_source[0]
    start["rates"][0]["source"] = result["conditions"][0]["source"] = source.source
    result["conditions"][0]["recordedRate"] = source.compliance_rate


def at(epsilon: str) -> Change:
    def change(start: Audit, result: Audit) -> None:
        start["epsilon"] = result["epsilon"] = epsilon

    return change


def named(*findings: str) -> Change:
    """Announce other findings, and say the same of them."""

    def change(start: Audit, result: Audit) -> None:
        start["findings"] = result["findings"] = list(findings)
        said = result["findingVerdicts"][0]
        result["findingVerdicts"] = [said | {"finding": one} for one in findings]

    return change


def inconclusive(start: Audit, result: Audit) -> None:
    """Say so of the finding, and as a whole."""
    result["verdict"] = result["findingVerdicts"][0]["verdict"] = "inconclusive"


OPEN: list[Change] = [
    at("0.090"),
    *(without(place) for place in range(0, 2 * len(JOINT.conditions), 7)),
    part_alone,
    lambda start, result: result["conditions"][3].update(verdict="inconclusive"),
    lambda start, result: result["identity"].update(passed=False),
    lambda start, result: result.update(identity=None),
    lambda start, result: result["outcomes"].update(pValue="0.01"),
    lambda start, result: result["secondJudge"].update(verdict="inconclusive"),
]
"""What leaves a finding open."""


@pytest.mark.parametrize("change", OPEN)
def test_what_leaves_a_finding_open_is_no_confirmation(second: ModuleType, change: Change) -> None:
    start, result = honest()
    change(start, result)
    assert not both(second, start, result)
    finding, whole = result["findingVerdicts"][0], result["verdict"]
    finding["verdict"] = "inconclusive"
    said = {result["verdict"]: both(second, start, result)}
    result["verdict"] = "inconclusive"
    said |= {result["verdict"]: both(second, start, result)}
    assert sorted(said.values()) == [False, True], whole  # rates may stand where findings do not


def test_few_points_for_the_models_identity_leave_it_open(second: ModuleType) -> None:
    for number, enough in ((50, True), (49, False)):
        start, result = honest()
        result["identityDrawn"] = result["identityDrawn"][:number]
        result["identity"]["responses"] = number
        assert both(second, start, result) is enough
        if not enough:
            inconclusive(start, result)
            assert both(second, start, result)


@pytest.mark.parametrize(
    "change",
    [
        lambda start, result: result["conditions"][3].update(verdict="refuted"),
        lambda start, result: result["outcomes"].update(falseLabels=1),
        lambda start, result: result["outcomes"].update(refutingPValue="0.000001"),
    ],
)
def test_of_a_refuted_record_no_finding_is_confirmed(second: ModuleType, change: Change) -> None:
    start, result = honest()
    change(start, result)
    result["verdict"] = "refuted"
    assert not both(second, start, result)
    result["findingVerdicts"][0]["verdict"] = "inconclusive"
    assert both(second, start, result)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda start, result: result["findingVerdicts"][0].update(share="0.400"), "share is"),
        (lambda start, result: result["findingVerdicts"][0].update(verdict="refuted"), "verdict"),
        (inconclusive, "verdict is inconclusive"),
        (lambda start, result: result.pop("findingVerdicts"), "without verdicts"),
        (lambda start, result: [result.pop("findings"), start.pop("findings")], "verdicts without"),
        (lambda start, result: start.update(findings=["total"]), "not the announced"),
        (
            lambda start, result: result["findingVerdicts"].append({"finding": "total"}),
            "other findings",
        ),
        (lambda start, result: result["conditions"].pop(), "rates are not the announced"),
        (named("joint/random"), "no audit can be of it"),
        (at("0.090"), "verdict is confirmed, not inconclusive"),
        (without(4), "verdict is confirmed, not inconclusive"),
    ],
)
def test_what_does_not_follow_is_named(second: ModuleType, change: Change, problem: str) -> None:
    start, result = honest()
    change(start, result)
    with pytest.raises(ValueError, match=problem):
        second.check_audit(result, start, WIRE)


def test_a_finding_that_stands_nothing_cannot_be_audited(
    second: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, result = honest()
    for share in (None, "0.000"):
        known = {"joint": JOINT.to_wire() | {"share": share}}
        monkeypatch.setattr(second, "stands", lambda receipt, known=known: known)
        with pytest.raises(ValueError, match="no audit can be of it"):
            second.check_audit(result, start, WIRE)


@pytest.mark.parametrize("method", ["server_scores", "regenerate"])
def test_what_nothing_ties_to_the_weights_refutes_nothing(second: ModuleType, method: str) -> None:
    start, result = honest(method)
    result["conditions"][0]["verdict"] = result["verdict"] = "refuted"
    result["findingVerdicts"][0]["verdict"] = "inconclusive"
    assert not both(second, start, result)


def test_an_audit_that_was_not_announced_is_named(second: ModuleType) -> None:
    start, result = honest()
    digest = result["start"]["digest"]
    second.check_audits({digest: start}, {"d" * 64: result}, {}, WIRE)
    with pytest.raises(ValueError, match="dddddddddddd: not announced"):
        second.check_audits({"e" * 64: start}, {"d" * 64: result}, {}, WIRE)


@pytest.mark.parametrize("seed", range(12))
def test_both_come_to_the_same_of_results_with_several_changes(
    second: ModuleType, seed: int
) -> None:
    coin = np.random.default_rng(seed)
    method = list(BEST)[int(coin.integers(3))]
    start, result = honest(method, public=bool(coin.integers(2)))
    verdicts = [BEST[method], BEST[method], "inconclusive", "refuted"]
    changes: list[Change] = [
        at(["0.05", "0.089", "0.0891", "0.2"][int(coin.integers(4))]),
        without(int(coin.integers(len(JOINT.conditions)))),
        lambda start, result: result["conditions"][5].update(verdict=verdicts[coin.integers(4)]),
        lambda start, result: result["identity"].update(passed=bool(coin.integers(2))),
        lambda start, result: result.update(identity=None),
        lambda start, result: result["outcomes"].update(falseLabels=int(coin.integers(2))),
        lambda start, result: result["outcomes"].update(pValue=["0.01", "0.02"][coin.integers(2)]),
        lambda start, result: result.update(outcomes=None),
        lambda start, result: result.update(secondJudge=None),
        lambda start, result: result["secondJudge"].update(verdict="inconclusive"),
    ]
    for place in coin.choice(len(changes), int(coin.integers(4)), replace=False):
        before = deepcopy((start, result))
        try:
            changes[place](start, result)
        except (AttributeError, TypeError):  # of a part that another change took away
            start, result = before
    accepted = 0
    for whole in dict.fromkeys(verdicts):
        for finding in dict.fromkeys(verdicts):
            result["verdict"] = whole
            result["findingVerdicts"][0]["verdict"] = finding
            accepted += both(second, start, result)
    assert accepted <= 1
