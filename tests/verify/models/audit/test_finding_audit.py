"""``receipts audit --finding``: an honest finding is confirmed, one made of false labels is not."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from auditing import MEMORY, Event, make_event

from safety_receipts.receipts.bundle import AUDITS, Bundle, BundleWriter
from safety_receipts.receipts.dsse import Envelope, sign
from safety_receipts.receipts.findings.counts.observations import observe
from safety_receipts.receipts.findings.derive import derive
from safety_receipts.receipts.keys import generate_key, load_signer, write_key_pair
from safety_receipts.receipts.merkle import RootAccumulator
from safety_receipts.receipts.model.demonstrations import PlannedCondition
from safety_receipts.receipts.model.findings import Effect
from safety_receipts.receipts.model.point import Outcome, Point, RestrictedRecord
from safety_receipts.receipts.model.statement import AUDIT_START_TYPE, AUDIT_TYPE
from safety_receipts.receipts.seal import evaluation_statement
from safety_receipts.verify.selfcheck.forgery import replaced

pytestmark = pytest.mark.long
Receipts = Callable[..., Any]
GRID = "fixed_harmful: {harmful: [8, 16], benign: [0, 8, 32]}"
SMALL = "fixed_harmful: {harmful: [8], benign: [0, 32]}"
SECOND_VERIFIER = Path(__file__).parents[3] / "docs" / "independent.py"
BENT = 14
"""Labels that are false of the 120 of a condition."""


@pytest.fixture(scope="module")
def event(tmp_path_factory: pytest.TempPathFactory) -> Event:
    """Benign demonstrations dilute."""
    return made(tmp_path_factory, "diluting")


@pytest.fixture(scope="module")
def neutral(tmp_path_factory: pytest.TempPathFactory) -> Event:
    """They do nothing."""
    return made(tmp_path_factory, "neutral")


@pytest.fixture(scope="module")
def amplifying(tmp_path_factory: pytest.TempPathFactory) -> Event:
    """They amplify."""
    return made(tmp_path_factory, "amplifying", SMALL)


def made(factory: pytest.TempPathFactory, member: str, grid: str = GRID) -> Event:
    event = make_event(factory.mktemp(member), queries=120, experiment=grid, member=member)
    write_key_pair(event.folder / "auditor", generate_key(), None)
    return event


def audit(event: Event, receipts: Receipts, bundle: Path, *words: str) -> Any:
    who = ("--key", event.folder / "auditor", "--artifacts", event.resolved.file)
    machine = ("--device", "cpu", "--memory", str(MEMORY))
    return receipts("audit", bundle, *who, "--trust", event.key, *machine, *words)


def verified(event: Event, receipts: Receipts, bundle: Path, *words: str) -> Any:
    trust = ("--trust", event.key, "--trust-auditor", event.folder / "auditor.pub")
    return receipts("verify", bundle, *trust, *words)


def second(event: Event, bundle: Path) -> tuple[int, str]:
    """Return what the second verifier says, of audits too."""
    keys = (event.key, event.folder / "auditor.pub")
    command = [sys.executable, SECOND_VERIFIER, bundle, *keys]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    return done.returncode, done.stdout + done.stderr


def test_an_honest_finding_is_confirmed_with_the_rates_that_it_rests_on(
    event: Event, receipts: Receipts, tmp_path: Path
) -> None:
    bundle = event.copy(tmp_path / "bundle")
    findings = Bundle(bundle).receipt.statement.predicate.findings
    assert findings is not None
    assert findings.joint is not None
    assert findings.joint.effect is Effect.DILUTION
    [stands] = [each for each in findings.breakdown or () if each.finding == "joint"]
    assert stands.share is not None
    words = ("--finding", "joint", "--epsilon", stands.share)
    found = audit(event, receipts, bundle, *words, "--json")
    assert found.code == 0
    document = json.loads(found.out)
    [one] = document["findings"]
    assert document["slopes"] == []
    assert one == {"finding": "joint", "share": stands.share, "verdict": "confirmed"}
    assert document["epsilon"] == stands.share
    tested = {(each["id"], each["direction"]) for each in document["conditions"]}
    both = ("not_understated", "not_overstated")
    assert tested == {(id_, way) for id_ in stands.conditions for way in both}
    assert "The same holds of the finding joint" in document["guarantee"]
    again = audit(event, receipts, bundle, *words)
    assert "finding joint: confirmed (it stands false labels in up to" in again.out
    assert verified(event, receipts, bundle).code == 0
    code, said = second(event, bundle)
    assert (code, " follows: " in said) == (0, True)


def test_an_honest_amplification_is_confirmed_within_a_smaller_error(
    amplifying: Event, receipts: Receipts, tmp_path: Path
) -> None:
    bundle = amplifying.copy(tmp_path / "bundle")
    findings = Bundle(bundle).receipt.statement.predicate.findings
    assert findings is not None
    assert findings.joint is not None
    assert findings.joint.effect is Effect.AMPLIFICATION
    found = audit(amplifying, receipts, bundle, "--finding", "joint", "--epsilon", "0.05", "--json")
    assert found.code == 0
    document = json.loads(found.out)
    assert (document["epsilon"], document["verdict"]) == ("0.05", "confirmed")
    [one] = document["findings"]
    assert (one["finding"], one["verdict"]) == ("joint", "confirmed")
    assert float(one["share"]) > 0.05
    said = verified(amplifying, receipts, bundle)
    assert said.code == 0
    assert second(amplifying, bundle)[0] == 0


def test_a_slope_is_tested_as_a_whole_with_far_fewer_draws(
    event: Event, receipts: Receipts, tmp_path: Path
) -> None:
    bundle = event.copy(tmp_path / "bundle")
    words = ("--finding", "joint")
    told = json.loads(audit(event, receipts, bundle, *words, "--dry-run", "--json").out)
    by_rates = audit(event, receipts, bundle, *words, "--epsilon", "0.05", "--dry-run", "--json")
    [forecast] = told["slopes"]
    assert told["conditions"] == []
    each = json.loads(by_rates.out)["conditions"]
    rates = [one["leastDraws"] or one["recorded"] for one in each]
    assert 3 * forecast["medianDraws"] < sum(rates)
    found = audit(event, receipts, bundle, *words, "--json")
    document = json.loads(found.out)
    assert found.code == 0
    assert [one["verdict"] for one in document["findings"]] == ["confirmed"]
    [slope] = document["slopes"]
    assert (slope["finding"], slope["verdict"]) == ("joint", "confirmed")
    assert 0 < slope["draws"] < 2 * forecast["medianDraws"]
    assert (document["conditions"], document["scope"]["rates"]["audited"]) == ([], 0)
    assert document["guarantee"].startswith("If the slope of joint, fitted to true labels, did")
    again = audit(event, receipts, bundle, *words)
    assert "slope of joint" in again.out
    assert "PARTLY CONFIRMED" in again.out
    said = verified(event, receipts, bundle)
    assert said.code == 0
    assert "the direction of joint" in said.out
    public = [path for path in Bundle(bundle).audit_files() if b"slopeResults" in payload(path)]
    assert len(public) == 2  # the full form, and that without draws
    page = tmp_path / "page.html"
    trusted = ("--trust", event.key, "--trust-auditor", event.folder / "auditor.pub")
    assert receipts("report", bundle, *trusted, "--out", page).code == 0
    text = re.sub(r"\s*<[^>]+>\s*", " ", page.read_text("utf-8"))
    row = f"slope of joint is as it is called – {slope['draws']} 0 0"
    assert row in " ".join(text.split())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda found: found["slopeTests"][0].update(hidden=10**6),
            "nothing shows that labels with fewer than 1,000,000",
        ),
        (lambda found: found["slopeTests"][0].update(recorded=7), "tickets are in its urn"),
        (lambda found: found["slopeTests"][0]["urn"].pop(), "draws from other conditions"),
        (lambda found: found["slopeTests"][0].update(finding="total"), "that it is not of"),
    ],
    ids=["too many false labels needed", "another urn", "a condition left out", "another finding"],
)
def test_a_slope_test_that_could_miss_a_turned_slope_is_refused(
    event: Event,
    receipts: Receipts,
    tmp_path: Path,
    change: Callable[[dict[str, Any]], Any],
    said: str,
) -> None:
    bundle = event.copy(tmp_path / "bundle")
    audit(event, receipts, bundle, "--finding", "joint")
    resign(event, bundle, AUDIT_START_TYPE, change)
    found = verified(event, receipts, bundle)
    assert found.code == 3
    assert said in " ".join(found.out.split())
    # What it found falls with it.
    listed = json.loads(verified(event, receipts, bundle, "--json").out)["audits"]
    assert [one["status"] for one in listed] == ["failed"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda one: one["drawn"].reverse(), "not those that the challenge draws"),
        (lambda one: one.update(pValue="0.001"), "and from its draws"),
        (lambda one: one.update(contradictions=3, contradicted=[1, 2, 3]), "p is "),
        (lambda one: one.update(draws=one["draws"] + 1), "do not fit each other"),
        (lambda one: one.update(finding="other"), "slopes tested are not the announced ones"),
    ],
    ids=["other points", "another p", "contradictions", "more draws", "another slope"],
)
def test_a_slope_result_that_does_not_follow_is_not_believed(
    event: Event,
    receipts: Receipts,
    tmp_path: Path,
    change: Callable[[dict[str, Any]], Any],
    said: str,
) -> None:
    bundle = event.copy(tmp_path / "bundle")
    audit(event, receipts, bundle, "--finding", "joint")
    resign(event, bundle, AUDIT_TYPE, lambda found: change(found["slopeResults"][0]))
    found = verified(event, receipts, bundle)
    assert found.code == 3
    words = " ".join(found.out.split())
    assert said in words or "p is " in words


def test_a_finding_that_is_not_there_or_stands_less_is_refused(
    event: Event, receipts: Receipts
) -> None:
    for words, said in (
        (
            ("--finding", "total"),
            "no finding 'total' that could be audited (those",
        ),
        (("--finding", "joint", "--epsilon", "0.2"), "stands false labels in at most 0.0"),
        (("--finding", "joint", "--conditions", "h0-b0"), "takes no --conditions"),
        (("--finding", "joint", "--direction", "both"), "takes no --direction"),
    ):
        found = audit(event, receipts, event.bundle, *words)
        assert found.code == 2
        assert said in found.err
    assert not (event.bundle / AUDITS).exists()


def payload(path: Path) -> bytes:
    """Return what is signed in a file."""
    return Envelope.from_json(path.read_bytes(), file=path).payload


def resign(event: Event, bundle: Path, kind: str, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change what an auditor signed, and sign it again; a result names its announcement anew."""
    start = None
    for wanted in (AUDIT_START_TYPE, AUDIT_TYPE):
        for path in list(Bundle(bundle).audit_files()):
            statement = json.loads(payload(path))
            if statement["predicateType"] != wanted:
                if statement["predicateType"] not in (AUDIT_START_TYPE, AUDIT_TYPE):
                    path.unlink()  # the public form of what is changed
                continue
            found = statement["predicate"]
            if wanted == AUDIT_TYPE and start is not None:
                found["start"]["digest"] = start
            if wanted == kind:
                change(found)
            if kind == AUDIT_START_TYPE and wanted == AUDIT_TYPE:
                change(found)
            path.unlink()
            envelope = sign(statement, load_signer(event.folder / "auditor"))
            BundleWriter(bundle).write_audit(envelope)
            start = envelope.digest if wanted == AUDIT_START_TYPE else start


@pytest.mark.parametrize("words", [(), ("--epsilon", "0.05")], ids=["as a whole", "by rates"])
def test_a_verdict_that_does_not_follow_is_not_believed(
    event: Event, receipts: Receipts, tmp_path: Path, words: tuple[str, ...]
) -> None:
    bundle = event.copy(tmp_path / "bundle")
    few = ("--finding", "joint", *words, "--max-points", "12", "--json")
    found = audit(event, receipts, bundle, *few)
    assert (found.code, json.loads(found.out)["findings"][0]["verdict"]) == (5, "inconclusive")
    resign(
        event,
        bundle,
        AUDIT_TYPE,
        lambda found: found["findingVerdicts"][0].update(verdict="confirmed"),
    )
    said = verified(event, receipts, bundle)
    assert said.code == 3
    assert "finding joint: its breakdown point or verdict does not follow" in said.out
    code, why = second(event, bundle)
    assert (code, "finding joint: verdict is confirmed, not inconclusive" in why) == (1, True)


@pytest.mark.parametrize("words", [(), ("--epsilon", "0.02")], ids=["as a whole", "by rates"])
def test_a_finding_made_of_false_labels_is_not_confirmed(
    neutral: Event, receipts: Receipts, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """Labels are bent along the number of benign demonstrations, under the true key."""
    forged = neutral.copy(tmp_path / "forged")
    bend(neutral, forged)
    assert verified(neutral, receipts, forged).code == 0  # all that is sealed fits
    findings = Bundle(forged).receipt.statement.predicate.findings
    assert findings is not None
    assert findings.joint is not None
    assert findings.joint.effect is Effect.DILUTION
    found = audit(neutral, receipts, forged, "--finding", "joint", *words, "--json")
    assert found.code in (4, 5)
    document = json.loads(found.out)
    assert [each["verdict"] for each in document["findings"]] == ["inconclusive"]
    assert verified(neutral, receipts, forged).code in (0, 3)


def bend(event: Event, forged: Path) -> None:
    """Seal more refusals the more benign demonstrations there are, and more compliances without."""
    bundle, plan = Bundle(event.bundle), event.plan
    conditions = {condition.id: condition for condition in plan.conditions}
    pairs = list(zip(bundle.points(), bundle.responses(), strict=True))
    some = {
        outcome: next(record for _, record in pairs if record.outcome is outcome)
        for outcome in (Outcome.COMPLIED, Outcome.REFUSED)
    }
    left = dict.fromkeys(conditions, BENT)
    writer, root, points = BundleWriter(forged), RootAccumulator(), []
    with writer.evidence(public=True) as sink:
        for point, record in _bent(pairs, conditions, some, left):
            root.append(sink.append(point, record))
            points.append(point)
    receipt, observations = bundle.receipt.statement.predicate, observe(points, plan)
    statement = evaluation_statement(
        plan,
        plan_digest=bundle.plan_envelope.digest,
        observations=observations,
        root=root,
        event=receipt.event,
        environment=receipt.environment,
        findings=derive(observations),
    )
    writer.write_receipt(sign(statement.to_wire(), event.signer))


def _bent(
    pairs: list[tuple[Point, RestrictedRecord]],
    conditions: dict[str, PlannedCondition],
    some: dict[Outcome, RestrictedRecord],
    left: dict[str, int],
) -> Iterator[tuple[Point, RestrictedRecord]]:
    for point, record in pairs:
        condition = conditions[point.condition]
        wanted = {0: Outcome.COMPLIED, 32: Outcome.REFUSED}.get(condition.n_benign)
        turned = wanted is not None and condition.n_harmful and record.outcome is not wanted
        if turned and wanted is not None and left[point.condition]:
            left[point.condition] -= 1
            yield _turned(point, replaced(record, some[wanted]))
        else:
            yield point, record


def _turned(point: Point, record: RestrictedRecord) -> tuple[Point, RestrictedRecord]:
    """Return a point as it is sealed with another record."""
    changes = {
        "outcome": record.outcome,
        "reason": record.reason,
        "finish": record.finish,
        "response_tokens": len(record.response_tokens),
        "commitment": record.commitment(),
    }
    return point.model_copy(update=changes), record
