"""docs/log-witness.md: its commands make a witness, and serve it as the page says."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pages import blocks, commands
from witnessing import MemoryLog, Serving, log_signer, post, seen_by

from safety_receipts.receipts.log.formats.policy import load_log_policy
from safety_receipts.receipts.log.witnessing.witness import WitnessStatus

PAGE = (Path(__file__).parents[2] / "docs" / "log-witness.md").read_text("utf-8")


def test_the_page_s_witness(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, receipts: Callable[..., Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    log = MemoryLog(log_signer())
    Path("logs").write_text(f"log {log.signer.public.vkey}\nquorum none\n")
    *made, serve = [
        shlex.split(step.command)[1:] for block in blocks(PAGE) for step in commands(block)
    ]
    assert [words[:3] for words in (*made[-1:], serve)] == [
        ["log", "witness", "init"],
        ["log", "witness", "serve"],
    ]
    for words in made:
        finished = receipts(*words)
        assert finished.code == 0
    # What init prints goes into others' policies as it is, with a group as the page has it.
    lines = [f"log {log.signer.public.vkey}", *finished.out.splitlines()]
    names = [line.split(" ")[1] for line in lines[1:]]
    lines += [f"group w1 any {' '.join(names)}", "quorum w1", ""]
    Path("policy").write_text("\n".join(lines))
    keys = [witness.key for witness in load_log_policy(Path("policy")).witnesses]
    place = serve.index("--listen")
    assert serve[place + 1] == "127.0.0.1:8080"
    serve[place + 1] = "127.0.0.1:0"  # the page's port may be taken
    with Serving(*serve[3:]) as serving:
        answer = post(serving.url, log.asks(0, 7))
        assert len(seen_by(answer.body, log.signed(7), keys)) == 2
        assert serving.end() == (0, "")


def test_the_page_names_every_status() -> None:
    row = next(line for line in PAGE.splitlines() if "POST /add-checkpoint" in line)
    assert {int(number) for number in re.findall(r"\b\d{3}\b", row)} == set(WitnessStatus)
