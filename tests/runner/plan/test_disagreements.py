"""What a folder says twice: which of the two is used, and that it is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from chat_formats import template_of, vocabulary_size
from safetensors.torch import load_file, save_file
from studies import write_study

from safety_receipts.receipts.errors import MalformedError
from safety_receipts.runner.plan.resolve import resolve_plan
from safety_receipts.runner.prompts.chat_format import ChatFormat

Receipts = Callable[..., Any]
SIZE = vocabulary_size("llama")


def edit(file: Path, **changes: Any) -> None:
    document = json.loads(file.read_text("utf-8")) if file.exists() else {}
    file.write_text(json.dumps({**document, **changes}), "utf-8")


def warned(study: Path) -> dict[str, str]:
    """Return code → message of what is in doubt in a study."""
    return {warning.code: warning.message for warning in resolve_plan(study / "plan.yaml").warnings}


@pytest.fixture
def study(tmp_path: Path) -> Path:
    write_study(tmp_path, queries=48)
    assert warned(tmp_path) == {}  # a sound folder is in no doubt
    return tmp_path


def test_a_tokenizer_with_more_ids_than_the_embedding_is_found(study: Path) -> None:
    path = study / "model" / "tokenizer.json"
    document = json.loads(path.read_text("utf-8"))
    like = document["added_tokens"][-1]
    document["added_tokens"].append({**like, "id": SIZE, "content": "<|extra|>"})
    path.write_text(json.dumps(document), "utf-8")
    assert warned(study) == {
        "vocabulary": f"the tokenizer has ids up to {SIZE}, the first without an embedding being "
        f"<|extra|> ({SIZE}): a prompt that holds one fails"
    }
    template = study / "model" / "chat_template.jinja"
    template.write_text("{{ '<|extra|>' }}" + template.read_text("utf-8"), "utf-8")
    with pytest.raises(MalformedError, match=rf"template writes <\|extra\|> \({SIZE}\), and the"):
        resolve_plan(study / "plan.yaml")


def test_two_beginnings_are_found_where_the_template_writes_one(study: Path) -> None:
    config = study / "model" / "config.json"
    other = json.loads(config.read_text("utf-8"))["bos_token_id"] + 1
    edit(config, bos_token_id=other)
    (message,) = warned(study).values()
    assert "prompts start with the tokenizer's <|begin_of_text|>" in message
    assert f"config.json names <|end_of_text|> ({other}) for it" in message
    template = study / "model" / "chat_template.jinja"
    without = template.read_text("utf-8").replace("{{- bos_token }}", "")
    template.write_text(without, "utf-8")
    assert warned(study) == {}
    edit(config, bos_token_id=None)
    assert warned(study) == {}


@pytest.mark.parametrize("number", [-1, 2**32, 2**53, -(2**63)])
def test_a_beginning_that_no_vocabulary_has_is_named_by_its_number(
    study: Path, number: int
) -> None:
    edit(study / "model" / "config.json", bos_token_id=number)
    (message,) = warned(study).values()
    assert f"config.json names <{number}> ({number}) for it" in message


@pytest.mark.parametrize("stated", [None, -5, True, 1e300, float("nan")])
def test_a_context_that_is_no_number_of_tokens_is_none(study: Path, stated: Any) -> None:
    edit(study / "model" / "tokenizer_config.json", model_max_length=stated)
    assert "context" not in warned(study)


def test_a_tokenizer_that_states_a_shorter_context_is_found(study: Path) -> None:
    config = study / "model" / "tokenizer_config.json"
    edit(config, model_max_length=1024)
    assert (
        "allows 4,096 tokens, which rules here, and the tokenizer's model_max_length 1,024"
        in (warned(study)["context"])
    )
    for longer in (4096, 10**6, 10**30):
        edit(config, model_max_length=longer)
        assert warned(study) == {}


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("tokenizer_config.json", str),
        ("tokenizer_config.json", lambda text: [{"name": "default", "template": text}]),
        ("chat_template.json", str),
    ],
)
def test_a_second_template_is_found_and_the_file_of_its_own_rules(
    name: str, form: Callable[[str], Any], study: Path
) -> None:
    file = study / "model" / name
    before = ChatFormat.load(study / "model").template_digest
    edit(file, chat_template=form("{{ messages[0].content }}"))
    assert ChatFormat.load(study / "model").template_digest == before
    assert f"chat_template in {name} are two templates" in warned(study)["chat-template"]
    edit(file, chat_template=form(template_of("llama")))
    assert warned(study) == {}
    if name == "tokenizer_config.json":
        (study / "model" / "chat_template.jinja").unlink()
        assert ChatFormat.load(study / "model").template_digest == before
        assert warned(study) == {}


def test_number_formats_are_held_together(study: Path) -> None:
    path = study / "model" / "model.safetensors"
    weights = load_file(path)
    stored = {name: tensor.to(torch.bfloat16) for name, tensor in weights.items()}
    save_file(stored, path, metadata={"format": "pt"})
    warnings = resolve_plan(study / "plan.yaml").warnings
    assert [(warning.code, warning.message) for warning in warnings] == [
        ("dtype", "config.json names float32, and the weights are stored in bfloat16"),
        ("dtype", "the weights are stored in bfloat16 and run in float32"),
    ]
    edit(study / "model" / "config.json", dtype="bfloat16")
    assert warned(study) == {"dtype": "the weights are stored in bfloat16 and run in float32"}
    plan = study / "plan.yaml"
    plan.write_text(plan.read_text("utf-8").replace("float32", "bfloat16"), "utf-8")
    assert warned(study) == {}


def test_weights_that_another_loader_would_read_are_found(study: Path) -> None:
    save_file({"x": torch.zeros(2)}, study / "model" / "consolidated.safetensors")
    assert "consolidated.safetensors (1 such files)" in warned(study)["weight-files"]


def test_warnings_are_printed_and_strict_refuses(receipts: Receipts, study: Path) -> None:
    edit(study / "model" / "tokenizer_config.json", model_max_length=1024)
    words = ("plan", study / "plan.yaml", "--device", "cpu")
    done = receipts(*words)
    assert done.code == 0
    assert "warning: config.json allows 4,096 tokens" in " ".join(done.err.split())
    document = json.loads(receipts(*words, "--json").out)
    (warning,) = document["warnings"]
    assert warning.keys() == {"code", "message", "hint"}
    assert warning["code"] == "context"
    refused = receipts(*words, "--strict")
    assert (refused.code, refused.out) == (2, "")
    assert "--strict: config.json allows 4,096 tokens" in refused.err
    pilot = ("run", study / "plan.yaml", "--limit", "1", "--device", "cpu", "--memory", "64M")
    assert receipts(*pilot, "--strict").code == 2
    done = receipts(*pilot)
    assert done.code == 0
    assert "warning: config.json allows" in " ".join(done.err.split())


def test_a_primary_hypothesis_that_cannot_be_decided_is_said_before_sealing(
    receipts: Receipts, tmp_path: Path
) -> None:
    write_study(tmp_path, queries=29)
    words = ("plan", tmp_path / "plan.yaml", "--device", "cpu")
    done = receipts(*words)
    assert done.code == 0
    said = " ".join(done.err.split())
    assert "warning: the primary hypothesis (joint) will be undetermined whatever is found" in said
    assert "29 queries of role harmful are fewer than 30" in " ".join(done.out.split())
    document = json.loads(receipts(*words, "--json").out)
    assert [one["code"] for one in document["warnings"]] == ["primary-undecided"]
    assert document["primary"]["undecided"] is not None
    assert document["primary"]["queries"] == 29
    assert receipts(*words, "--strict").code == 2


def test_a_pilot_says_what_is_cut_at_the_limit(receipts: Receipts, tmp_path: Path) -> None:
    """An untrained model hardly ever ends by itself."""
    write_study(tmp_path, queries=48)
    words = ("run", tmp_path / "plan.yaml", "--limit", "16", "--device", "cpu", "--memory", "64M")
    done = receipts(*words)
    document = json.loads(receipts(*words, "--json").out)
    assert 8 < document["atLimit"] <= 16
    said = " ".join(done.out.split())
    assert "cut at the limit of 6 new tokens:" in said
    assert "raise max_new_tokens before the plan is sealed" in said
