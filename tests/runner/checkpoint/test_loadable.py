"""What makes a folder load otherwise on another machine is refused, wherever folders are named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from judging import make_tokenizer, save_tokenizer
from safetensors.torch import load_file, save_file
from studies import write_study
from transformers import BertConfig, BertForSequenceClassification

from safety_receipts.receipts.errors import MalformedError, ReceiptsError, UsageError
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.runner.checkpoint.folder import hash_folder, refuse_unhashed_weights
from safety_receipts.runner.checkpoint.model_files import (
    PICKLE,
    PICKLE_INDEX,
    WEIGHTS_FILE,
    read_pickled_weights,
    weight_files,
)
from safety_receipts.runner.engines.load import load_model
from safety_receipts.runner.judges.make import load_judge
from safety_receipts.runner.plan.resolve import resolve_judge_of, resolve_plan
from safety_receipts.runner.prompts.chat_format import ChatFormat
from safety_receipts.runner.prompts.tokenizer import load_tokenizer

LABELS = {"id2label": {0: "NORMAL", 1: "REJECTION"}, "label2id": {"NORMAL": 0, "REJECTION": 1}}


def save_classifier(folder: Path) -> Path:
    sizes = {"vocab_size": make_tokenizer("wordpiece").get_vocab_size(), "hidden_size": 16}
    small = {"intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config: Any = BertConfig
    BertForSequenceClassification(config(**sizes, **small, **LABELS)).save_pretrained(folder)
    save_tokenizer(folder, "wordpiece")
    return folder


JUDGES = {
    "checkpoint": "{kind: refusal-strings}",
    "classifier": "{kind: classifier, path: judge}",
    "chat": "{kind: chat, path: judge}",
    "wildguard": "{kind: wildguard, path: judge}",
    "second": "{kind: refusal-strings, second: {kind: classifier, path: judge}}",
}


@pytest.fixture
def study(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A plan file whose model or judge, by the test's parameter, is in the folder ``judge``."""
    which: str = request.param
    plan = write_study(tmp_path)
    if which == "checkpoint":
        (tmp_path / "model").rename(tmp_path / "judge")
        text = plan.read_text("utf-8").replace("path: model", "path: judge")
    else:
        text = plan.read_text("utf-8").replace("{kind: refusal-strings}", JUDGES[which])
        if which in ("classifier", "second"):
            save_classifier(tmp_path / "judge")
        else:
            shutil.copytree(tmp_path / "model", tmp_path / "judge")
    plan.write_text(text, "utf-8")
    return plan


everywhere = pytest.mark.parametrize("study", list(JUDGES), indirect=True)


@everywhere
@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_an_adapter_is_refused_in_every_folder(study: Path, name: str) -> None:
    """It is loaded where ``peft`` is installed and nowhere else, under one digest."""
    resolve_plan(study)
    (study.parent / "judge" / name).write_text('{"base_model_name_or_path": "other"}', "utf-8")
    with pytest.raises(UsageError, match=f"is an adapter, or holds one \\({name}\\)") as raised:
        resolve_plan(study)
    assert raised.value.hint == "merge it into its base model and name the merged folder"
    assert raised.value.file == str(study.parent / "judge")


@everywhere
@pytest.mark.parametrize("name", ["Adapter_Config.json", "Model.safetensors.index.json"])
def test_what_only_case_tells_from_what_is_loaded_is_refused(study: Path, name: str) -> None:
    """Where a file system takes no notice of case it is loaded, under one digest."""
    (study.parent / "judge" / name).write_text("{}", "utf-8")
    with pytest.raises(UsageError, match=f"holds {name}, which is loaded as {name.lower()} "):
        resolve_plan(study)


@pytest.mark.parametrize("study", ["classifier", "chat", "wildguard"], indirect=True)
def test_an_adapter_that_comes_later_is_not_loaded(study: Path) -> None:
    found = resolve_judge_of(study)
    identity, folder = found.identity, found.folder
    assert folder is not None
    (folder / "adapter_config.json").write_text("{}", "utf-8")
    with pytest.raises(UsageError, match="is an adapter, or holds one"):
        load_judge(identity, folder, device="cpu")


@everywhere
def test_weights_beside_those_that_are_loaded_bind_nothing(study: Path) -> None:
    """A file of weights that nobody loads stood for pickles that were in no list of files."""
    folder = study.parent / "judge"
    weights = load_file(folder / WEIGHTS_FILE)
    (folder / WEIGHTS_FILE).unlink()
    torch.save(weights, folder / PICKLE)
    save_file({"decoy": torch.zeros(4)}, folder / "weights.safetensors")
    with pytest.raises(UsageError, match="holds its weights as pickles"):
        resolve_plan(study)
    hashed = hash_folder(folder, pickles=False)
    with pytest.raises(UsageError, match=r"loaded from pytorch_model.bin, which is not among the"):
        refuse_unhashed_weights(hashed, folder, allow_pickle=True)
    refuse_unhashed_weights(hash_folder(folder), folder, allow_pickle=True)


@pytest.mark.parametrize("study", ["classifier", "second"], indirect=True)
def test_a_classifier_in_pickles_is_refused_before_a_run(study: Path) -> None:
    """It could not be loaded afterwards: a classifier's weights are safetensors."""
    folder = study.parent / "judge"
    torch.save(load_file(folder / WEIGHTS_FILE), folder / PICKLE)
    (folder / WEIGHTS_FILE).unlink()
    with pytest.raises(UsageError, match="holds its weights as pickles"):
        resolve_plan(study, allow_pickle=True)


def write_pickles(folder: Path, mapping: dict[str, str]) -> None:
    text = json.dumps({"metadata": {}, "weight_map": mapping})
    (folder / PICKLE_INDEX).write_text(text, "utf-8")


def test_the_pickles_that_are_loaded_are_known_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    write_study(tmp_path)
    weights = load_file(folder / WEIGHTS_FILE)
    (folder / WEIGHTS_FILE).unlink()
    (folder / "others.bin").write_bytes(b"not loaded")
    assert read_pickled_weights(folder) is None
    with pytest.raises(UsageError, match="holds its weights as pickles"):
        weight_files(folder, allow_pickle=True)
    names = [f"pytorch_model-0000{number}-of-00002.bin" for number in (1, 2)]
    mapping = {key: names[place % 2] for place, key in enumerate(sorted(weights))}
    write_pickles(folder, mapping)
    for name in names:
        part = {key: weights[key] for key, file in mapping.items() if file == name}
        torch.save(part, folder / name)
    assert weight_files(folder, allow_pickle=True) == (*names, PICKLE_INDEX)
    sizes = sum((folder / name).stat().st_size for name in names)
    read = read_pickled_weights(folder)
    assert read is not None
    assert read.bytes == sizes
    loaded = load_model(folder, dtype=Dtype.FLOAT32, device="cpu", allow_pickle=True)
    key = sorted(weights)[0]
    assert torch.equal(loaded.model.state_dict()[key], weights[key])
    # The single file is what transformers takes where both are there.
    torch.save({name: each + 1 for name, each in weights.items()}, folder / PICKLE)
    assert PICKLE in weight_files(folder, allow_pickle=True)
    loaded = load_model(folder, dtype=Dtype.FLOAT32, device="cpu", allow_pickle=True)
    assert torch.equal(loaded.model.state_dict()[key], weights[key] + 1)


@pytest.mark.parametrize("name", ["../elsewhere.bin", "/elsewhere.bin", "model.gguf", "sub/a.bin"])
def test_an_index_of_pickles_does_not_lead_out_of_the_folder(tmp_path: Path, name: str) -> None:
    write_study(tmp_path)
    (tmp_path / "model" / WEIGHTS_FILE).unlink()
    write_pickles(tmp_path / "model", {"one": name})
    with pytest.raises(MalformedError, match="which is not a bin file of this folder"):
        resolve_plan(tmp_path / "plan.yaml", allow_pickle=True)


def _converted(folder: Path) -> None:
    (folder / "tokenizer.json").rename(folder / "tokenizer.model")


def _several(folder: Path) -> None:
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text("utf-8"))
    files = {"fast_tokenizer_files": ["tokenizer.json", "tokenizer.4.0.0.json"]}
    path.write_text(json.dumps(config | files), "utf-8")
    shutil.copy(folder / "tokenizer.json", folder / "tokenizer.4.0.0.json")


def _hidden_template(folder: Path) -> None:
    """``special_tokens_map.json`` overrules every chat template, unseen by its digest."""
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text("utf-8"))
    config.pop("added_tokens_decoder", None)
    path.write_text(json.dumps(config), "utf-8")
    other = {"chat_template": "{% for m in messages %}{{ m.content }}{% endfor %}"}
    (folder / "special_tokens_map.json").write_text(json.dumps(other), "utf-8")


OPEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "made by a package": (_converted, "is made of tokenizer.model, by whichever package"),
    "chosen by a version": (_several, "of which the version of transformers chooses one"),
}


@pytest.mark.parametrize("case", OPEN)
def test_a_tokenizer_that_the_bytes_do_not_fix_is_refused(tmp_path: Path, case: str) -> None:
    change, message = OPEN[case]
    write_study(tmp_path)
    folder = tmp_path / "model"
    change(folder)
    for load in (ChatFormat.load, load_tokenizer):
        with pytest.raises(UsageError, match=message):
            load(folder)


def test_a_template_in_another_place_is_refused(tmp_path: Path) -> None:
    write_study(tmp_path)
    _hidden_template(tmp_path / "model")
    with pytest.raises(MalformedError, match="transformers takes another chat template than"):
        ChatFormat.load(tmp_path / "model")


def test_the_named_template_of_a_folder_rules_over_the_file(tmp_path: Path) -> None:
    """As transformers has it; the digest is that of the template which is rendered."""
    write_study(tmp_path)
    folder = tmp_path / "model"
    text = (folder / "chat_template.jinja").read_text("utf-8")
    (folder / "additional_chat_templates").mkdir()
    default = folder / "additional_chat_templates" / "default.jinja"
    default.write_text(text + "{# another #}", "utf-8")
    before = ChatFormat.load(folder)
    assert before.template.source == text + "{# another #}"
    default.unlink()
    assert ChatFormat.load(folder).template_digest != before.template_digest


@pytest.mark.parametrize("study", ["classifier"], indirect=True)
def test_a_quantised_classifier_is_refused(study: Path) -> None:
    """Some quantised weights are turned back here and not there, by what is installed."""
    path = study.parent / "judge" / "config.json"
    config = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(config | {"quantization_config": {"quant_method": "fp8"}}), "utf-8")
    with pytest.raises(ReceiptsError, match="a classifier judges with plain ones"):
        resolve_plan(study)
