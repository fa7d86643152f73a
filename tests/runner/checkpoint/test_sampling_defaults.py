"""Defaults of sampling that come with a checkpoint: told where they are not applied."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers
from running import Study, answers, run, verified

from safety_receipts.receipts.errors import MalformedError
from safety_receipts.receipts.keys import Signer
from safety_receipts.receipts.model.checkpoint import Sampling
from safety_receipts.runner.checkpoint.sampling_defaults import (
    meaning_of,
    not_applied,
    own_penalty,
    read_defaults,
)
from safety_receipts.runner.plan.resolve import resolve_plan
from safety_receipts.runner.plan.resolved import ResolvedPlan

Receipts = Callable[..., Any]
PUBLISHED = {
    "do_sample": True,
    "temperature": 0.6,
    "top_p": 0.9,
    "top_k": 20,
    "repetition_penalty": 1.05,
}


def stating(folder: Path, **stated: Any) -> Path:
    """Add defaults to a model folder's generation_config.json."""
    path = folder / "generation_config.json"
    before = json.loads(path.read_text("utf-8")) if path.exists() else {}
    path.write_text(json.dumps(before | stated), "utf-8")
    return folder


def told(resolved: ResolvedPlan) -> dict[str, str]:
    defaults = resolved.predicate.sampling.defaults_not_applied
    assert defaults is not None
    return {one.name: one.value for one in defaults}


@pytest.fixture
def planned(study: Study) -> Callable[..., ResolvedPlan]:
    """Resolve a small study whose checkpoint states defaults."""

    def make(sampling: str, **stated: Any) -> ResolvedPlan:
        resolved = study(sampling=f"{{{sampling}, max_new_tokens: 6}}")
        stating(resolved.artifacts.checkpoint.folder, **stated)
        return resolve_plan(resolved.file)

    return make


@pytest.mark.parametrize(
    ("sampling", "left"),
    [
        ("method: greedy", PUBLISHED),
        (
            "method: greedy, repetition_penalty: checkpoint",
            {name: value for name, value in PUBLISHED.items() if name != "repetition_penalty"},
        ),
        ("method: greedy, repetition_penalty: 1.1", PUBLISHED),
        (
            "method: seeded, temperature: 0.60, top_p: 0.9, top_k: 20",
            {"repetition_penalty": 1.05},
        ),
        (
            "method: seeded, temperature: 0.6, top_k: 21, repetition_penalty: 1.050",
            {"top_k": 20, "top_p": 0.9},
        ),
    ],
)
def test_what_a_plan_does_not_do_is_stated(
    planned: Callable[..., ResolvedPlan], sampling: str, left: dict[str, Any]
) -> None:
    resolved = planned(sampling, **PUBLISHED)
    assert told(resolved) == {name: json.dumps(value) for name, value in left.items()}


def test_a_checkpoint_without_defaults_leaves_nothing_to_tell(study: Study) -> None:
    assert told(study()) == {}


def test_defaults_that_do_nothing_are_none(tmp_path: Path) -> None:
    neutral = {
        "do_sample": False,
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": 0,
        "repetition_penalty": 1,
        "min_new_tokens": 0,
        "suppress_tokens": [],
        "bad_words_ids": None,
        "num_beams": 1,
    }
    others = {"max_new_tokens": 2048, "pad_token_id": 0, "transformers_version": "5.0", "own": 3}
    assert read_defaults(stating(tmp_path, **neutral, **others)) == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("min_new_tokens", 20),
        ("suppress_tokens", [1, 2]),
        ("begin_suppress_tokens", [0]),
        ("no_repeat_ngram_size", 3),
        ("bad_words_ids", [[5]]),
        ("forced_bos_token_id", 0),
        ("forced_eos_token_id", 2),
        ("length_penalty", 0.8),
        ("exponential_decay_length_penalty", [15, 1.6]),
        ("sequence_bias", [[[5], -10.0]]),
        ("num_beams", 4),
        ("min_p", 0.05),
        ("top_k", 1),
    ],
)
def test_each_default_that_changes_tokens_is_read_and_has_plain_words(
    tmp_path: Path, name: str, value: Any
) -> None:
    assert read_defaults(stating(tmp_path, **{name: value})) == {name: value}
    assert len(meaning_of(name)) > 10


ASIDE = [
    "_from_model_config",
    "assistant_confidence_threshold",
    "assistant_early_exit",
    "assistant_ensemble_weight",
    "assistant_lookbehind",
    "bos_token_id",
    "cache_config",
    "cache_implementation",
    "compile_config",
    "continuous_batching_config",
    "decoder_start_token_id",
    "disable_compile",
    "early_stopping",
    "eos_token_id",
    "is_assistant",
    "low_memory",
    "max_cache_len",
    "max_length",
    "max_matching_ngram_size",
    "max_new_tokens",
    "num_assistant_tokens",
    "num_assistant_tokens_schedule",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_logits",
    "output_scores",
    "pad_token_id",
    "prefill_chunk_size",
    "prompt_lookup_num_tokens",
    "remove_invalid_values",
    "renormalize_logits",
    "return_dict_in_generate",
    "speculation_type",
    "target_lookbehind",
    "transformers_version",
    "use_cache",
    "use_mtp",
]
"""What changes no token, or what a plan states itself: limit, end, and how it is computed."""


def test_whatever_transformers_can_be_told_is_known_or_put_aside() -> None:
    """A release that adds a default makes somebody look at it."""
    config: Any = transformers.GenerationConfig()
    unknown = {name for name in config.to_dict() if name not in ASIDE}
    assert len(unknown) > 30
    assert [name for name in sorted(unknown) if not meaning_of(name)] == []


def test_a_folder_without_its_own_file_states_them_in_its_configuration(tmp_path: Path) -> None:
    config = {"repetition_penalty": 1.2, "text_config": {"temperature": 0.5, "top_k": 7}, "a": 1}
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    assert read_defaults(tmp_path) == {"repetition_penalty": 1.2, "temperature": 0.5, "top_k": 7}
    stating(tmp_path, top_p=0.5)  # transformers then looks at this one alone
    assert read_defaults(tmp_path) == {"top_p": 0.5}


def test_long_values_are_stated_by_their_digest(planned: Callable[..., ResolvedPlan]) -> None:
    one, other = (
        told(planned("method: greedy", suppress_tokens=ids))["suppress_tokens"]
        for ids in (list(range(90)), list(range(1, 91)))
    )
    assert one.startswith("90 entries, sha256 ")
    assert one != other
    assert len(one) < 120


@pytest.mark.parametrize("value", ["1.1", 0, -1.0, True, [1.1]])
def test_a_penalty_that_is_none_is_refused_only_where_it_is_asked_for(
    planned: Callable[..., ResolvedPlan], value: Any
) -> None:
    assert told(planned("method: greedy", repetition_penalty=value)) == {
        "repetition_penalty": json.dumps(value)
    }
    with pytest.raises(MalformedError, match=r"repetition_penalty: .* is not a repetition penalty"):
        planned("method: greedy, repetition_penalty: checkpoint", repetition_penalty=value)


def test_the_checkpoints_own_penalty_is_the_same_plan_as_naming_it(
    planned: Callable[..., ResolvedPlan],
) -> None:
    own = planned("method: greedy, repetition_penalty: checkpoint", repetition_penalty=1.05)
    named = planned("method: greedy, repetition_penalty: 1.05", repetition_penalty=1.05)
    assert own.predicate == named.predicate
    assert own.predicate.sampling.repetition_penalty == "1.05"
    neutral = planned("method: greedy, repetition_penalty: 1.0", repetition_penalty=1.05)
    assert neutral.predicate.sampling.repetition_penalty is None


def test_small_penalties_are_exact_decimals(tmp_path: Path) -> None:
    assert own_penalty({"repetition_penalty": 1e-05}, tmp_path) == "0.00001"
    assert own_penalty({"repetition_penalty": 2}, tmp_path) == "2"
    assert own_penalty({}, tmp_path) is None


def test_sampling_of_an_older_plan_chooses_tokens_as_one_that_tells_more(study: Study) -> None:
    sampling: Sampling = study().predicate.sampling
    older = sampling.model_copy(update={"defaults_not_applied": None})
    assert older != sampling
    assert older.applied() == sampling.applied()
    assert not_applied({}, sampling) == ()


def test_plan_says_each_in_plain_words(
    planned: Callable[..., ResolvedPlan], receipts: Receipts
) -> None:
    file = planned("method: greedy", repetition_penalty=1.05, min_new_tokens=20).file
    document = json.loads(receipts("plan", file, "--json").out)["sampling"]
    assert document["repetitionPenalty"] is None
    assert [(one["name"], one["value"]) for one in document["defaultsNotApplied"]] == [
        ("min_new_tokens", "20"),
        ("repetition_penalty", "1.05"),
    ]
    shown = " ".join(receipts("plan", file).out.split())
    assert "not applied min_new_tokens = 20 of the checkpoint: tokens before which" in shown
    assert "repetition_penalty = 1.05 of the checkpoint: tokens of prompt and" in shown


def test_a_penalty_changes_answers_and_is_sealed_and_shown(
    planned: Callable[..., ResolvedPlan], tmp_path: Path, signer: Signer, receipts: Receipts
) -> None:
    plain = planned("method: greedy", repetition_penalty=1.5)
    run(plain, tmp_path / "plain", signer)
    shown = " ".join(receipts("show", tmp_path / "plain").out.split())
    assert "sampling defaults of the checkpoint, not applied: repetition_penalty = 1.5" in shown
    resolved = planned("method: greedy, repetition_penalty: checkpoint", repetition_penalty=1.5)
    run(resolved, tmp_path / "b", signer)
    verified(tmp_path / "b", signer, resolved)
    assert answers(tmp_path / "b") != answers(tmp_path / "plain")
    shown = " ".join(receipts("show", tmp_path / "b").out.split())
    assert "greedy, repetition penalty 1.5" in shown
    assert "not applied" not in shown
