"""``receipts demo``: the whole life of a receipt, on the organism."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from printed import held
from rich.cells import cell_len
from terminals import COLUMNS, on_a_terminal

from safety_receipts.verify.selfcheck.selftest import SHORT_MATRIX


@pytest.mark.long
def test_the_demonstration_seals_what_was_planted_and_catches_every_forgery(
    receipts: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RECEIPTS_VERIFY_ALLOW_INSTRUMENT")
    # Nothing of a demonstration goes into a log that the environment names for real runs.
    monkeypatch.setenv("RECEIPTS_LOG", str(tmp_path / "none.yaml"))
    out = tmp_path / "demo"
    finished = receipts("demo", "--out", out, "--json")
    assert finished.code == 0, finished.err
    document = held("cli-demo", finished.out)
    assert [row["name"] for row in document["tamperings"]] == [each.name for each in SHORT_MATRIX]
    truth = document["truth"]
    assert len(truth) == 10
    # Each is the mean of 240 independent draws: all ten within 4 in 99.9 % of plans.
    assert all(abs(float(row["deviation"])) < 4 for row in truth)
    # The member is the diluting one, and enough was asked to see it.
    recorded = {row["condition"]: float(row["recorded"]) for row in truth}
    assert recorded["h16-b16-suffix"] < recorded["h16-b0"] - 0.1
    verified = receipts("verify", out / "bundle", "--trust", out / "evaluator.pub")
    assert verified.code == 1  # nobody takes the organism for a model
    monkeypatch.setenv("RECEIPTS_VERIFY_ALLOW_INSTRUMENT", "1")
    verified = receipts("verify", out / "bundle", "--trust", out / "evaluator.pub")
    assert verified.code == 0
    assert document["relabelled"] == document["replaced"] > 100
    mislabelled = receipts("verify", out / "mislabelled", "--trust", out / "evaluator.pub")
    assert mislabelled.code == 0  # at level consistent; the demonstration saw level bound fail
    lied = receipts("verify", out / "lie", "--trust", out / "evaluator.pub", "--json")
    assert (lied.code, json.loads(lied.out)["verdict"]) == (0, "passed")
    audited = receipts(
        "verify",
        out / "lie",
        "--trust",
        out / "evaluator.pub",
        "--trust-auditor",
        out / "auditor.pub",
        "--json",
    )
    assert (audited.code, json.loads(audited.out)["verdict"]) == (3, "failed")
    # Nothing of what somebody works in is ever taken away.
    (out / "study" / "plan.yaml").write_text("edited")
    before = sorted(out.rglob("*"))
    again = receipts("demo", "--out", out)
    assert (sorted(out.rglob("*")), (out / "study" / "plan.yaml").read_text()) == (before, "edited")
    assert (again.code, again.err.count("\n"), "exists already" in again.err) == (2, 1, True)


@pytest.mark.long
def test_what_a_terminal_shows_of_it_is_short_and_in_order(tmp_path: Path) -> None:
    printed = on_a_terminal("demo", folder=tmp_path, side=tmp_path / "side")
    lines = printed.splitlines()
    assert len(lines) < 240
    assert max(map(cell_len, lines)) <= COLUMNS
    place = 0
    for part in IN_ORDER:
        place = printed.index(part, place)
    assert printed.count("caught by the check") == 1
    assert {path.name for path in (tmp_path / "receipts-demo").iterdir()} == {
        *("study", "bundle", "evaluator", "evaluator.pub", "auditor", "auditor.pub"),
        *("mislabelled", "lie", "proof.json", "policy.yaml", "report.html", ".gitignore"),
        *("log", "log.key", "log.key.pub", "log-policy", "log.yaml"),
        *("witness.key", "witness.key.pub", "witness.sqlite"),
    }


IN_ORDER = (
    "$ receipts init",
    "$ receipts keygen",
    "$ receipts log init",
    "$ receipts log witness serve",
    "$ receipts plan",
    "sealed into",
    "$ receipts run",
    "sealed: 3,600 points",
    "$ receipts show",
    "Baseline h0-b0",
    "planted %",
    "$ receipts verify",
    "PASSED",
    "plan-logged",
    "this is the only plan of this checkpoint",
    "$ receipts prove",
    "Forgers at work",
    "caught by the check",
    "a rate is edited",
    "$ receipts audit",
    "CONFIRMED",
    "586 of 3,600 recorded labels are false",
    "FAILED",
    "A better lie",
    "REFUTED",
    "$ receipts gate",
    "ADMITTED",
    "$ receipts gate",
    "REFUSED",
    "$ receipts report",
    "Done in",
    "Go on:",
    "show receipts-demo/bundle",
    "edit receipts-demo/study/plan.yaml",
)
