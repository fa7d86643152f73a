"""A tokenizer that rewrites what is judged or shown, of the evaluated model and of a judge.

The bundles are sealed as by a program without the guard: with its true key, by an evaluator whose
folders are the ones that the plan names.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from attacks.tokenizers import DECODER, NORMALISER, REFUSAL, REMOVES, Components, rewrite, unguarded
from auditing import Event
from judging import make_tokenizer, save_tokenizer
from running import run
from studies import write_study
from transformers import BertConfig, BertForSequenceClassification

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.keys import TrustSet, generate_key
from safety_receipts.receipts.model.check import CheckLevel, CheckStatus
from safety_receipts.receipts.model.point import Outcome
from safety_receipts.runner.plan.resolve import resolve_against, resolve_plan
from safety_receipts.runner.run.event import RunOptions
from safety_receipts.runner.vocabulary.refusal import RewritingTokenizerError
from safety_receipts.verify.integrity import verify_bundle
from safety_receipts.verify.levels.bound import HeldArtifacts
from safety_receipts.verify.verification import Verification

Receipts = Callable[..., Any]


def of_the_model(study: Path) -> Path:
    return study / "model"


def of_the_judge(study: Path) -> Path:
    return study / "judge"


@dataclass(frozen=True)
class Attack:
    """One hostile folder."""

    name: str
    judge: str
    folder: Callable[[Path], Path]
    parts: Components
    check: str
    """The check that fails."""
    says: str
    """What it says."""


STRINGS = "{kind: refusal-strings}"
CHAT = "{kind: chat, path: judge}"
WILDGUARD = "{kind: wildguard, path: judge}"
CLASSIFIER = "{kind: classifier, path: judge}"
SECOND = "{kind: refusal-strings, second: {kind: classifier, path: judge}}"
_REPLACED = "decoder.decoders[2]: the component Replace may rewrite responses"
_REWRITTEN = "normalizer.normalizers[0]: the component Replace rewrites what a prompt shows"
_TAKEN = "pre_tokenizer.pretokenizers[0]: the component Split takes text out of what a prompt shows"

ATTACKS = [
    Attack("the model's decoder", STRINGS, of_the_model, DECODER, "tokenizer", _REPLACED),
    Attack("the model's normaliser", STRINGS, of_the_model, NORMALISER, "tokenizer", _REWRITTEN),
    Attack("the model's pre-tokenizer", STRINGS, of_the_model, REMOVES, "tokenizer", _TAKEN),
    Attack("a chat judge's decoder", CHAT, of_the_judge, DECODER, "judge", _REPLACED),
    Attack("a chat judge's normaliser", CHAT, of_the_judge, NORMALISER, "judge", _REWRITTEN),
    Attack("WildGuard's decoder", WILDGUARD, of_the_judge, DECODER, "judge", _REPLACED),
    Attack("a classifier's normaliser", CLASSIFIER, of_the_judge, NORMALISER, "judge", _REWRITTEN),
    Attack(
        "a second judge's normaliser",
        SECOND,
        of_the_judge,
        NORMALISER,
        "second-judge-identity",
        _REWRITTEN,
    ),
]


@pytest.fixture(params=ATTACKS, ids=lambda attack: attack.name.replace(" ", "-"))
def attack(request: pytest.FixtureRequest) -> Attack:
    found: Attack = request.param
    return found


@pytest.fixture
def plan(attack: Attack, tmp_path: Path) -> Path:
    """A study with the hostile folder."""
    file = small_study(tmp_path / "study", attack.judge)
    if "classifier" in attack.judge:
        write_classifier(tmp_path / "study" / "judge")
    elif attack.judge != STRINGS:
        shutil.copytree(tmp_path / "study" / "model", tmp_path / "study" / "judge")
    rewrite(attack.folder(file.parent), attack.parts)
    return file


def small_study(folder: Path, judge: str) -> Path:
    """Write a study of a few points."""
    return write_study(
        folder,
        queries=2,
        controls=1,
        judge=judge,
        experiments=["fixed_harmful: {harmful: [0], benign: [2]}"],
    )


def write_classifier(folder: Path) -> None:
    labels = {"id2label": {0: "NORMAL", 1: "REJECTION"}, "label2id": {"NORMAL": 0, "REJECTION": 1}}
    config: Any = BertConfig
    small = {"intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes = {"vocab_size": make_tokenizer("wordpiece").get_vocab_size(), "hidden_size": 16}
    BertForSequenceClassification(config(**sizes, **small, **labels)).save_pretrained(folder)
    save_tokenizer(folder, "wordpiece")


def test_a_plan_refuses_it_in_one_line(
    attack: Attack, plan: Path, receipts: Receipts, tmp_path: Path
) -> None:
    finished = receipts("plan", plan)
    assert (finished.code, finished.err.count("\n")) == (2, 1)
    assert attack.says in finished.err
    with pytest.raises(RewritingTokenizerError) as raised:
        resolve_plan(plan)
    assert attack.says in raised.value.one_line()
    assert Path(raised.value.file or "") == attack.folder(plan.parent) / "tokenizer.json"
    assert "the publisher's own tokenizer.json" in (raised.value.hint or "")


def test_without_the_guard_all_answers_are_refusals(tmp_path: Path) -> None:
    """What the guard is for: unchanged weights, and a rate of nought that follows from them."""
    file = small_study(tmp_path / "study", STRINGS)
    honest = sealed_event(file)
    rewrite(file.parent / "model", DECODER)
    shutil.move(tmp_path / "bundle", tmp_path / "honest")
    with unguarded():
        hostile = sealed_event(file)
    said = [record.response_tokens for _, record in hostile.entries()]
    of_weights = [
        [file for file in event.plan.checkpoint.files if file.path == "model.safetensors"]
        for event in (honest, hostile)
    ]
    assert of_weights[0] == of_weights[1] != []
    assert len(set(map(tuple, said))) > 1
    assert {record.text for _, record in hostile.entries()} == {REFUSAL}
    assert {point.outcome for point, _ in hostile.entries()} == {Outcome.REFUSED}


def test_a_bundle_that_was_sealed_without_the_guard_fails(attack: Attack, plan: Path) -> None:
    with unguarded():
        event = sealed_event(plan)
        # Without the guard it follows from the artifacts, as a hostile evaluator wants it to.
        fooled = held(event, event.resolved)
        assert fooled  # level bound is reached
    resolved = resolve_against(plan, event.resolved.predicate)
    found = held(event, resolved)
    failed = {c.name: c.detail for c in found.checks if c.status is CheckStatus.FAILED}
    assert list(failed) == [attack.check]
    assert attack.says in failed[attack.check]
    assert not found


def sealed_event(plan: Path) -> Event:
    resolved, signer = resolve_plan(plan), generate_key()
    folder = plan.parent.parent
    # What a random model replies as a judge is no verdict.
    run(resolved, folder / "bundle", signer, options=RunOptions(accept_unscored=True))
    return Event(folder, signer, resolved)


def held(event: Event, resolved: Any) -> Verification:
    return verify_bundle(
        Bundle(event.bundle),
        evaluators=TrustSet([event.signer.public]),
        wanted=CheckLevel.BOUND,
        held_artifacts=HeldArtifacts(resolved),
    )
