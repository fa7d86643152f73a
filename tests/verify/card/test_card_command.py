"""``receipts attach`` as people and pipelines meet it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from carding import front_matter, without
from printed import held

from safety_receipts.verify.card.attach import MAX_CARD_BYTES
from safety_receipts.verify.card.eval_results import RESULTS_FOLDER

Receipts = Callable[..., Any]
GOLDEN = Path(__file__).parents[2] / "golden"
KEY = GOLDEN / "0.1" / "ed25519.pub"
CARD = b"---\nlicense: mit\n---\n# Model\n\nText.\n"


@pytest.fixture
def bundle_of(folders: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a bundle."""
    return lambda name: Path(shutil.copytree(folders[name], tmp_path / name, dirs_exist_ok=True))


def test_attach_and_check(
    folders: dict[str, Path], readme: Path, trust: list[str], receipts: Receipts
) -> None:
    words = ["attach", folders["first"], readme, *trust]
    shown = receipts(*words, "--dry-run", "--json")
    assert readme.read_bytes() == CARD
    document = held("cli-attach", shown.out)
    assert document["action"] == "would be written"
    assert "+## Safety receipt" in document["diff"]
    assert receipts(*words, "--check").code == 3
    written = held("cli-attach", receipts(*words, "--json").out)
    assert written["action"] == "written"
    assert written["conditions"] == 4
    assert written["level"] == "consistent"
    assert without(readme.read_bytes()) == CARD
    assert held("cli-attach", receipts(*words, "--json").out)["action"] == "unchanged"
    checked = receipts(*words, "--check", "--json")
    assert (checked.code, held("cli-attach", checked.out)["action"]) == (0, "checked")
    readme.write_text(readme.read_text("utf-8").replace("judged |", "Judged |", 1), "utf-8")
    edited = receipts(*words, "--check")
    assert edited.code == 3
    assert edited.err.startswith(f"receipts: {readme}: line ")
    assert edited.err.count("\n") == 1


@pytest.mark.parametrize("name", ["first", "audited"])
def test_the_commands_of_the_section_run_as_they_stand(
    name: str, folders: dict[str, Path], readme: Path, trust: list[str], receipts: Receipts
) -> None:
    assert receipts("attach", folders[name], readme, *trust).code == 0
    text = readme.read_text("utf-8")
    commands = text.partition("```sh\n")[2].partition("```")[0].splitlines()
    keys = dict(zip(trust[::2], trust[1::2], strict=True))
    meant = {
        "BUNDLE": str(folders[name]),
        "README.md": str(readme),
        "EVALUATOR.pub": str(keys["--trust"]),
        "AUDITOR.pub": str(keys.get("--trust-auditor", "")),
    }
    assert len(commands) == 2
    for command in commands:
        program, *words = command.split()
        assert program == "receipts"
        # Every word in capitals stands for something that a reader has.
        assert {word for word in words if word.isupper() or word.endswith(".pub")} <= meant.keys()
        assert receipts(*(meant.get(word, word) for word in words)).code == 0


def test_a_dry_run_shows_what_would_change(
    folders: dict[str, Path], readme: Path, trust: list[str], receipts: Receipts
) -> None:
    shown = receipts("attach", folders["first"], readme, *trust, "--dry-run").out
    assert "+model-index: # safety-receipts\n" in shown
    assert " license: mit\n" in shown


def test_a_later_receipt_takes_the_place_of_its_predecessor_when_asked(
    folders: dict[str, Path], readme: Path, trust: list[str], receipts: Receipts
) -> None:
    def attach(name: str, *words: str) -> Any:
        return receipts("attach", folders[name], readme, *trust, *words)

    attach("first")
    alone = readme.read_bytes()
    attach("stage")
    both = readme.read_bytes()
    beside = attach("later")
    assert "stands beside receipt" in beside.err
    index = yaml.safe_load(front_matter(readme.read_bytes()))["model-index"]
    assert len(index) == 3
    replaced = attach("later", "--replace", "--json")
    document = held("cli-attach", replaced.out)
    (first,) = document["replaced"]
    card = readme.read_bytes()
    assert first.encode() not in card
    index = yaml.safe_load(front_matter(card))["model-index"]
    revisions = {result["dataset"]["revision"] for one in index for result in one["results"]}
    assert len(index) == len(revisions) == 2
    assert document["receiptDigest"] in revisions
    assert without(card) == CARD
    for name in ("stage", "later"):
        assert attach(name, "--check").code == 0
    assert attach("first", "--check").code == 3
    assert held("cli-attach", attach("later", "--replace", "--json").out)["replaced"] == []
    # Where there is nothing else, the successor stands where the predecessor stood.
    readme.write_bytes(both)
    attach("later", "--replace")
    places = [readme.read_text("utf-8").index(f"stage `{stage}`") for stage in ("instruct", "dpo")]
    assert places == sorted(places)
    readme.write_bytes(alone)
    attach("first", "--replace")
    assert readme.read_bytes() == alone


def test_a_result_on_a_benchmark(
    folders: dict[str, Path], readme: Path, trust: list[str], receipts: Receipts
) -> None:
    words = ["attach", folders["first"], readme, *trust, "--url", "https://example.org/r"]
    named = ["--benchmark", "owner/suite", "--task", "default"]
    finished = receipts(*words, *named, "--json")
    assert "ignores" in finished.err
    assert "registered" in finished.err
    path = Path(held("cli-attach", finished.out)["resultsFile"])
    assert path.parent == readme.parent / RESULTS_FOLDER
    (entry,) = yaml.safe_load(path.read_text("utf-8"))
    assert entry["dataset"] == {"id": "owner/suite", "task_id": "default"}
    assert isinstance(entry["value"], float)
    assert isinstance(entry["date"], str)
    assert entry["source"]["url"] == "https://example.org/r"
    assert json.loads(finished.out)["receiptDigest"] in entry["notes"]
    assert "verifyToken" not in entry
    assert receipts(*words, *named, "--check").code == 0
    assert receipts(*words, "--check").code == 2
    path.write_bytes(b"by hand\n")
    refused = receipts(*words, *named)
    assert refused.code == 2
    assert "was not written by this program" in refused.err


def test_another_address_is_written_in_the_same_place(
    folders: dict[str, Path], readme: Path, trust: list[str], receipts: Receipts
) -> None:
    words = ["attach", folders["first"], readme, *trust]
    receipts(*words)
    alone = readme.read_bytes()
    url = ["--url", "https://example.org/a?b=c'd&e=(1)#x"]
    assert held("cli-attach", receipts(*words, *url, "--json").out)["action"] == "written"
    assert without(readme.read_bytes()) == CARD
    (entry,) = yaml.safe_load(front_matter(readme.read_bytes()))["model-index"]
    assert {result["source"]["url"] for result in entry["results"]} == {url[1]}
    assert receipts(*words, *url, "--check").code == 0
    assert receipts(*words, "--check").code == 3
    receipts(*words)
    assert readme.read_bytes() == alone


def test_the_result_goes_with_its_receipt(
    folders: dict[str, Path], readme: Path, trust: list[str], receipts: Receipts
) -> None:
    named = ["--benchmark", "owner/suite", "--task", "default"]
    receipts("attach", folders["first"], readme, *trust, *named)
    (old,) = (readme.parent / RESULTS_FOLDER).iterdir()
    receipts("attach", folders["later"], readme, *trust, *named, "--replace")
    (new,) = (readme.parent / RESULTS_FOLDER).iterdir()
    assert old != new


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--benchmark", "owner/suite"], 2, "--benchmark and --task go together"),
        (["--benchmark", "../x", "--task", "a"], 2, "a data set of the hub"),
        (["--benchmark", "a/b", "--task", "a\nb"], 2, "the id of a task"),
        (["--url", "javascript:alert(1)"], 2, "--url should be an address"),
        (["--url", "https://a b"], 2, "--url should be an address"),
        (["--url", "https://a/)<script>"], 2, "--url should be an address"),
        (["--check", "--replace"], 2, "--replace would be ignored"),
        (["--check", "--dry-run"], 2, "--dry-run would be ignored"),
        (["--trust", "nowhere.pub"], 2, "nowhere.pub"),
    ],
    ids=str,
)
def test_options_that_cannot_be(
    words: list[str],
    code: int,
    said: str,
    *,
    folders: dict[str, Path],
    readme: Path,
    trust: list[str],
    receipts: Receipts,
) -> None:
    finished = receipts("attach", folders["first"], readme, *trust, *words)
    assert finished.code == code
    assert said in finished.err
    assert readme.read_bytes() == CARD


@pytest.mark.parametrize("check", [[], ["--check"]], ids=["attach", "check"])
@pytest.mark.parametrize(
    ("bundle", "key", "code"),
    [
        ("0.1/bad/a-rate-is-edited", KEY, 3),
        ("0.1/bad/an-outcome-is-flipped", KEY, 3),
        ("0.1/good/ed25519", None, 5),
        ("0.1/good/ed25519", GOLDEN / "known-answer" / "evaluator.pub", 3),
        ("0.1/good/ed25519", KEY, 1),
        ("nowhere", KEY, 2),
    ],
    ids=str,
)
def test_no_number_that_was_not_verified_is_written(
    check: list[str],
    bundle: str,
    key: Path | None,
    code: int,
    *,
    readme: Path,
    receipts: Receipts,
) -> None:
    trust = [] if key is None else ["--trust", key]
    finished = receipts("attach", GOLDEN / bundle, readme, *trust, *check)
    assert finished.code == code
    assert finished.out == ""
    assert finished.err.count("\n") == 1
    assert readme.read_bytes() == CARD


@pytest.mark.parametrize("bundle", ["good/ed25519", "good/published", "good/p256"])
def test_a_test_instrument_is_said_first(bundle: str, readme: Path, receipts: Receipts) -> None:
    key = GOLDEN / "0.1" / ("p256.pub" if bundle.endswith("p256") else "ed25519.pub")
    words = ["attach", GOLDEN / "0.1" / bundle, readme, "--trust", key, "--instrument"]
    assert receipts(*words).code == 0
    text = readme.read_text("utf-8")
    section = text[text.index("<!-- safety-receipts") :]
    assert section.split("\n")[3].startswith("**TEST INSTRUMENT")
    for result in yaml.safe_load(front_matter(text.encode()))["model-index"][0]["results"]:
        assert result["dataset"]["name"].startswith("TEST INSTRUMENT")
    withheld = bundle.endswith("published")
    assert ("are withheld" in section) is withheld
    assert ("derived again from the outcomes" in section) is not withheld
    assert receipts(*words, "--check").code == 0


def test_files_that_are_not_written(
    folders: dict[str, Path], tmp_path: Path, trust: list[str], receipts: Receipts
) -> None:
    real = tmp_path / "real.md"
    real.write_bytes(CARD)
    (tmp_path / "link.md").symlink_to(real)
    (tmp_path / "folder.md").mkdir()
    os.mkfifo(tmp_path / "pipe.md")
    (tmp_path / "huge.md").write_bytes(CARD + b"x" * MAX_CARD_BYTES)
    (tmp_path / "locked.md").write_bytes(CARD)
    (tmp_path / "locked.md").chmod(0o444)
    for name, said in (
        ("nowhere.md", "No such file"),
        ("link.md", "is a symbolic link"),
        ("folder.md", "is not a regular file"),
        ("pipe.md", "is not a regular file"),
        ("huge.md", "longer than"),
        ("locked.md", "is read-only"),
    ):
        finished = receipts("attach", folders["first"], tmp_path / name, *trust)
        assert (finished.code, finished.out) == (2, ""), name
        assert said in finished.err
    assert real.read_bytes() == (tmp_path / "locked.md").read_bytes() == CARD
    assert (
        receipts("attach", folders["first"], tmp_path / "locked.md", *trust, "--dry-run").code == 0
    )


def test_the_mode_of_a_card_is_kept(
    folders: dict[str, Path], readme: Path, trust: list[str], receipts: Receipts
) -> None:
    readme.chmod(0o664)
    before = os.umask(0o077)
    try:
        assert receipts("attach", folders["first"], readme, *trust).code == 0
    finally:
        os.umask(before)
    assert readme.stat().st_mode & 0o777 == 0o664


def test_a_card_that_is_changed_meanwhile_is_not_overwritten(
    folders: dict[str, Path],
    readme: Path,
    trust: list[str],
    receipts: Receipts,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def meanwhile(*_: Any) -> None:
        readme.write_bytes(CARD + b"more\n")

    monkeypatch.setattr("safety_receipts.verify.card.attach.check_by_hub", meanwhile)
    finished = receipts("attach", folders["first"], readme, *trust)
    assert finished.code == 2
    assert "was changed while it was read" in finished.err
    assert readme.read_bytes() == CARD + b"more\n"
    assert [path for path in readme.parent.iterdir() if path.suffix == ".tmp"] == []


_KILLED = """
import os, signal, sys
from pathlib import Path
from safety_receipts.receipts.cli import main
real, calls = {place}, 0
def killed(*arguments, **given):
    os.kill(os.getpid(), signal.SIGKILL)
{place} = killed
main(sys.argv[1:])
"""


@pytest.mark.parametrize("place", ["os.fsync", "Path.replace", "os.fchmod"])
def test_a_kill_leaves_the_card_whole(
    place: str, folders: dict[str, Path], readme: Path, trust: list[str], receipts: Receipts
) -> None:
    """At whichever step; and the next command clears away what was left."""
    words = [str(word) for word in ("attach", folders["first"], readme, *trust)]
    script = [sys.executable, "-c", _KILLED.format(place=place), *words]
    ended = subprocess.run(script, capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert readme.read_bytes() == CARD
    assert receipts(*words).code == 0
    assert without(readme.read_bytes()) == CARD
    assert [path for path in readme.parent.iterdir() if path.suffix == ".tmp"] == []


def test_without_huggingface_hub(
    folders: dict[str, Path],
    readme: Path,
    trust: list[str],
    receipts: Receipts,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The base install writes the same bytes."""
    receipts("attach", folders["first"], readme, *trust)
    card = readme.read_bytes()
    readme.write_bytes(CARD)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    finished = receipts("attach", folders["first"], readme, *trust)
    assert finished.code == 0
    assert "huggingface_hub is not installed" in finished.err
    assert readme.read_bytes() == card
