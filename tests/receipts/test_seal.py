"""From points to a signed receipt."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard

from safety_receipts.receipts import seal as sealing
from safety_receipts.receipts.bundle import (
    POINTS_FILE,
    RECEIPT,
    RESPONSES_FILE,
    Bundle,
    BundleWriter,
)
from safety_receipts.receipts.canonical import canonical_bytes, sha256_hex
from safety_receipts.receipts.dsse import Envelope, sign
from safety_receipts.receipts.errors import (
    FileAccessError,
    IntegrityError,
    MalformedError,
    UsageError,
)
from safety_receipts.receipts.events.synthetic import (
    ENVIRONMENT,
    EVENT,
    Mixture,
    paper_sweep,
    synthetic_event,
    synthetic_plan,
    synthetic_points,
)
from safety_receipts.receipts.findings.counts.observations import (
    COMPLIED,
    FAILED,
    REFUSED,
    UNKNOWN,
    UNSCORED,
    Observations,
    observe,
)
from safety_receipts.receipts.findings.derive import derive
from safety_receipts.receipts.keys import Signer, TrustSet, generate_key, supported_key_types
from safety_receipts.receipts.merkle import RootAccumulator
from safety_receipts.receipts.model.demonstrations import ContextForm, Ordering, QueryRole
from safety_receipts.receipts.model.findings import Findings
from safety_receipts.receipts.model.judge import JudgeIdentity
from safety_receipts.receipts.model.plan import BeaconRound, EvidenceAccess, PlanPredicate
from safety_receipts.receipts.model.point import Outcome, Point, RestrictedRecord
from safety_receipts.receipts.model.receipt import LIMIT_MEANINGS, BeaconValue, Event, Limit
from safety_receipts.receipts.seal import (
    evaluation_statement,
    required_limits,
    seal_event,
    seal_plan,
)

Pair = tuple[Point, RestrictedRecord]
BEACON = BeaconValue(chain="drand-quicknet", round=7, value=sha256_hex(b"round 7"))
PAPER_QUERIES = {"harmbench": 200, "sorry-bench": 450, "wildguardtest": 754}


def tiny_plan(**options: Any) -> PlanPredicate:
    """Return a plan of 2 × 4 × 2 points."""
    mixtures = [Mixture(0, 0, None), Mixture(1, 1, Ordering.RANDOM)]
    return synthetic_plan(mixtures, {"alpha": 3}, controls={"gamma": 1}, **options)


def seal(
    folder: Path,
    signer: Signer,
    edit: Callable[[list[Pair]], Iterable[Pair]] = lambda pairs: pairs,
    *,
    event: Event = EVENT,
) -> Envelope:
    """Seal the tiny plan's synthetic points, edited."""
    plan = tiny_plan()
    envelope = seal_plan(plan, signer)
    pairs = list(synthetic_points(plan, envelope.digest))
    return seal_event(
        folder,
        plan_envelope=envelope,
        points=edit(pairs),
        event=event,
        environment=ENVIRONMENT,
        signer=signer,
    )


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# Plans


def test_a_sealed_plan_is_about_the_checkpoint(any_signer: Signer) -> None:
    plan = tiny_plan()
    envelope = seal_plan(plan, any_signer)
    assert envelope.signed_by(TrustSet([any_signer.public])) == (any_signer.public,)
    statement = json.loads(envelope.payload)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "urn:safety-receipts:plan:1"
    assert statement["subject"] == [
        {"name": plan.checkpoint.name, "digest": {"sha256": plan.checkpoint.root}}
    ]
    assert statement["predicate"] == plan.to_wire()


def test_the_same_plan_has_the_same_digest_whoever_seals_it() -> None:
    """It holds no time and no random value, so that sealing again gives the same draws."""
    keys = [generate_key(kind) for kind in supported_key_types() for _ in "ab"]
    digests = {seal_plan(tiny_plan(), key).digest for key in keys}
    assert len(digests) == 1
    assert seal_plan(tiny_plan(draws=3), generate_key()).digest not in digests


def test_a_plan_that_contradicts_itself_is_not_sealed(signer: Signer) -> None:
    plan = tiny_plan().model_copy(update={"points": 15})
    with pytest.raises(IntegrityError, match="the plan cannot be sealed: points"):
        seal_plan(plan, signer)


# Events


def test_the_same_event_gives_the_same_bytes(tmp_path: Path, signer: Signer) -> None:
    """Ed25519 signs deterministically; a run that was killed and resumed ends the same."""
    seal(tmp_path / "first", signer)
    seal(tmp_path / "second", signer)
    assert contents(tmp_path / "first") == contents(tmp_path / "second")


def test_no_event_is_overwritten(tmp_path: Path, signer: Signer) -> None:
    seal(tmp_path, signer)
    before = contents(tmp_path)
    with pytest.raises(UsageError, match="holds a receipt already"):
        seal(tmp_path, signer)
    assert contents(tmp_path) == before


def test_an_event_is_sealed_beside_its_own_plan_only(tmp_path: Path, signer: Signer) -> None:
    BundleWriter(tmp_path).write_plan(seal_plan(tiny_plan(draws=3), signer))
    before = contents(tmp_path)
    with pytest.raises(UsageError, match="holds another plan"):
        seal(tmp_path, signer)
    assert contents(tmp_path) == before


def test_a_receipt_binds_plan_and_evidence(tmp_path: Path, any_signer: Signer) -> None:
    returned = seal(tmp_path, any_signer)
    bundle = Bundle(tmp_path)
    assert bundle.receipt_envelope == returned
    assert returned.signed_by(TrustSet([any_signer.public]))
    predicate = bundle.receipt.document["predicate"]
    assert predicate["plan"] == {"digest": sha256_hex(bundle.plan_envelope.payload)}
    assert predicate["event"] == EVENT.to_wire()
    assert predicate["environment"] == ENVIRONMENT.to_wire()
    lines = _evidence(tmp_path)
    assert predicate["evidence"] == {
        "algorithm": "rfc6962-sha256",
        "size": len(lines),
        "root": _root(lines).hex(),
        "access": "public",
    }
    plan = bundle.plan.document["predicate"]
    restated = set(plan) & set(predicate) - {"conditions"}
    assert restated == {
        "instrument",
        "checkpoint",
        "trainingStage",
        "prompt",
        "sampling",
        "queries",
        "demonstrations",
        "judge",
        "primary",
        "effectMargin",
        "sameQueries",
        "requestRule",
        "rejudges",
    }
    assert all(plan[name] == predicate[name] for name in restated)


def _evidence(folder: Path) -> list[bytes]:
    with (folder / POINTS_FILE).open("rb") as stream:
        text = zstandard.ZstdDecompressor().stream_reader(stream).read()
    assert text.endswith(b"\n")
    return text[:-1].split(b"\n")


def _root(lines: list[bytes]) -> bytes:
    """RFC 6962, section 2.1."""
    if len(lines) == 1:
        return hashlib.sha256(b"\0" + lines[0]).digest()
    k = 1
    while 2 * k < len(lines):
        k *= 2
    return hashlib.sha256(b"\1" + _root(lines[:k]) + _root(lines[k:])).digest()


def _share(part: int, whole: int) -> str | None:
    if not whole:
        return None
    places = Decimal("0.000001")
    return str((Decimal(part) / Decimal(whole)).quantize(places, ROUND_HALF_EVEN))


def test_a_third_party_can_recompute_every_condition(sealed: Bundle) -> None:
    """From evidence lines and receipt alone, without a function of this project."""
    predicate = json.loads(sealed.receipt_envelope.payload)["predicate"]
    roles = {source["name"]: source["role"] for source in predicate["queries"]}
    points = [json.loads(line) for line in _evidence(sealed.folder)]

    def count(chosen: list[dict[str, Any]]) -> dict[str, int]:
        outcomes = [point["outcome"] for point in chosen]
        return {
            "planned": len(chosen),
            "generated": len(chosen) - outcomes.count("failed"),
            "lengthStopped": sum(point["finish"] == "length" for point in chosen),
        } | {name: outcomes.count(name) for name in ("failed", "refused", "complied", "unscored")}

    assert {point["outcome"] for point in points} >= {"refused", "complied"}
    for condition in predicate["conditions"]:
        mine = [point for point in points if point["condition"] == condition["id"]]
        harmful = [point for point in mine if roles[point["source"]] == "harmful"]
        counts = count(harmful)
        judged, generated = counts["refused"] + counts["complied"], counts["generated"]
        assert condition["counts"] == counts
        assert condition["complianceRate"] == _share(counts["complied"], judged)
        assert condition["asPublishedRate"] == _share(generated - counts["refused"], generated)
        planned = counts["planned"]
        assert condition["worstCaseRate"] == _share(planned - counts["refused"], planned)
        given = Counter(point["reason"] for point in harmful if point["reason"])
        assert {one["reason"]: one["points"] for one in condition["reasons"]} == given
        answered = [point for point in harmful if point["outcome"] != "failed"]
        mean = Fraction(sum(point["promptTokens"] for point in answered), len(answered))
        assert abs(Fraction(condition["meanPromptTokens"]) - mean) <= Fraction(1, 200)
        shown = condition["nHarmful"] + condition["nBenign"]
        prompts = {(p["query"], p["draw"] if shown else 0) for p in answered}
        assert condition["distinctPrompts"] == len(prompts)
        for source in condition["bySource"]:
            own = [point for point in mine if point["source"] == source["source"]]
            assert source["counts"] == count(own)
            assert source["role"] == roles[source["source"]]
        control = count([point for point in mine if roles[point["source"]] != "harmful"])
        assert condition["control"]["counts"] == control
        judged = control["refused"] + control["complied"]
        assert condition["control"]["refusalRate"] == _share(control["refused"], judged)
    first = predicate["conditions"][0]
    assert predicate["baseline"] == {
        "condition": "h0-b0",
        "counts": first["counts"],
        "complianceRate": first["complianceRate"],
    }


# What is not sealed


def _swap(pairs: list[Pair]) -> list[Pair]:
    pairs[0], pairs[1] = pairs[1], pairs[0]
    return pairs


def _edit_record(**changes: Any) -> Callable[[list[Pair]], list[Pair]]:
    def edit(pairs: list[Pair]) -> list[Pair]:
        point, record = pairs[3]
        pairs[3] = (point, record.model_copy(update=changes))
        return pairs

    return edit


def _edit_point(**changes: Any) -> Callable[[list[Pair]], list[Pair]]:
    def edit(pairs: list[Pair]) -> list[Pair]:
        point, record = pairs[3]
        pairs[3] = (point.model_copy(update=changes), record)
        return pairs

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_swap, "should be point 0"),
        (lambda pairs: pairs[1:], "should be point 0"),
        (lambda pairs: pairs[:1] + pairs, "should be point 1"),
        (lambda pairs: pairs + pairs[:1], "more points than the plan's 16"),
        (lambda pairs: pairs[:-1], "15 of 16 planned points are present"),
        (lambda pairs: [], "0 of 16 planned points are present"),
        (_edit_record(text="I cannot help with that."), "the record does not open its commitment"),
        (_edit_record(salt="ab" * 32), "the record does not open its commitment"),
        (_edit_record(prompt_tokens=7), "promptTokens differs"),
        (_edit_record(index=4), "index differs"),
        (_edit_point(commitment="ab" * 32), "the record does not open its commitment"),
        (_edit_point(response_tokens=4), "responseTokens differs"),
        (_edit_point(response_tokens=99), "do not go with finish"),
        (_edit_point(query="alpha/00009"), "should be point 3"),
        (_edit_point(source="gamma"), "should be point 3"),
        (_edit_point(index=4), "should be point 3"),
        (_edit_point(draw=2), "should be point 3"),
        (_edit_point(labels="bh"), "labels"),
    ],
)
def test_points_that_are_not_as_planned_and_recorded(
    tmp_path: Path, signer: Signer, edit: Any, message: str
) -> None:
    with pytest.raises(IntegrityError, match=message):
        seal(tmp_path, signer, edit)
    left = {path.name for path in tmp_path.iterdir()}
    assert not left & {RECEIPT, POINTS_FILE, RESPONSES_FILE}
    assert not any("tmp" in name for name in left)


def test_a_flipped_outcome_is_not_sealed(tmp_path: Path, signer: Signer) -> None:
    def flip(pairs: list[Pair]) -> list[Pair]:
        number = next(i for i, (p, _) in enumerate(pairs) if p.outcome is Outcome.COMPLIED)
        point, record = pairs[number]
        pairs[number] = (point.model_copy(update={"outcome": Outcome.REFUSED}), record)
        return pairs

    with pytest.raises(IntegrityError, match="outcome differs between record"):
        seal(tmp_path, signer, flip)


def test_an_event_is_sealed_by_the_plans_signer(tmp_path: Path, signer: Signer) -> None:
    plan = tiny_plan()
    envelope = seal_plan(plan, signer)
    with pytest.raises(IntegrityError, match="the plan was signed with another key"):
        seal_event(
            tmp_path,
            plan_envelope=envelope,
            points=synthetic_points(plan, envelope.digest),
            event=EVENT,
            environment=ENVIRONMENT,
            signer=generate_key(),
        )
    assert not list(tmp_path.iterdir())


def test_what_is_no_plan_is_no_basis_for_an_event(tmp_path: Path, signer: Signer) -> None:
    receipt = seal(tmp_path / "event", signer)
    with pytest.raises(MalformedError):
        seal_event(
            tmp_path / "another",
            plan_envelope=receipt,
            points=[],
            event=EVENT,
            environment=ENVIRONMENT,
            signer=signer,
        )
    assert not (tmp_path / "another").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"started_at": "2026-01-01T00:01:01Z"}, "finished before it started"),
        ({"finished_at": "2026-02-30T00:00:00Z"}, "is not a valid time"),
        ({"beacon": BEACON}, "the beacon is not the one the plan names"),
    ],
)
def test_an_event_that_contradicts_itself_or_the_plan(
    tmp_path: Path, signer: Signer, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(IntegrityError, match=message):
        seal(tmp_path, signer, event=EVENT.model_copy(update=changes))
    assert not list(tmp_path.iterdir())


def test_the_value_of_a_beacon_decides_the_labels(tmp_path: Path, signer: Signer) -> None:
    named = BeaconRound(chain=BEACON.chain, round=BEACON.round)
    plan = tiny_plan().model_copy(update={"beacon": named})
    envelope = seal_plan(plan, signer)
    event = EVENT.model_copy(update={"beacon": BEACON})

    def seal_with(folder: Path, points: Iterable[Pair]) -> Envelope:
        return seal_event(
            folder,
            plan_envelope=envelope,
            points=points,
            event=event,
            environment=ENVIRONMENT,
            signer=signer,
        )

    with pytest.raises(IntegrityError, match="labels do not follow"):
        seal_with(tmp_path / "without", synthetic_points(plan, envelope.digest))
    receipt = seal_with(tmp_path / "with", synthetic_points(plan, envelope.digest, BEACON.value))
    assert json.loads(receipt.payload)["predicate"]["event"]["beacon"] == BEACON.to_wire()


def test_the_agreement_of_a_second_judge_is_sealed(tmp_path: Path, signer: Signer) -> None:
    plan = synthetic_plan([Mixture(0, 0, None), Mixture(4, 0, None)], {"alpha": 20})
    second = JudgeIdentity.model_validate(
        {name: getattr(plan.judge, name) for name in JudgeIdentity.model_fields}
    )
    judge = plan.judge.model_copy(update={"second": second})
    synthetic_event(tmp_path, plan.model_copy(update={"judge": judge}), signer)
    bundle = Bundle(tmp_path)
    judged = [record for record in bundle.responses() if record.outcome.value in "refused complied"]
    agreed = [r for r in judged if r.second_judge and r.second_judge.outcome is r.outcome]
    assert 0 < len(agreed) < len(judged)
    assert bundle.receipt.document["predicate"]["judgeAgreement"] == {
        "points": len(judged),
        "agreed": len(agreed),
        "secondUnscored": 0,
    }


def test_findings_are_asked_for_when_the_points_are_written(tmp_path: Path, signer: Signer) -> None:
    plan = tiny_plan()
    envelope = seal_plan(plan, signer)
    there: list[bool] = []

    def findings(observations: Observations) -> Findings:
        there.append((tmp_path / POINTS_FILE).exists())
        return derive(observations)

    receipt = seal_event(
        tmp_path,
        plan_envelope=envelope,
        points=synthetic_points(plan, envelope.digest),
        event=EVENT,
        environment=ENVIRONMENT,
        signer=signer,
        findings=findings,
    )
    assert there == [True]
    derived = derive(observe(Bundle(tmp_path).points(), plan))
    assert json.loads(receipt.payload)["predicate"]["findings"] == derived.to_wire()


def test_a_run_that_stops_leaves_no_receipt(tmp_path: Path, signer: Signer) -> None:
    def stop(pairs: list[Pair]) -> Iterator[Pair]:
        yield from pairs[:5]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        seal(tmp_path, signer, stop)
    assert not {path.name for path in tmp_path.iterdir()} & {RECEIPT, POINTS_FILE, RESPONSES_FILE}


def test_a_folder_that_cannot_be_written(tmp_path: Path, signer: Signer) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileAccessError):
        seal(tmp_path / "file", signer)


# What a receipt must state


def test_the_tested_box_is_what_the_conditions_cover() -> None:
    mixtures = [Mixture(0, 0, None), Mixture(3, 5, Ordering.SUFFIX), Mixture(2, 2, Ordering.PREFIX)]
    box = sealing.tested_box(synthetic_plan(mixtures, {"alpha": 1}))
    assert box.largest_n == 8
    assert box.orderings == (Ordering.PREFIX, Ordering.SUFFIX)
    assert box.contexts == (ContextForm.TURNS,)
    assert set(box.contexts) | set(box.untested_contexts) == set(ContextForm)
    assert box.languages == ("en",)


def filtered(plan: PlanPredicate, *, rule: str | None = "requests/2") -> PlanPredicate:
    """Return a plan of which a filter chose the queries."""
    where = {"lang": "en"}
    queries = tuple(source.model_copy(update={"where": where}) for source in plan.queries)
    return plan.model_copy(update={"queries": queries, "request_rule": rule})


def test_a_filter_is_a_limit_of_the_receipt_but_for_plans_made_before_there_was_one() -> None:
    assert Limit.SELECTED_ROWS in required_limits(filtered(tiny_plan()))
    assert Limit.SELECTED_ROWS not in required_limits(filtered(tiny_plan(), rule=None))
    plan = tiny_plan().model_copy(update={"request_rule": "requests/2"})
    assert Limit.SELECTED_ROWS not in required_limits(plan)
    first, *others = plan.demonstrations.benign
    benign = (first.model_copy(update={"where": {"lang": "en"}}), *others)
    shown = plan.demonstrations.model_copy(update={"benign": benign})
    plan = plan.model_copy(update={"demonstrations": shown})
    assert Limit.SELECTED_ROWS in required_limits(plan)


def test_every_limit_is_required_unless_every_corpus_is_public() -> None:
    plan = filtered(tiny_plan())
    of_servers = {
        Limit.WEIGHTS_CLAIMED,
        Limit.SERVER_DRAWS,
        Limit.NOT_REPEATABLE,
        Limit.JUDGE_WEIGHTS_CLAIMED,
        Limit.JUDGE_NOT_REPEATABLE,
    }
    assert required_limits(plan) == tuple(limit for limit in Limit if limit not in of_servers)
    named = {"hub": "example/corpus"}
    demonstrations = plan.demonstrations
    assert demonstrations.harmful is not None
    queries = tuple(source.model_copy(update=named) for source in plan.queries)
    public = plan.model_copy(
        update={
            "queries": queries,
            "demonstrations": demonstrations.model_copy(
                update={
                    "harmful": demonstrations.harmful.model_copy(update=named),
                    "benign": tuple(b.model_copy(update=named) for b in demonstrations.benign),
                }
            ),
        }
    )
    assert set(Limit) - set(required_limits(public)) - of_servers == {Limit.PRIVATE_POOL}
    for partly in (
        public.model_copy(update={"queries": (*queries[:1], *plan.queries[1:])}),
        public.model_copy(update={"demonstrations": demonstrations}),
    ):
        assert Limit.PRIVATE_POOL in required_limits(partly)


def test_every_limit_has_a_meaning() -> None:
    assert set(LIMIT_MEANINGS) == set(Limit)
    assert all(meaning.endswith(".") for meaning in LIMIT_MEANINGS.values())


@pytest.mark.parametrize("access", EvidenceAccess)
def test_a_receipt_restates_who_may_hold_the_evidence(
    tmp_path: Path, signer: Signer, access: EvidenceAccess
) -> None:
    synthetic_event(tmp_path, tiny_plan(evidence_access=access), signer)
    assert Bundle(tmp_path).receipt.statement.predicate.evidence.access is access
    before = os.umask(0)
    os.umask(before)
    mode = 0o644 & ~before if access is EvidenceAccess.PUBLIC else 0o600
    assert stat.S_IMODE((tmp_path / POINTS_FILE).stat().st_mode) == mode


# Size


def test_a_paper_sized_receipt_is_well_under_a_megabyte(signer: Signer) -> None:
    """31 conditions over 1,404 queries of three sources and 450 controls, two draws."""
    plan = synthetic_plan(paper_sweep(), PAPER_QUERIES, controls={"xstest": 450})
    assert len(plan.conditions) == 31
    assert plan.points == 31 * (1404 + 450) * 2
    root = RootAccumulator()
    root.size = plan.points
    root._peaks = [b"\xff" * 32]  # the root of 10^5 points, without the points
    statement = evaluation_statement(
        plan,
        plan_digest=sha256_hex(b"plan"),
        observations=_plausible(plan),
        root=root,
        event=EVENT,
        environment=ENVIRONMENT,
    )
    receipt = sign(statement.to_wire(), signer).to_json()
    assert len(statement.predicate.conditions) == 31
    assert len(receipt) < 300_000
    assert len(seal_plan(plan, signer).to_json()) < 300_000


def _plausible(plan: PlanPredicate) -> Observations:
    """Return points of every outcome and every reason."""
    shape = (len(plan.conditions), len(plan.query_ids), plan.demonstrations.draws)
    coin = np.random.default_rng(1).integers(1000, size=shape)
    outcome = np.select([coin < 300, coin < 980, coin < 990], [COMPLIED, REFUSED, UNSCORED], FAILED)
    reason = np.select([coin < 980, coin < 990], [0, 1 + coin % 5], 6 + coin % 3)
    nothing = np.full(shape, UNKNOWN, dtype=np.int8)
    return Observations(
        plan,
        outcome=outcome.astype(np.int8),
        reason=reason.astype(np.int8),
        at_limit=(coin % 10 == 0).astype(np.int8),
        prompt_tokens=60 * (1 + coin),
        adopted=nothing,
        harmful_near=nothing,
    )


def test_a_sealed_sweep_is_as_small(tmp_path: Path, signer: Signer) -> None:
    plan = synthetic_plan(paper_sweep(), dict.fromkeys(PAPER_QUERIES, 2), controls={"xstest": 2})
    receipt = synthetic_event(tmp_path, plan, signer)
    assert len(receipt.to_json()) < 300_000
    lines = _evidence(tmp_path)
    assert len(lines) == plan.points == 31 * 8 * 2
    assert max(map(len, lines)) < 600
    assert all(canonical_bytes(json.loads(line)) == line for line in lines)
    roles = [source.role for source in plan.queries]
    assert roles == [QueryRole.HARMFUL] * 3 + [QueryRole.BENIGN_CONTROL]
