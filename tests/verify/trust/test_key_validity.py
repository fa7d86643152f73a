"""Keys of a trust file: a signature counts within its key's times, as far as somebody shows it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from timestamp_authority import needs_openssl, party, served
from witnessed import ClockedLog, sealed_event, trust_file

from safety_receipts.receipts.bundle import PLAN, RECEIPT, Bundle, read_envelope
from safety_receipts.receipts.documents.moments import moment, spell
from safety_receipts.receipts.keys import (
    KeyType,
    Signer,
    generate_key,
    load_signer,
    sign_together,
    supported_key_types,
    write_key_pair,
)
from safety_receipts.receipts.model.plan import Rejudged

Receipts = Callable[..., Any]
REVOKED = "2026-01-10T00:00:00Z"
BEGAN = "2026-01-02T00:00:00Z"
BEFORE, AFTER = "2026-01-03T00:00:00Z", "2026-01-20T00:00:00Z"
OTHER = supported_key_types()[-1]
"""ML-DSA, where the installed cryptography has it."""


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    """A key, with its files ``key`` and ``key.pub``."""
    made = generate_key()
    write_key_pair(tmp_path / "key", made)
    return made


@pytest.fixture
def bundle(tmp_path: Path, signer: Signer) -> Path:
    return sealed_event(tmp_path / "bundle", signer, BEGAN)


@pytest.fixture
def log(tmp_path: Path) -> ClockedLog:
    return ClockedLog(tmp_path / "witnessed")


def show(log: ClockedLog, bundle: Path, at: str = BEFORE) -> tuple[str | Path, ...]:
    """Log a plan before its run, and its receipt at a time; return the options that ask for it."""
    log.show(bundle, "2026-01-01T00:00:00Z", PLAN)
    log.show(bundle, at, RECEIPT)
    return "--log-policy", log.policy


def trusted(bundle: Path, *keys: dict[str, Any]) -> Path:
    """Write a trust file beside the bundle; of one key that is not named it is ``key.pub``."""
    return trust_file(bundle.parent / "trust.yaml", *({"file": "key.pub", **key} for key in keys))


def asked(receipts: Receipts, bundle: Path, *words: str | Path) -> tuple[int, dict[str, Any]]:
    found = receipts("verify", bundle, *words, "--json")
    return found.code, {check["name"]: check for check in json.loads(found.out)["checks"]}


def failed(checks: dict[str, Any]) -> set[str]:
    return {name for name, check in checks.items() if check["status"] == "failed"}


UNSIGNED = {"receipt-signature", "plan-signature", "same-signer", "key-validity"}


def test_nothing_is_said_of_keys_without_limits(receipts: Receipts, bundle: Path) -> None:
    for trust in (bundle.parent / "key.pub", trusted(bundle, {"name": "the lab"})):
        code, checks = asked(receipts, bundle, "--trust", trust)
        assert code == 0
        assert "key-validity" not in checks


def test_a_limit_of_a_key_that_did_not_sign_says_nothing(receipts: Receipts, bundle: Path) -> None:
    write_key_pair(bundle.parent / "other", generate_key())
    trust = trusted(bundle, {}, {"file": "other.pub", "revoked_at": REVOKED})
    code, checks = asked(receipts, bundle, "--trust", trust)
    assert code == 0
    assert "key-validity" not in checks


def test_a_receipt_that_was_seen_before_the_revocation(
    receipts: Receipts, bundle: Path, log: ClockedLog
) -> None:
    trust = trusted(bundle, {"revoked_at": REVOKED})
    words = show(log, bundle)
    code, checks = asked(receipts, bundle, "--trust", trust, *words)
    assert code == 0
    assert checks["key-validity"]["status"] == "passed"
    assert checks["key-validity"]["level"] == "authentic"
    assert checks["receipt-logged"]["status"] == "passed"
    # The same proofs say nothing to a reader who trusts no witness.
    code, checks = asked(receipts, bundle, "--trust", trust)
    assert code == 3
    assert failed(checks) == UNSIGNED
    said = f"was revoked at {REVOKED}, and nothing shows that the signature was there before"
    for name in ("key-validity", "receipt-signature", "plan-signature"):
        assert said in checks[name]["detail"]


def test_no_level_is_reached_and_no_key_is_named(receipts: Receipts, bundle: Path) -> None:
    trust = trusted(bundle, {"revoked_at": REVOKED})
    found = receipts("verify", bundle, "--trust", trust, "--level", "authentic", "--json")
    document = json.loads(found.out)
    assert (found.code, document["verdict"], document["level"]) == (3, "failed", "none")
    assert document["keyid"] is None


@pytest.mark.parametrize("at", [AFTER, REVOKED])
def test_a_receipt_that_was_seen_after_the_revocation(
    receipts: Receipts, bundle: Path, log: ClockedLog, at: str
) -> None:
    """Its plan was seen before: both have to be."""
    trust = trusted(bundle, {"revoked_at": REVOKED})
    code, checks = asked(receipts, bundle, "--trust", trust, *show(log, bundle, at))
    assert code == 3
    assert failed(checks) == UNSIGNED - {"plan-signature"}
    assert f"the witnesses of a log, is of {at}" in checks["key-validity"]["detail"]
    assert checks["key-validity"]["detail"].startswith("receipt: key ")


def test_a_log_without_witnesses_shows_no_time(
    receipts: Receipts, bundle: Path, tmp_path: Path
) -> None:
    log = ClockedLog(tmp_path / "alone", quorum=False)
    trust = trusted(bundle, {"revoked_at": REVOKED})
    code, checks = asked(receipts, bundle, "--trust", trust, *show(log, bundle))
    assert code == 3
    assert checks["receipt-logged"]["status"] == "passed"
    assert "nothing shows" in checks["key-validity"]["detail"]


def test_a_revocation_that_is_to_come(receipts: Receipts, bundle: Path) -> None:
    trust = trusted(bundle, {"revoked_at": "2999-01-01T00:00:00Z"})
    code, checks = asked(receipts, bundle, "--trust", trust)
    assert code == 0
    assert checks["key-validity"]["status"] == "passed"


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ({"valid_until": BEFORE}, 0),  # the receipt was seen at that very moment
        ({"valid_until": "2026-01-02T23:59:59Z"}, 3),
        ({"valid_until": "2026-01-03T02:00:00+02:00"}, 0),
        ({"valid_from": BEGAN}, 3),  # the plan was seen the day before
        ({"valid_from": "2026-01-01T00:00:00Z", "valid_until": BEFORE}, 0),
        ({"valid_from": "2026-01-01T00:00:01Z"}, 3),
    ],
)
def test_keys_are_valid_from_and_until(
    receipts: Receipts, bundle: Path, log: ClockedLog, limits: dict[str, str], code: int
) -> None:
    words = show(log, bundle)
    found, checks = asked(receipts, bundle, "--trust", trusted(bundle, limits), *words)
    assert found == code, checks["key-validity"]
    assert (checks["key-validity"]["status"] == "passed") is (code == 0)


def test_an_event_before_its_key(receipts: Receipts, bundle: Path) -> None:
    """Nothing shows when it was signed: its own word is that it is older than the key."""
    assert asked(receipts, bundle, "--trust", trusted(bundle, {"valid_from": BEGAN}))[0] == 0
    trust = trusted(bundle, {"valid_from": "2026-01-02T00:00:01Z"})
    code, checks = asked(receipts, bundle, "--trust", trust)
    assert code == 3
    assert f"and this is of {BEGAN}" in checks["key-validity"]["detail"]


def test_a_key_that_is_still_to_be_valid(
    receipts: Receipts, signer: Signer, tmp_path: Path
) -> None:
    late = sealed_event(tmp_path / "late", signer, "2999-01-02T00:00:00Z")
    trust = trusted(late, {"valid_from": "2999-01-01T00:00:00Z"})
    code, checks = asked(receipts, late, "--trust", trust)
    assert code == 3
    assert "2999-01-01T00:00:00Z on, and it is 20" in checks["key-validity"]["detail"]


def test_rotation(receipts: Receipts, tmp_path: Path) -> None:
    """The old key until a moment, the new one from then on; each for its own events alone."""
    turn = "2026-01-10T00:00:00Z"
    for name in ("old", "new"):
        write_key_pair(tmp_path / name, generate_key())
    trust = trust_file(
        tmp_path / "trust.yaml",
        {"file": "old.pub", "valid_until": turn},
        {"file": "new.pub", "valid_from": turn},
    )
    codes = {}
    for name in ("old", "new"):
        for queries, (when, began, seen) in enumerate(
            (
                ("before", BEGAN, BEFORE),
                ("after", "2026-01-15T00:00:00Z", "2026-01-16T00:00:00Z"),
            ),
            start=3,
        ):
            folder = tmp_path / f"{name}-{when}"
            log = ClockedLog(tmp_path / f"log-{name}-{when}")  # a witness's clock never goes back
            sealed_event(folder, load_signer(tmp_path / name), began, queries=queries)
            log.show(folder, began, PLAN)
            log.show(folder, seen, RECEIPT)
            words = ("--trust", trust, "--log-policy", log.policy)
            codes[name, when] = asked(receipts, folder, *words)[0]
    assert codes == {
        ("old", "before"): 0,
        ("old", "after"): 3,
        ("new", "before"): 3,
        ("new", "after"): 0,
    }


def test_what_is_judged_again(receipts: Receipts, log: ClockedLog, tmp_path: Path) -> None:
    """Its times are the original's, which its key may be younger than; the original's key is held
    to the original's proofs.
    """
    for name in ("old", "new"):
        write_key_pair(tmp_path / name, generate_key())
    original = sealed_event(tmp_path / "original", load_signer(tmp_path / "old"), BEGAN)
    sealed = Bundle(original)
    named = Rejudged(plan=sealed.plan_envelope.digest, receipt=sealed.receipt_envelope.digest)
    new = load_signer(tmp_path / "new")
    again = sealed_event(tmp_path / "again", new, BEGAN, rejudges=named)
    trust = trust_file(
        tmp_path / "trust.yaml",
        {"file": "old.pub", "revoked_at": REVOKED},
        {"file": "new.pub", "valid_from": REVOKED},
    )
    words = ("--trust", trust, "--original", original, "--log-policy", log.policy)
    code, checks = asked(receipts, again, *words)
    assert code == 3
    assert checks["key-validity"]["status"] == "passed"
    said = "no signature on the original's receipt counts: key "
    assert checks["original"]["detail"].startswith(said)
    show(log, original)
    _, checks = asked(receipts, again, *words)
    assert "signature" not in checks["original"]["detail"]


@pytest.fixture
def hybrid(tmp_path: Path) -> Path:
    """A bundle that two keys signed; the first is revoked in the trust file beside it."""
    keys = [generate_key(KeyType.ED25519), generate_key(OTHER)]
    for name, key in zip(("one", "two"), keys, strict=True):
        write_key_pair(tmp_path / name, key)
    trust_file(
        tmp_path / "trust.yaml",
        {"file": "one.pub", "revoked_at": REVOKED},
        {"file": "two.pub"},
    )
    return sealed_event(tmp_path / "hybrid", sign_together(keys), BEGAN)


def test_another_signature_still_counts(receipts: Receipts, hybrid: Path) -> None:
    trust = hybrid.parent / "trust.yaml"
    code, checks = asked(receipts, hybrid, "--trust", trust)
    assert code == 0
    detail = checks["key-validity"]["detail"]
    assert detail.startswith("another key's signature counts; on the receipt, key ")
    assert f"({OTHER})" in checks["receipt-signature"]["detail"]
    assert "(ed25519)" not in checks["receipt-signature"]["detail"]


def test_both_are_required_and_one_is_revoked(
    receipts: Receipts, hybrid: Path, log: ClockedLog
) -> None:
    """Whether limits come with the required keys, or with the trusted ones beside."""
    trust = hybrid.parent / "trust.yaml"
    pem = ("--require", hybrid.parent / "one.pub", "--require", hybrid.parent / "two.pub")
    for words in (("--require", trust), ("--trust", trust, *pem)):
        code, checks = asked(receipts, hybrid, *words)
        assert code == 3
        assert failed(checks) == {"required-keys"}
        assert f"was revoked at {REVOKED}" in checks["required-keys"]["detail"]
    shown = show(log, hybrid)
    assert asked(receipts, hybrid, "--require", trust, *shown)[0] == 0


def test_a_leaf_speaks_for_the_key_that_it_names(
    receipts: Receipts, hybrid: Path, log: ClockedLog
) -> None:
    """Of two signatures a log holds the id of the first: the second could be a day old."""
    shown = show(log, hybrid)
    for name, code in (("one", 0), ("two", 3)):
        trust = trust_file(hybrid.parent / f"{name}.yaml", file_of(name, REVOKED))
        assert asked(receipts, hybrid, "--trust", trust, *shown)[0] == code


@needs_openssl
def test_a_timestamp_shows_every_signature_that_it_is_of(
    receipts: Receipts, tmp_path: Path
) -> None:
    """Each of the keys was revoked a second after the stamp."""
    pytest.importorskip("rfc3161_client")
    keys = [generate_key(KeyType.ED25519), generate_key(OTHER)]
    for name, key in zip(("one", "two"), keys, strict=True):
        write_key_pair(tmp_path / name, key)
    bundle = sealed_event(tmp_path / "bundle", sign_together(keys), "2999-01-01T00:00:00Z")
    root = party("root", signs_certificates=True)
    (tmp_path / "root.pem").write_bytes(root.pem)
    with served(tmp_path / "tsa", party("tsa", root)) as url:
        done = receipts("timestamp", bundle, "--tsa", url, "--json")
    stamps = [moment(one["time"]) for one in json.loads(done.out)["stamps"]]
    revoked = max(stamps) + timedelta(seconds=1)
    time.sleep(max(0.0, (revoked - datetime.now(UTC)).total_seconds()) + 0.01)
    stamped = ("--tsa-root", tmp_path / "root.pem")
    for name in ("one", "two"):
        trust = trust_file(tmp_path / f"{name}.yaml", file_of(name, spell(revoked)))
        code, checks = asked(receipts, bundle, "--trust", trust, *stamped)
        assert code == 0, checks["key-validity"]
        assert checks["key-validity"]["status"] == "passed"
        assert asked(receipts, bundle, "--trust", trust)[0] == 3
        trust_file(trust, file_of(name, spell(min(stamps))))
        code, checks = asked(receipts, bundle, "--trust", trust, *stamped)
        assert code == 3
        assert "a timestamp, is of" in checks["key-validity"]["detail"]
    # A signature that was added afterwards is not under the stamp.
    for file in (PLAN, RECEIPT):
        envelope = read_envelope(bundle / file, 2**20)
        again = (*envelope.signatures, envelope.signatures[0])
        (bundle / file).write_bytes(replace(envelope, signatures=again).to_json())
    trust_file(trust, file_of("two", spell(revoked)))
    code, checks = asked(receipts, bundle, "--trust", trust, *stamped)
    assert code == 3
    assert "nothing shows" in checks["key-validity"]["detail"]


def file_of(name: str, revoked: str) -> dict[str, str]:
    return {"file": f"{name}.pub", "revoked_at": revoked}
