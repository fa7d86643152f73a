"""What verification alone stops: exit code 3, whether it is verified or audited."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from attacks import records
from attacks.audits import Terms, replay
from attacks.forgeries import FORGERIES, Forgery, Scene

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.errors import IntegrityError
from safety_receipts.receipts.keys import generate_key, write_key_pair
from safety_receipts.receipts.model.point import Outcome
from safety_receipts.verify.audit.replay import Entry


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("auditor") / "key"
    write_key_pair(path, generate_key())
    return path


def test_an_honest_bundle_verifies_and_its_audit_is_confirmed(
    scene: Scene, key: Path, tmp_path: Path
) -> None:
    whole = scene.at(tmp_path)
    assert whole.verify() == (0, [])
    assert whole.audit(key) == 0


@pytest.mark.parametrize("forgery", FORGERIES, ids=lambda forgery: forgery.name)
def test_a_forgery_ends_before_any_replay(
    forgery: Forgery, scene: Scene, key: Path, tmp_path: Path
) -> None:
    forged = scene.at(tmp_path)
    forgery.forge(forged)
    code, failed = forged.verify(*forgery.flags)
    expected = 2 if forgery.caught_by is None else 3
    assert code == expected
    assert forgery.caught_by is None or forgery.caught_by in failed
    assert forged.audit(key, *forgery.flags) == expected
    assert not (forged.bundle / "audits").exists()


def _false_prompt(entry: Entry) -> Entry:
    return records.changed(entry, prompt=Sha256("0" * 64))


def _false_text(entry: Entry) -> Entry:
    return records.changed(entry, text=f"{entry[1].text} So be it.")


@pytest.mark.parametrize(
    ("lie", "words"), [(_false_prompt, "the prompt is not"), (_false_text, "the text is not")]
)
def test_a_replay_finds_by_itself_what_no_noise_explains(
    lie: Callable[[Entry], Entry], words: str, scene: Scene
) -> None:
    replayer = scene.subject.replayer(scene.engine, Terms().limits)
    entry = next(e for e in scene.entries if e[0].outcome is Outcome.REFUSED)
    assert replay(replayer, [entry]).replayed
    with pytest.raises(IntegrityError, match=words):
        replay(replayer, [lie(entry)])
