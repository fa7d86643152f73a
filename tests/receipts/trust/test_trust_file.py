"""Trust files as people write them: what is read, and what is said of mistakes."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from safety_receipts import schemas
from safety_receipts.receipts.errors import FileAccessError, MalformedError
from safety_receipts.receipts.keys import (
    TrustSet,
    generate_key,
    public_path,
    supported_key_types,
    write_key_pair,
)
from safety_receipts.receipts.trust.file import MAX_TRUSTED_KEYS
from safety_receipts.receipts.trust.generate_schema import (
    TRUST_SCHEMA,
    trust_schema,
    trust_schema_bytes,
)
from safety_receipts.receipts.trust.limits import KeyLimits
from safety_receipts.receipts.trust.load import load_trust
from safety_receipts.receipts.trust.trust_set import KeyRole, joined_trust, limits_of

EVALUATOR, AUDITOR = KeyRole
JANUARY, JUNE = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A folder with the public keys one, two and three."""
    for name in ("one", "two", "three"):
        write_key_pair(tmp_path / name, generate_key())
    return tmp_path


def written(folder: Path, text: str, name: str = "trust.yaml") -> Path:
    (folder / name).write_text(text)
    return folder / name


def ids(trust: TrustSet) -> list[str]:
    return [key.keyid for key in trust]


def keyid(folder: Path, name: str) -> str:
    (key,) = TrustSet.load([public_path(folder / name)])
    return key.keyid


BOTH = """\
version: 1
keys:
  - file: one.pub
    roles: [evaluator]
    name: the lab, until May
    valid_until: 2026-06-01T02:00:00+02:00
  - file: two.pub
    roles: [auditor, evaluator]
    comment: an institute
"""


def test_each_role_has_its_keys(keys: Path) -> None:
    file = written(keys, BOTH)
    evaluators = load_trust([file], EVALUATOR)
    assert ids(evaluators) == [keyid(keys, "one"), keyid(keys, "two")]
    assert [limits_of(evaluators, key) for key in evaluators] == [KeyLimits(None, JUNE), None]
    assert ids(load_trust([file], AUDITOR)) == [keyid(keys, "two")]


def test_files_are_those_beside_the_trust_file(
    keys: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = written(keys, BOTH)
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert len(load_trust([file], EVALUATOR)) == 2


@pytest.mark.parametrize("kind", supported_key_types())
def test_a_key_may_stand_in_the_file(tmp_path: Path, kind: Any) -> None:
    key = generate_key(kind).public
    lines = "".join(f"      {line}\n" for line in key.pem().decode().splitlines())
    file = written(tmp_path, f"version: 1\nkeys:\n  - roles: [auditor]\n    pem: |\n{lines}")
    assert ids(load_trust([file], AUDITOR)) == [key.keyid]


def test_public_keys_are_read_as_ever(keys: Path) -> None:
    trust = load_trust([keys / "one.pub", keys / "two.pub"], AUDITOR)
    assert ids(trust) == [keyid(keys, "one"), keyid(keys, "two")]
    assert [limits_of(trust, key) for key in trust] == [None, None]


@pytest.mark.parametrize("order", [1, -1])
def test_a_key_that_is_given_twice_is_held_to_the_file(keys: Path, order: int) -> None:
    paths = [written(keys, BOTH), keys / "one.pub", keys / "three.pub"][::order]
    trust = load_trust(paths, EVALUATOR)
    assert len(trust) == 3
    limited = {key.keyid: limits_of(trust, key) for key in trust}
    assert limited[keyid(keys, "one")] == KeyLimits(None, JUNE)
    assert limited[keyid(keys, "three")] is None


def test_a_revocation_counts_in_whatever_role_it_stands(keys: Path) -> None:
    """As PEM the key has the role, and the file says that somebody else may hold it."""
    text = "version: 1\nkeys:\n  - {file: two.pub, roles: [evaluator]}\n"
    text += '  - {file: one.pub, roles: [auditor], revoked_at: "2026-01-01T00:00:00Z"}\n'
    trust = load_trust([written(keys, text), keys / "one.pub"], EVALUATOR)
    assert {key.keyid: limits_of(trust, key) for key in trust} == {
        keyid(keys, "two"): None,
        keyid(keys, "one"): KeyLimits(revoked_at=JANUARY),
    }


def test_a_revocation_counts_for_a_key_that_is_required_beside_it(keys: Path) -> None:
    text = "version: 1\nkeys:\n  - {file: two.pub, roles: [evaluator]}\n"
    text += '  - {file: one.pub, roles: [auditor], revoked_at: "2026-01-01T00:00:00Z"}\n'
    trusted = load_trust([written(keys, text)], EVALUATOR)
    both = joined_trust(trusted, load_trust([keys / "one.pub"], EVALUATOR))
    assert ids(both) == [keyid(keys, "two"), keyid(keys, "one")]
    assert [limits_of(both, key) for key in both] == [None, KeyLimits(revoked_at=JANUARY)]


def test_of_two_files_all_limits_hold(keys: Path) -> None:
    entry = "version: 1\nkeys: [{{file: one.pub, roles: [evaluator], {}}}]\n"
    paths = [
        written(keys, entry.format("valid_until: 2026-06-01T00:00:00Z"), "a.yaml"),
        written(keys, entry.format("valid_until: 2026-01-01T00:00:00Z"), "b.YML"),
    ]
    for trust in (
        load_trust(paths, EVALUATOR),
        joined_trust(*(load_trust([path], EVALUATOR) for path in paths), TrustSet()),
        joined_trust(load_trust(paths[1:], EVALUATOR), load_trust([keys / "one.pub"], EVALUATOR)),
    ):
        (key,) = trust
        assert limits_of(trust, key) == KeyLimits(valid_until=JANUARY)


WEAK = base64.b64encode(bytes.fromhex("302a300506032b6570032100") + bytes(32)).decode()
ENTRY = "version: 1\nkeys:\n  - file: one.pub\n    roles: [evaluator]\n"
WRONG = {
    ENTRY + "    revoked: 2026-01-01T00:00:00Z\n": "line 5: keys[0].revoked: no such key",
    ENTRY + "    valid_from: 2026-01-01T00:00:00\n": "line 5: keys[0].valid_from: is no moment",
    ENTRY + "    valid_from: 2026-02-30T00:00:00Z\n": "line 5: keys[0].valid_from: is no moment",
    ENTRY + "    valid_from: 2026-01-01\n": "line 5: keys[0].valid_from: is no moment",
    ENTRY + "    valid_from: 2026\n": "line 5: keys[0].valid_from: should be text",
    ENTRY + "    valid_from: 2026-06-01T00:00:00Z\n    valid_until: 2026-06-01T00:00:00+01:00\n": (
        "line 6: keys[0].valid_until: is before valid_from"
    ),
    ENTRY + "    roles: [auditor]\n": "line 5: the key 'roles' appears twice",
    ENTRY + "  - file: one.pub\n    roles: [auditor]\n": "line 5: keys[1]: is the key of keys[0]",
    ENTRY + "  - file: gone.pub\n    roles: [auditor]\n": (
        "line 5: keys[1].file: gone.pub: cannot read: No such file"
    ),
    ENTRY + "  - file: one\n    roles: [auditor]\n": (
        "line 5: keys[1].file: one: is a private key; trust is given to public keys (use one.pub)"
    ),
    ENTRY + "  - pem: hello\n    roles: [auditor]\n": "line 5: keys[1].pem: not a public key",
    ENTRY + f"  - roles: [auditor]\n    pem: |\n      -----BEGIN PUBLIC KEY-----\n      {WEAK}\n"
    "      -----END PUBLIC KEY-----\n": "line 6: keys[1].pem: the key is a weak one",
    ENTRY + "    pem: hello\n": "line 3: keys[0]: takes one of file and pem",
    "version: 1\nkeys:\n  - roles: [evaluator]\n": "line 3: keys[0]: needs file or pem",
    "version: 1\nkeys:\n  - file: one.pub\n": "line 3: keys[0].roles: is missing",
    ENTRY.replace("evaluator", "boss"): "line 4: keys[0].roles[0]: should be 'evaluator' or",
    ENTRY.replace("[evaluator]", "[]"): "line 4: keys[0].roles: should have at least one item",
    ENTRY.replace("[evaluator]", "[evaluator, evaluator]"): "line 4: keys[0].roles: evaluator",
    ENTRY.replace("evaluator", "auditor"): "line 2: keys: no key has the role evaluator",
    "version: 1\nkeys: []\n": "line 2: keys: should have at least one item",
    "version: 2\n" + ENTRY.partition("\n")[2]: "line 1: version: should be 1",
    "keys:" + ENTRY.partition("keys:")[2]: "line 1: version: is missing",
    "- one.pub\n": "line 1: is not a mapping",
    "version: 1\nkeys: &a\n": "line 2: anchors and aliases",
}


@pytest.mark.parametrize("text", WRONG, ids=range(len(WRONG)))
def test_mistakes_are_said_with_their_place(keys: Path, text: str) -> None:
    file = written(keys, text)
    with pytest.raises(MalformedError) as caught:
        load_trust([file], EVALUATOR)
    said = caught.value.one_line()
    assert said.startswith(f"{file}: {WRONG[text]}"), said
    assert "\n" not in said


def test_the_number_of_keys_is_bounded(keys: Path) -> None:
    entry = "  - {file: one.pub, roles: [evaluator]}\n"
    file = written(keys, "version: 1\nkeys:\n" + entry * (MAX_TRUSTED_KEYS + 1))
    with pytest.raises(MalformedError, match=f"at most {MAX_TRUSTED_KEYS}"):
        load_trust([file], EVALUATOR)


def test_so_is_the_file(keys: Path) -> None:
    with pytest.raises(MalformedError, match="longer than the 262,144 bytes"):
        load_trust([written(keys, BOTH + "#" * 2**18)], EVALUATOR)


def test_no_file(keys: Path) -> None:
    with pytest.raises(FileAccessError, match="No such file"):
        load_trust([keys / "gone.yaml"], EVALUATOR)


def test_the_schema_is_published(keys: Path) -> None:
    """After a change of an entry: ``make schemas``."""
    file = Path(schemas.__file__).parent / schemas.file_name(TRUST_SCHEMA, 1)
    assert file.read_bytes() == trust_schema_bytes()
    Draft202012Validator.check_schema(trust_schema())
    assert trust_schema()["$id"] == "urn:safety-receipts:schema:trust-file:1"
    entry = {"file": "one.pub", "roles": ["evaluator"], "valid_until": "2026-06-01T02:00:00+02:00"}
    document = {"version": 1, "keys": [entry]}
    assert schemas.find_error(document, TRUST_SCHEMA) is None
    for change in ({"roles": []}, {"valid_until": "2026-06-01T02:00:00"}, {"revoked": None}):
        assert schemas.find_error({"version": 1, "keys": [entry | change]}, TRUST_SCHEMA)


@pytest.mark.parametrize("written", ["", "~", "null"])
def test_a_moment_that_is_begun_and_not_written(tmp_path: Path, written: str) -> None:
    """A revocation that somebody began to write must not read as none."""
    write_key_pair(tmp_path / "key", generate_key())
    path = tmp_path / "trust.yaml"
    keys = f"keys:\n  - file: key.pub\n    roles: [evaluator]\n    revoked_at: {written}\n"
    path.write_text(f"version: 1\n{keys}", encoding="utf-8")
    with pytest.raises(MalformedError, match="write a moment, or leave it out") as caught:
        load_trust([path], KeyRole.EVALUATOR)
    assert caught.value.place == "line 5: keys[0].revoked_at"


@pytest.mark.parametrize("written", ["true", "1.0"])
def test_a_version_that_is_equal_to_one_to_python_alone(tmp_path: Path, written: str) -> None:
    write_key_pair(tmp_path / "key", generate_key())
    path = tmp_path / "trust.yaml"
    keys = "keys: [{file: key.pub, roles: [evaluator]}]\n"
    path.write_text(f"version: {written}\n{keys}", encoding="utf-8")
    with pytest.raises(MalformedError, match="whole number"):
        load_trust([path], KeyRole.EVALUATOR)
