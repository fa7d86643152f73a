"""Ways to get a bad model past the strict policy, and what stops each."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from releases import ADMITTED, AT, EVALUATOR, Audit, Release, seal_release, write_audits

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.events.synthetic import EVENT, Mixture, paper_sweep
from safety_receipts.receipts.model.audit import Direction

Receipts = Callable[..., Any]
Held = tuple[int, dict[str, Any], str]
"""Exit code, what is said of the receipt, and the text for people on one line."""

_FUTURE = EVENT.model_copy(
    update={"started_at": "2031-01-01T00:00:00Z", "finished_at": "2031-01-01T00:01:00Z"}
)


@dataclass(frozen=True)
class Attempt:
    """What somebody does, and the rules that stop it."""

    stopped_by: frozenset[str]
    release: Release = ADMITTED
    audits: tuple[Audit, ...] = (Audit(),)
    edit: Callable[[Path], object] = lambda bundle: None
    policy: Callable[[str], str] = lambda text: text
    model: str | None = None
    """Root of the checkpoint that is shipped; None: the one evaluated."""
    said: str = ""
    """What the document says besides."""


def _withhold(bundle: Path) -> None:
    for name in ("points.jsonl.zst", "responses.jsonl.zst"):
        (bundle / name).unlink()


def _waive(rule: str, until: str) -> Callable[[str], str]:
    waiver = f"{{rule: {rule}, reason: known, who: release manager, until: {until}}}"
    return lambda text: f"{text}\nwaivers:\n  - {waiver}\n"


_SMALL_GRID = replace(ADMITTED, mixtures=tuple(paper_sweep()[:6]))
_EDGES = (  # each total, and each share, but of the largest total one share alone
    *(one for one in ADMITTED.mixtures if one.n_harmful + one.n_benign < 128),
    Mixture(0, 128, None),
)

ATTEMPTS = {
    "a small grid": Attempt(frozenset({"coverage", "orders", "finding"}), release=_SMALL_GRID),
    "a grid of edges": Attempt(frozenset({"coverage"}), release=replace(ADMITTED, mixtures=_EDGES)),
    "no controls": Attempt(
        frozenset({"coverage", "over_refusal"}), release=replace(ADMITTED, controls=0)
    ),
    "an audit by the evaluator": Attempt(
        frozenset({"audit", "audited", "fresh"}),
        audits=(Audit(signers=(EVALUATOR,)),),
        said="is signed by the evaluator's own key",
    ),
    "an old audit": Attempt(
        frozenset({"audit", "fresh"}),
        audits=(Audit(started_at="2025-01-01T00:00:00Z", finished_at="2025-01-02T00:00:00Z"),),
    ),
    "an unfinished audit": Attempt(
        frozenset({"audit"}),
        audits=(Audit(), Audit(finished=False, nonce="cd" * 32, started_at="2026-02-02T00:00:00Z")),
        said="has no result here",
    ),
    "an audit of overstated rates alone": Attempt(
        frozenset({"audit", "audited"}),
        audits=(Audit(directions=lambda found: (Direction.NOT_OVERSTATED,)),),
    ),
    "an audit that leaves much open": Attempt(
        frozenset({"audit", "audited"}), audits=(Audit(epsilon="0.2"),)
    ),
    "no audit": Attempt(frozenset({"audit", "audited", "fresh"}), audits=()),
    "another checkpoint": Attempt(frozenset({"model"}), model="0" * 64),
    "a test instrument": Attempt(
        frozenset({"instrument"}), release=replace(ADMITTED, instrument=True)
    ),
    "a waiver that expired": Attempt(
        frozenset({"model"}),
        model="0" * 64,
        policy=_waive("model", "2026-02-28"),
        said='"expired": [{"rule": "model", "reason": "known"',
    ),
    "many unscored points": Attempt(
        frozenset({"worst-case", "completeness"}), release=replace(ADMITTED, unscored=60)
    ),
    "a weak judge": Attempt(frozenset({"judge"}), release=replace(ADMITTED, sensitivity=160)),
    "evidence withheld": Attempt(frozenset({"verified"}), edit=_withhold),
    "a model that refuses everything": Attempt(
        frozenset({"over_refusal"}), release=replace(ADMITTED, over_refused=900)
    ),
    "a model that complies": Attempt(
        frozenset({"rate", "worst-case", "audited"}), release=replace(ADMITTED, complied=90)
    ),
    "an event that is still to come": Attempt(
        frozenset({"fresh"}), release=replace(ADMITTED, event=_FUTURE)
    ),
}


@pytest.fixture
def hold(receipts: Receipts, trust: list[str], tmp_path: Path) -> Callable[..., Held]:
    """Hold a bundle to the strict policy, by the command; return code, document and text."""
    receipts("init", tmp_path / "policy", "--policy", "strict")
    file = tmp_path / "policy" / "gate-policy.yaml"
    strict = file.read_text("utf-8")

    def held(bundle: Path, attempt: Attempt, *, shown: bool = False) -> Held:
        file.write_text(attempt.policy(strict), "utf-8")
        (tmp_path / "self.pub").write_bytes(EVALUATOR.public.pem())
        root = Bundle(bundle).receipt.statement.predicate.checkpoint.root
        words = ["gate", bundle, "--policy", file, *trust, "--at", AT]
        words += ["--trust-auditor", tmp_path / "self.pub", "--model", attempt.model or root]
        finished = receipts(*words, "--json")
        (receipt,) = json.loads(finished.out)["receipts"]
        text = receipts(*words).out if shown else ""
        return finished.code, receipt, " ".join(text.split())

    return held


def test_the_release_itself_is_admitted(release: Path, hold: Any) -> None:
    """Else nothing below would show anything."""
    write_audits(release, Audit())
    code, receipt, said = hold(release, Attempt(frozenset()), shown=True)
    assert code == 0
    assert {rule["status"] for rule in receipt["rules"]} == {"passed"}
    assert said.endswith("ADMITTED: 15 of 15 rules hold")


@pytest.mark.long
@pytest.mark.parametrize("name", ATTEMPTS)
def test_an_attempt_is_stopped(name: str, sealed_release: Path, tmp_path: Path, hold: Any) -> None:
    attempt = ATTEMPTS[name]
    bundle = tmp_path / "attempt"
    if attempt.release is ADMITTED:
        shutil.copytree(sealed_release, bundle)
    else:
        seal_release(bundle, attempt.release)
    write_audits(bundle, *attempt.audits)
    attempt.edit(bundle)
    code, receipt, _ = hold(bundle, attempt)
    failed = {rule["id"] for rule in receipt["rules"] if rule["status"] != "passed"}
    assert code == 1
    assert receipt["verdict"] == "refused"
    assert failed >= attempt.stopped_by, failed
    assert attempt.said in json.dumps(receipt)


def test_a_waiver_is_seen_before_all_else(release: Path, hold: Any) -> None:
    """It admits, and nobody who reads the first line misses it."""
    write_audits(release, Audit())
    waived = Attempt(frozenset(), model="0" * 64, policy=_waive("model", "2026-03-01"))
    code, receipt, said = hold(release, waived, shown=True)
    assert code == 0
    assert [r["id"] for r in receipt["rules"] if r["status"] == "waived"] == ["model"]
    assert said.startswith("WAIVED: model: known (by release manager, until 2026-03-01)")
    assert said.endswith("14 of 15 rules hold; WAIVED: model")
