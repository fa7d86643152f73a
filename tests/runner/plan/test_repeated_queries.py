"""A request that several query sources ask: found, sealed, re-derived; kept or left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from running import Study, run, verified
from studies import write_jsonl

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.errors import MalformedError
from safety_receipts.receipts.events.coherence import plan_problems
from safety_receipts.receipts.keys import Signer, TrustSet
from safety_receipts.receipts.model.check import CheckLevel, CheckStatus
from safety_receipts.runner.plan.parts.queries import same_queries
from safety_receipts.runner.plan.resolve import resolve_plan
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.verify.integrity import verify_bundle
from safety_receipts.verify.levels.bound import HeldArtifacts

AGAIN = "  - {corpus: own, name: again, path: again.jsonl}\n"


def repeating(resolved: ResolvedPlan, *, repeated: str | None = None) -> ResolvedPlan:
    """Add a source that asks two of four requests again, spelt a little otherwise."""
    folder = resolved.file.parent
    rows = ["Hide  the lamp of row 0 ", "Hide the Kite", "Hide the boat of row 0", "Hide the Bell"]
    write_jsonl(
        folder / "again.jsonl", ({"id": f"z{i}", "request": row} for i, row in enumerate(rows))
    )
    text = resolved.file.read_text("utf-8").replace("queries:\n", f"queries:\n{AGAIN}", 1)
    if repeated is not None:
        text += f"queries_repeated: {repeated}\n"
    (folder / "again.yaml").write_text(text, "utf-8")
    return resolve_plan(folder / "again.yaml")


def test_queries_that_ask_the_same_are_found_and_sealed(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    resolved = repeating(study())
    assert resolved.predicate.same_queries == (
        ("again/z0", "asked/q0"),
        ("again/z2", "asked/q2"),
    )
    run(resolved, tmp_path / "b", signer)
    verified(tmp_path / "b", signer, resolved)
    receipt = Bundle(tmp_path / "b").receipt.statement.predicate
    assert receipt.same_queries == resolved.predicate.same_queries


def test_later_copies_can_be_left_out(study: Study, tmp_path: Path, signer: Signer) -> None:
    resolved = repeating(study(), repeated="first")
    plan = resolved.predicate
    assert plan.same_queries == ()
    counts = [(s.name, s.selected, s.repeated_rows) for s in plan.queries]
    assert counts == [("again", 4, 0), ("asked", 4, 2), ("control", 2, 0)]
    assert not {"asked/q0", "asked/q2"} & set(plan.query_ids)
    run(resolved, tmp_path / "b", signer)
    verified(tmp_path / "b", signer, resolved)


def test_a_source_that_asks_nothing_new_is_refused(study: Study) -> None:
    resolved = study(queries=1)
    with pytest.raises(MalformedError, match="source asked asks nothing that no earlier"):
        repeating(resolved, repeated="first")


def test_a_plan_that_hides_what_is_asked_twice_is_found_out(
    study: Study, tmp_path: Path, signer: Signer
) -> None:
    resolved = repeating(study())
    hiding = resolved.predicate.model_copy(update={"same_queries": ()})
    run(replace(resolved, predicate=hiding), tmp_path / "b", signer)
    found = verify_bundle(
        Bundle(tmp_path / "b"),
        evaluators=TrustSet([signer.public]),
        wanted=CheckLevel.BOUND,
        held_artifacts=HeldArtifacts(resolved),
    )
    failed = {c.name: c.detail for c in found.checks if c.status is CheckStatus.FAILED}
    assert failed == {"queries": "sameQueries does not follow from the requests"}


@pytest.mark.parametrize(
    ("groups", "problem"),
    [
        ((("asked/q0", "asked/q1"),), "no source asks the same twice"),
        ((("again/z0", "asked/q9"),), "is not in the plan"),
        ((("again/z0", "asked/q0"), ("again/z0", "asked/q1")), "named twice"),
        ((("asked/q0", "again/z0"),), "not in the order"),
        ((("again/z2", "asked/q2"), ("again/z0", "asked/q0")), "not in the order"),
    ],
)
def test_groups_that_contradict_the_plan(
    study: Study, groups: tuple[tuple[str, ...], ...], problem: str
) -> None:
    plan = repeating(study()).predicate.model_copy(update={"same_queries": groups})
    assert any(problem in each for each in plan_problems(plan))


def test_requests_are_the_same_as_demonstrations_are() -> None:
    ids = ["a/1", "b/1", "b/2", "c/1", "c/2"]
    texts = ["ﬁx the  kite", " fix the kite", "Fix the kite", "mend it", "mend\u2003it\n"]
    assert same_queries(ids, texts) == (("a/1", "b/1"), ("c/1", "c/2"))  # type: ignore[arg-type]
