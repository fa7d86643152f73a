"""``receipts timestamp`` and ``verify --tsa-root``, with an authority on this machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from timestamp_authority import Party, needs_openssl, party, served, stamped

pytest.importorskip("rfc3161_client")

from safety_receipts.receipts.beacon.chains import stated_moment
from safety_receipts.receipts.bundle import PLAN, PROOFS, RECEIPT, BundleWriter
from safety_receipts.receipts.events.synthetic import (
    ENVIRONMENT,
    EVENT,
    Mixture,
    synthetic_plan,
    synthetic_points,
)
from safety_receipts.receipts.keys import generate_key, write_key_pair
from safety_receipts.receipts.model.plan import EvidenceAccess
from safety_receipts.receipts.seal import seal_event, seal_plan
from safety_receipts.receipts.timestamps.replies import new_request, stamped_bytes

pytestmark = needs_openssl
Receipts = Callable[..., Any]
NAMES = ("plan-timestamp", "receipt-timestamp")


@pytest.fixture(scope="module")
def root() -> Party:
    """The root that the reader trusts."""
    return party("root", signs_certificates=True)


@pytest.fixture
def tsa(tmp_path: Path, root: Party) -> Iterator[str]:
    """The address of an authority below it; the root's certificate lies beside."""
    (tmp_path / "root.pem").write_bytes(root.pem)
    with served(tmp_path / "tsa", party("tsa", root)) as url:
        yield url


class Event:
    """An event that is sealed in two steps."""

    def __init__(self, folder: Path, access: EvidenceAccess) -> None:
        self.folder = folder / "bundle"
        self.signer = generate_key()
        write_key_pair(folder / "key", self.signer)
        mixtures = [Mixture(0, 0, None), Mixture(2, 0, None)]
        self.plan = synthetic_plan(mixtures, {"alpha": 3}, evidence_access=access)
        self.envelope = seal_plan(self.plan, self.signer)
        BundleWriter(self.folder).write_plan(self.envelope)

    def run(self, at: str) -> None:
        """Seal the receipt of a run that began then."""
        finished = max(at, EVENT.finished_at)
        seal_event(
            self.folder,
            plan_envelope=self.envelope,
            points=synthetic_points(self.plan, self.envelope.digest),
            event=EVENT.model_copy(update={"started_at": at, "finished_at": finished}),
            environment=ENVIRONMENT,
            signer=self.signer,
        )


@pytest.fixture
def event(tmp_path: Path) -> Event:
    """An event of which only the plan is sealed yet."""
    return Event(tmp_path, EvidenceAccess.AUDITORS)


LATER, EARLIER = "2999-01-01T00:00:00Z", "2026-01-01T00:00:00Z"


def checked(receipts: Receipts, event: Event, *words: Path) -> tuple[int, dict[str, Any]]:
    roots = [part for root in words for part in ("--tsa-root", root)]
    trust = event.folder.parent / "key.pub"
    found = receipts("verify", event.folder, "--trust", trust, *roots, "--json")
    checks = {check["name"]: check for check in json.loads(found.out)["checks"]}
    return found.code, {name: checks.get(name) for name in NAMES}


def stamp(receipts: Receipts, event: Event, tsa: str, *words: str | Path) -> Any:
    done = receipts("timestamp", event.folder, "--tsa", tsa, *words, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_a_plan_that_was_stamped_before_the_run(
    receipts: Receipts, event: Event, tsa: str, tmp_path: Path
) -> None:
    first = stamp(receipts, event, tsa, "--tsa-root", tmp_path / "root.pem")
    assert [one["of"] for one in first["stamps"]] == ["plan"]
    assert first["verified"] is True
    event.run(LATER)
    second = stamp(receipts, event, tsa)
    assert [one["of"] for one in second["stamps"]] == ["plan", "receipt"]
    assert second["verified"] is False
    assert stated_moment(second["stamps"][1]["time"]) is not None
    code, found = checked(receipts, event, tmp_path / "root.pem")
    assert code == 0
    assert [found[name]["status"] for name in NAMES] == ["passed", "passed"]
    # The earliest stamp counts, of all that hold.
    assert first["stamps"][0]["time"] in found["plan-timestamp"]["detail"]
    assert "before the run began" in found["plan-timestamp"]["detail"]


def test_a_plan_that_was_stamped_after_the_run_began(
    receipts: Receipts, event: Event, tsa: str, tmp_path: Path
) -> None:
    event.run(EARLIER)
    stamp(receipts, event, tsa)
    code, found = checked(receipts, event, tmp_path / "root.pem")
    assert code == 3
    assert [found[name]["status"] for name in NAMES] == ["failed", "passed"]
    assert f"the run began at {EARLIER}" in found["plan-timestamp"]["detail"]


def test_nobody_asks(receipts: Receipts, event: Event, tsa: str) -> None:
    event.run(EARLIER)
    stamp(receipts, event, tsa)
    assert checked(receipts, event) == (0, dict.fromkeys(NAMES))


def test_without_timestamps_nothing_is_shown(
    receipts: Receipts, event: Event, tsa: str, tmp_path: Path
) -> None:
    event.run(LATER)
    code, found = checked(receipts, event, tmp_path / "root.pem")
    assert code == 0
    assert [found[name]["status"] for name in NAMES] == ["not_checked", "not_checked"]


def test_a_stamp_below_another_root_fails(
    receipts: Receipts, event: Event, tsa: str, tmp_path: Path
) -> None:
    event.run(LATER)
    stamp(receipts, event, tsa)
    other = tmp_path / "other.pem"
    other.write_bytes(party("root", signs_certificates=True).pem)
    code, found = checked(receipts, event, other)
    assert code == 3
    for name in NAMES:
        assert found[name]["status"] == "failed"
        assert "no authority below a root that you gave" in found[name]["detail"]
    assert checked(receipts, event, other, tmp_path / "root.pem")[0] == 0
    refused = receipts("timestamp", event.folder, "--tsa", tsa, "--tsa-root", other)
    assert (refused.code, "no authority below a root" in refused.err) == (3, True)


def test_certificates_that_lie_beside_lead_to_the_root(
    receipts: Receipts, event: Event, root: Party, tmp_path: Path
) -> None:
    event.run(LATER)
    between = party("between", root, signs_certificates=True)
    (tmp_path / "between.pem").write_bytes(between.pem)
    (tmp_path / "root.pem").write_bytes(root.pem)
    with served(tmp_path / "tsa", party("tsa", between)) as url:
        kept = stamp(receipts, event, url, "--tsa-chain", tmp_path / "between.pem")
    assert len(kept["certificates"]) == 1
    assert checked(receipts, event, tmp_path / "root.pem")[0] == 0
    Path(kept["certificates"][0]).unlink()
    code, found = checked(receipts, event, tmp_path / "root.pem")
    assert (code, found["plan-timestamp"]["status"]) == (3, "failed")


def test_stamps_of_other_bytes_and_junk_are_no_stamps(
    receipts: Receipts, event: Event, root: Party, tsa: str, tmp_path: Path
) -> None:
    event.run(LATER)
    proofs = event.folder / PROOFS
    proofs.mkdir()
    query = new_request(stamped_bytes(event.envelope) + b" ").query
    (proofs / "plan-other.tsr").write_bytes(stamped(tmp_path / "x", party("tsa", root), query))
    (proofs / "junk.tsr").write_bytes(b"junk")
    (proofs / "huge.tsr").write_bytes(bytes(70_000))
    (proofs / "link.tsr").symlink_to("/dev/zero")
    (proofs / "junk.pem").write_bytes(b"-----BEGIN CERTIFICATE-----\n")
    code, found = checked(receipts, event, tmp_path / "root.pem")
    assert code == 0
    assert [found[name]["status"] for name in NAMES] == ["not_checked", "not_checked"]
    stamp(receipts, event, tsa)
    code, found = checked(receipts, event, tmp_path / "root.pem")
    assert [found[name]["status"] for name in NAMES] == ["passed", "passed"]


def test_another_signature_is_not_what_was_stamped(
    receipts: Receipts, event: Event, tsa: str, tmp_path: Path
) -> None:
    """Signed again with another key, the same plan has no stamp."""
    event.run(LATER)
    stamp(receipts, event, tsa)
    again = seal_plan(event.plan, generate_key())
    (event.folder / PLAN).write_bytes(again.to_json())
    _, found = checked(receipts, event, tmp_path / "root.pem")
    assert found["plan-timestamp"]["status"] == "not_checked"
    assert found["receipt-timestamp"]["status"] == "passed"


def test_a_refusal_is_not_stored(
    receipts: Receipts, event: Event, root: Party, tmp_path: Path
) -> None:
    with served(tmp_path / "tsa", party("tsa", root), digests="sha512") as url:
        refused = receipts("timestamp", event.folder, "--tsa", url)
    assert (refused.code, "the authority refused" in refused.err) == (3, True)
    assert not (event.folder / PROOFS).exists()


@pytest.mark.parametrize(
    ("url", "code", "why"),
    [
        ("file:///etc/passwd", 2, "should be an address"),
        ("tsa.example", 2, "should be an address"),
        ("http://127.0.0.1:9/", 2, "cannot be reached"),
    ],
)
def test_addresses_that_are_none(
    receipts: Receipts, event: Event, url: str, code: int, why: str
) -> None:
    refused = receipts("timestamp", event.folder, "--tsa", url)
    assert refused.code == code
    assert why in refused.err


def test_what_is_published_are_stamps_of_this_event(
    receipts: Receipts, event: Event, root: Party, tsa: str, tmp_path: Path
) -> None:
    event.run(LATER)
    (tmp_path / "chain.pem").write_bytes(party("between", root, signs_certificates=True).pem)
    kept = stamp(receipts, event, tsa, "--tsa-chain", tmp_path / "chain.pem")
    proofs = event.folder / PROOFS
    query = new_request(b"another event's").query
    (proofs / "other.tsr").write_bytes(stamped(tmp_path / "x", party("tsa", root), query))
    (proofs / "junk.pem").write_bytes(b"key material, perhaps")
    done = receipts("publish", event.folder, "--out", tmp_path / "public", "--json")
    assert done.code == 0
    expected = {Path(one["file"]).name for one in kept["stamps"]}
    expected |= {Path(one).name for one in kept["certificates"]}
    assert {path.name for path in (tmp_path / "public" / PROOFS).iterdir()} == expected
    left = {one["file"]: one["why"] for one in json.loads(done.out)["leftOut"]}
    assert left[f"{PROOFS}/other.tsr"] == "is no timestamp of this plan or receipt"
    assert "not a certificate" in left[f"{PROOFS}/junk.pem"]
    assert (tmp_path / "public" / RECEIPT).exists()
