"""A thief seals with an evaluator's key after it was revoked, and dates the event back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from timestamp_authority import needs_openssl, party, served
from witnessed import ClockedLog, sealed_event, trust_file

from safety_receipts.receipts.bundle import PLAN, PROOFS, RECEIPT, read_envelope
from safety_receipts.receipts.dsse import Signature, pae
from safety_receipts.receipts.keys import Signer, generate_key, write_key_pair

Receipts = Callable[..., Any]
REVOKED = "2026-02-01T00:00:00Z"
PLANNED, BEGAN, SEEN = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"
STOLEN = "2026-03-01T00:00:00Z"


class Scene:
    """An honest bundle that the log saw in time, a reader's files, and the stolen key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stolen = generate_key()
        write_key_pair(folder / "key", self.stolen)
        self.trust = trust_file(folder / "trust.yaml", {"file": "key.pub", "revoked_at": REVOKED})
        self.log = ClockedLog(folder / "witnessed")
        self.honest = sealed_event(folder / "honest", self.stolen, BEGAN)
        self.log.show(self.honest, PLANNED, PLAN)
        self.log.show(self.honest, SEEN, RECEIPT)

    def forged(self, signer: Signer | None = None) -> Path:
        """Seal another event under the same times, as the thief would like it."""
        return sealed_event(self.folder / "forged", signer or self.stolen, BEGAN, queries=5)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def verified(receipts: Receipts, scene: Scene, bundle: Path, *words: str | Path) -> Any:
    """Verify with the reader's trust file and log policy; return code and failed checks."""
    given = ("--trust", scene.trust, "--log-policy", scene.log.policy, *words, "--json")
    found = receipts("verify", bundle, *given)
    checks = json.loads(found.out)["checks"]
    return found.code, {one["name"] for one in checks if one["status"] == "failed"}


def test_the_honest_receipt_goes_on_counting(receipts: Receipts, scene: Scene) -> None:
    assert verified(receipts, scene, scene.honest) == (0, set())


def test_what_the_thief_seals_does_not(receipts: Receipts, scene: Scene) -> None:
    forged = scene.forged()
    code, failed = verified(receipts, scene, forged)
    assert code == 3
    assert failed >= {"key-validity", "receipt-signature", "plan-signature"}
    # It passes where nobody says that the key was revoked: that is what the file is for.
    assert receipts("verify", forged, "--trust", scene.folder / "key.pub").code == 0


def test_nor_once_the_log_has_it(receipts: Receipts, scene: Scene) -> None:
    forged = scene.forged()
    scene.log.show(forged, STOLEN)
    code, failed = verified(receipts, scene, forged)
    assert code == 3
    assert failed >= {"key-validity", "plan-logged"}


def test_nor_with_the_honest_receipts_proofs(receipts: Receipts, scene: Scene) -> None:
    """Under their own names, and under those that are looked for."""
    forged = scene.forged()
    shutil.copytree(scene.honest / PROOFS, forged / PROOFS)
    code, failed = verified(receipts, scene, forged)
    assert code == 3
    assert failed >= {"key-validity", "plan-logged", "receipt-logged"}


@needs_openssl
def test_nor_with_a_timestamp(receipts: Receipts, scene: Scene) -> None:
    pytest.importorskip("rfc3161_client")
    forged = scene.forged()
    root = party("root", signs_certificates=True)
    (scene.folder / "root.pem").write_bytes(root.pem)
    with served(scene.folder / "tsa", party("tsa", root)) as url:
        assert receipts("timestamp", forged, "--tsa", url).code == 0
    code, failed = verified(receipts, scene, forged, "--tsa-root", scene.folder / "root.pem")
    assert code == 3
    assert "key-validity" in failed


def test_an_honest_receipt_by_another_key_lends_it_no_time(
    receipts: Receipts, scene: Scene
) -> None:
    """Somebody else's logged event, under which the thief's signature is put in the first place."""
    scene.log = ClockedLog(scene.folder / "another")  # a witness's clock never goes back
    other = scene.forged(generate_key())
    scene.log.show(other, PLANNED, PLAN)
    scene.log.show(other, SEEN, RECEIPT)
    for file in (PLAN, RECEIPT):
        envelope = read_envelope(other / file, 2**20)
        message = pae(envelope.payload_type, envelope.payload)
        signature = Signature(scene.stolen.public.keyid, scene.stolen.sign(message))
        for signatures in ((signature, *envelope.signatures), (*envelope.signatures, signature)):
            changed = type(envelope)(envelope.payload, signatures)
            (other / file).write_bytes(changed.to_json())
            assert verified(receipts, scene, other)[0] == 3


def test_what_is_left_is_a_leaf_that_was_put_there_before(receipts: Receipts, scene: Scene) -> None:
    """A leaf holds a digest and the id of a key, and no signature: whoever had the payload logged
    before the revocation, under that id, needs the key only afterwards.  A timestamp is of the
    signatures: where that alone is believed, it does not help.
    """
    scene.log = ClockedLog(scene.folder / "another")
    planted = scene.forged()
    signed = {file: read_envelope(planted / file, 2**20) for file in (PLAN, RECEIPT)}
    for file, envelope in signed.items():
        unsigned = (Signature(scene.stolen.public.keyid, bytes(64)),)
        (planted / file).write_bytes(type(envelope)(envelope.payload, unsigned).to_json())
    scene.log.show(planted, PLANNED, PLAN)
    scene.log.show(planted, SEEN, RECEIPT)
    assert verified(receipts, scene, planted)[0] == 3
    for file, envelope in signed.items():
        (planted / file).write_bytes(envelope.to_json())
    assert verified(receipts, scene, planted) == (0, set())
    assert receipts("verify", planted, "--trust", scene.trust).code == 3
