"""The settings of a log: a file that people write, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from transparency import ORIGIN, WitnessedLog, make_log, witnessed_log

from safety_receipts import schemas
from safety_receipts.receipts.errors import (
    FileAccessError,
    IncompleteError,
    MalformedError,
    ReceiptsError,
    UsageError,
)
from safety_receipts.receipts.events.synthetic import Mixture, synthetic_plan
from safety_receipts.receipts.keys import KeyType, generate_key, write_key_pair
from safety_receipts.receipts.log.generate_settings_schema import (
    SETTINGS_SCHEMA,
    settings_schema_bytes,
)
from safety_receipts.receipts.log.settings import load_statement_log
from safety_receipts.receipts.seal import seal_plan


@pytest.fixture
def made(tmp_path: Path) -> WitnessedLog:
    """A log without witnesses, and its settings."""
    return make_log(tmp_path / "logged")


def test_the_schema_is_that_of_the_model() -> None:
    file = Path(schemas.__file__).parent / schemas.file_name(SETTINGS_SCHEMA, 1)
    assert file.read_bytes() == settings_schema_bytes()


def test_a_log_is_opened_by_its_settings(made: WitnessedLog) -> None:
    own = load_statement_log(made.settings).own
    assert own is not None
    assert (own.signer.origin, own.folder.size) == (ORIGIN, 0)


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("[]", MalformedError, "is not a mapping"),
        ("version: 1\n", MalformedError, "policy"),
        ("version: 2\npolicy: log-policy\n", MalformedError, "version"),
        ("version: 1\npolicy: log-policy\nlogs: log\n", MalformedError, "no such key; allowed: "),
        ("version: 1\npolicy: absent\n", MalformedError, "there is no "),
        ("version: 1\npolicy: log-policy\nlog: absent\nkey: log-key\n", MalformedError, "there is"),
        ("version: 1\npolicy: log-policy\nlog: log\n", MalformedError, "goes with `key`"),
        ("version: 1\npolicy: log-policy\nkey: log-key\n", MalformedError, "goes with `log`"),
        (
            "version: 1\npolicy: log-policy\npassphrase_env: X\n",
            MalformedError,
            "goes with `key`, which is missing",
        ),
        (
            "version: 1\npolicy: log-policy\nlog: log\nkey: log-key\npassphrase_env: NO_SUCH\n",
            MalformedError,
            "the environment variable NO_SUCH is unset or empty",
        ),
        ("version: 1\npolicy: log-key\nlog: log\nkey: log-key\n", MalformedError, "log policy"),
        ("version: 1\npolicy: log-policy\nlog: log\nkey: another\n", UsageError, "signed with"),
        ("version: 1\npolicy: log-policy\nlog: log\nkey: curve\n", ReceiptsError, "Ed25519"),
        ("version: 1\npolicy: log-policy\nlog: .\nkey: log-key\n", FileAccessError, "is no log"),
        ("version: 1\npolicy: other\nlog: log\nkey: log-key\n", UsageError, "does not accept"),
    ],
)
def test_what_is_wrong_with_settings_is_said(
    made: WitnessedLog, text: str, kind: type[ReceiptsError], words: str
) -> None:
    place = made.settings.parent
    write_key_pair(place / "another", generate_key())
    write_key_pair(place / "curve", generate_key(KeyType.P256))
    other = make_log(place / "elsewhere")
    (place / "other").write_bytes(other.policy.read_bytes())
    made.settings.write_text(text, encoding="utf-8")
    with pytest.raises(kind) as caught:
        load_statement_log(made.settings)
    assert words in f"{caught.value.place} {caught.value.message}"
    assert caught.value.file is not None
    assert "\n" not in str(caught.value)


def test_a_log_that_somebody_else_keeps(made: WitnessedLog, tmp_path: Path) -> None:
    """Nothing goes on before its proof lies in the bundle."""
    foreign = made.settings.with_name("foreign.yaml")
    foreign.write_text("version: 1\npolicy: log-policy\n", encoding="utf-8")
    log = load_statement_log(foreign)
    plan = synthetic_plan([Mixture(0, 0, None)], {"alpha": 1})
    envelope = seal_plan(plan, generate_key())
    folder = tmp_path / "bundle"
    file = folder / "plan.dsse.json"
    with pytest.raises(IncompleteError) as caught:
        log.record(envelope, file, folder)
    assert str(folder / "proofs" / "plan.tlog-proof") in (caught.value.hint or "")
    made.own.record(envelope, file, folder)
    assert log.record(envelope, file, folder).before


def test_a_witness_that_is_asked_again_has_one_line_in_a_proof(tmp_path: Path) -> None:
    """Some verifiers refuse two lines of one key; the first says the earlier time."""
    times = iter(range(1_700_000_000, 1_700_001_000, 60))
    with witnessed_log(tmp_path / "logged", clock=lambda: next(times)) as log:
        envelope = seal_plan(synthetic_plan([Mixture(0, 0, None)], {"alpha": 1}), generate_key())
        log.swap(1)
        with pytest.raises(IncompleteError, match="too few witnesses"):
            log.own.record(envelope, tmp_path / "plan.dsse.json", tmp_path)
        log.swap(1)
        found = log.own.record(envelope, tmp_path / "plan.dsse.json", tmp_path)
    names = [line.name for line in found.proof.signed.note.signatures]
    assert sorted(names) == ["example.com/log", "example.com/w0", "example.com/w1"]
