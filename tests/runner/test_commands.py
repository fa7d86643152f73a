"""``receipts init``, ``plan`` and ``run`` as a user meets them, mistakes included."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from printed import held
from studies import write_study

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.events.grid import BASELINE
from safety_receipts.receipts.keys import generate_key, write_key_pair
from safety_receipts.receipts.unfinished import RUN_PROMPTS
from safety_receipts.runner.commands.options import byte_size
from safety_receipts.runner.presets import PRESETS

Receipts = Callable[..., Any]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small study and a key, not to be changed."""
    folder = tmp_path_factory.mktemp("study")
    write_study(folder, queries=48, controls=1)
    write_key_pair(folder / "key", generate_key(), None)
    return folder


def run_words(folder: Path, out: Path, *more: str | Path) -> list[str | Path]:
    return [
        *("run", folder / "plan.yaml", "--key", folder / "key", "--out", out),
        *("--device", "cpu", "--memory", "64M", *more),
    ]


def test_a_dry_run_counts_what_the_run_then_has(
    receipts: Receipts, written: Path, tmp_path: Path
) -> None:
    dry = json.loads(receipts("plan", written / "plan.yaml", "--device", "cpu", "--json").out)
    assert dry["sealed"] is None
    done = receipts(*run_words(written, tmp_path / "b", "--json"))
    assert done.code == 0
    report = json.loads(done.out)
    assert report["points"] == dry["points"] == 4 * 49 * 2
    points = list(Bundle(tmp_path / "b").points())
    assert sum(point.prompt_tokens for point in points) == dry["chosen"]["promptTokens"]
    assert max(point.prompt_tokens for point in points) == dry["chosen"]["longestPrompt"]
    prompts = {record.prompt for record in Bundle(tmp_path / "b").responses()}
    assert len(prompts) == dry["chosen"]["distinctPrompts"]
    assert Bundle(tmp_path / "b").plan_envelope.digest == dry["digest"]
    assert [choice["drawBlock"] for choice in dry["alternatives"]] == [20, "all"]
    shared = dry["alternatives"][-1]
    assert shared["uniqueTokens"] < dry["chosen"]["uniqueTokens"] < dry["chosen"]["promptTokens"]


def test_a_plan_that_was_sealed_before_is_the_one_that_is_run(
    receipts: Receipts, written: Path, tmp_path: Path
) -> None:
    sealing = ("--seal", "--key", written / "key", "--out", tmp_path / "b", "--device", "cpu")
    sealed = receipts("plan", written / "plan.yaml", *sealing, "--json")
    assert sealed.code == 0
    digest = json.loads(sealed.out)["sealed"]["digest"]
    left = sorted(file.name for file in (tmp_path / "b").iterdir())
    assert left == [RUN_PROMPTS, "plan.dsse.json"]
    again = receipts("plan", written / "plan.yaml", *sealing, "--json")
    assert json.loads(again.out)["sealed"]["digest"] == digest
    assert receipts(*run_words(written, tmp_path / "b")).code == 0
    assert Bundle(tmp_path / "b").receipt.statement.predicate.plan.digest == digest
    again = receipts(*run_words(written, tmp_path / "b", "--json"))
    assert (again.code, json.loads(again.out)["sealedBefore"]) == (0, True)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o606])
def test_a_key_that_others_can_use_is_warned_of_in_one_line(
    receipts: Receipts, written: Path, tmp_path: Path, mode: int
) -> None:
    key = Path(shutil.copy(written / "key", tmp_path / "my key"))
    words = ("plan", written / "plan.yaml", "--seal", "--key", key, "--device", "cpu")
    key.chmod(0o600)
    kept = receipts(*words, "--out", tmp_path / "a", "--json")
    assert (kept.code, kept.err) == (0, "")
    key.chmod(mode)
    warned = receipts(*words, "--out", tmp_path / "b", "--json")
    assert warned.err == (
        f"{key}: others can use this private key, its mode is {mode:04o}; run: chmod 600 '{key}'\n"
    )
    told, before = json.loads(warned.out), json.loads(kept.out)
    assert (warned.code, told.pop("sealed") is None, before.pop("sealed") is None) == (0, 0, 0)
    assert told.keys() == before.keys()
    quiet = receipts(*words, "--out", tmp_path / "c", "--quiet")
    assert (quiet.code, quiet.err) == (0, "")


def test_a_pilot_leaves_nothing_behind_and_shows_no_outcome(
    receipts: Receipts, written: Path
) -> None:
    before = sorted(written.rglob("*"))
    pilot = receipts("run", written / "plan.yaml", "--limit", "5", "--device", "cpu", "--json")
    assert pilot.code == 0
    report = json.loads(pilot.out)
    assert (report["points"], report["judged"] + report["unscored"]) == (5, 5)
    assert not {"complied", "refused"} & set(report)
    assert sorted(written.rglob("*")) == before


def test_pickled_weights_run_when_the_user_says_so(receipts: Receipts, tmp_path: Path) -> None:
    import safetensors.torch
    import torch

    folder = tmp_path / "study"
    write_study(folder, queries=2, controls=1)
    write_key_pair(folder / "key", generate_key(), None)
    words = run_words(folder, tmp_path / "plain")
    assert receipts(*words).code == 0
    weights = folder / "model" / "model.safetensors"
    torch.save(safetensors.torch.load_file(weights), folder / "model" / "pytorch_model.bin")
    weights.unlink()
    assert receipts(*run_words(folder, tmp_path / "b")).code == 2
    assert receipts(*run_words(folder, tmp_path / "b", "--allow-pickle")).code == 0
    # Another file is another plan, and draws other demonstrations: compare where none are shown.
    answers = [
        [r.response_tokens for r in Bundle(tmp_path / name).responses() if r.condition == BASELINE]
        for name in ("plain", "b")
    ]
    assert answers[0] == answers[1] != []


def test_nothing_is_said_on_stderr_where_there_is_no_terminal(
    receipts: Receipts, written: Path, tmp_path: Path
) -> None:
    assert receipts(*run_words(written, tmp_path / "b")).err == ""


def _another_line(folder: Path) -> None:
    (folder / "queries.jsonl").write_text('{"id": "q0"', "utf-8")


def _no_tokenizer(folder: Path) -> None:
    (folder / "model" / "tokenizer.json").unlink()


def _cut_weights(folder: Path) -> None:
    path = folder / "model" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def _pickled_weights(folder: Path) -> None:
    (folder / "model" / "model.safetensors").rename(folder / "model" / "pytorch_model.bin")


def _no_template(folder: Path) -> None:
    (folder / "model" / "chat_template.jinja").unlink()


def _no_model(folder: Path) -> None:
    (folder / "model").rename(folder / "elsewhere")


def _few_demonstrations(folder: Path) -> None:
    path = folder / "harmful.jsonl"
    path.write_text(path.read_text("utf-8").splitlines(keepends=True)[0], "utf-8")


def _a_query_among_them(folder: Path) -> None:
    _few_demonstrations(folder)
    with (folder / "harmful.jsonl").open("a", encoding="utf-8") as stream:
        for row in (folder / "queries.jsonl").read_text("utf-8").splitlines():
            stream.write(json.dumps(json.loads(row) | {"response": "Sure."}) + "\n")


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (_another_line, "queries.jsonl: line 1"),
        (_no_tokenizer, "model"),
        (_cut_weights, "model.safetensors"),
        (_pickled_weights, "--allow-pickle"),
        (_no_template, "has no chat template"),
        (_no_model, "no such folder|No such file"),
        (_few_demonstrations, "demonstrations.harmful.*1 are left"),
        (_a_query_among_them, "demonstrations.harmful.*1 are left"),
    ],
)
@pytest.mark.parametrize("command", ["plan", "run"])
def test_what_a_plan_names_and_is_not_there_ends_in_one_line(
    receipts: Receipts, tmp_path: Path, damage: Callable[[Path], None], named: str, command: str
) -> None:
    folder = tmp_path / "study"
    write_study(folder, queries=4, controls=1)
    write_key_pair(folder / "key", generate_key(), None)
    damage(folder)
    words = (
        run_words(folder, tmp_path / "b") if command == "run" else ["plan", folder / "plan.yaml"]
    )
    finished = receipts(*words)
    assert finished.code == 2, finished.err
    assert finished.err.count("\n") == 1
    assert re.search(named, finished.err), finished.err
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["run", "PLAN"], "needs --key and --out"),
        (["run", "PLAN", "--key", "KEY"], "needs --key and --out"),
        (["run", "PLAN", "--key", "NOWHERE", "--out", "B"], "NOWHERE"),
        (["run", "NOWHERE", "--key", "KEY", "--out", "B"], "NOWHERE"),
        (["run", "PLAN", "--key", "KEY", "--out", "KEY"], "key"),
        (["run", "PLAN", "--key", "KEY", "--out", "B", "--memory", "lots"], "8GiB"),
        (["run", "PLAN", "--key", "KEY", "--out", "B", "--device", "toaster"], "toaster"),
        (["run", "PLAN", "--key", "KEY", "--out", "B", "--beacon-value", "x"], "64 lower-case"),
        (
            ["run", "PLAN", "--key", "KEY", "--out", "B", "--beacon-value", "a" * 64],
            "names no beacon",
        ),
        (["run", "PLAN", "--key", "KEY", "--out", "B", "--beacon-signature", "x"], "96 lower-case"),
        (
            ["plan", "PLAN", "--beacon-value", "a" * 64, "--beacon-signature", "a" * 96],
            "is not the SHA-256 of --beacon-signature",
        ),
        (["run", "PLAN", "--key", "KEY", "--key", "KEY", "--out", "B"], "a key was given twice"),
        (["run", "PLAN", "--limit", "0"], "limit"),
        (["run", "PLAN", "--limit", "3", "--show-rates"], "--limit takes no --show-rates"),
        (["run", "PLAN", "--limit", "3", "--key", "KEY", "--out", "B"], "--limit takes no --key"),
        (["run", "PLAN", "--key", "KEY", "--out", ""], "--out names no folder"),
        (["plan", "PLAN", "--seal"], "--seal needs"),
        (["plan", "PLAN", "--out", "B"], "are for --seal"),
        (["plan", "PLAN", "--device", "toaster"], "toaster"),
        (["init", "HERE"], "plan.yaml"),
        (["init", "NEW", "--preset", "none"], "preset"),
    ],
)
def test_a_mistyped_command_ends_in_one_line(
    receipts: Receipts, written: Path, tmp_path: Path, words: list[str], named: str
) -> None:
    places = {
        "PLAN": written / "plan.yaml",
        "KEY": written / "key",
        "NOWHERE": tmp_path / "NOWHERE",
        "B": tmp_path / "b",
        "HERE": written,
        "NEW": tmp_path / "new",
    }
    finished = receipts(*(places.get(word, word) for word in words))
    assert finished.code == 2, finished.err
    assert named in finished.err
    assert finished.err.count("\n") == 1
    assert not (tmp_path / "b" / "receipt.dsse.json").exists()


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_a_plan_file_with_its_schema(
    receipts: Receipts, tmp_path: Path, preset: str
) -> None:
    from safety_receipts.runner.plan.file import load_plan_file

    made = receipts("init", tmp_path / "new", "--preset", preset, "--json")
    assert made.code == 0
    path = Path(held("cli-init", made.out)["plan"])
    load_plan_file(path)
    first = path.read_text("utf-8").splitlines()
    assert any("$schema=plan.schema.json" in line for line in first[:3])
    assert json.loads((path.parent / "plan.schema.json").read_text("utf-8"))["$schema"]
    if preset == "demo":
        names = {file.name for file in path.parent.iterdir()}
        assert names == {"plan.yaml", "plan.schema.json", "checkpoint", "data", ".gitignore"}
    again = receipts("init", tmp_path / "new", "--preset", preset)
    assert (again.code, "plan.yaml" in again.err) == (2, True)


@pytest.mark.parametrize("name", ["data", "checkpoint", "plan.schema.json"])
def test_init_touches_nothing_that_is_there(receipts: Receipts, tmp_path: Path, name: str) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (tmp_path / name).symlink_to(mine)
    refused = receipts("init", tmp_path)
    assert (refused.code, name in refused.err) == (2, True)
    assert list(mine.iterdir()) == []
    assert not (tmp_path / "plan.yaml").exists()


@pytest.mark.parametrize(
    ("text", "size"),
    [("8GiB", 2**33), ("512M", 2**29), ("1000000", 10**6), ("1.5 kb", 1536), ("2t", 2**41)],
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert byte_size(text) == size


def test_a_run_and_a_pilot_of_which_nothing_is_scored_say_so(
    receipts: Receipts, tmp_path: Path
) -> None:
    # A random model judges: nobody can read what it replies.
    folder = tmp_path / "study"
    write_study(folder, queries=2, controls=1, judge="{kind: chat, path: model}")
    write_key_pair(folder / "key", generate_key(), None)
    points = 4 * 3 * 2
    pilot = receipts("run", folder / "plan.yaml", "--limit", "5", "--device", "cpu", "--json")
    report = json.loads(pilot.out)
    assert (pilot.code, report["judged"], report["unscored"]) == (5, 0, 5)
    assert report["reasons"] == {"judge_parse_error": 5}
    words = run_words(folder, tmp_path / "b")
    stopped = receipts(*words)
    assert (stopped.code, stopped.out) == (5, "")
    assert f"none of {points} responses in a row could be scored" in stopped.err
    assert not (tmp_path / "b" / "receipt.dsse.json").exists()
    sealed = receipts(*words, "--accept-unscored")
    assert sealed.code == 5
    assert f"{points} points, 0 failed, {points} unscored (judge_parse_error)" in sealed.out
    report = json.loads(receipts(*words, "--json").out)
    assert (report["scored"], report["unscored"], report["failed"]) == (0, points, 0)
    assert report["reasons"] == {"judge_parse_error": points}
