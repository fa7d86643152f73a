"""Level *bound*: the artifacts, and what is made of them again.

One small model is run once; its bundle and its study are then changed in copies.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from auditing import Event, run_event
from dishonest import Pair, seal_again
from judging import make_tokenizer, save_tokenizer
from running import Faulty, run, verified
from safetensors.torch import load_file, save_file
from studies import write_study
from transformers import BertConfig, BertForSequenceClassification

from safety_receipts.receipts.bundle import RESPONSES_FILE, Bundle
from safety_receipts.receipts.canonical import Sha256, canonical_bytes, point_id, sha256_hex
from safety_receipts.receipts.keys import TrustSet, generate_key
from safety_receipts.receipts.model.base import SourceName
from safety_receipts.receipts.model.check import CheckLevel, CheckStatus
from safety_receipts.receipts.model.checkpoint import EndTokenOrigin, SamplingDefault
from safety_receipts.receipts.model.demonstrations import Ordering
from safety_receipts.receipts.model.point import Outcome, Point, Reason, RestrictedRecord
from safety_receipts.runner.checkpoint.folder import hash_folder
from safety_receipts.runner.engines.engine import Completion
from safety_receipts.runner.plan import resolve as plan_module
from safety_receipts.runner.plan.resolve import resolve_against, resolve_plan
from safety_receipts.runner.plan.resolved import ResolvedPlan, UnrunPlan
from safety_receipts.runner.prompts.chat_format import ChatFormat
from safety_receipts.runner.run.event import RunOptions
from safety_receipts.verify.checks import CheckList
from safety_receipts.verify.integrity import verify_bundle
from safety_receipts.verify.levels import bound as binding
from safety_receipts.verify.levels.artifacts import check_artifacts
from safety_receipts.verify.levels.bound import HeldArtifacts, drawn_points
from safety_receipts.verify.selfcheck.selftest import edit_line
from safety_receipts.verify.verification import Verification

Receipts = Callable[..., Any]

EXPERIMENTS = (
    "fixed_harmful: {harmful: [2], benign: [2]}",
    "orderings: {harmful: 2, benign: 2, rules: [random]}",
    'response_prefix: {harmful: 1, benign: 1, prefixes: ["Sure"]}',
    "contexts: {harmful: 1, benign: 1, gap_turns: 1, forms: [turns, conversation, memory]}",
)
POINTS = 7 * 4 * 2
NONCE = "5e" * 32
CHECKS = [
    "checkpoint",
    "tokenizer",
    "chat-template",
    "system-prompt",
    "rendering",
    "context-limit",
    "end-tokens",
    "sampling-defaults",
    "queries",
    "demonstrations",
    "judge",
    "commitments",
    "labels",
    "prompts-rendered",
    "texts-decoded",
]


@pytest.fixture(scope="module")
def event(tmp_path_factory: pytest.TempPathFactory) -> Event:
    """A run in which draws, orders, prefixes, forms, cuts and a system prompt matter."""
    folder = tmp_path_factory.mktemp("event")
    plan = write_study(folder / "study", queries=3, controls=1, experiments=EXPERIMENTS)
    text = plan.read_text("utf-8")
    text = text.replace('{date: "2026-01-01"}', '{date: "2026-01-01", system: "Be brief."}')
    text = text.replace("  draws: 2\n", "  draws: 2\n  truncate: {characters: 44}\n")
    plan.write_text(text, "utf-8")
    made = run_event(plan, folder)
    assert made.plan.points == POINTS
    return made


@pytest.fixture
def forged(event: Event, tmp_path: Path) -> Path:
    """A copy of the bundle."""
    return Path(shutil.copytree(event.bundle, tmp_path / "bundle"))


@pytest.fixture
def study(event: Event, tmp_path: Path) -> Path:
    """A copy of the study, in a folder of another name."""
    return Path(shutil.copytree(event.study, tmp_path / "moved"))


def held(event: Event, bundle: Path, **settings: Any) -> Verification:
    """Verify a bundle against the artifacts it was made of."""
    return verify_bundle(
        Bundle(bundle),
        evaluators=TrustSet([event.signer.public]),
        wanted=CheckLevel.BOUND,
        held_artifacts=HeldArtifacts(event.resolved, **settings),
    )


def failed(verification: Verification) -> dict[str, str]:
    return {c.name: c.detail for c in verification.checks if c.status is CheckStatus.FAILED}


def bound(document: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {
        c["name"]: (c["status"], c["detail"]) for c in document["checks"] if c["level"] == "bound"
    }


def test_an_honest_bundle_is_bound_to_its_artifacts(event: Event, receipts: Receipts) -> None:
    words = ["verify", event.bundle, "--trust", event.key, "--artifacts", event.study / "plan.yaml"]
    finished = receipts(*words, "--json")
    document = json.loads(finished.out)
    assert (finished.code, document["verdict"], document["level"]) == (0, "passed", "bound")
    checks = bound(document)
    assert list(checks) == CHECKS
    assert {status for status, _ in checks.values()} == {"passed"}
    assert checks["prompts-rendered"][1] == f"all {POINTS} points"
    notes = {c["name"]: c["detail"] for c in document["checks"] if c["level"] == "none"}
    assert notes["plan-file"] == "is the sealed plan's"


def test_the_level_that_is_asked_for_is_the_one_that_is_said(
    event: Event, receipts: Receipts
) -> None:
    words = ["verify", event.bundle, "--trust", event.key]
    assert "(level bound)" in receipts(*words, "--artifacts", event.study / "plan.yaml", "-q").out
    unheld = receipts(*words, "--level", "bound", "--json")
    checks = bound(json.loads(unheld.out))
    assert (unheld.code, checks["commitments"][0]) == (5, "passed")
    assert checks["artifacts"] == ("not_checked", "give --artifacts PLAN")
    assert json.loads(receipts(*words, "--json").out)["level"] == "consistent"


def test_the_checks_of_a_bundle_have_different_names(event: Event) -> None:
    names = [check.name for check in held(event, event.bundle).checks]
    assert len(names) == len(set(names))


def test_places_and_names_are_the_auditors_own(
    event: Event, study: Path, receipts: Receipts
) -> None:
    (study / "model").rename(study / "weights")
    (study / "harmful.jsonl").rename(study / "pool.jsonl")
    plan = study / "plan.yaml"
    text = plan.read_text("utf-8")
    for before, after in (
        ("path: model", "path: weights"),
        ("harmful-pairs, path: harmful.jsonl", "mine, path: pool.jsonl"),
        ("first: {corpus", "another-first: {corpus"),
        ("name: asked", "name: of-mine"),
        ("name: a small study", "name: an audit"),
        ("max_new_tokens: 6", "max_new_tokens: 9"),
        (EXPERIMENTS[2], "fixed_harmful: {harmful: [0], benign: [4]}"),
    ):
        assert text.count(before) == 1
        text = text.replace(before, after)
    plan.write_text(text, "utf-8")
    words = ["verify", event.bundle, "--trust", event.key, "--artifacts", plan, "--json"]
    finished = receipts(*words)
    document = json.loads(finished.out)
    assert (finished.code, document["level"]) == (0, "bound"), bound(document)
    notes = {c["name"]: c["detail"] for c in document["checks"] if c["level"] == "none"}
    assert notes["plan-file"].startswith("differs from the sealed plan in ")


def rewrite(file: str, before: str, after: str) -> Callable[[Path], None]:
    """Return an edit of the first place where a text stands in a file of the study."""

    def edit(study: Path) -> None:
        text = (study / file).read_text("utf-8")
        assert before in text
        (study / file).write_text(text.replace(before, after, 1), "utf-8")

    return edit


def lines(file: str, change: Callable[[list[str]], list[str]]) -> Callable[[Path], None]:
    def edit(study: Path) -> None:
        rows = (study / file).read_text("utf-8").splitlines(keepends=True)
        (study / file).write_text("".join(change(rows)), "utf-8")

    return edit


def flip_a_weight(study: Path) -> None:
    path = study / "model" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def add_a_file(study: Path) -> None:
    (study / "model" / "adapter.json").write_text("{}")


LEFT_BEHIND = (
    ".DS_Store",
    "._model.safetensors",
    "README.md",
    "__pycache__/modeling.cpython-311.pyc",
    "config.json~",
    "runs/.ipynb_checkpoints/plot.json",
)


def test_files_that_nothing_loads_are_named_and_no_more(
    event: Event, study: Path, receipts: Receipts
) -> None:
    """A file manager, an editor, a README written after the run."""
    for name in LEFT_BEHIND:
        path = study / "model" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("left behind", "utf-8")
    words = ["verify", event.bundle, "--trust", event.key, "--artifacts", study / "plan.yaml"]
    finished = receipts(*words, "--json")
    document = json.loads(finished.out)
    assert (finished.code, document["verdict"], document["level"]) == (0, "passed", "bound")
    status, detail = bound(document)["checkpoint"]
    assert status == "passed"
    assert detail.endswith(
        f"; added and loaded by nothing: {', '.join(sorted(LEFT_BEHIND)[:5])} and 1 more"
    )
    (study / "model" / "special_tokens_map.json").write_text("{}", "utf-8")
    (study / "model" / "config.json").rename(study / "model" / "config.json.bak")
    shutil.copy(event.study / "model" / "config.json", study / "model" / "config.json")
    finished = receipts(*words, "--json")
    assert finished.code == 3
    status, detail = bound(json.loads(finished.out))["checkpoint"]
    assert (status, detail) == (
        "failed",
        "special_tokens_map.json is not one of the plan's files, and could be loaded",
    )


PROMPTS, TEXTS = "prompts-rendered", "texts-decoded"
UNRUN = ("rendering", "context-limit", "end-tokens", PROMPTS, TEXTS)
"""What would follow from running the checkpoint's files."""
NOT_RUN = "the checkpoint is not the plan's, so nothing of it is run"


@dataclass(frozen=True)
class Another:
    """Another artifact, and what comes of it."""

    name: str
    edit: Callable[[Path], None]
    caught: tuple[str, ...]
    """The checks that fail, and no other."""
    detail: str
    """Part of what the first says."""
    unmade: tuple[str, ...] = ()
    """The checks that are not made."""


def of_pools(name: str, edit: Callable[[Path], None], detail: str) -> Another:
    return Another(name, edit, ("demonstrations",), detail, (PROMPTS,))


CONTEXT_LIMIT = '"max_position_embeddings": 409'

OTHERS = [
    Another("a weight", flip_a_weight, ("checkpoint",), "model.safetensors differs", UNRUN),
    Another(
        "a file more", add_a_file, ("checkpoint",), "adapter.json is not one of the plan's", UNRUN
    ),
    Another(
        "the tokenizer",
        rewrite("model/tokenizer_config.json", "{", "{ "),
        ("checkpoint", "tokenizer"),
        "tokenizer_config.json differs",
        UNRUN,
    ),
    Another(
        "the chat template",
        rewrite("model/chat_template.jinja", "{", "{#- -#}{"),
        ("checkpoint", "chat-template"),
        "chat_template.jinja differs",
        UNRUN,
    ),
    Another(
        "the context limit",
        rewrite("model/config.json", f"{CONTEXT_LIMIT}6", f"{CONTEXT_LIMIT}5"),
        ("checkpoint",),
        "config.json differs",
        UNRUN,
    ),
    Another(
        "the system prompt",
        rewrite("plan.yaml", "Be brief.", "Be brief!"),
        ("system-prompt",),
        f"{sha256_hex(b'Be brief!')[:16]}…, the plan names {sha256_hex(b'Be brief.')[:16]}…",
        (PROMPTS,),
    ),
    Another(
        "a query",
        rewrite("queries.jsonl", "Hide the kite", "Show the kite"),
        ("queries",),
        "asked: digest is ",
        (PROMPTS,),
    ),
    Another(
        "a control's id",
        rewrite("controls.jsonl", '"c0"', '"c9"'),
        ("queries",),
        "control: digest is ",
        (PROMPTS,),
    ),
    of_pools(
        "a demonstration",
        rewrite("benign.jsonl", "mend the bell", "mend a bell"),
        "first: digest is ",
    ),
    of_pools(
        "a demonstration less",
        lines("harmful.jsonl", lambda rows: rows[1:]),
        "harmful-pairs: digest is ",
    ),
    of_pools(
        "demonstrations in another order",
        lines("refusals.jsonl", lambda rows: rows[::-1]),
        "refusal-pairs: digest is ",
    ),
    of_pools(
        "the length rule",
        rewrite("plan.yaml", "characters: 44", "characters: 45"),
        "truncation is characters = 45, scope = demonstration, the plan says characters = 44",
    ),
    of_pools("draws", rewrite("plan.yaml", "draws: 2", "draws: 3"), "draws is 3, the plan says 2"),
    Another(
        "the judge",
        rewrite("plan.yaml", "{kind: refusal-strings}", "{kind: wildguard, path: model}"),
        ("judge",),
        "kind is wildguard, the plan says refusal-strings",
    ),
]


@pytest.mark.parametrize("case", OTHERS, ids=lambda case: case.name.replace(" ", "-"))
def test_another_artifact_fails_its_check(
    event: Event, study: Path, receipts: Receipts, case: Another
) -> None:
    case.edit(study)
    words = ["--trust", event.key, "--artifacts", study / "plan.yaml", "--json"]
    finished = receipts("verify", event.bundle, *words)
    document = json.loads(finished.out)
    checks = bound(document)
    assert (finished.code, document["level"]) == (3, "consistent")
    assert tuple(name for name, (status, _) in checks.items() if status == "failed") == case.caught
    assert case.detail in checks[case.caught[0]][1]
    # What is made of another artifact is not held against the record.
    skipped = [name for name, (status, _) in checks.items() if status == "not_checked"]
    assert tuple(skipped) == case.unmade
    why = NOT_RUN if case.unmade == UNRUN else case.caught[-1]
    assert all(why in checks[name][1] for name in skipped)
    if case.unmade == UNRUN:
        words = ["--key", event.folder / "evaluator", "--artifacts", study / "plan.yaml"]
        audited = receipts("audit", event.bundle, *words, "--trust", event.key, "--json")
        assert (audited.code, bound(json.loads(audited.out))) == (3, checks)


def test_a_library_that_decodes_otherwise_than_the_vocabulary_fails(
    event: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Transformers' classes may decode in a way of their own."""
    chat = event.resolved.artifacts.texts.chat
    monkeypatch.setattr(chat._tokenizer, "decode", lambda *_, **__: "Sorry")
    found = failed(held(event, event.bundle))
    assert list(found) == [TEXTS]
    assert "the text of a response is not that of its tokens" in found[TEXTS]


def test_a_prompt_that_does_not_come_back_from_its_tokens_fails(
    event: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = event.resolved.artifacts.texts.chat._reader
    encoders = reader._encoders

    def shortened(texts: list[str]) -> list[list[int]]:
        whole = encoders.parts(texts)
        return [ids[: len(ids) // 2] + ids[len(ids) // 2 + 1 :] for ids in whole]

    def shortened_whole(text: str) -> tuple[list[int], list[tuple[int, int]]]:
        ids, places = encoders.whole(text)
        middle = len(ids) // 2
        return ids[:middle] + ids[middle + 1 :], places[:middle] + places[middle + 1 :]

    spoilt = replace(encoders, parts=shortened, whole=shortened_whole)
    monkeypatch.setattr(reader, "_encoders", spoilt)
    monkeypatch.setattr(reader, "_known", OrderedDict())
    monkeypatch.setattr(reader, "kept", 0)
    found = failed(held(event, event.bundle))
    assert list(found) == [PROMPTS]
    assert "does not come back from its tokens: they differ from character" in found[PROMPTS]


def test_nothing_of_another_folder_is_run(
    event: Event, study: Path, receipts: Receipts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Digests come first: what a template, a tokenizer or a configuration would do is not tried."""
    add_a_file(study)

    def run_it(*_: Any, **__: Any) -> Any:
        raise AssertionError("something of the folder is run")

    monkeypatch.setattr(plan_module, "read_model_facts", run_it)
    monkeypatch.setattr(ChatFormat, "load", run_it)
    monkeypatch.setattr("safety_receipts.runner.judges.chat.method_of", run_it)
    rewrite("plan.yaml", "{kind: refusal-strings}", "{kind: chat, path: model}")(study)
    words = ["--trust", event.key, "--artifacts", study / "plan.yaml", "--json"]
    finished = receipts("verify", event.bundle, *words)
    checks = bound(json.loads(finished.out))
    assert finished.code == 3
    assert {name: checks[name] for name in UNRUN} == dict.fromkeys(UNRUN, ("not_checked", NOT_RUN))
    # What needs no more than reading files is said all the same.
    assert [checks[name][0] for name in ("checkpoint", "judge")] == ["failed", "failed"]
    read = ("tokenizer", "chat-template", "system-prompt", "sampling-defaults", "queries")
    assert {checks[name][0] for name in read} == {"passed"}


def test_of_a_model_behind_an_api_tokenizer_and_template_come_first(
    event: Event, study: Path
) -> None:
    plan, file = event.resolved.predicate, study / "plan.yaml"
    remote = plan.model_copy(
        update={"checkpoint": plan.checkpoint.model_copy(update={"files": ()})}
    )
    assert isinstance(resolve_against(file, remote), ResolvedPlan)
    rewrite("model/chat_template.jinja", "{", "{#- -#}{")(study)
    resolved = resolve_against(file, remote)
    assert isinstance(resolved, UnrunPlan)
    checks = CheckList()
    check_artifacts(remote, resolved, checks)
    told = {check.name: check.status for check in checks.checks}
    assert told["checkpoint"] is CheckStatus.NOT_CHECKED
    assert told["chat-template"] is CheckStatus.FAILED


def test_a_bundle_whose_plan_cannot_be_read_runs_nothing(
    event: Event, forged: Path, receipts: Receipts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_it(*_: Any, **__: Any) -> Any:
        raise AssertionError("something of the folder is run")

    monkeypatch.setattr(ChatFormat, "load", run_it)
    (forged / "plan.dsse.json").unlink()
    words = ["--trust", event.key, "--artifacts", event.study / "plan.yaml", "--json"]
    finished = receipts("verify", forged, *words)
    checks = bound(json.loads(finished.out))
    assert (finished.code, checks["artifacts"][0]) == (5, "not_checked")
    assert "needs a plan and a receipt" in checks["artifacts"][1]


def pickled(model: Path, seed: int) -> None:
    """Make a folder that holds its weights as a pickle, beside a decoy."""
    weights = load_file(model / "model.safetensors")
    (model / "model.safetensors").unlink()
    generator = torch.Generator().manual_seed(seed)
    noise = {name: torch.rand(each.shape, generator=generator) for name, each in weights.items()}
    torch.save(noise, model / "pytorch_model.bin")
    save_file({"decoy": torch.zeros(4)}, model / "weights.safetensors")


@pytest.mark.parametrize("seed", [1, 2])
def test_weights_that_are_loaded_are_among_the_plans_files(
    event: Event, study: Path, seed: int
) -> None:
    """A hub plan left out pickles: with a decoy in its list, every model was the plan's."""
    pickled(study / "model", seed)
    hashed = hash_folder(study / "model", pickles=False)
    assert "weights.safetensors" in {file.path for file in hashed.files}
    plan = event.resolved.predicate
    decoyed = plan.checkpoint.model_copy(
        update={
            "files": hashed.files,
            "root": hashed.root,
            "hub": "of/somebody",
            "revision": "c" * 40,
        }
    )
    sealed = plan.model_copy(update={"checkpoint": decoyed})
    resolved = resolve_against(study / "plan.yaml", sealed, allow_pickle=True)
    checks = CheckList()
    usable = check_artifacts(sealed, resolved, checks)
    told = {check.name: (check.status.value, check.detail) for check in checks.checks}
    assert told["checkpoint"] == (
        "failed",
        "pytorch_model.bin holds the weights that are loaded, and is not one of the plan's files",
    )
    assert (usable.prompts, usable.texts) == (None, None)


@pytest.mark.parametrize(
    ("edit", "unmade"),
    [
        (
            rewrite("plan.yaml", "  - {corpus: own, name: control", "  #"),
            ["queries", "demonstrations", "prompts-rendered"],
        ),
        (
            rewrite(
                "plan.yaml",
                "queries:\n",
                "queries:\n  - {corpus: own, name: more, path: more.jsonl}\n",
            ),
            ["queries", "prompts-rendered"],
        ),
        (
            rewrite("plan.yaml", "  refusal: {", "  # {"),
            ["demonstrations", "prompts-rendered"],
        ),
    ],
)
def test_what_a_plan_file_does_not_name_is_not_checked(
    event: Event, study: Path, receipts: Receipts, edit: Callable[[Path], None], unmade: list[str]
) -> None:
    """Neither can an auditor who lacks a corpus refute anything, nor is anything passed."""
    (study / "more.jsonl").write_text('{"id": "m", "request": "Fold the sail"}\n')
    edit(study)
    words = ["--trust", event.key, "--artifacts", study / "plan.yaml", "--json"]
    finished = receipts("verify", event.bundle, *words)
    document = json.loads(finished.out)
    checks = bound(document)
    assert (finished.code, document["verdict"]) == (5, "incomplete")
    assert {s for s, _ in checks.values()} == {"passed", "not_checked"}
    assert {n for n, (s, _) in checks.items() if s == "not_checked"} <= {*unmade}
    assert "prompts-rendered" not in {n for n, (s, _) in checks.items() if s == "passed"}


def one(number: int, **fields: Any) -> Callable[[Point, RestrictedRecord], Pair]:
    """Return a forgery of one record."""

    def change(point: Point, record: RestrictedRecord) -> Pair:
        if point.index != number:
            return point, record
        return point, record.model_copy(update=fields)

    return change


LAST = POINTS - 1
OTHER = Sha256("ab" * 32)


def swap_prefix(point: Point, record: RestrictedRecord) -> Pair:
    if point.prefix_adopted is not None:
        point = point.model_copy(update={"prefix_adopted": not point.prefix_adopted})
    return point, record


def swap_first_tokens(point: Point, record: RestrictedRecord) -> Pair:
    """The text of the honest run beside other token ids."""
    tokens = record.response_tokens
    if point.index == LAST and len(tokens) > 1:
        tokens = (next(t for t in (9, 10, 11) if t not in tokens), *tokens[1:])
    return point, record.model_copy(update={"response_tokens": tokens})


@pytest.mark.parametrize(
    ("change", "caught", "detail"),
    [
        (one(LAST, prompt=OTHER), PROMPTS, "the prompt is not the one that is rendered"),
        (one(LAST, demonstrations=OTHER), PROMPTS, "not those that the plan draws"),
        (one(LAST, text="Sure, take the lamp."), TEXTS, "what its tokens decode to"),
        (swap_first_tokens, TEXTS, "what its tokens decode to"),
        (swap_prefix, TEXTS, "prefixAdopted does not follow"),
    ],
)
def test_what_an_evaluator_seals_falsely_is_found(
    event: Event,
    forged: Path,
    change: Callable[[Point, RestrictedRecord], Pair],
    caught: str,
    detail: str,
) -> None:
    """Signatures, root and commitments all fit."""
    seal_again(forged, event.signer, change)
    found = held(event, forged)
    assert list(failed(found)) == [caught]
    assert detail in failed(found)[caught]
    assert found.exit_code == 3
    assert found.level is CheckLevel.CONSISTENT


def test_a_text_that_is_said_to_be_empty_is_found(event: Event, forged: Path) -> None:
    """An evaluator who hides a compliance among the points that have nothing to judge."""
    records = list(Bundle(forged).responses())
    hidden = next(r.index for r in records if r.outcome is Outcome.COMPLIED)
    ending = {"outcome": Outcome.UNSCORED, "reason": Reason.EMPTY_RESPONSE}

    def change(point: Point, record: RestrictedRecord) -> Pair:
        if point.index != hidden:
            return point, record
        changed = record.model_copy(update={**ending, "judge": None})
        return point.model_copy(update=ending), changed

    seal_again(forged, event.signer, change)
    assert "whether there is a text" in failed(held(event, forged))[TEXTS]


def test_a_token_that_the_model_has_not_is_named(event: Event, forged: Path) -> None:
    """Decoders drop unknown ids: anything could be hidden behind them."""
    honest = list(Bundle(forged).responses())[LAST].response_tokens
    seal_again(forged, event.signer, one(LAST, response_tokens=(2**50, *honest[1:])))
    assert f"token {2**50} is not one of the model's" in failed(held(event, forged))[TEXTS]


def test_demonstrations_in_another_order_are_other_demonstrations(
    event: Event, forged: Path
) -> None:
    """The digests of two draws of a random order, exchanged."""
    plan = event.resolved.predicate
    place = next(i for i, c in enumerate(plan.conditions) if c.ordering is Ordering.RANDOM)
    first = place * len(plan.query_ids) * 2
    records = list(Bundle(forged).responses())
    assert records[first].demonstrations != records[first + 1].demonstrations
    swapped = {first: records[first + 1], first + 1: records[first]}

    def change(point: Point, record: RestrictedRecord) -> Pair:
        other = swapped.get(point.index, record)
        return point, record.model_copy(update={"demonstrations": other.demonstrations})

    seal_again(forged, event.signer, change)
    detail = failed(held(event, forged))[PROMPTS]
    assert detail.startswith(f"2 wrong of all {POINTS} points: point {first} (h2-b2-random)")


def test_all_points_find_the_one_that_a_sample_misses(event: Event, forged: Path) -> None:
    seal_again(forged, event.signer, one(LAST, prompt=OTHER))
    digest = Bundle(forged).receipt_envelope.digest
    plan = event.resolved.predicate
    nonces = [sha256_hex(bytes([i])) for i in range(200)]
    misses, hits = (
        next(n for n in nonces if (LAST in drawn_points(plan, digest, n, 8)) is hit)
        for hit in (False, True)
    )
    missed = held(event, forged, points=8, nonce=misses)
    assert (missed.level, failed(missed)) == (CheckLevel.BOUND, {})
    hit = failed(held(event, forged, points=8, nonce=hits))[PROMPTS]
    assert hit.startswith(f"1 wrong of 8 of {POINTS} points, drawn with nonce {hits}: point {LAST}")
    assert PROMPTS in failed(held(event, forged, points=None))


def test_a_sample_is_what_the_protocol_says(event: Event) -> None:
    plan, digest = event.resolved.predicate, Sha256("cd" * 32)

    def key(index: int) -> str:
        rest, draw = divmod(index, 2)
        place, query = divmod(rest, len(plan.query_ids))
        id_ = point_id(plan.conditions[place].id, plan.query_ids[query], draw)
        return sha256_hex(canonical_bytes(["safety-receipts/bound-sample/1", digest, NONCE, id_]))

    order = sorted(range(POINTS), key=key)
    assert drawn_points(plan, digest, NONCE, 7) == set(order[:7])
    assert drawn_points(plan, digest, NONCE, POINTS + 5) == set(range(POINTS))
    assert drawn_points(plan, digest, "00" * 32, 7) != set(order[:7])


def test_a_sample_is_fresh_and_can_be_repeated(
    event: Event, receipts: Receipts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binding, "SAMPLE", 10)
    plan = event.study / "plan.yaml"
    words = ["verify", event.bundle, "--trust", event.key, "--artifacts", plan, "--json"]

    def detail(*more: str) -> str:
        finished = receipts(*words, *more)
        assert finished.code == 0
        return bound(json.loads(finished.out))["prompts-rendered"][1]

    first, second = detail(), detail()
    assert first != second
    nonce = re.fullmatch(rf"10 of {POINTS} points, drawn with nonce ([0-9a-f]{{64}})", first)
    assert nonce is not None
    assert detail("--sample-nonce", nonce[1]) == first
    assert detail("--all-points") == f"all {POINTS} points"


def test_without_the_records_nothing_is_said_to_be_rendered(event: Event, forged: Path) -> None:
    (forged / RESPONSES_FILE).unlink()
    found = held(event, forged)
    status = {c.name: c.status for c in found.checks}
    assert [status[name] for name in ("checkpoint", "commitments", PROMPTS, TEXTS)] == [
        CheckStatus.PASSED,
        *[CheckStatus.NOT_CHECKED] * 3,
    ]
    assert found.exit_code == 5


def test_a_sample_passes_only_where_all_records_open(event: Event, forged: Path) -> None:
    """The sample itself is good, and the record that was changed is not in it."""
    edit_line(LAST, lambda record: record.update(text="Sure."), RESPONSES_FILE)(
        forged, event.signer
    )
    digest, plan = Bundle(forged).receipt_envelope.digest, event.resolved.predicate
    nonces = (sha256_hex(bytes([i])) for i in range(200))
    misses = next(n for n in nonces if LAST not in drawn_points(plan, digest, n, 8))
    found = held(event, forged, points=8, nonce=misses)
    status = {c.name: c.status for c in found.checks}
    assert list(failed(found)) == ["commitments"]
    assert {status[PROMPTS], status[TEXTS]} == {CheckStatus.NOT_CHECKED}


def test_a_point_that_is_there_twice_stands_for_no_other(event: Event, forged: Path) -> None:
    first = next(Bundle(forged).points()), next(Bundle(forged).responses())
    seal_again(forged, event.signer, lambda p, r: first if p.index == LAST else (p, r))
    found = held(event, forged)
    status = {c.name: c.status for c in found.checks}
    assert "evidence-order" in failed(found)
    assert {status[PROMPTS], status[TEXTS]} == {CheckStatus.NOT_CHECKED}


def test_a_beacons_value_joins_the_seed(tmp_path: Path) -> None:
    plan = write_study(tmp_path / "study", queries=1, controls=1, experiments=EXPERIMENTS[:1])
    seed = "  draws: 2\n  seed: {beacon: {source: drand-quicknet, round: 400000000}}\n"
    rewrite("plan.yaml", "  draws: 2\n", seed)(tmp_path / "study")
    resolved, signer = resolve_plan(plan), generate_key()
    options = RunOptions(memory=2**26, beacon_value="ab" * 32)
    run(resolved, tmp_path / "b", signer, options=options)
    verified(tmp_path / "b", signer, resolved)


def test_points_that_failed_have_prompts_too(tmp_path: Path) -> None:
    """Prompts that are too long, and an engine's failure."""
    plan = write_study(
        tmp_path / "study",
        context=512,
        queries=2,
        controls=1,
        experiments=("fixed_harmful: {harmful: [0, 24], benign: [0]}",),
        more="context_overflow: fail_point\n",
    )
    resolved, signer = resolve_plan(plan), generate_key()

    def fault(completion: Completion) -> Completion | None:
        return None if completion.key == 0 else completion

    options = RunOptions(memory=2**26, accept_failed=True)
    run(
        resolved,
        tmp_path / "b",
        signer,
        options=options,
        engine=lambda engine: Faulty(engine, fault),
    )
    points = verified(tmp_path / "b", signer, resolved)
    assert {p.reason for p in points if p.outcome is Outcome.FAILED} == {
        Reason.CONTEXT_OVERFLOW,
        Reason.ENGINE_ERROR,
    }


def compared(before: ResolvedPlan, after: Path, **changes: Any) -> dict[str, tuple[str, str]]:
    """Hold the artifacts of a plan file to another plan, of which some parts are changed.

    Args:
        before: The plan.
        after: The plan file.
        changes: Part of the plan → field → value.
    """
    plan = before.predicate
    parts = {
        name: getattr(plan, name).model_copy(update=change) if isinstance(change, dict) else change
        for name, change in changes.items()
    }
    checks = CheckList()
    check_artifacts(plan.model_copy(update=parts), resolve_plan(after), checks)
    return {check.name: (check.status.value, check.detail) for check in checks.checks}


def test_a_plan_sealed_when_the_configurations_alone_were_asked_still_holds(event: Event) -> None:
    """Bundles of earlier versions: what tokenizer and template say is told, and no more."""
    plan, file = event.resolved.predicate, event.resolved.file
    ends = ", ".join(map(str, plan.sampling.end_tokens))
    none = {"end_token_origins": None}
    earlier = {"rendering": "conversation/1"}
    told = compared(event.resolved, file, sampling=none, prompt=earlier)
    assert told["end-tokens"] == ("passed", ends)
    # A plan of today cannot leave out who says so, and with it what the template says.
    told = compared(event.resolved, file, sampling=none)
    assert told["end-tokens"] == ("failed", f"the plan does not say who states each of {ends}")


def test_what_a_plan_says_of_true_artifacts_must_follow_from_them(event: Event) -> None:
    """An evaluator who seals the digests of the files, and something else about them."""
    plan, file = event.resolved.predicate, event.resolved.file
    harmful = plan.demonstrations.harmful
    assert harmful is not None
    fewer = {"decontaminated": harmful.decontaminated + 1, "pool": harmful.pool - 1}
    ids = plan.query_ids
    origins = plan.sampling.end_token_origins
    assert origins is not None
    less = (origins[0].model_copy(update={"origins": (EndTokenOrigin.PLAN,)}), *origins[1:])
    stated = ", ".join(map(str, plan.sampling.end_tokens))
    for name, changes, detail in (
        ("checkpoint", {"instrument": True}, "instrument is false of these files"),
        (
            "checkpoint",
            {"checkpoint": {"quantisation": "mxfp4", "dequantised": True}},
            "dequantised is null of these files, the plan says true",
        ),
        ("end-tokens", {"sampling": {"end_token_origins": less}}, "(plan), as sampling.end_tokens"),
        ("end-tokens", {"sampling": {"end_token_origins": origins[1:]}}, "and folder say"),
        (
            "end-tokens",
            {
                "sampling": {"end_token_origins": None, "end_tokens": (7,)},
                "prompt": {"rendering": "conversation/1"},
            },
            f"{stated}; the plan says 7",
        ),
        ("context-limit", {"prompt": {"context_limit": 99}}, "4,096, the plan says 99"),
        ("end-tokens", {"sampling": {"end_tokens": (7,)}}, "; the plan says 7"),
        (
            "sampling-defaults",
            {"sampling": {"defaults_not_applied": (SamplingDefault(name="top_p", value="0.9"),)}},
            "top_p is none, the plan says 0.9",
        ),
        ("rendering", {"prompt": {"judged_channel": "final"}}, "judged channel is None"),
        ("queries", {"query_ids": (ids[1], ids[0], *ids[2:])}, "asked: has query q0 where"),
        (
            "demonstrations",
            {"demonstrations": {"harmful": harmful.model_copy(update=fewer)}},
            "harmful-pairs: decontaminated is 0, the plan says 1",
        ),
    ):
        status, said = compared(event.resolved, file, **changes)[name]
        assert (status, detail in said) == ("failed", True), said


def test_defaults_of_sampling_that_are_not_applied_are_derived_again(
    event: Event, study: Path
) -> None:
    config = study / "model" / "generation_config.json"
    stated = json.loads(config.read_text("utf-8"))
    config.write_text(json.dumps(stated | {"repetition_penalty": 1.1}), "utf-8")
    sealed, file = event.resolved, study / "plan.yaml"
    found = compared(sealed, file)["sampling-defaults"]
    assert found == ("failed", "repetition_penalty is 1.1, the plan says none")
    told = {"defaults_not_applied": (SamplingDefault(name="repetition_penalty", value="1.1"),)}
    found = compared(sealed, file, sampling=told)["sampling-defaults"]
    assert found == ("passed", "repetition_penalty = 1.1")
    # The sealed plan's sampling decides what is applied, not the auditor's plan file.
    applied = {"repetition_penalty": "1.1"}
    assert compared(sealed, file, sampling=applied)["sampling-defaults"][0] == "passed"
    assert compared(sealed, file, sampling=told | applied)["sampling-defaults"][0] == "failed"
    # A plan of a version that knew of none says nothing.
    older = compared(sealed, file, sampling={"defaults_not_applied": None})
    assert older["sampling-defaults"][0] == "not_checked"


def test_pickles_that_the_hub_left_out_may_lie_in_a_copy(event: Event, study: Path) -> None:
    (study / "model" / "training_args.bin").write_bytes(b"not opened")
    sealed = event.resolved
    assert compared(sealed, study / "plan.yaml")["checkpoint"][0] == "failed"
    from_hub = {"hub": "of/somebody", "revision": "c" * 40}
    found = compared(sealed, study / "plan.yaml", checkpoint=from_hub)
    assert found["checkpoint"][0] == "passed"


def test_a_judges_threshold_and_a_second_judge_are_compared(study: Path) -> None:
    sizes = {"vocab_size": make_tokenizer("wordpiece").get_vocab_size(), "hidden_size": 16}
    labels = {"id2label": {0: "NORMAL", 1: "REJECTION"}, "label2id": {"NORMAL": 0, "REJECTION": 1}}
    small = {"intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config: Any = BertConfig
    model = BertForSequenceClassification(config(**sizes, **small, **labels))
    model.save_pretrained(study / "classifier")
    save_tokenizer(study / "classifier", "wordpiece")
    plain = study / "plan.yaml"

    def judged_by(name: str, judge: str) -> Path:
        text = plain.read_text("utf-8").replace("{kind: refusal-strings}", judge)
        (study / name).write_text(text, "utf-8")
        return study / name

    strings = "{{kind: refusal-strings, second: {}}}"
    half_sure = '{kind: classifier, path: classifier, threshold: "0.5"}'
    half = judged_by("half.yaml", strings.format(half_sure))
    more = judged_by("more.yaml", strings.format(half_sure.replace("0.5", "0.9")))
    first = judged_by("first.yaml", half_sure)
    sealed, name = resolve_plan(half), "second-judge-identity"
    assert compared(sealed, half)[name] == ("passed", "classifier")
    assert compared(sealed, more)[name] == ("failed", "threshold is 0.9, the plan says 0.5")
    unheld = ("not_checked", "the plan file names no second judge")
    assert compared(sealed, plain)[name] == unheld
    sealed = resolve_plan(first)
    assert compared(sealed, first)["judge"] == ("passed", "classifier")
    weights = study / "classifier" / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    status, detail = compared(sealed, first)["judge"]
    assert (status, detail.startswith("weights is ")) == ("failed", True)


def test_names_decide_which_weights_a_judge_loads(study: Path) -> None:
    """The root binds digests in the order of names: a renamed file is another judge under it."""
    judge = study / "judge"
    shutil.copytree(study / "model", judge)
    weights = load_file(judge / "model.safetensors")
    save_file({name: each + 1 for name, each in weights.items()}, judge / "model2.safetensors")
    plan = study / "plan.yaml"
    rewrite("plan.yaml", "{kind: refusal-strings}", "{kind: wildguard, path: judge}")(study)
    sealed = resolve_plan(plan)
    assert compared(sealed, plan)["judge"] == ("passed", "judge")
    (judge / "model.safetensors").rename(judge / "model-a.safetensors")
    (judge / "model2.safetensors").rename(judge / "model.safetensors")
    assert hash_folder(judge).root == sealed.predicate.judge.weights
    status, detail = compared(sealed, plan)["judge"]
    assert (status, detail) == (
        "failed",
        "model-a.safetensors is not one of the files that it names",
    )
    # A plan of an earlier version states no files.
    older = sealed.predicate.judge.model_copy(update={"folder_files": None})
    assert compared(sealed, plan, judge=older)["judge"][0] == "passed"


def test_a_rule_of_another_version_is_not_checked(event: Event) -> None:
    """Nothing says that it was broken, and nothing that it was kept."""
    found = compared(
        event.resolved,
        event.resolved.file,
        prompt={"rendering": "conversation/9"},
        demonstrations={"selection": "lottery/1"},
    )
    skipped = [name for name, (status, _) in found.items() if status == "not_checked"]
    assert skipped == ["rendering", "demonstrations"]


def test_a_wrapper_that_the_rule_has_not_is_found(event: Event) -> None:
    contexts = [
        context.model_copy(update={"template": OTHER}) if context.template else context
        for context in event.resolved.predicate.contexts
    ]
    found = compared(event.resolved, event.resolved.file, contexts=tuple(contexts))
    assert found["rendering"] == ("failed", "context memory is not the one of conversation/2")


def test_a_source_is_never_paired_with_the_file_of_another(event: Event) -> None:
    first, second = event.resolved.predicate.demonstrations.benign
    twin = second.model_copy(update={"name": SourceName("twin"), "digest": first.digest})
    found = compared(event.resolved, event.resolved.file, demonstrations={"benign": (first, twin)})
    assert found["demonstrations"] == (
        "not_checked",
        "the plan file names no benign source like twin",
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--all-points"], "--all-points needs --artifacts"),
        (["--sample-nonce", NONCE], "--sample-nonce needs --artifacts"),
        (["--allow-pickle"], "--allow-pickle needs --artifacts"),
        (["--artifacts", "PLAN", "--sample-nonce", "5E" * 32], "64 lower-case hex digits"),
        (["--artifacts", "PLAN", "--all-points", "--sample-nonce", NONCE], "draws no sample"),
        (["--artifacts", "nowhere.yaml"], "nowhere.yaml: no such file"),
        (["--artifacts", "BROKEN"], "No such file"),
    ],
)
def test_a_mistake_is_one_line(
    event: Event, study: Path, receipts: Receipts, options: list[str], words: str
) -> None:
    shutil.copy(study / "plan.yaml", study / "broken.yaml")
    rewrite("broken.yaml", "path: model", "path: gone")(study)
    places = {"PLAN": study / "plan.yaml", "BROKEN": study / "broken.yaml"}
    finished = receipts(
        "verify", event.bundle, "--trust", event.key, *(places.get(o, o) for o in options)
    )
    assert (finished.code, finished.out, finished.err.count("\n")) == (2, "", 1)
    assert words in finished.err


def test_without_the_run_extra_the_remedy_is_said(event: Event) -> None:
    program = (
        "import sys; sys.modules['tokenizers'] = None\n"
        "from safety_receipts.receipts.cli import main; main(sys.argv[1:])"
    )
    words = ["verify", str(event.bundle), "--trust", str(event.key)]
    command = [sys.executable, "-c", program, *words]
    plain = subprocess.run(
        [*command, "--level", "bound"], capture_output=True, text=True, check=False
    )
    assert (plain.returncode, "give --artifacts PLAN" in plain.stdout) == (5, True)
    command += ["--artifacts", str(event.study / "plan.yaml")]
    without = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (without.returncode, without.stdout, without.stderr.count("\n")) == (5, "", 1)
    assert (
        "tokenizers is not installed (pip install '.[run]' in a clone of safety-receipts)"
        in without.stderr
    )
