"""A small, fixed slice of what ``make fuzz`` runs, and that the fuzzer finds what is planted."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest
from fuzzing.campaign import Options, campaign
from fuzzing.examine import examine, run
from fuzzing.inputs import DOCUMENTS, KINDS, Base, make_base, make_input
from fuzzing.mutations import get, mutate_bytes, mutate_json, paths

SEED = 1
SLICE = 80
"""Inputs that are verified here; other commands and the rest of this seed are for ``make fuzz``."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    """The good inputs that need no model."""
    return make_base(tmp_path_factory.mktemp("base"), models=False)


@pytest.mark.parametrize("part", range(4))
def test_the_slice(base: Base, part: int) -> None:
    numbers = range(part * SLICE // 4, (part + 1) * SLICE // 4)
    found = [each for n in numbers for each in examine(base, SEED, n, DOCUMENTS, most=1)]
    assert found == []


def test_good_inputs_are_good(base: Base) -> None:
    """What is mutated verifies, its audit included: mutants fail for what was changed."""
    evaluator, auditor = base.folder / "evaluator.pub", base.folder / "auditor.pub"
    keys = ["--trust", evaluator, "--trust-auditor", auditor]
    words = ["verify", base.folder / "rich", *keys, "--proof", base.folder / "proof.json", "--json"]
    ended = run(list(map(str, words)))
    assert ended.code == 0
    checks = {check["name"]: check for check in json.loads(ended.out)["checks"]}
    audits = [check for name, check in checks.items() if name.startswith("audit ")]
    assert [check["status"] for check in audits] == ["passed"] * 3  # announced, full, public
    assert sorted(check["detail"].split(":")[0] for check in audits)[:2] == [
        "announced",
        "partly confirmed",
    ]


def test_an_input_is_made_again_from_seed_and_number(base: Base, tmp_path: Path) -> None:
    made = {}
    for name in ("one", "two"):
        for number in range(12):
            folder = tmp_path / name / str(number)
            folder.mkdir(parents=True)
            input_ = make_input(base, SEED, number, folder, DOCUMENTS)
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            # ECDSA signatures are random; Ed25519 ones are not.
            content = [path.read_bytes() for path in files if input_.kind != "audit"]
            made[name, number] = (input_.kind, input_.notes, content)
    for number in range(12):
        assert made["one", number] == made["two", number]
    assert len({kind for kind, *_ in made.values()}) > 3


def test_mutations_change_what_they_say() -> None:
    document = {"a": [1, 2, 3], "b": {"c": "text", "d": None}, "e": [{"f": "0.5"}] * 3}
    unchanged = 0
    for number in range(300):
        copied = json.loads(json.dumps(document))
        where = mutate_json(copied, Random(number), times=1)
        assert len(where) == 1
        assert get(document, where[0]) is not document
        json.dumps(copied)
        unchanged += copied == document
    assert unchanged < 60
    assert sum(mutate_bytes(b"some bytes", Random(n)) != b"some bytes" for n in range(100)) > 80
    assert len(list(paths(document))) == 15


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("raise KeyError('x')", "exit code 70"),
        ("print('Traceback', file=__import__('sys').stderr)", "a traceback on stderr"),
        ("return 1", "exit code 1"),
        ("__import__('time').sleep(60)", "no end after 2 s"),
        ("while True: pass", "no end after 1 s of processor time"),
        ("_ = bytearray(2 * 10**8); _[:] = b'x' * len(_); __import__('time').sleep(5)", "holds"),
        ("__import__('os')._exit(9)", "the process ended with"),
    ],
    ids=["exception", "traceback", "code", "sleep", "hang", "memory", "death"],
)
def test_a_planted_fault_is_found(
    fault: str, said: str, base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault in a command comes out of the watched process as a finding, with its number."""
    monkeypatch.setattr("fuzzing.campaign.SECONDS", 1.0)
    if "sleep(60)" in fault:
        monkeypatch.setattr("fuzzing.campaign.WAITING", 2.0)
    monkeypatch.setattr("fuzzing.campaign.BYTES", 2 * 10**8)
    planted = f"def verify_bundle(*_, **__):\n    {fault}\n"
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        f"PLANTED = {planted!r}\n"
        "import safety_receipts.verify.commands.verify\n"
        "real, scope = safety_receipts.verify.commands.verify.verify_bundle, {}\n"
        "exec(PLANTED, scope)\n"
        "if 'return 1' in PLANTED:\n"
        "    safety_receipts.verify.commands.verify.verify.callback = lambda **_: 1\n"
        "else:\n"
        "    planted = scope['verify_bundle']\n"
        "    safety_receipts.verify.commands.verify.verify_bundle = lambda bundle, **given: (\n"
        "        planted if given['proof'] else real)(bundle, **given)\n",
        "utf-8",
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = campaign(base, Options(SEED, [7], ["proof"], jobs=1))
    assert found
    assert {each.number for each in found} == {7}
    assert any(said in each.what for each in found), found


def test_every_kind_has_a_share() -> None:
    assert sum(weight for _, weight in KINDS.values()) == 100
    assert set(DOCUMENTS) < set(KINDS)
