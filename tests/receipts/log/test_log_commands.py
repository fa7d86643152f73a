"""``receipts log init``, ``add``, ``verify`` and ``search``: what they do and print, and refuse."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from audit_statements import AUDITOR
from kept_logs import KeptLog
from printed import held

from safety_receipts.receipts.bundle import AUDITS, Bundle
from safety_receipts.receipts.dsse import Envelope
from safety_receipts.receipts.events.synthetic import Mixture, synthetic_plan
from safety_receipts.receipts.io.locks import lock_file
from safety_receipts.receipts.keys import KeyType, generate_key, write_key_pair
from safety_receipts.receipts.log.folder import LogFolder
from safety_receipts.receipts.log.formats.entry import LogEntry, entry_of
from safety_receipts.receipts.log.sources import FolderSource
from safety_receipts.receipts.log.survey import entries_of
from safety_receipts.receipts.seal import seal_plan

Receipts = Callable[..., Any]
DILUTING = Path(__file__).parents[2] / "golden" / "known-answer" / "diluting"


def log_entries(folder: Path) -> list[LogEntry]:
    opened = LogFolder(folder)
    found = [LogEntry.parse(leaf) for leaf in entries_of(opened.source, opened.size)]
    assert None not in found
    return [entry for entry in found if entry is not None]


def test_init_makes_a_log_and_says_its_key(tmp_path: Path, receipts: Receipts) -> None:
    write_key_pair(tmp_path / "k", generate_key())
    words = ["log", "init", tmp_path / "log", "--origin", "example.com/log", "--key"]
    said = receipts(*words, tmp_path / "k", "--json")
    document = held("cli-log-init", said.out)
    assert (said.code, document["origin"]) == (0, "example.com/log")
    # The printed key is one that a policy takes, and the new log is signed with it.
    (tmp_path / "policy").write_text(f"log {document['vkey']}\nquorum none\n", "utf-8")
    verified = receipts(
        "log", "verify", tmp_path / "log", "--policy", tmp_path / "policy", "--json"
    )
    assert held("cli-log-verify", verified.out)["size"] == 0
    again = receipts(*words, tmp_path / "k")
    assert (again.code, again.out) == (2, "")
    assert "already exists (name a new folder)" in again.err


@pytest.mark.parametrize(
    ("kind", "passphrase", "why"),
    [
        (KeyType.P256, None, "a log is signed with an Ed25519 key"),
        (KeyType.ED25519, b"open sesame", "passphrase"),
    ],
)
def test_init_refuses_keys_that_it_cannot_sign_with(
    kind: KeyType, passphrase: bytes | None, why: str, tmp_path: Path, receipts: Receipts
) -> None:
    write_key_pair(tmp_path / "k", generate_key(kind), passphrase)
    said = receipts(
        "log", "init", tmp_path / "log", "--origin", "example.com/log", "--key", tmp_path / "k"
    )
    assert said.code == 2
    assert why in said.err
    assert not (tmp_path / "log").exists()


def test_a_key_with_a_passphrase(
    tmp_path: Path, bundle: Path, receipts: Receipts, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_key_pair(tmp_path / "k", generate_key(), b"open sesame")
    monkeypatch.setenv("LOG_PASSPHRASE", "open sesame")
    key = ["--key", tmp_path / "k", "--passphrase-env", "LOG_PASSPHRASE"]
    assert receipts("log", "init", tmp_path / "log", "--origin", "a.b/c", *key).code == 0
    assert receipts("log", "add", tmp_path / "log", bundle, *key).code == 0
    monkeypatch.setenv("LOG_PASSPHRASE", "another")
    said = receipts("log", "add", tmp_path / "log", bundle, *key)
    assert (said.code, said.err.count("\n")) == (2, 1)


@pytest.mark.parametrize("origin", ["", "with a blank", "a+b", "a\nb", "a\udcff", "a\u2028b"])
def test_names_that_no_key_can_have(
    origin: str, kept_log: KeptLog, tmp_path: Path, receipts: Receipts
) -> None:
    said = receipts("log", "init", tmp_path / "new", "--origin", origin, "--key", kept_log.key)
    assert said.code == 2
    assert "--origin example.com/log" in said.err


def test_add_logs_a_whole_bundle_once(
    kept_log: KeptLog, audited: Path, receipts: Receipts, golden: Path
) -> None:
    said = receipts("log", "add", kept_log.folder, audited, "--key", kept_log.key, "--json")
    document = held("cli-log-add", said.out)
    assert (said.code, document["size"], document["new"]) == (0, 5, 5)
    kinds = [part["type"] for part in document["entries"]]
    assert kinds == ["plan", "receipt", "audit-start", "audit", "audit"]
    assert [part["index"] for part in document["entries"]] == list(range(5))
    bundle = Bundle(audited)
    plan, receipt, start, *results = log_entries(kept_log.folder)
    root = bundle.plan.statement.predicate.checkpoint.root
    assert (plan.digest, plan.checkpoint) == (bundle.plan_envelope.digest, root)
    assert (plan.plan, plan.receipt) == (None, None)
    assert (receipt.digest, receipt.plan) == (bundle.receipt_envelope.digest, plan.digest)
    assert receipt.checkpoint == root
    for one in (start, *results):
        assert (one.receipt, one.checkpoint) == (receipt.digest, None)
        assert one.keyid == AUDITOR.public.keyid
    before = (kept_log.folder / "checkpoint").read_bytes()
    again = receipts("log", "add", kept_log.folder, audited, "--key", kept_log.key, "--json")
    assert held("cli-log-add", again.out)["new"] == 0
    assert (kept_log.folder / "checkpoint").read_bytes() == before
    # A published copy is of the same statements; the same one by another key is another entry.
    for name, new in (("published", 0), ("p256", 2)):
        more = ["log", "add", kept_log.folder, golden / "good" / name, "--key", kept_log.key]
        assert held("cli-log-add", receipts(*more, "--json").out)["new"] == new


def test_a_plan_alone_is_logged_before_the_run(
    kept_log: KeptLog, bundle: Path, receipts: Receipts
) -> None:
    (bundle / "receipt.dsse.json").unlink()
    said = receipts("log", "add", kept_log.folder, bundle, "--key", kept_log.key)
    assert (said.code, said.out) == (0, f"{kept_log.folder}: 1 new, 1 entry\n")
    assert log_entries(kept_log.folder)[0].type == "plan"


def test_add_of_trusted_keys_alone(
    kept_log: KeptLog, audited: Path, receipts: Receipts, golden: Path, tmp_path: Path
) -> None:
    """A key id in an entry is a hint; whoever keeps a log for others can hold them to it."""
    words = ["log", "add", kept_log.folder, audited, "--key", kept_log.key]
    said = receipts(*words, "--trust", golden / "ed25519.pub")
    assert said.code == 3
    assert "audits/" in said.err
    assert "none of the trusted keys signed it" in said.err
    assert LogFolder(kept_log.folder).size == 0
    (tmp_path / "auditor.pub").write_bytes(AUDITOR.public.pem())
    both = ["--trust", golden / "ed25519.pub", "--trust", tmp_path / "auditor.pub"]
    assert receipts(*words, *both).code == 0
    # A signature that holds, under an id of its maker's choice.
    written = json.loads((audited / "plan.dsse.json").read_bytes())
    written["signatures"][0]["keyid"] = "f" * 64
    other = tmp_path / "plan.dsse.json"
    other.write_text(json.dumps(written), encoding="utf-8")
    said = receipts("log", "add", kept_log.folder, other, "--key", kept_log.key, *both)
    assert said.code == 3
    assert "is that of no trusted key that signed it" in said.err


def test_what_is_not_to_be_added(
    kept_log: KeptLog, audited: Path, receipts: Receipts, golden: Path, tmp_path: Path
) -> None:
    """Of several files all are added or none, and the one at fault is named."""
    other = golden / "known-answer"
    (tmp_path / "text").write_text("no statement\n")
    (tmp_path / "empty").mkdir()
    shutil.copy(golden / "good" / "p256" / "plan.dsse.json", tmp_path / "plan.dsse.json")
    stray = audited / AUDITS / f"{'0' * 64}.dsse.json"
    shutil.copy(audited / "plan.dsse.json", stray)
    cases = {
        tmp_path / "text": "text",
        tmp_path / "missing": "missing",
        tmp_path / "empty": "neither plan nor receipt",
        golden / "ed25519.pub": "ed25519.pub",
        other: str(other),
        audited: stray.name,
        Path("a" * 5000): "File name too long",
    }
    for what, why in cases.items():
        said = receipts(
            "log", "add", kept_log.folder, tmp_path / "plan.dsse.json", what, "--key", kept_log.key
        )
        assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
        assert why in said.err
    assert LogFolder(kept_log.folder).size == 0
    assert list((kept_log.folder).glob("tile/**/*")) == []


def test_a_statement_of_another_kind_in_the_place_of_a_plan(
    kept_log: KeptLog, bundle: Path, receipts: Receipts
) -> None:
    shutil.copy(bundle / "receipt.dsse.json", bundle / "plan.dsse.json")
    said = receipts("log", "add", kept_log.folder, bundle, "--key", kept_log.key)
    assert said.code == 2
    assert "is no plan, but a receipt" in said.err


def test_an_audit_of_another_receipt_is_not_taken_for_the_bundle_s(
    kept_log: KeptLog, audited: Path, receipts: Receipts, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(DILUTING, tmp_path / "other"))
    shutil.copytree(audited / AUDITS, other / AUDITS, dirs_exist_ok=True)
    said = receipts("log", "add", kept_log.folder, other, "--key", kept_log.key)
    assert said.code == 2
    assert "is no audit of this bundle's receipt (take it out)" in said.err


def test_keys_and_places_that_are_none(
    kept_log: KeptLog, bundle: Path, receipts: Receipts, tmp_path: Path
) -> None:
    write_key_pair(tmp_path / "other", generate_key())
    write_key_pair(tmp_path / "p256", generate_key(KeyType.P256))
    (tmp_path / "empty").mkdir()
    add = ["log", "add"]
    cases: list[tuple[list[Any], int, str]] = [
        ([kept_log.folder, bundle, "--key", tmp_path / "other"], 2, "not signed with this key"),
        ([kept_log.folder, bundle, "--key", tmp_path / "p256"], 2, "Ed25519"),
        ([kept_log.folder, bundle, "--key", tmp_path / "none"], 2, "receipts keygen"),
        ([kept_log.folder, bundle, "--key", f"{kept_log.key}.pub"], 2, "log-key.pub"),
        ([tmp_path / "empty", bundle, "--key", kept_log.key], 2, "receipts log init makes one"),
        ([tmp_path / "nowhere", bundle, "--key", kept_log.key], 2, "receipts log init makes one"),
        ([bundle, bundle, "--key", kept_log.key], 2, "is no log"),
        (["a" * 5000, bundle, "--key", kept_log.key], 2, "File name too long"),
    ]
    for words, code, why in cases:
        said = receipts(*add, *words)
        assert (said.code, said.out, said.err.count("\n")) == (code, "", 1)
        assert why in said.err
        as_json = receipts(*add, *words, "--json")
        assert held("cli-error", as_json.out)["error"]["exitCode"] == code
    for folder in (tmp_path / "other", kept_log.folder, Path("/dev/null/log"), Path("a" * 300)):
        said = receipts("log", "init", folder, "--origin", "a.b/c", "--key", kept_log.key)
        assert (said.code, said.err.count("\n")) == (2, 1)
    assert LogFolder(kept_log.folder).size == 0


def test_a_log_that_is_being_written(kept_log: KeptLog, bundle: Path, receipts: Receipts) -> None:
    add = ["log", "add", kept_log.folder, bundle, "--key", kept_log.key]
    with lock_file(kept_log.folder / ".lock", "log"):
        said = receipts(*add)
        assert said.code == 2
        assert f"another log is using it: process {os.getpid()}" in said.err
        # Reading needs no lock: what is served is whole at any time.
        read = receipts("log", "verify", kept_log.folder, "--policy", kept_log.policy)
        assert read.code == 0
    assert receipts(*add).code == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_log_in_a_folder_that_is_closed(
    kept_log: KeptLog, bundle: Path, receipts: Receipts
) -> None:
    kept_log.folder.chmod(0o500)
    try:
        said = receipts("log", "add", kept_log.folder, bundle, "--key", kept_log.key)
    finally:
        kept_log.folder.chmod(0o700)
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "Permission denied" in said.err


def test_a_disk_that_is_full_leaves_the_log_as_it_was(
    kept_log: KeptLog, bundle: Path, receipts: Receipts
) -> None:
    """Something lies where a tile should: whatever keeps one from being written does the same."""
    before = (kept_log.folder / "checkpoint").read_bytes()
    (kept_log.folder / "tile" / "0" / "000.p" / "2").mkdir(parents=True)
    add = ["log", "add", kept_log.folder, bundle, "--key", kept_log.key]
    said = receipts(*add)
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "cannot write" in said.err
    assert (kept_log.folder / "checkpoint").read_bytes() == before
    (kept_log.folder / "tile" / "0" / "000.p" / "2").rmdir()
    assert receipts(*add).code == 0
    verified = receipts("log", "verify", kept_log.folder, "--policy", kept_log.policy)
    assert verified.code == 0


@pytest.mark.parametrize("name", ["tile/0/000.p/2", "tile/entries/000.p/2", "checkpoint"])
def test_nothing_is_added_onto_damage(
    name: str, kept_log: KeptLog, bundle: Path, receipts: Receipts, golden: Path
) -> None:
    """Else the log would sign what contradicts the checkpoint that others hold."""
    assert receipts("log", "add", kept_log.folder, bundle, "--key", kept_log.key).code == 0
    path = kept_log.folder / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    checkpoint = (kept_log.folder / "checkpoint").read_bytes()
    more = golden / "good" / "p256"
    said = receipts("log", "add", kept_log.folder, more, "--key", kept_log.key)
    assert said.code in (2, 3)
    assert said.err.count("\n") == 1
    assert (kept_log.folder / "checkpoint").read_bytes() == checkpoint
    verified = receipts("log", "verify", kept_log.folder, "--policy", kept_log.policy)
    assert verified.code in (2, 3)


def test_verify_keeps_what_it_saw_for_the_next_time(
    kept_log: KeptLog, bundle: Path, receipts: Receipts, golden: Path, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    verify = ["log", "verify", kept_log.folder, "--policy", kept_log.policy]
    assert receipts("log", "add", kept_log.folder, bundle, "--key", kept_log.key).code == 0
    first = held("cli-log-verify", receipts(*verify, "--keep", seen, "--json").out)
    assert (first["size"], first["since"], first["witnesses"]) == (2, None, [])
    more = golden / "good" / "p256"
    assert receipts("log", "add", kept_log.folder, more, "--key", kept_log.key).code == 0
    said = receipts(*verify, "--since", seen, "--keep", seen)
    root = LogFolder(kept_log.folder).signed.checkpoint.root.hex()
    assert said.out == (
        f"{kept_log.folder}: 4 entries, grown from 2, root {root}, cosigned by no known witness\n"
    )
    assert seen.read_bytes() == (kept_log.folder / "checkpoint").read_bytes()
    # Another log of that name and key, which begins with something else.
    kept = seen.read_bytes()
    shutil.rmtree(kept_log.folder)
    words = ["--origin", "example.com/log", "--key", kept_log.key]
    assert receipts("log", "init", kept_log.folder, *words).code == 0
    for what, wanted in ((more, "was cut"), (bundle, "rewritten, or shows two views")):
        assert receipts("log", "add", kept_log.folder, what, "--key", kept_log.key).code == 0
        said = receipts(*verify, "--since", seen, "--keep", seen)
        assert said.code == 3
        assert wanted in said.err
        assert seen.read_bytes() == kept


def test_a_policy_of_another_log(
    kept_log: KeptLog, bundle: Path, receipts: Receipts, tmp_path: Path, log_signer: Any
) -> None:
    receipts("log", "add", kept_log.folder, bundle, "--key", kept_log.key)
    digest = Bundle(bundle).plan.statement.predicate.checkpoint.root
    policy = tmp_path / "policy"
    cases = [
        (f"log {log_signer.public.vkey}\nquorum none\n", 3, "did not sign"),
        ("quorum none\n", 3, "accepts no log"),
        (f"log {kept_log.vkey}\n", 2, "quorum"),
        ("nonsense\n", 2, "line 1"),
        ("", 2, "quorum"),
    ]
    for text, code, why in cases:
        policy.write_text(text, "utf-8")
        for words in (["verify"], ["search", "--checkpoint", digest]):
            said = receipts("log", words[0], kept_log.folder, "--policy", policy, *words[1:])
            assert (said.code, said.out, said.err.count("\n")) == (code, "", 1)
            assert why in said.err
    said = receipts("log", "verify", kept_log.folder, "--policy", tmp_path / "none")
    assert said.code == 2


def test_search_lists_what_is_of_a_checkpoint(
    kept_log: KeptLog, audited: Path, receipts: Receipts, golden: Path, tmp_path: Path
) -> None:
    for what in (audited, DILUTING, golden / "good" / "p256"):
        assert receipts("log", "add", kept_log.folder, what, "--key", kept_log.key).code == 0
    bundle = Bundle(audited)
    root = bundle.plan.statement.predicate.checkpoint.root
    assert Bundle(DILUTING).plan.statement.predicate.checkpoint.root != root
    search = ["log", "search", kept_log.folder, "--policy", kept_log.policy, "--checkpoint", root]
    document = held("cli-log-search", receipts(*search, "--json").out)
    assert document["plans"] == document["receipts"] == 2  # by two keys
    found = [entry["type"] for entry in document["entries"]]
    assert found[:5] == ["plan", "receipt", "audit-start", "audit", "audit"]
    assert document["entries"][1]["plan"] == bundle.plan_envelope.digest
    key = golden / "ed25519.pub"
    mine = held("cli-log-search", receipts(*search, "--key", key, "--json").out)
    assert (mine["plans"], mine["receipts"], len(mine["entries"])) == (1, 1, 5)
    (tmp_path / "nobody.pub").write_bytes(generate_key().public.pem())
    nobody = receipts(*search, "--key", tmp_path / "nobody.pub")
    assert (nobody.code, nobody.out) == (0, "0 plans, 0 receipts\n")
    shown = receipts(*search).out.splitlines()
    assert bundle.receipt_envelope.digest in shown[1]
    wrong = receipts(*search[:-1], "not-a-digest")
    assert (wrong.code, wrong.err.count("\n")) == (2, 1)


def test_an_entry_of_another_form_is_passed_over(
    kept_log: KeptLog, bundle: Path, receipts: Receipts
) -> None:
    """A log may be somebody else's, and hold other things beside."""
    from safety_receipts.receipts.keys import load_signer
    from safety_receipts.receipts.log.folder import LogSigner

    signer = LogSigner.of("example.com/log", load_signer(kept_log.key), kept_log.key)
    entry = json.dumps({"type": "plan", "digest": "0" * 64}).encode()
    LogFolder(kept_log.folder, signer.public).add([b"", b"{}", entry, b"\xff" * 65_535], signer)
    assert receipts("log", "add", kept_log.folder, bundle, "--key", kept_log.key).code == 0
    root = Bundle(bundle).plan.statement.predicate.checkpoint.root
    words = ["--policy", kept_log.policy, "--checkpoint", root]
    said = receipts("log", "search", kept_log.folder, *words, "--json")
    document = held("cli-log-search", said.out)
    assert (document["size"], document["plans"], document["receipts"]) == (6, 1, 1)
    assert isinstance(LogFolder(kept_log.folder).source, FolderSource)


def test_the_longest_key_id_of_an_envelope_can_be_logged(tmp_path: Path) -> None:
    """What an envelope may hold, an entry may hold, or a bundle could not be verified."""
    envelope = seal_plan(synthetic_plan([Mixture(0, 0, None)], {"alpha": 1}), generate_key())
    (signature,) = envelope.signatures
    longest = replace(envelope, signatures=(replace(signature, keyid="é" * 256),))
    read = Envelope.from_json(longest.to_json())
    entry = entry_of(read, tmp_path / "plan.dsse.json")
    assert LogEntry.parse(entry.leaf()) == entry
