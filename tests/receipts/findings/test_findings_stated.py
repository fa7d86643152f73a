"""Findings without their points: contradictions with themselves, the rates and the plan."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
from experiments import EXPERIMENTS, diluting
from observing import observed, plan_of
from pydantic import ValidationError

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.events.synthetic import ENVIRONMENT, EVENT, Mixture, synthetic_plan
from safety_receipts.receipts.findings.derive import derive
from safety_receipts.receipts.findings.stated import feeds_findings, stated_problems
from safety_receipts.receipts.merkle import RootAccumulator
from safety_receipts.receipts.model.findings import Findings
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.receipts.model.receipt import EvaluationPredicate
from safety_receipts.receipts.seal import evaluation_statement


@cache
def sealed() -> tuple[EvaluationPredicate, PlanPredicate]:
    plan = plan_of(EXPERIMENTS, queries=150, sources=("chores", "filler"))
    observations = observed(plan, diluting)
    statement = evaluation_statement(
        plan,
        plan_digest=Sha256("0" * 64),
        observations=observations,
        root=RootAccumulator(),
        event=EVENT,
        environment=ENVIRONMENT,
        findings=derive(observations),
    )
    return statement.predicate, plan


def test_honest_findings_have_no_problems() -> None:
    assert list(stated_problems(*sealed())) == []


UNFITTED = {
    "statistic": "1.000000",
    "t": None,
    "df": 1,
    "pClustered": None,
    "pPermutation": "0.5",
    "permutations": 1999,
    "p": "0.5",
}
NARROW = {"level": "0.900000", "lower": "-0.010000", "upper": "0.010000"}

FORGERIES: dict[str, Callable[[Any], object]] = {
    "another level": lambda f: f.update(alpha="0.2"),
    "another margin": lambda f: f["joint"].update(margin="0.5"),
    "another word": lambda f: f["joint"].update(effect="none", grounds="equivalent"),
    "a test left out": lambda f: f["tests"].pop(),
    "a p-value of its own": lambda f: f["joint"]["clustered"].update(p2="0.9"),
    "a ratio of its own": lambda f: f["joint"]["clustered"].update(z2="-1.000000"),
    "a smaller error": lambda f: f["joint"]["clustered"].update(se2="0.000100"),
    "another published p-value": lambda f: f["joint"]["asPublished"].update(p2="0.5"),
    "a narrow interval": lambda f: f["joint"].update(equivalence=NARROW),
    "an interval of another level": lambda f: f["joint"]["interval"].update(level="0.500000"),
    "more queries": lambda f: f["joint"]["clusters"].update(queries=99_999),
    "shared lists": lambda f: f["joint"]["clusters"].update(method="query-and-list"),
    "other degrees of freedom": lambda f: f["joint"]["clustered"].update(df=1000),
    "more degrees of freedom than points": (
        lambda f: f["joint"]["byHarmful"][0].update(df=2**53 - 1)
    ),
    "a test without fit": lambda f: f["joint"].update(permutation=UNFITTED),
    "a level's p-value": lambda f: f["joint"]["byHarmful"][0].update(p="0.000001"),
    "a condition less": lambda f: f["joint"]["conditions"].pop(),
    "no joint finding": lambda f: f.update(joint=None, jointInOtherOrders=None),
    "an order less": lambda f: f.update(jointInOtherOrders=None),
    "a total's p-value": lambda f: f["total"].update(p="0.5"),
    "the published verdict": lambda f: f["total"].update(
        rejectedAsPublished=not f["total"]["rejectedAsPublished"]
    ),
    "another total": lambda f: f["total"]["rows"][0].update(total=9),
    "no orderings": lambda f: f.update(orderings=None),
    "an order's rate": lambda f: f["orderings"][0]["rates"][0].update(complianceRate="0.000001"),
    "an order of nowhere": lambda f: f["orderings"][0]["rates"][0].update(condition="h99-b99"),
    "a position's slope": lambda f: f["orderings"][0]["position"]["slope"].update(p="0.000001"),
    "no formats": lambda f: f.update(formats=None),
    "a format's word": lambda f: f["formats"][0].update(verdict="coupled"),
    "a format's counts": lambda f: f["formats"][0]["amongRefusals"].update(adopted=0),
    "a source's p-value": lambda f: f["sources"]["slopes"][0].update(p="0.9"),
    "a source's interval": lambda f: f["sources"]["slopes"][0]["equivalence"].update(
        upper="0.000001"
    ),
    "a source's conditions": lambda f: f["sources"]["slopes"][0].update(conditions=["h99-b99"]),
    "a context of nowhere": lambda f: f["contexts"][0].update(turns="h99-b99"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_contradiction_is_seen_without_the_points(name: str) -> None:
    receipt, plan = sealed()
    wire = receipt.to_wire()
    FORGERIES[name](wire["findings"])
    forged = EvaluationPredicate.model_validate_json(json.dumps(wire))
    assert list(stated_problems(forged, plan))


def test_any_leaf_may_be_absurd_and_is_only_refused() -> None:
    """Each number and word by itself, at the ends of what its schema lets through."""
    receipt, plan = sealed()
    honest = receipt.findings
    assert honest is not None
    tried = 0
    for place in leaves(honest.to_wire()):
        for absurd in (None, 0, 1, 2**53 - 1, "0.000000", "-999999999999999.000000", "0", "1"):
            wire = honest.to_wire()
            at(wire, place[:-1])[place[-1]] = absurd
            try:
                findings = Findings.model_validate_json(json.dumps(wire))
            except ValidationError:
                continue
            forged = receipt.model_copy(update={"findings": findings})
            assert all(isinstance(problem, str) for problem in stated_problems(forged, plan))
            tried += 1
    assert tried > 500


def leaves(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict | list) and value:
        for step, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(part, (*place, step))
    else:
        yield place


def at(document: Any, place: tuple[Any, ...]) -> Any:
    for step in place:
        document = document[step]
    return document


def test_a_plan_says_whether_it_feeds_findings() -> None:
    assert feeds_findings(sealed()[1])
    assert not feeds_findings(synthetic_plan([Mixture(0, 0, None)], {"alpha": 5}))
