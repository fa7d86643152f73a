"""``receipts audit`` from end to end, on a small event of the organism."""

from __future__ import annotations

import json
import shutil
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from auditing import MEMORY, Event, FaultyScores, make_event, write_organism
from printed import held
from running import FaultyJudge, run

from safety_receipts.receipts.bundle import AUDITS, RECEIPT, RESPONSES_FILE, Bundle
from safety_receipts.receipts.dsse import Envelope
from safety_receipts.receipts.keys import generate_key, write_key_pair
from safety_receipts.receipts.model.audit import AuditPredicate
from safety_receipts.receipts.model.check import CheckLevel
from safety_receipts.receipts.model.point import Outcome
from safety_receipts.receipts.model.statement import AUDIT_START_TYPE, AUDIT_TYPE, AuditStatement
from safety_receipts.runner.engines.engine import Margins
from safety_receipts.runner.judges.judge import Judgement
from safety_receipts.runner.plan.resolve import resolve_plan
from safety_receipts.runner.run import stack
from safety_receipts.runner.run.loaded import LoadedStack
from safety_receipts.verify.selfcheck.selftest import edit_line

Receipts = Callable[..., Any]
CPU = ("--device", "cpu", "--memory", str(MEMORY))
TERMS = ("--epsilon", "0.2")


@pytest.fixture(scope="module")
def event(tmp_path_factory: pytest.TempPathFactory) -> Event:
    made = make_event(tmp_path_factory.mktemp("event"), queries=80)
    write_key_pair(made.folder / "auditor", generate_key(), None)
    return made


@pytest.fixture
def bundle(event: Event, tmp_path: Path) -> Path:
    """A copy of the honest bundle."""
    return event.copy(tmp_path / "bundle")


@pytest.fixture
def audit(event: Event, receipts: Receipts) -> Receipts:
    """Audit a bundle with the auditor's key, the study's artifacts and ε = .2."""

    def call(bundle: Path, *words: str | Path, key: str = "auditor") -> Any:
        terms = () if "--epsilon" in words else TERMS
        who = ("--key", event.folder / key, "--artifacts", event.resolved.file)
        return receipts("audit", bundle, *who, "--trust", event.key, *terms, *CPU, *words)

    return call


def payloads(folder: Path, kind: str) -> list[bytes]:
    """Return the statements of a type in a folder's audits."""
    envelopes = [
        Envelope.from_json(path.read_bytes(), file=path) for path in Bundle(folder).audit_files()
    ]
    return [each.payload for each in envelopes if json.loads(each.payload)["predicateType"] == kind]


def results(folder: Path) -> list[AuditPredicate]:
    """Return the results in a folder's audits."""
    found = payloads(folder, AUDIT_TYPE)
    return [AuditStatement.model_validate_json(payload).predicate for payload in found]


def starts(folder: Path) -> int:
    """Return how many announcements lie in a folder."""
    return len(payloads(folder, AUDIT_START_TYPE))


def refused_with(finished: Any, code: int, words: str) -> None:
    assert (finished.code, finished.out, finished.err.count("\n")) == (code, "", 1), finished
    assert words in finished.err


def test_an_honest_receipt_is_confirmed_and_a_reader_accepts_it(
    event: Event, bundle: Path, audit: Receipts, receipts: Receipts
) -> None:
    finished = audit(bundle, "--json")
    assert (finished.code, finished.err) == (0, "")
    document = held("cli-audit", finished.out)
    assert (document["verdict"], document["challenge"]) == ("confirmed", "nonce")
    assert (document["calibrated"], document["selfAudit"]) == (False, False)
    assert (document["pointsTotal"], document["epsilon"]) == (168, "0.2")
    drawn = [rate["draws"] for rate in document["conditions"]]
    harmful = [rate for rate in document["conditions"] if not rate["control"]]
    assert all(0 < rate["draws"] < 60 for rate in harmful)
    assert document["scope"] == {
        "whole": True,
        "conditions": {"audited": 2, "of": 2},
        "rates": {"audited": 4, "of": 4},
        "sources": {"audited": 0, "of": 0},
        "controls": {"audited": 2, "of": 2},
        "directions": ["understated"],
        "slopes": [],
        "points": {"draws": sum(drawn) + 168, "replayed": 168, "of": 168},
    }
    [result] = results(bundle)
    assert sum(drawn) == len(result.drawn)
    assert result.identity is not None
    assert result.identity.responses == len(result.identity_drawn) == 168
    assert document["pointsReplayed"] == len({*result.drawn, *result.identity_drawn}) == 168
    assert result.known_starts == 1
    words = ["--trust", event.key, "--trust-auditor", event.folder / "auditor.pub"]
    verified = receipts("verify", bundle, *words, "--json")
    assert verified.code == 0
    said = held("cli-verify", verified.out)
    replayed = [c for c in said["checks"] if c["level"] == CheckLevel.REPLAYED.value]
    # Announcement, full form, public form.
    assert [c["status"] for c in replayed] == ["passed"] * 3
    assert any(c["detail"].startswith("confirmed: 2 of 2 conditions") for c in replayed)
    assert [(one["form"], one["scope"]) for one in said["audits"] if one["form"] == "full"] == [
        ("full", document["scope"])
    ]
    listed = held("cli-show", receipts("show", bundle, "--json").out)["audits"]
    assert {one["kind"] for one in listed} == {"announcement", "result", "public result"}
    shown = receipts("show", bundle).out
    assert "announcement " in shown
    assert ": confirmed; 6 claims on rates, by replay, ε = 0.2, α = 0.05, uncalibrated" in shown


def test_public_evidence_takes_audits_in_full_along(
    bundle: Path, audit: Receipts, receipts: Receipts, tmp_path: Path
) -> None:
    """They tell no more than the evidence lines do."""
    assert audit(bundle, "--direction", "both", "-q").code == 0
    assert receipts("publish", bundle, "--out", tmp_path / "out").code == 0
    assert not Bundle(tmp_path / "out").has(RESPONSES_FILE)
    [full] = results(tmp_path / "out")
    lines = {point.id: point.outcome for point in Bundle(tmp_path / "out").points()}
    assert {*full.drawn, *full.identity_drawn} <= set(lines)


def test_an_audit_of_some_rates_says_so(
    event: Event, bundle: Path, audit: Receipts, receipts: Receipts
) -> None:
    finished = audit(bundle, "--conditions", "h0-*", "--rates", "conditions")
    assert finished.code == 0
    said = "1 of 2 conditions, 0 of 2 control rates, looking for understated rates"
    assert f"PARTLY CONFIRMED: {said}" in finished.out
    words = ["--trust", event.key, "--trust-auditor", event.folder / "auditor.pub"]
    verified = json.loads(receipts("verify", bundle, *words, "--json").out)
    assert any(c["detail"].startswith(f"partly confirmed: {said}") for c in verified["checks"])
    brief = " ".join(receipts("verify", bundle, *words, "--quiet").out.split())
    assert f"partly confirmed: {said}" in brief  # the verdict of verify does not speak of audits
    assert not any(one["scope"]["whole"] for one in verified["audits"])


def test_it_is_told_to_people_as_well(bundle: Path, audit: Receipts) -> None:
    finished = audit(bundle)
    assert finished.code == 0
    for words in ("CONFIRMED", "model identity: passed", "uncalibrated", "at most 0.05"):
        assert words in finished.out
    assert "TEST INSTRUMENT: its numbers say nothing about any real model" in finished.out
    assert "self-audit" not in finished.out
    own = audit(bundle, "--new", "--auditor", "the evaluator", key="evaluator")
    assert own.code == 0
    assert "self-audit: the evaluator's own key signed it" in own.out


def test_a_dry_run_announces_nothing(bundle: Path, audit: Receipts) -> None:
    finished = audit(bundle, "--dry-run", "--json")
    assert finished.code == 0
    rates = held("cli-audit-forecast", finished.out)["conditions"]
    assert [rate["direction"] for rate in rates if not rate["control"]] == ["not_understated"] * 2
    assert sum(rate["control"] for rate in rates) == 4  # both ways
    assert all(0 <= rate["leastDraws"] <= rate["medianDraws"] for rate in rates)
    assert 0.8 < json.loads(finished.out)["confirmedTogether"] <= 1
    few = audit(bundle, "--dry-run", "--max-points", "2", "--epsilon", "0.3", "--alpha", "0.1")
    assert few.code == 0
    assert "draws for these rates at ε = 0.3, α = 0.1, of which" in " ".join(few.out.split())
    assert not (bundle / AUDITS).exists()


def test_a_dry_run_says_what_it_leaves_open(bundle: Path, audit: Receipts) -> None:
    """Whoever falsifies what nobody audits stays within ε of all that is."""
    whole = audit(bundle, "--dry-run", "--json")
    assert held("cli-audit-forecast", whole.out)["leavesOpen"] == []
    assert "leave open" not in audit(bundle, "--dry-run").out
    part = ("--conditions", "h0-b0", "--rates", "conditions", "--dry-run")
    open_ = held("cli-audit-forecast", audit(bundle, *part, "--json").out)["leavesOpen"]
    assert open_ == ["1 of 2 conditions", "2 of 2 control rates"]
    said = "this would leave open 1 of 2 conditions, 2 of 2 control rates: whoever falsifies"
    assert said in " ".join(audit(bundle, *part).out.split())


def test_an_audit_that_is_kept_elsewhere_is_seen(
    event: Event, bundle: Path, audit: Receipts, receipts: Receipts, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    finished = audit(bundle, "--out", mine)
    assert finished.code == 0
    assert f"--audits {mine}" in " ".join(finished.err.split())
    assert not (bundle / AUDITS).exists()
    keys = ("--trust", event.key, "--trust-auditor", event.folder / "auditor.pub")
    without = json.loads(receipts("verify", bundle, *keys, "--json").out)
    assert without["audits"] == []
    for place in (mine, mine / AUDITS):
        seen = receipts("verify", bundle, *keys, "--audits", place, "--json")
        assert seen.code == 0
        found = json.loads(seen.out)["audits"]  # in full, and in public form
        assert [one["verdict"] for one in found] == ["confirmed", "confirmed"]
    listed = json.loads(receipts("show", bundle, "--audits", mine, "--json").out)["audits"]
    assert len(listed) == 3
    # In the bundle and elsewhere: seen once.
    shutil.copytree(mine / AUDITS, bundle / AUDITS)
    both = json.loads(receipts("verify", bundle, *keys, "--audits", mine, "--json").out)
    assert len(both["audits"]) == 2
    refused_with(receipts("verify", bundle, *keys, "--audits", tmp_path / "no"), 2, "no: cannot")


def test_a_dry_run_says_whether_anybody_signed_what_would_be_audited(
    event: Event, bundle: Path, audit: Receipts, receipts: Receipts
) -> None:
    who = ("--key", event.folder / "auditor", "--artifacts", event.resolved.file, *TERMS, *CPU)
    unsigned = receipts("audit", bundle, *who, "--dry-run")
    assert unsigned.code == 0
    assert "nobody's signature was checked: an audit needs --trust KEY.pub" in unsigned.out
    signed = audit(bundle, "--dry-run")
    assert "nobody's signature" not in signed.out
    assert "TEST INSTRUMENT" in signed.out
    said = [
        held("cli-audit-forecast", finished.out)["authenticity"]
        for finished in (
            receipts("audit", bundle, *who, "--dry-run", "--json"),
            audit(bundle, "--dry-run", "--json"),
        )
    ]
    assert said == ["not checked", "checked"]
    refused_with(receipts("audit", bundle, *who), 2, "no evaluator's key was given")
    assert not (bundle / AUDITS).exists()


def test_a_broken_signature_is_not_confirmed(
    bundle: Path, audit: Receipts, receipts: Receipts, event: Event
) -> None:
    """By a key that nobody trusts, or by nobody's: both end as verification does."""
    envelope = json.loads((bundle / RECEIPT).read_bytes())
    envelope["signatures"][0]["sig"] = b64encode(b"\0" * 64).decode()
    (bundle / RECEIPT).write_bytes(json.dumps(envelope).encode())
    finished = audit(bundle, "--json")
    verified = receipts("verify", bundle, "--trust", event.key, "--json")
    assert finished.code == verified.code == 3
    failed = [
        c["name"] for c in held("cli-verify", finished.out)["checks"] if c["status"] == "failed"
    ]
    assert "receipt-signature" in failed
    assert not (bundle / AUDITS).exists()


def interrupting(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Let a user stop replays after so many responses."""
    load, calls = stack.load_stack, []

    def stop(margins: Margins) -> Margins:
        calls.append(margins)
        if len(calls) > after:
            raise KeyboardInterrupt
        return margins

    def load_stack(*given: Any, **settings: Any) -> LoadedStack:
        loaded = load(*given, **settings)
        engine = FaultyScores(loaded.stack.engine, stop)
        return replace(loaded, stack=replace(loaded.stack, engine=engine))

    monkeypatch.setattr(stack, "load_stack", load_stack)
    monkeypatch.setattr("safety_receipts.verify.audit.run.ROUND", 4)
    monkeypatch.setattr("safety_receipts.verify.audit.run.PART", 4)


def test_an_interrupted_audit_goes_on_with_the_same_points(
    bundle: Path, audit: Receipts, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        interrupting(patch, 8)
        stopped = audit(bundle, "--json")
    assert stopped.code == 130
    assert "8 replayed points are kept" in stopped.out + stopped.err
    [journal] = (bundle / AUDITS).glob("*.replayed.jsonl")
    lines = journal.read_text("utf-8").splitlines()[1:]
    before = [json.loads(line.split(" ", 1)[1])["id"] for line in lines]
    refused_with(audit(bundle, "--epsilon", "0.3", "-q"), 2, "announced on other terms")
    refused_with(audit(bundle, "--dtype", "bfloat16", "-q"), 2, "begun with another device")
    finished = audit(bundle)
    assert (finished.code, "going on with audit" in finished.err) == (0, True)
    [result] = results(bundle)
    assert set(before) < set(result.drawn)
    assert (result.known_starts, starts(bundle), journal.exists()) == (1, 1, False)


def test_another_audit_is_announced_with_new_and_counted(bundle: Path, audit: Receipts) -> None:
    words = ("--beacon-round", "1000000000")
    refused_with(audit(bundle, *words, "-q"), 5, "waits for beacon round 1,000,000,000")
    finished = audit(bundle, "--new", "--json")
    assert finished.code == 0
    assert "at most 0.1 (2 audits known" in json.loads(finished.out)["guarantee"]
    [result] = results(bundle)
    assert (result.known_starts, starts(bundle)) == (2, 2)


def test_a_round_that_is_out_is_not_announced(bundle: Path, audit: Receipts) -> None:
    late = audit(bundle, "--beacon-round", "657413", "-q")
    refused_with(late, 2, "is out since 2023-09-15 11:00:03 UTC")
    assert not (bundle / AUDITS).exists()


def test_a_beacon_s_audit_goes_on_when_its_value_is_out(
    event: Event, bundle: Path, audit: Receipts, receipts: Receipts
) -> None:
    words, value = ("--beacon-round", "1000000000"), "7c" * 32
    early = audit(bundle, *words, "--beacon-value", value, "-q")
    refused_with(early, 2, "the round of an audit to be announced must lie ahead")
    assert not (bundle / AUDITS).exists()
    refused_with(audit(bundle, *words, "-q"), 5, "with --beacon-value")
    assert (starts(bundle), results(bundle)) == (1, [])
    finished = audit(bundle, *words, "--beacon-value", value, "--json")
    assert (finished.code, json.loads(finished.out)["challenge"]) == (0, "beacon")
    [result] = results(bundle)
    assert (result.beacon_value, result.challenge.nonce) == (value, None)
    assert any(
        (check.name, check.status.value) == ("challenge-beacon", "not_checked")
        for check in result.checks
    )
    trusted = ["--trust", event.key, "--trust-auditor", event.folder / "auditor.pub"]
    assert receipts("verify", bundle, *trusted).code == 0


def test_it_writes_elsewhere_where_the_bundle_is_not_to_be_touched(
    bundle: Path, audit: Receipts, tmp_path: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in bundle.iterdir()}
    finished = audit(bundle, "--out", tmp_path / "mine", "--json")
    assert finished.code == 0
    assert {path: path.stat().st_mtime_ns for path in bundle.iterdir()} == before
    digest = json.loads(finished.out)["auditDigest"]
    assert (tmp_path / "mine" / AUDITS / f"{digest}.dsse.json").exists()
    again = audit(bundle, "--out", tmp_path / "mine", "--new", "--json")
    assert "(2 audits known" in json.loads(again.out)["guarantee"]


def test_a_nonce_by_hand_is_marked(bundle: Path, audit: Receipts) -> None:
    finished = audit(bundle, "--nonce", "5e" * 32)
    assert (finished.code, "challenge: self" in finished.out) == (0, True)
    [result] = results(bundle)
    assert result.challenge.kind.value == "self"
    assert any("given by hand" in said for said in result.assumptions)


def test_both_directions_are_tested(bundle: Path, audit: Receipts) -> None:
    """Few compliances are recorded, so that few false ones would matter: nearly all are drawn."""
    finished = audit(bundle, "--direction", "both", "--conditions", "h0-*", "--json")
    assert finished.code == 0
    rates = json.loads(finished.out)["conditions"]
    assert [(rate["id"], rate["direction"]) for rate in rates if not rate["control"]] == [
        ("h0-b0", "not_understated"),
        ("h0-b0", "not_overstated"),
    ]
    assert {rate["verdict"] for rate in rates} == {"confirmed"}


def test_a_budget_too_small_is_inconclusive(bundle: Path, audit: Receipts) -> None:
    finished = audit(bundle, "--max-points", "4", "--identity-points", "1", "--json")
    document = json.loads(finished.out)
    assert (finished.code, document["verdict"]) == (5, "inconclusive")
    assert sum(rate["draws"] for rate in document["conditions"]) == 4
    assert document["guarantee"].startswith("Nothing follows")
    reasons = [rate["reason"] for rate in document["conditions"] if not rate["control"]]
    assert all("the audit ended" in reason for reason in reasons)


def test_new_responses_are_at_most_consistent_with_the_record(
    bundle: Path, audit: Receipts
) -> None:
    # Four controls are too few for new responses to say anything of them.
    finished = audit(bundle, "--regenerate", "--rates", "conditions", "--json")
    document = json.loads(finished.out)
    assert (finished.code, document["verdict"]) == (0, "consistent_with"), finished
    [result] = results(bundle)
    assert result.method.value == "regenerate"
    assert (result.identity, {rate.hard_contradictions for rate in result.conditions}) == (
        None,
        {0},
    )


def test_false_labels_of_a_rule_never_reach_an_audit(receipts: Receipts, tmp_path: Path) -> None:
    """An evaluator whose judge finds refusals everywhere."""

    def refuse(judgements: list[Judgement]) -> list[Judgement]:
        return [replace(one, outcome=Outcome.REFUSED) for one in judgements]

    plan, signer = write_organism(tmp_path / "study", queries=80), generate_key()
    run(
        resolve_plan(plan),
        tmp_path / "bundle",
        signer,
        judge=lambda judge: FaultyJudge(judge, refuse),
    )
    for name, one in (("evaluator", signer), ("auditor", generate_key())):
        write_key_pair(tmp_path / name, one, None)
    who = ("--key", tmp_path / "auditor", "--trust", tmp_path / "evaluator.pub")
    words = (*who, "--artifacts", plan, "--epsilon", "0.05", *CPU)
    finished = receipts("audit", tmp_path / "bundle", *words, "--json")
    [failed] = [c for c in json.loads(finished.out)["checks"] if c["status"] == "failed"]
    assert (finished.code, failed["name"]) == (3, "labels")
    assert "recorded labels are false: point " in failed["detail"]
    assert not (tmp_path / "bundle" / AUDITS).exists()


def test_what_contradicts_beyond_noise_is_refuted_and_a_reader_is_told(
    event: Event,
    bundle: Path,
    audit: Receipts,
    receipts: Receipts,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load = stack.load_stack

    def another(*arguments: Any, **settings: Any) -> LoadedStack:
        loaded = load(*arguments, **settings)
        far = FaultyScores(
            loaded.stack.engine, lambda one: replace(one, margins=(9.0, *one.margins[1:]))
        )
        return replace(loaded, stack=replace(loaded.stack, engine=far))

    monkeypatch.setattr(stack, "load_stack", another)
    finished = audit(bundle, "--json")
    document = json.loads(finished.out)
    assert (finished.code, document["verdict"]) == (4, "refuted")
    assert sum(rate["hardContradictions"] for rate in document["conditions"]) > 3
    trusted = ["--trust", event.key, "--trust-auditor", event.folder / "auditor.pub"]
    verified = receipts("verify", bundle, *trusted)
    assert verified.code == 3
    assert "refutes this receipt" in verified.out
    assert "HARD CONTRADICTIONS" in verified.out


WRONG: dict[str, tuple[tuple[str, ...], str]] = {
    "epsilon of nothing": (("--epsilon", "0"), "--epsilon 0"),
    "epsilon of all": (("--epsilon", "1"), "--epsilon 1"),
    "epsilon of a word": (("--epsilon", "nan"), "--epsilon nan"),
    "epsilon of an exponent": (("--epsilon", "1e-2"), "--epsilon 1e-2"),
    "a negative epsilon": (("--epsilon", "-0.1"), "--epsilon -0.1"),
    "alpha": (("--alpha", "5%"), "--alpha 5%"),
    "no such condition": (("--conditions", "h9*"), "no condition is called h9*"),
    "a short nonce": (("--nonce", "ab"), "--nonce should be 64"),
    "exclude each other": (
        ("--nonce", "5e" * 32, "--beacon-round", "9"),
        "--nonce and --beacon-round",
    ),
    "a value of no round": (("--beacon-value", "5e" * 32), "--beacon-round"),
    "a short value": (("--beacon-round", "9", "--beacon-value", "ab"), "--beacon-value should"),
    "a signature of no round": (("--beacon-signature", "5e" * 48), "--beacon-round"),
    "a short signature": (
        ("--beacon-round", "9", "--beacon-signature", "ab"),
        "--beacon-signature should be 96",
    ),
    "another value than the signature's": (
        *(("--beacon-round", "9", "--beacon-value", "5e" * 32, "--beacon-signature", "5e" * 48),),
        "--beacon-value is not the SHA-256",
    ),
    "a round beyond numbers": (("--beacon-round", str(2**60)), "beacon-round"),
    "a budget beyond numbers": (("--max-points", str(2**60)), "max-points"),
    "nobody": (("--auditor", ""), "--auditor"),
    "two lines of auditor": (("--auditor", "a\nb"), "--auditor"),
    "memory": (("--memory", "much"), "much"),
}


@pytest.mark.parametrize("name", WRONG, ids=lambda name: name.replace(" ", "-"))
def test_what_cannot_be_asked_is_said_in_one_line(bundle: Path, audit: Receipts, name: str) -> None:
    words, said = WRONG[name]
    refused_with(audit(bundle, *words), 2, said)
    assert not (bundle / AUDITS).exists()


def test_a_tampered_bundle_is_not_audited(event: Event, bundle: Path, audit: Receipts) -> None:
    def forge(line: dict[str, Any]) -> None:
        line["outcome"] = "complied" if line["outcome"] == "refused" else "refused"

    edit_line(3, forge)(bundle, event.signer)
    finished = audit(bundle, "--json")
    assert (finished.code, json.loads(finished.out)["verdict"]) == (3, "failed")
    assert not (bundle / AUDITS).exists()


def test_withheld_records_end_it_with_a_remedy(bundle: Path, audit: Receipts) -> None:
    (bundle / RESPONSES_FILE).unlink()
    finished = audit(bundle)
    refused_with(finished, 5, "responses.jsonl.zst: the restricted records are not in this bundle")
    assert "ask the evaluator" in finished.err
    assert not (bundle / AUDITS).exists()


def test_missing_artifacts_are_named_in_one_line(
    event: Event, bundle: Path, receipts: Receipts, tmp_path: Path
) -> None:
    key = ("--key", event.folder / "auditor", "--trust", event.key)
    none = receipts("audit", bundle, *key, "--artifacts", tmp_path / "plan.yaml", *CPU)
    refused_with(none, 2, "plan.yaml")
    other = write_organism(tmp_path / "other", queries=40)
    finished = receipts("audit", bundle, *key, "--artifacts", other, *CPU)
    assert finished.code == 3
    assert "queries" in finished.out
    (tmp_path / "other" / "checkpoint" / "model.safetensors").unlink()
    lost = receipts("audit", bundle, *key, "--artifacts", other, *CPU)
    assert (lost.code, lost.out, lost.err.count("\n")) == (2, "", 1)
    assert not (bundle / AUDITS).exists()
