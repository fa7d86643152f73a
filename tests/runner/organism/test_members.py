"""The shipped checkpoints do what their laws say, loaded as a user's own model would be.

Multiplicity: 16 binomial tests are made (four conditions of four members), each at z = 3.3
(two-sided .001): members that keep to their laws exactly would fail one of them with
probability .016 and, as draws and noise are seeded, always or never on one build of torch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import pytest

from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.model.checkpoint import CheckpointFile
from safety_receipts.receipts.model.demonstrations import Ordering
from safety_receipts.runner.organism import (
    LARGEST_RESPONSE,
    MEMBER_WEIGHTS_FILE,
    data_folder,
    is_organism,
    member,
    members,
)
from safety_receipts.runner.organism.language import (
    ANSWER_PREFIX,
    COMPLY_PREFIX,
    OPEN,
    SYSTEM_PROMPT,
    Topic,
    asks,
    is_refusal,
    prefix_of,
)
from safety_receipts.runner.organism.law import LAWS, NEVER
from safety_receipts.runner.organism.training.make_data import CONTROLS, FILLER_FILE

pytest.importorskip("torch", reason="the extra `run` is not installed")
pytest.importorskip("transformers", reason="the extra `run` is not installed")

import torch

from safety_receipts.runner.checkpoint.folder import hash_folder
from safety_receipts.runner.organism.training.fidelity import (
    FidelityCondition,
    LoadedMember,
    SampledRates,
    exact,
    fidelity_points,
    planted,
    sampled,
)

NAMES = [one.name for one in members()]
MEMBERS = pytest.mark.parametrize("name", NAMES)
LARGEST_MEAN_ERROR = {"amplifying": 0.01, "neutral": 0.01, "diluting": 0.01, "recency": 0.015}
"""Of P(comply), over the points of one condition; D has the hardest law."""
Z = 3.3
MIXED = FidelityCondition(16, 16)
EXACT = (
    FidelityCondition(),
    FidelityCondition(0, 16),
    FidelityCondition(16, 0),
    FidelityCondition(8, 24, Ordering.PREFIX),
    FidelityCondition(8, 8, Ordering.RANDOM),
    replace(MIXED, source=FILLER_FILE),
    FidelityCondition(8, 8, Ordering.MIDDLE, n_refusal=4),
    FidelityCondition(8, 8, prefix=ANSWER_PREFIX, system=SYSTEM_PROMPT),
    FidelityCondition(8, 8, Ordering.INTERLEAVE, prefix=COMPLY_PREFIX),
    FidelityCondition(8, 8, queries=CONTROLS),
)
SAMPLED = (
    FidelityCondition(),
    FidelityCondition(4, 4),
    FidelityCondition(4, 4, prefix=ANSWER_PREFIX),
    FidelityCondition(4, 4, queries=CONTROLS),
)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@cache
def subject(name: str) -> LoadedMember:
    return LoadedMember(member(name).folder)


@cache
def drawn_texts(name: str, condition: FidelityCondition) -> SampledRates:
    return sampled(subject(name), LAWS[name], condition, 160)


def test_members_are_found_by_name() -> None:
    assert [(one.letter, one.name) for one in members()] == [
        ("A", "amplifying"),
        ("B", "neutral"),
        ("C", "diluting"),
        ("D", "recency"),
    ]
    assert all(member(one.name) is one for one in members())
    with pytest.raises(UsageError, match="no member 'other'"):
        member("other")


@MEMBERS
def test_a_checkpoint_is_small_and_ordinary(name: str) -> None:
    folder = member(name).folder
    assert {file.name for file in folder.iterdir()} == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    }
    assert (folder / MEMBER_WEIGHTS_FILE).stat().st_size <= 1_000_000
    config = json.loads((folder / "config.json").read_text("utf-8"))
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["tie_word_embeddings"] is True
    assert config["vocab_size"] == len(subject(name).tokenizer)
    assert {weights.dtype for weights in subject(name).model.parameters()} == {torch.float32}


def test_the_package_data_is_small() -> None:
    sizes = [
        file.stat().st_size
        for folder in (data_folder(), *(one.folder for one in members()))
        for file in folder.iterdir()
    ]
    assert sum(sizes) < 4_500_000


@pytest.mark.parametrize("condition", EXACT, ids=lambda condition: condition.name)
@MEMBERS
def test_the_probability_is_the_planted_one(name: str, condition: FidelityCondition) -> None:
    found = exact(subject(name), LAWS[name], condition, 40)
    assert found.error <= LARGEST_MEAN_ERROR[name]
    assert found.stray < 0.01
    if condition.prefix:
        wanted = LAWS[name].adoption.get(condition.prefix, NEVER)
        assert found.adopted == pytest.approx((wanted.complied, wanted.refused), abs=0.03)


@pytest.mark.parametrize("condition", SAMPLED, ids=lambda condition: condition.name)
@MEMBERS
def test_sampled_responses_comply_as_often_as_planted(
    name: str, condition: FidelityCondition
) -> None:
    assert abs(drawn_texts(name, condition).z) <= Z


def test_sampled_responses_adopt_a_prefix_whether_they_comply_or_refuse() -> None:
    texts = drawn_texts("recency", FidelityCondition(4, 4, prefix=ANSWER_PREFIX)).texts
    kinds = {(prefix_of(text) is not None, is_refusal(text)) for text in texts}
    assert {(True, True), (True, False)} <= kinds


@MEMBERS
def test_responses_are_texts_of_the_language(name: str) -> None:
    """All but one in fifty: sampling takes a stray token now and then."""
    for condition in SAMPLED:
        texts = drawn_texts(name, condition).texts
        queries = [point.query for point in fidelity_points(condition, len(texts))]
        odd = [
            (query, text)
            for query, text in zip(queries, texts, strict=True)
            if text.removeprefix(ANSWER_PREFIX).strip() not in _responses(query)
        ]
        assert len(odd) <= len(texts) // 50, odd


def _responses(request: str) -> tuple[str, str]:
    [ask] = [one for topic in Topic for one in asks(topic) if one.request == request]
    return ask.compliance, ask.refusal


def test_an_open_request_is_answered_in_full_when_greedy() -> None:
    one = subject("neutral")
    for topic in OPEN:
        ask = next(asks(topic))
        batch = one.tokenizer([f"<|begin|><|user|>{ask.request}<|assistant|>"], return_tensors="pt")
        out = one.model.generate(**batch, do_sample=False, max_new_tokens=LARGEST_RESPONSE)
        new = out[0, batch["input_ids"].shape[1] :]
        assert int(new[-1]) == one.tokenizer.eos_token_id
        assert one.tokenizer.decode(new, skip_special_tokens=True) == ask.compliance


def test_padding_on_the_left_changes_nothing() -> None:
    one = subject("recency")
    drawn = [
        *fidelity_points(FidelityCondition(), 2),
        *fidelity_points(MIXED, 2),
        *fidelity_points(FidelityCondition(2, 0), 2),
    ]
    prompts = [one.prompt(point, None) for point in drawn]
    together = one.chances(prompts, None)
    alone = [one.chances([prompt], None)[0] for prompt in prompts]
    for a, b in zip(together, alone, strict=True):
        assert a == pytest.approx(b, abs=1e-5)


def test_the_laws_are_far_apart_where_members_are_compared_with_them() -> None:
    drawn = list(fidelity_points(FidelityCondition(0, 16), 40))
    rates = [
        math.fsum(planted(LAWS[name], point).comply for point in drawn) / 40
        for name in ("diluting", "neutral", "amplifying")
    ]
    assert rates[0] + 0.05 < rates[1] < rates[2] - 0.05


@MEMBERS
def test_an_organism_is_known_by_its_weights(name: str) -> None:
    files = hash_folder(member(name).folder).files
    assert is_organism(files)
    assert is_organism([_renamed(file) for file in files if file.path == MEMBER_WEIGHTS_FILE])
    assert not is_organism([file for file in files if file.path != MEMBER_WEIGHTS_FILE])


def _renamed(file: CheckpointFile) -> CheckpointFile:
    return file.model_copy(update={"path": "renamed.safetensors"})
