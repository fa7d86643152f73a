"""What an unfinished audit keeps, and how it goes on after a kill."""

from __future__ import annotations

import json
import math
import resource
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from auditing import Event, FaultyScores, loaded_stack, make_event, trust
from dishonest import Pair, seal_again
from hypothesis import given, settings
from hypothesis import strategies as st

from safety_receipts.receipts.bundle import AUDITS, Bundle
from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.dsse import Envelope
from safety_receipts.receipts.errors import (
    FileAccessError,
    IntegrityError,
    InterruptedByUserError,
    MalformedError,
    UsageError,
)
from safety_receipts.receipts.keys import Signer, TrustSet, generate_key
from safety_receipts.receipts.model.audit import AuditVerdict
from safety_receipts.receipts.model.base import ConditionId
from safety_receipts.receipts.model.check import CheckLevel, CheckStatus
from safety_receipts.receipts.model.point import Outcome, Point, RestrictedRecord
from safety_receipts.receipts.model.statement import AuditStatement
from safety_receipts.runner.engines.engine import Engine, Margins
from safety_receipts.verify.audit.conduct import Auditor, conduct
from safety_receipts.verify.audit.journals.replays import AuditJournal
from safety_receipts.verify.audit.statistics.plausibility import MarginStatistics
from safety_receipts.verify.audit.statistics.replayed import ReplayedPoint
from safety_receipts.verify.audit.terms import AuditOptions, begin
from safety_receipts.verify.integrity import verify_bundle

SIGNER = generate_key()
START, STACK = Sha256("a" * 64), {"dtype": "float32", "device": "cpu"}
OUTCOMES = st.sampled_from(list(Outcome))
WORDS = st.none() | st.text(max_size=20)
MARGINS = st.floats(0, math.inf, allow_nan=False)
POINTS = st.builds(
    ReplayedPoint,
    id=st.integers(0, 2**256 - 1).map(lambda number: Sha256(f"{number:064x}")),
    condition=st.just(ConditionId("h0-b0")),
    recorded=OUTCOMES,
    label=st.none() | OUTCOMES,
    statistics=st.none() | st.builds(MarginStatistics, MARGINS, MARGINS, st.integers(1, 99)),
    branched=st.none() | st.integers(0, 9),
    missing=WORDS,
    implausible=WORDS,
    ambiguous=st.booleans(),
    judge_margin=st.none() | st.floats(-9, 9),
    hard=WORDS,
)


def point(number: int) -> ReplayedPoint:
    refused = Outcome.REFUSED
    return ReplayedPoint(Sha256(f"{number:064x}"), ConditionId("h0-b0"), refused, refused)


@settings(deadline=None, max_examples=60)  # every example syncs a file
@given(st.lists(POINTS, max_size=5, unique_by=lambda one: one.id))
def test_points_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, points: list[ReplayedPoint]
) -> None:
    path = tmp_path_factory.mktemp("kept") / "journal"
    AuditJournal(path, START, STACK, SIGNER).add(points)
    again = AuditJournal(path, START, STACK, SIGNER)
    assert list(again.replayed.values()) == points


def test_it_is_its_owner_s_alone_and_goes_away(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = AuditJournal(path, START, STACK, SIGNER)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    journal.add([point(1)])
    journal.remove()
    assert not path.exists()


@pytest.mark.parametrize("mode", [0o644, 0o666, 0o640])
def test_one_that_is_gone_on_with_is_its_owner_s_alone_again(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "journal"
    AuditJournal(path, START, STACK, SIGNER).add([point(1)])
    path.chmod(mode)
    AuditJournal(path, START, STACK, SIGNER)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_kill_at_any_byte_costs_no_more_than_the_last_points(tmp_path: Path) -> None:
    """Every whole line counts, a torn one never was; what comes after it is kept whole."""
    path = tmp_path / "journal"
    AuditJournal(path, START, STACK, SIGNER).add([point(1), point(2)])
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        journal = AuditJournal(path, START, STACK, SIGNER)
        lines = whole[:length].count(b"\n")
        assert len(journal.replayed) == max(0, lines - 1)
        journal.add([point(3)])
        assert len(AuditJournal(path, START, STACK, SIGNER).replayed) == max(1, lines)


def test_a_full_disk_names_the_file_and_costs_no_more_than_the_last_points(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = AuditJournal(path, START, STACK, SIGNER)
    journal.add([point(1)])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 100, hard))
    try:
        with pytest.raises(FileAccessError, match="cannot write: File too large") as caught:
            journal.add([point(2), point(3)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.file == str(path)
    again = AuditJournal(path, START, STACK, SIGNER)
    assert list(again.replayed.values()) == [point(1)]
    again.add([point(2)])
    assert len(AuditJournal(path, START, STACK, SIGNER).replayed) == 2


def test_another_audit_s_journal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    AuditJournal(path, START, STACK, SIGNER).add([point(1)])
    for start, signer in ((Sha256("b" * 64), SIGNER), (START, generate_key())):
        with pytest.raises(MalformedError, match="of another audit or auditor"):
            AuditJournal(path, start, STACK, signer)


def test_what_the_auditor_did_not_sign_is_no_replay(tmp_path: Path) -> None:
    """The file lies in the bundle: an evaluator may write there, and knows its form."""
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    AuditJournal(theirs, START, STACK, generate_key()).add([point(1)])
    AuditJournal(mine, START, STACK, SIGNER)
    mine.write_bytes(mine.read_bytes() + theirs.read_bytes().splitlines(keepends=True)[1])
    with pytest.raises(MalformedError, match="of another audit or auditor"):
        AuditJournal(mine, START, STACK, SIGNER)


def test_another_stack_is_refused(tmp_path: Path) -> None:
    """Points of one audit are replayed alike: no auditor may pick the kinder of two stacks."""
    path = tmp_path / "journal"
    AuditJournal(path, START, STACK, SIGNER).add([point(1)])
    with pytest.raises(
        UsageError, match="another device, number format, server or version"
    ) as caught:
        AuditJournal(path, START, {**STACK, "dtype": "bfloat16"}, SIGNER)
    assert "go on with the same" in caught.value.one_line()


DAMAGES = {
    "no JSON": b"nonsense\n",
    "a list": b"[]\n",
    "a number": b"7\n",
    "a field less": b'{"id": "00"}\n',
    "another outcome": None,
    "no UTF-8": b"\xff\xfe\n",
}


@pytest.mark.parametrize("name", DAMAGES, ids=lambda name: name.replace(" ", "-"))
@pytest.mark.parametrize("place", ["header", "point"])
def test_damage_is_said_in_one_line(tmp_path: Path, name: str, place: str) -> None:
    path = tmp_path / "journal"
    AuditJournal(path, START, STACK, SIGNER).add([point(1), point(2)])
    lines = path.read_bytes().splitlines(keepends=True)
    damage = DAMAGES[name] or lines[1].replace(b'"refused"', b'"splendid"', 1)
    lines[0 if place == "header" else 1] = damage
    path.write_bytes(b"".join(lines))
    with pytest.raises((MalformedError, UsageError)) as caught:
        AuditJournal(path, START, STACK, SIGNER)
    assert "move it away" in caught.value.one_line()


def test_a_folder_in_its_place_or_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises((FileAccessError, MalformedError)):
        AuditJournal(tmp_path / "folder", START, STACK, SIGNER)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileAccessError):
        AuditJournal(tmp_path / "link", START, STACK, SIGNER)
    assert not (tmp_path / "elsewhere").exists()


@pytest.fixture(scope="module")
def event(tmp_path_factory: pytest.TempPathFactory) -> Event:
    return make_event(tmp_path_factory.mktemp("event"), queries=80)


def audited(
    event: Event, signer: Signer, folder: Path, engine: Any = lambda engine: engine
) -> tuple[AuditStatement, Envelope]:
    subject = event.subject()
    announced, _ = begin(subject, AuditOptions(epsilon="0.2", nonce="5e" * 32), signer, folder)
    loaded = loaded_stack(event.resolved, engine=engine)
    return conduct(subject, announced, Auditor(signer, loaded, None, folder), [])


def test_an_interrupted_audit_ends_with_the_same_statement(
    event: Event, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a kill in its second round, and a torn line."""
    monkeypatch.setattr("safety_receipts.verify.audit.run.ROUND", 4)
    monkeypatch.setattr("safety_receipts.verify.audit.run.PART", 4)
    signer, calls = generate_key(), []

    def engine(plain: Engine) -> Engine:
        def stop(margins: Margins) -> Margins:
            calls.append(margins)
            if len(calls) > 8:
                raise KeyboardInterrupt
            return margins

        return FaultyScores(plain, stop)

    with pytest.raises(InterruptedByUserError, match="8 replayed points are kept") as caught:
        audited(event, signer, tmp_path / "stopped", engine)
    assert "run the same command again" in caught.value.one_line()
    [path] = (tmp_path / "stopped" / AUDITS).glob("*.replayed.jsonl")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = [
        json.loads(line.split(" ", 1)[1])["id"] for line in path.read_text("utf-8").splitlines()[1:]
    ]
    assert len(before) == 8
    with path.open("ab") as stream:
        stream.write(b'{"id": "torn')
    asked: list[int] = []

    def counted(plain: Engine) -> Engine:
        def note(margins: Margins) -> Margins:
            asked.append(margins.key)
            return margins

        return FaultyScores(plain, note)

    resumed, _ = audited(event, signer, tmp_path / "stopped", counted)
    straight, _ = audited(event, signer, tmp_path / "straight")
    assert not path.exists()
    # Nothing was replayed twice, and nothing else was drawn.
    assert set(before) < set(resumed.predicate.drawn)
    points = {*resumed.predicate.drawn, *resumed.predicate.identity_drawn}
    assert len(asked) == len(points) - 8
    one, other = (
        statement.predicate.model_dump(exclude={"start", "finished_at", "blinding"})
        for statement in (resumed, straight)
    )
    assert one == other


def test_a_drawn_point_that_does_not_follow_is_signed_too(event: Event, tmp_path: Path) -> None:
    """An evaluator who spoils a few records must not silence an audit that would refute them."""
    signer, bundle = generate_key(), event.copy(tmp_path / "bundle")

    def spoil(point: Point, record: RestrictedRecord) -> Pair:
        if point.outcome is not Outcome.REFUSED:
            return point, record
        return point, record.model_copy(update={"prompt": Sha256("0" * 64)})

    seal_again(bundle, event.signer, spoil)
    subject = event.subject(bundle)
    announced, _ = begin(subject, AuditOptions(epsilon="0.2"), signer, bundle)
    auditor = Auditor(signer, loaded_stack(event.resolved), None, bundle)
    with pytest.raises(IntegrityError, match="the prompt is not the one") as caught:
        conduct(subject, announced, auditor, [])
    assert "signed as audit" in caught.value.one_line()
    found = verify_bundle(
        Bundle(bundle), evaluators=trust(event.signer), auditors=TrustSet([signer.public])
    )
    [failed] = [c for c in found.checks if c.status is CheckStatus.FAILED]
    assert failed.level is CheckLevel.REPLAYED
    assert "the prompt is not the one that is rendered" in failed.detail


def test_junk_in_the_folder_does_not_silence_an_audit(event: Event, tmp_path: Path) -> None:
    (tmp_path / AUDITS).mkdir()
    for number in range(120):
        (tmp_path / AUDITS / f"{number}.dsse.json").write_text("{}", "utf-8")
    statement, _ = audited(event, generate_key(), tmp_path)
    assert statement.predicate.known_starts == 1


def test_it_goes_on_in_another_folder_and_with_another_memory(event: Event, tmp_path: Path) -> None:
    subject, signer = event.subject(), generate_key()
    announced, _ = begin(subject, AuditOptions(epsilon="0.2"), signer, tmp_path / "first")
    loaded = loaded_stack(event.resolved)

    def stop(margins: Margins) -> Margins:
        raise KeyboardInterrupt

    stopped = loaded_stack(event.resolved, engine=lambda engine: FaultyScores(engine, stop))
    with pytest.raises(InterruptedByUserError):
        conduct(subject, announced, Auditor(signer, stopped, None, tmp_path / "first"), [])
    elsewhere = Auditor(signer, replace(loaded, memory=2**25), None, tmp_path / "other")
    for folder in ("first", "other"):
        statement, _ = conduct(subject, announced, replace(elsewhere, out=tmp_path / folder), [])
        assert statement.predicate.verdict is AuditVerdict.CONFIRMED
