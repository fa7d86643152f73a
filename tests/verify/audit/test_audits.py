"""Audits that hang on a receipt: whose count, and what they must say to count."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import annotated_types
import pytest
from audit_statements import (
    AUDITOR,
    GOLDEN,
    NONCE,
    announce,
    method_of,
    nothing_found,
    report,
)

from safety_receipts.receipts.audit_forms import parse_audit, sign_public_form
from safety_receipts.receipts.beacon.rounds import has_pairing, value_of
from safety_receipts.receipts.bundle import AUDITS, Bundle, BundleWriter
from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.dsse import Envelope, sign
from safety_receipts.receipts.keys import TrustSet, generate_key
from safety_receipts.receipts.model.audit import (
    AuditMethod,
    AuditPredicate,
    AuditStartPredicate,
    AuditVerdict,
    Direction,
    RateVerdict,
    audit_traits,
)
from safety_receipts.receipts.model.base import MAX_POINTS
from safety_receipts.receipts.model.check import Check, CheckLevel, CheckStatus
from safety_receipts.receipts.model.statement import (
    AUDIT_TYPE,
    CALIBRATION_TYPE,
    EVALUATION_TYPE,
    FIRST_AUDIT_START_TYPE,
    FIRST_AUDIT_TYPE,
    PLAN_TYPE,
    STATEMENT_TYPE,
)
from safety_receipts.verify.audit.sealed.problems import result_problems
from safety_receipts.verify.audit.statistics.hypotheses import IDENTITY_LEVEL, least_identity
from safety_receipts.verify.audit.statistics.model_identity import IDENTITY_TEST_LEVEL
from safety_receipts.verify.audit.statistics.scope import name_of, recorded_rates
from safety_receipts.verify.audit.statistics.verdicts import (
    possible_verdicts,
    rate_verdict,
    whole_verdict,
)
from safety_receipts.verify.integrity import verify_bundle
from safety_receipts.verify.verification import VerificationVerdict
from safety_receipts.verify.view.documents.verify import verify_document


@pytest.mark.parametrize(
    ("verdict", "status", "overall"),
    [
        (AuditVerdict.CONFIRMED, CheckStatus.PASSED, VerificationVerdict.PASSED),
        (AuditVerdict.CONSISTENT_WITH, CheckStatus.PASSED, VerificationVerdict.PASSED),
        (AuditVerdict.INCONCLUSIVE, CheckStatus.NOT_CHECKED, VerificationVerdict.PASSED),
        (AuditVerdict.REFUTED, CheckStatus.FAILED, VerificationVerdict.FAILED),
    ],
)
def test_a_trusted_audit(
    verdict: AuditVerdict,
    status: CheckStatus,
    overall: VerificationVerdict,
    verify: Any,
    receipt: Sha256,
) -> None:
    start = announce(receipt, method=method_of(verdict))
    verification, audits = verify(start, report(receipt, start.digest, verdict))
    assert sorted(c.status for c in audits) == sorted([CheckStatus.PASSED, status])
    assert verification.verdict is overall
    assert any(verdict.value.replace("refuted", "refutes") in c.detail for c in audits)
    assert not any("splendid" in c.detail for c in audits)  # its own prose says nothing here


def test_a_line_says_of_how_much_an_audit_is_how_sure_and_by_whom(
    verify: Any, receipt: Sha256
) -> None:
    """A reader of a passing verification sees an audit of one rate for what it is."""
    start = announce(receipt)
    verification, audits = verify(start, report(receipt, start.digest))
    [line] = [c.detail for c in audits if c.detail.startswith("partly confirmed: ")]
    [seen] = verify_document(verification).to_wire()["audits"]
    scope = seen["scope"]
    whole = Bundle(GOLDEN).receipt.statement.predicate
    assert scope["conditions"] == {"audited": 1, "of": len(whole.conditions)}
    assert (scope["whole"], scope["directions"]) == (False, ["understated"])
    assert scope["rates"]["audited"] == 1 < scope["rates"]["of"]
    assert scope["points"]["of"] == whole.evidence.size
    assert (seen["epsilon"], seen["alpha"], seen["calibrated"]) == ("0.3", "0.05", False)
    assert (seen["auditor"], seen["keyids"]) == ("an institute", [AUDITOR.public.keyid])
    for words in (
        f"1 of {len(whole.conditions)} conditions",
        f"{scope['points']['replayed']:,} of {whole.evidence.size:,} points replayed",
        "looking for understated rates",
        "ε = 0.3, α = 0.05",
        "uncalibrated",
        f"by an institute, key {AUDITOR.public.keyid[:16]}…",
    ):
        assert words in line


def test_a_long_name_of_an_auditor_hides_nothing(verify: Any, receipt: Sha256) -> None:
    start = announce(receipt, changes={"auditor": "x" * 500})
    _, audits = verify(start, report(receipt, start.digest))
    [line] = [c.detail for c in audits if c.detail.startswith("partly confirmed: ")]
    assert "x" * 61 not in line
    assert f"key {AUDITOR.public.keyid[:16]}…" in line


def test_an_auditor_without_a_name_is_known_by_the_key(verify: Any, receipt: Sha256) -> None:
    start = announce(receipt, changes={"auditor": None})
    verification, audits = verify(start, report(receipt, start.digest))
    assert any(f"by key {AUDITOR.public.keyid[:16]}…" in c.detail for c in audits)
    [seen] = verify_document(verification).to_wire()["audits"]
    assert seen["auditor"] is None


def test_whose_audit_it_is_follows_from_signatures_that_hold(verify: Any, receipt: Sha256) -> None:
    """Anybody can add a signature in another's name to an envelope."""
    start = announce(receipt)
    audit = report(receipt, start.digest)
    stranger = sign(json.loads(audit.payload), generate_key())
    both = Envelope(audit.payload, (*stranger.signatures, *audit.signatures))
    verification, _ = verify(start, both)
    [seen] = verify_document(verification).to_wire()["audits"]
    assert seen["keyids"] == [AUDITOR.public.keyid]


def test_an_untrusted_audit_is_shown_and_ignored(verify: Any, receipt: Sha256) -> None:
    other = generate_key()
    start = announce(receipt, other)
    audit = report(receipt, start.digest, AuditVerdict.REFUTED, other)
    verification, audits = verify(start, audit)
    assert [c.status for c in audits] == [CheckStatus.NOT_CHECKED] * 2
    assert verification.verdict is VerificationVerdict.PASSED


def test_an_audit_of_another_receipt_is_ignored(verify: Any) -> None:
    """Anybody can copy a file: it must not turn a good bundle bad."""
    other = Sha256("1" * 64)
    start = announce(other)
    audit = report(other, start.digest, AuditVerdict.REFUTED)
    verification, audits = verify(start, audit)
    assert {c.status for c in audits} == {CheckStatus.NOT_CHECKED}
    assert all("another receipt" in c.detail for c in audits)
    assert verification.verdict is VerificationVerdict.PASSED


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pointsTotal": 5}, "another number of points"),
        ({"start": {"digest": "2" * 64}}, "announcement"),
        ({"verdict": "splendid"}, "not readable"),
        ({"drawn": None}, "not readable"),
        ({"epsilon": "0.5"}, "epsilon is not what was announced"),
        ({"challenge.nonce": "cd" * 32}, "challenge is not what was announced"),
        ({"drawn": ["a" * 64] * 4}, "drawn twice"),
        ({"drawn": ["a" * 64]}, "not the points drawn"),
        ({"drawn.0": "a" * 64}, "not those that the challenge draws"),
        ({"identityDrawn.0": "a" * 64}, "identity test are not those that the challenge draws"),
        ({"identityDrawn": []}, "other responses than those replayed for it"),
        ({"identityDrawn": ["a" * 64] * 60}, "identity test are not those that were announced"),
        ({"identity.responses": 0}, "other responses than those replayed for it"),
        ({"identity.responses": 61}, "other responses than those replayed for it"),
        ({"identity.level": "0.001"}, "held to a level of 0.001"),
        ({"identity.pValue": "0.5"}, "a p-value exactly if the audit is calibrated"),
        ({"knownStarts": 0}, "fewer announcements"),
        ({"beaconValue": "cd" * 32}, "a beacon value goes with"),
        ({"conditions.0.recordedRate": "0.999999"}, "not the receipt's rate"),
        ({"conditions.0.contradictions": 3000}, "counts do not fit"),
        ({"conditions.0.hardContradictions": 1}, "counts do not fit"),
        ({"conditions.0.recorded": 10_000}, "another number of points than the receipt counts"),
        ({"conditions.0.hidden": 100}, "would put its rate off"),
        ({"conditions.0.contradictions": 1}, "not those it counts"),
        ({"conditions.0.contradicted": [100_000]}, "not those it counts"),
        ({"conditions.0.pValue": "0.000000001"}, "p is 0.0"),
        ({"conditions.0.refutingPValue": "0.5"}, "the refuting p is 1"),
        (
            {"conditions.0.contradictions": 1, "conditions.0.contradicted": [1]},
            "p is",
        ),
        ({"conditions.0.id": "h0-b4"}, "not the announced ones"),
        ({"conditions.0.verdict": "inconclusive"}, "inconclusive follows from its rates"),
        ({"conditions.0.verdict": "refuted"}, "refuted follows from its rates"),
        ({"conditions.0.verdict": "consistent_with"}, "no audit by replay can say"),
        ({"verdict": "consistent_with"}, "no audit by replay can say"),
        ({"identity": None}, "inconclusive follows from its rates and the model's identity"),
        ({"identity.passed": False}, "inconclusive follows from its rates"),
        ({"verdict": "inconclusive"}, "confirmed follows from its rates"),
        ({"verdict": "refuted"}, "confirmed follows from its rates"),
        ({"verdict": "refuted", "conditions.0.verdict": "refuted"}, "from its draws follows"),
        (
            {"verdict": "inconclusive", "conditions.0.verdict": "inconclusive"},
            "from its draws follows confirmed",
        ),
    ],
)
def test_a_trusted_audit_that_does_not_hold_together(
    changes: dict[str, Any], words: str, verify: Any, receipt: Sha256
) -> None:
    start = announce(receipt)
    verification, audits = verify(start, report(receipt, start.digest, changes=changes))
    assert any(words in c.detail for c in audits if c.status is CheckStatus.FAILED)
    assert verification.verdict is VerificationVerdict.FAILED


def test_an_audit_cannot_confirm_what_its_draws_do_not(verify: Any, receipt: Sha256) -> None:
    start = announce(receipt)
    claimed = {"verdict": "confirmed", "conditions.0.verdict": "confirmed"}
    few = report(receipt, start.digest, AuditVerdict.INCONCLUSIVE, changes=claimed)
    verification, audits = verify(start, few)
    assert any("confirmed, and from its draws follows inconclusive" in c.detail for c in audits)
    assert verification.verdict is VerificationVerdict.FAILED


def test_an_announcement_without_a_result(verify: Any, receipt: Sha256) -> None:
    """Unfinished audits count: a lone announcement is no green tick."""
    verification, [audit] = verify(announce(receipt))
    assert audit.status is CheckStatus.NOT_CHECKED
    assert "no result" in audit.detail
    assert verification.verdict is VerificationVerdict.PASSED


def test_somebody_elses_announcement_does_not_count(verify: Any, receipt: Sha256) -> None:
    """Neither another receipt's, nor an audit in its place, nor another auditor's."""
    elsewhere = announce(Sha256("1" * 64))
    verification, _ = verify(elsewhere, report(receipt, elsewhere.digest))
    assert verification.verdict is VerificationVerdict.FAILED


def test_an_audit_is_no_announcement(verify: Any, receipt: Sha256) -> None:
    start = announce(receipt)
    first = report(receipt, start.digest)
    verification, audits = verify(start, first, report(receipt, first.digest))
    assert [c.status for c in audits].count(CheckStatus.FAILED) == 1
    assert verification.verdict is VerificationVerdict.FAILED


def test_a_copy_is_not_counted_twice(verify: Any, bundle: Path, receipt: Sha256) -> None:
    start = announce(receipt)
    audit = report(receipt, start.digest)
    (bundle / AUDITS).mkdir()
    (bundle / AUDITS / "zz.dsse.json").write_bytes(audit.to_json())
    _, audits = verify(start, audit)
    assert [c.status for c in audits].count(CheckStatus.PASSED) == 2
    assert any("copy" in c.detail for c in audits)


def test_without_trusted_auditors_nothing_is_parsed(bundle: Path, receipt: Sha256) -> None:
    BundleWriter(bundle).write_audit(announce(receipt))
    verification = verify_bundle(Bundle(bundle), evaluators=TrustSet())
    [audit] = [c for c in verification.checks if c.level is CheckLevel.REPLAYED]
    assert "no trusted auditor was given" in audit.detail


def test_files_that_are_no_audits(verify: Any, bundle: Path, receipt: Sha256) -> None:
    """Whatever their names and contents, they are shown safely and ignored."""
    folder = bundle / AUDITS
    folder.mkdir()
    (folder / "\x1b[31mred.dsse.json").write_text("{}")
    (folder / "empty.dsse.json").write_text("")
    (folder / "link.dsse.json").symlink_to("/etc/passwd")
    (folder.joinpath(b"\xff.dsse.json".decode("utf-8", "surrogateescape"))).write_text("[]")
    verification, audits = verify()
    assert [c.status for c in audits] == [CheckStatus.NOT_CHECKED] * 4
    assert all(c.name.isprintable() for c in audits)
    assert verification.verdict is VerificationVerdict.PASSED


def test_a_self_audit_is_named_as_such(
    bundle: Path, golden: Path, make_golden: Any, receipt: Sha256
) -> None:
    own = make_golden.EVALUATOR
    BundleWriter(bundle).write_audit(announce(receipt, own))
    verification = verify_bundle(
        Bundle(bundle),
        evaluators=TrustSet([own.public]),
        auditors=TrustSet([own.public]),
    )
    [audit] = [c for c in verification.checks if c.level is CheckLevel.REPLAYED]
    assert audit.detail.startswith("self-audit: ")


def test_only_keys_of_the_receipt_make_a_self_audit(
    bundle: Path, make_golden: Any, receipt: Sha256
) -> None:
    """Without trusted evaluators, too."""
    own = make_golden.EVALUATOR
    BundleWriter(bundle).write_audit(announce(receipt, own))
    BundleWriter(bundle).write_audit(announce(receipt, changes={"auditor": "another"}))
    verification = verify_bundle(
        Bundle(bundle),
        evaluators=TrustSet(),
        auditors=TrustSet([own.public, AUDITOR.public]),
    )
    audits = [c for c in verification.checks if c.level is CheckLevel.REPLAYED]
    assert sorted(c.detail.startswith("self-audit: ") for c in audits) == [False, True]


@pytest.mark.parametrize("verdict", [AuditVerdict.CONFIRMED, AuditVerdict.REFUTED])
def test_new_responses_neither_confirm_nor_refute(
    verdict: AuditVerdict, verify: Any, receipt: Sha256
) -> None:
    start = announce(receipt, method=AuditMethod.REGENERATE)
    for changes in (
        {"verdict": verdict.value},
        {"verdict": verdict.value, "conditions.0.verdict": verdict.value},
        {"conditions.0.verdict": verdict.value},
    ):
        said = report(receipt, start.digest, AuditVerdict.CONSISTENT_WITH, changes=changes)
        verification, audits = verify(start, said)
        assert any("no audit by regenerate can say" in c.detail for c in audits)
        assert verification.verdict is VerificationVerdict.FAILED


@pytest.mark.parametrize("method", AuditMethod)
@pytest.mark.parametrize("identified", [False, True])
def test_the_whole_follows_from_rates_and_identity(method: AuditMethod, identified: bool) -> None:
    replay = method is AuditMethod.REPLAY
    good = AuditVerdict.CONFIRMED if replay else AuditVerdict.CONSISTENT_WITH
    tested = method is not AuditMethod.REGENERATE
    unclear, refuted = AuditVerdict.INCONCLUSIVE, AuditVerdict.REFUTED
    for rates, follows in (
        ([good, good], unclear if tested and not identified else good),
        ([good, unclear], unclear),
        ([good, refuted, unclear], refuted),
    ):
        level = Fraction(1, 200)
        assert whole_verdict(method, rates, identified=identified, level=level) is follows


@pytest.mark.parametrize("verdict", [AuditVerdict.CONFIRMED, AuditVerdict.REFUTED])
def test_a_servers_scores_neither_confirm_nor_refute(
    verdict: AuditVerdict, verify: Any, receipt: Sha256
) -> None:
    scored = AuditMethod.SERVER_SCORES
    start = announce(receipt, method=scored)
    honest = report(receipt, start.digest, AuditVerdict.CONSISTENT_WITH, method=scored)
    verification, audits = verify(start, honest)
    assert verification.verdict is VerificationVerdict.PASSED
    assert any("scored by a server: nothing ties the server's model" in c.detail for c in audits)
    for changes in (
        {"verdict": verdict.value},
        {"verdict": verdict.value, "conditions.0.verdict": verdict.value},
        {"conditions.0.verdict": verdict.value},
    ):
        said = report(
            receipt, start.digest, AuditVerdict.CONSISTENT_WITH, changes=changes, method=scored
        )
        verification, audits = verify(start, said)
        assert any("no audit by server_scores can say" in c.detail for c in audits)
        assert verification.verdict is VerificationVerdict.FAILED


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"identity": None}, "inconclusive follows from its rates and the model's identity"),
        ({"identity.passed": False}, "inconclusive follows from its rates"),
        ({"outcomes": None}, "does not state what its replays show"),
        ({"secondJudge.verdict": "confirmed"}, "inconclusive follows from its rates"),
        ({"conditions.0.draws": 1}, "the draws of its rates are not the points drawn"),
        ({"outcomes.pValue": "0.5"}, "outcomes: p is"),
    ],
)
def test_what_a_servers_scores_say_is_recomputed(
    changes: dict[str, Any], words: str, verify: Any, receipt: Sha256
) -> None:
    start = announce(receipt, method=AuditMethod.SERVER_SCORES)
    said = report(
        receipt,
        start.digest,
        AuditVerdict.CONSISTENT_WITH,
        changes=changes,
        method=AuditMethod.SERVER_SCORES,
    )
    verification, audits = verify(start, said)
    assert verification.verdict is VerificationVerdict.FAILED
    assert any(words in c.detail for c in audits), [c.detail for c in audits]


@pytest.mark.parametrize("method", AuditMethod)
def test_hard_contradictions_refute_by_the_named_weights_alone(method: AuditMethod) -> None:
    traits, level = audit_traits(method), Fraction(1, 200)
    found = rate_verdict(method, refuted=True, confirmed=False)
    assert (found is AuditVerdict.REFUTED) is traits.by_weights
    hard = nothing_found(58).model_copy(
        update={"hard_contradictions": 58, "refuting_p_value": "0.000000001"}
    )
    whole = whole_verdict(method, [traits.best], identified=True, level=level, outcomes=hard)
    assert whole is (AuditVerdict.REFUTED if traits.by_weights else AuditVerdict.INCONCLUSIVE)
    assert whole in possible_verdicts(method)


CALIBRATED = {"calibration": "c" * 64}


@pytest.mark.parametrize(
    ("identity", "words"),
    [
        ({"identity.pValue": "0.010001"}, None),
        ({"identity.pValue": "0.01"}, "its identity test passed, at a p-value of 0.01"),
        ({"identity.pValue": "0.0001"}, "its identity test passed, at a p-value of 0.0001"),
        ({"identity.pValue": "0.5", "identity.passed": False}, "test failed, at a p-value of 0.5"),
        ({"identity.pValue": None}, "a p-value exactly if the audit is calibrated"),
    ],
)
def test_a_calibrated_identity_test_follows_from_its_p_value(
    identity: dict[str, Any], words: str | None, verify: Any, receipt: Sha256
) -> None:
    start = announce(receipt, changes=CALIBRATED)
    verification, audits = verify(
        start, report(receipt, start.digest, changes=CALIBRATED | identity)
    )
    failed = [c.detail for c in audits if c.status is CheckStatus.FAILED]
    assert (
        (verification.verdict is VerificationVerdict.FAILED) is bool(failed) is (words is not None)
    )
    assert words is None or words in failed[0]


def test_reader_and_auditor_hold_the_identity_test_to_one_level() -> None:
    assert IDENTITY_LEVEL == IDENTITY_TEST_LEVEL


@pytest.mark.parametrize(("points", "follows"), [(50, "confirmed"), (49, "inconclusive")])
@pytest.mark.parametrize("said", ["confirmed", "inconclusive"])
def test_few_points_for_the_identity_confirm_nothing(
    points: int, follows: str, said: str, verify: Any, receipt: Sha256
) -> None:
    start = announce(receipt, changes={"identityPoints": points})
    changes = {"identityPoints": points, "identity.responses": points, "verdict": said}
    verification, audits = verify(start, report(receipt, start.digest, changes=changes))
    assert (verification.verdict is VerificationVerdict.PASSED) is (said == follows)
    problem = f"{said} as a whole, but {follows} follows from its rates"
    assert any(problem in c.detail for c in audits) is (said != follows)


def test_a_small_receipt_takes_all_its_points_for_the_identity() -> None:
    assert [least_identity(points) for points in (7, 50, 264)] == [7, 50, 50]


def test_an_audit_that_ended_early_has_no_identity_test(verify: Any, receipt: Sha256) -> None:
    start = announce(receipt)
    ended = {"identity": None, "identityDrawn": [], "outcomes.draws": 0, "secondJudge": None}
    said = report(receipt, start.digest, AuditVerdict.INCONCLUSIVE, changes=ended)
    verification, audits = verify(start, said)
    assert sorted(c.status for c in audits) == [CheckStatus.NOT_CHECKED, CheckStatus.PASSED]
    assert verification.verdict is VerificationVerdict.PASSED


@pytest.mark.parametrize(
    ("left_out", "words"),
    [
        ("outcomes", "does not state what its replays show about recorded outcomes"),
        ("secondJudge", "did not run the second judge again"),
    ],
)
@pytest.mark.parametrize("public", [False, True])
def test_nothing_that_could_speak_against_a_record_is_left_out(
    left_out: str, words: str, public: bool, verify: Any, receipt: Sha256
) -> None:
    start = announce(receipt)
    said = report(receipt, start.digest, changes={left_out: None})
    if public:
        statement = parse_audit(said, Path("full"))
        assert isinstance(statement.predicate, AuditPredicate)
        said = sign_public_form(statement.predicate, said.digest, AUDITOR)
    verification, audits = verify(start, said)
    assert verification.verdict is VerificationVerdict.FAILED
    assert words in {c.detail for c in audits}


def test_audits_of_the_first_version_say_nothing_of_outcomes(verify: Any, receipt: Sha256) -> None:
    """Their announcements are of the first version, too: nobody can choose what to leave out."""
    start = sign(
        json.loads(announce(receipt).payload) | {"predicateType": FIRST_AUDIT_START_TYPE}, AUDITOR
    )
    nothing = {"outcomes": None, "secondJudge": None}
    said = json.loads(report(receipt, start.digest, changes=nothing).payload)
    first = sign(said | {"predicateType": FIRST_AUDIT_TYPE}, AUDITOR)
    verification, _ = verify(start, first)
    assert verification.verdict is VerificationVerdict.PASSED
    other = announce(receipt)
    said["predicate"] |= {"start": {"digest": other.digest}, "knownStarts": 2}
    verification, audits = verify(other, sign(said | {"predicateType": FIRST_AUDIT_TYPE}, AUDITOR))
    assert verification.verdict is VerificationVerdict.FAILED
    assert any(
        "and its announcement is urn:safety-receipts:audit-start:2" in c.detail for c in audits
    )


def test_no_source_is_taken_for_the_controls(receipt: Sha256) -> None:
    """Whatever it is called: a rate is announced and reported by its fields, not in words."""
    control = {"rates.0.control": True, "rates.0.source": None}
    start = parse_audit(announce(receipt, changes=control), Path("start")).predicate
    source = {"conditions.0.source": "controls", "conditions.0.control": None}
    said = parse_audit(report(receipt, Sha256("0" * 64), changes=source), Path("full")).predicate
    assert isinstance(start, AuditStartPredicate)
    assert isinstance(said, AuditPredicate)
    assert str(name_of(start.rates[0])) == str(name_of(said.conditions[0]))
    sealed = Bundle(GOLDEN).receipt.statement.predicate
    assert "the rates are not the announced ones" in set(result_problems(said, start, sealed))


def test_sources_and_controls_without_a_judged_point_have_no_rate_to_audit() -> None:
    """Nothing is said of them, so that nothing is left to confirm."""
    sealed = Bundle(GOLDEN).receipt.statement.predicate
    first, *rest = sealed.conditions
    assert first.control is not None
    names = [str(name) for name in recorded_rates(sealed.queries, sealed.conditions)]
    unjudged = first.model_copy(
        update={
            "control": first.control.model_copy(update={"refusal_rate": None}),
            "by_source": tuple(
                each.model_copy(update={"compliance_rate": None})
                if each.source == "alpha"
                else each
                for each in first.by_source
            ),
        }
    )
    left = [str(name) for name in recorded_rates(sealed.queries, [unjudged, *rest])]
    assert set(names) - set(left) == {f"{first.id} (controls)", f"{first.id} (alpha)"}


def test_an_audit_states_the_announcements_that_are_here(verify: Any, receipt: Sha256) -> None:
    """Only its own auditor's, and only those that it could know of."""
    start = announce(receipt)
    before = announce(receipt, changes={"startedAt": "2026-01-31T00:00:00Z"})
    after = announce(receipt, changes={"startedAt": "2026-02-01T01:00:01Z"})
    others = announce(receipt, generate_key(), changes={"startedAt": "2026-01-31T00:00:00Z"})
    elsewhere = announce(Sha256("1" * 64), changes={"startedAt": "2026-01-31T00:00:00Z"})
    audit = report(receipt, start.digest)
    verification, _ = verify(start, after, others, elsewhere, audit)
    assert verification.verdict is VerificationVerdict.PASSED
    verification, audits = verify(before)
    [failed] = [c for c in audits if c.status is CheckStatus.FAILED]
    assert failed.detail == "states fewer announcements of its auditor than are here"
    assert verification.verdict is VerificationVerdict.FAILED


@pytest.mark.parametrize("known", [2, 3])
def test_an_audit_may_know_of_more_announcements(known: int, verify: Any, receipt: Sha256) -> None:
    start = announce(receipt)
    before = announce(receipt, changes={"startedAt": "2026-01-31T00:00:00Z"})
    verification, audits = verify(
        start, before, report(receipt, start.digest, changes={"knownStarts": known})
    )
    assert verification.verdict is VerificationVerdict.PASSED
    assert any(f"{known} audits known" in c.detail for c in audits)


def test_an_announcement_has_one_result(verify: Any, receipt: Sha256) -> None:
    """Of two that one comes to count which says least for the receipt, whoever was first."""
    start = announce(receipt)
    least = report(receipt, start.digest, AuditVerdict.INCONCLUSIVE)
    other = report(receipt, start.digest, changes={"finishedAt": "2026-02-01T00:30:00Z"})
    verification, audits = verify(start, least, other)
    by_name = {c.name: c for c in audits}
    second = by_name[f"audit {other.digest[:12]}"]
    assert second.status is CheckStatus.NOT_CHECKED
    assert second.detail == (
        f"a second result of one announcement: audit {least.digest[:12]} counts, which says "
        "inconclusive; move one of them out of the folder"
    )
    assert by_name[f"audit {least.digest[:12]}"].detail.startswith("inconclusive: ")
    assert verification.verdict is VerificationVerdict.PASSED
    worse = report(receipt, start.digest, AuditVerdict.REFUTED)
    verification, audits = verify(worse)
    [failed] = [c for c in audits if c.status is CheckStatus.FAILED]
    assert failed.name == f"audit {worse.digest[:12]}"
    assert verification.verdict is VerificationVerdict.FAILED


def test_a_result_of_somebody_else_answers_no_announcement(bundle: Path, receipt: Sha256) -> None:
    """Nor does it stand in the way of the auditor's own."""
    other, start = generate_key(), announce(receipt)
    early = {"finishedAt": "2026-02-01T00:30:00Z"}
    trusted = TrustSet([AUDITOR.public, other.public])

    def audits() -> list[Check]:
        found = verify_bundle(Bundle(bundle), evaluators=TrustSet(), auditors=trusted)
        return [c for c in found.checks if c.level is CheckLevel.REPLAYED]

    for envelope in (start, report(receipt, start.digest, signer=other, changes=early)):
        BundleWriter(bundle).write_audit(envelope)
    assert sorted(c.status for c in audits()) == [CheckStatus.FAILED, CheckStatus.NOT_CHECKED]
    # That other auditor's announcements are not for this one to know of, either.
    theirs = announce(receipt, other, changes={"startedAt": "2026-01-31T00:00:00Z"})
    for envelope in (theirs, report(receipt, start.digest)):
        BundleWriter(bundle).write_audit(envelope)
    assert [c.status for c in audits()].count(CheckStatus.PASSED) == 2


BEACON = {"chain": "drand-quicknet", "round": 1}


@pytest.mark.parametrize(
    "challenge",
    [
        {"kind": "nonce", "nonce": None, "beacon": None},
        {"kind": "nonce", "nonce": NONCE, "beacon": BEACON},
        {"kind": "self", "nonce": None, "beacon": BEACON},
        {"kind": "beacon", "nonce": NONCE, "beacon": BEACON},
        {"kind": "beacon", "nonce": NONCE, "beacon": None},
        {"kind": "beacon", "nonce": None, "beacon": None},
    ],
)
def test_a_challenge_has_what_its_kind_takes(
    challenge: dict[str, Any], verify: Any, receipt: Sha256
) -> None:
    start = announce(receipt, changes={"challenge": challenge})
    value = NONCE if challenge["kind"] == "beacon" else None
    changes = {"challenge": challenge, "beaconValue": value}
    _, audits = verify(start, report(receipt, start.digest, changes=changes))
    assert [c.status for c in audits] == [CheckStatus.FAILED] * 2
    assert all(f"a challenge of kind {challenge['kind']} takes" in c.detail for c in audits)


@pytest.mark.parametrize("value", [NONCE, None])
def test_a_beacons_audit_names_what_the_beacon_said(
    value: str | None, verify: Any, receipt: Sha256
) -> None:
    challenge = {"challenge": {"kind": "beacon", "nonce": None, "beacon": BEACON}}
    start = announce(receipt, changes=challenge)
    said = report(receipt, start.digest, changes={**challenge, "beaconValue": value})
    verification, audits = verify(start, said)
    assert (verification.verdict is VerificationVerdict.PASSED) is (value is not None)
    words = "beacon value not checked" if value else "a beacon value goes with"
    assert any(words in c.detail for c in audits)


# A published round of drand's quicknet: the README of the package drand-verify 0.2.1.
PUBLISHED = {"chain": "drand-quicknet", "round": 657413}
ROUND_SIGNATURE = (
    "b713718a38ae728dfd477991af2822e08d2f305e47718cef9f7848ce4050e7be"
    "41076862b98fad56e91a6b85b89cd97b"
)
JUST_BEFORE, PUBLICATION = "2023-09-15T11:00:02Z", "2023-09-15T11:00:03Z"


@pytest.mark.parametrize(
    ("announced_at", "changes", "said"),
    [
        (JUST_BEFORE, {}, None),
        (PUBLICATION, {}, "the beacon's round was out when the audit was announced"),
        (JUST_BEFORE, {"beaconValue": NONCE}, "the beacon's signature is not that of"),
        (JUST_BEFORE, {"beaconSignature": None}, "beacon value not checked"),
    ],
    ids=["as it was", "announced too late", "another value", "no signature"],
)
def test_a_beacons_audit_is_held_to_the_signature_of_its_round(
    announced_at: str, changes: dict[str, Any], said: str | None, verify: Any, receipt: Sha256
) -> None:
    challenge = {"challenge": {"kind": "beacon", "nonce": None, "beacon": PUBLISHED}}
    start = announce(receipt, changes={**challenge, "startedAt": announced_at})
    value = value_of(ROUND_SIGNATURE)
    stated = {"beaconValue": value, "beaconSignature": ROUND_SIGNATURE, **challenge, **changes}
    audit = report(receipt, start.digest, changes=stated, nonce=value)
    verification, audits = verify(start, audit)
    failed = said is not None and "not checked" not in said
    assert (verification.verdict is VerificationVerdict.FAILED) is failed
    if said is None:
        checked = "drawn by round 657,413 of drand-quicknet, published 2023-09-15 11:00:03 UTC"
        said = checked if has_pairing() else "beacon value not checked"
    assert any(said in c.detail for c in audits)


def test_a_beacons_signature_goes_with_its_challenge(verify: Any, receipt: Sha256) -> None:
    start = announce(receipt)
    changes = {"beaconSignature": ROUND_SIGNATURE}
    _, audits = verify(start, report(receipt, start.digest, changes=changes))
    assert any("a beacon's signature goes with a challenge of kind" in c.detail for c in audits)


@pytest.mark.parametrize("name", ["epsilon", "alpha"])
@pytest.mark.parametrize("share", ["0", "1", "0.0", "1.000"])
def test_a_share_of_nothing_or_all_fails_in_words(
    name: str, share: str, verify: Any, receipt: Sha256
) -> None:
    start = announce(receipt, changes={name: share})
    _, [alone] = verify(start)
    assert alone.status is CheckStatus.FAILED
    verification, audits = verify(report(receipt, start.digest, changes={name: share}))
    said = f"{name} is {share}: must lie above 0 and below 1"
    assert [(c.status, c.detail) for c in audits] == [(CheckStatus.FAILED, said)] * 2
    assert verification.verdict is VerificationVerdict.FAILED


@pytest.mark.parametrize("kind", [PLAN_TYPE, EVALUATION_TYPE, CALIBRATION_TYPE])
def test_other_statements_of_an_auditor_are_no_audits(
    kind: str, verify: Any, receipt: Sha256
) -> None:
    """Anybody can copy what an auditor signed elsewhere."""
    statement = {"_type": STATEMENT_TYPE, "predicateType": kind, "subject": [], "predicate": {}}
    verification, [audit] = verify(sign(statement, AUDITOR))
    assert audit.status is CheckStatus.NOT_CHECKED
    assert audit.detail == f"not an audit: {kind}"
    assert verification.verdict is VerificationVerdict.PASSED


@pytest.mark.parametrize("kind", ["urn:safety-receipts:audit:3", AUDIT_TYPE, None, ["a"], {}])
def test_statements_of_an_auditor_that_nobody_can_read_fail(
    kind: Any, verify: Any, receipt: Sha256
) -> None:
    statement = {"_type": STATEMENT_TYPE, "predicateType": kind, "subject": [], "predicate": {}}
    verification, [audit] = verify(sign(statement, AUDITOR))
    assert (audit.status, "not readable" in audit.detail) == (CheckStatus.FAILED, True)
    assert verification.verdict is VerificationVerdict.FAILED


def test_both_directions_of_a_rate_share_their_new_responses(verify: Any, receipt: Sha256) -> None:
    both = tuple(Direction)
    start = announce(receipt, method=AuditMethod.REGENERATE, directions=both)
    audit = report(receipt, start.digest, AuditVerdict.CONSISTENT_WITH, directions=both)
    drawn = json.loads(audit.payload)["predicate"]["drawn"]
    assert len(set(drawn)) < len(drawn)
    verification, audits = verify(start, audit)
    assert [c.status for c in audits] == [CheckStatus.PASSED] * 2
    assert verification.verdict is VerificationVerdict.PASSED


def test_an_audit_may_draw_as_many_points_as_an_event_has() -> None:
    for name in ("drawn", "identity_drawn"):
        assert annotated_types.MaxLen(MAX_POINTS) in AuditPredicate.model_fields[name].metadata
    for name in ("contradicted", "hard"):
        assert annotated_types.MaxLen(MAX_POINTS) in RateVerdict.model_fields[name].metadata
