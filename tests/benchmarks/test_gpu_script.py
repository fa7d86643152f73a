"""The script for a borrowed GPU, its parts run on the CPU: no first minute there for slips."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import gpu
import pytest
import torch


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["gpu.py", *words])
    monkeypatch.setattr(sys, "path", [*sys.path])
    return gpu.main()


@pytest.mark.long
@pytest.mark.parametrize("part", gpu.PARTS)
def test_each_part_runs_on_the_cpu(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(monkeypatch, "--tiny", "--parts", part, "--out", str(tmp_path)) == 0
    document = json.loads((tmp_path / "gpu.json").read_text("utf-8"))
    assert document["machine"]["device"] == "CPU"
    [found] = document["parts"].values()
    assert found["error"] is None
    assert found["found"]
    held = [one["held"] for one in found["found"]]
    # What does not hang on speed is held to the same here.
    assert all(held) if part in ("equality", "audit") else held == [None] * len(held)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_device_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch) == 0
    assert "no CUDA device here: nothing was measured" in capsys.readouterr().out


def test_a_part_that_fails_ends_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(_: object) -> list[object]:
        raise torch.OutOfMemoryError("too large\nby far")

    monkeypatch.setattr(gpu, "PARTS", {"first": fails, "second": lambda _: []})
    assert run(monkeypatch, "--tiny", "--out", str(tmp_path)) == 1
    parts = json.loads((tmp_path / "gpu.json").read_text("utf-8"))["parts"]
    assert parts["first"]["error"] == "too large by far"
    assert parts["second"]["error"] is None
    assert "first: failed in" in capsys.readouterr().out


def test_no_part_begins_without_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "SECONDS", 1.0)
    assert run(monkeypatch, "--tiny", "--parts", "equality") == 1
    assert "equality: not begun" in capsys.readouterr().out
