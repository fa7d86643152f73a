"""Folders whose weight files say two things, and files that hold less than their names."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from studies import write_study
from tiny_models import save_tiny_model, tiny_model

from safety_receipts.receipts.errors import MalformedError, ReceiptsError, UsageError
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.runner.checkpoint.model_facts import read_model_facts
from safety_receipts.runner.checkpoint.model_files import INDEX, WEIGHTS_FILE, read_weights
from safety_receipts.runner.engines.load import load_model
from safety_receipts.runner.plan.resolve import resolve_plan
from safety_receipts.runner.prompts.chat_format import ChatFormat

NORM, EMBEDDING, HEAD = "model.norm.weight", "model.embed_tokens.weight", "lm_head.weight"
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'ab' * 32}\nsize 9085657\n"


def split(folder: Path) -> dict[str, str]:
    """Save a model in two shards; return the map of the index."""
    tensors = {name: p.detach().clone() for name, p in tiny_model("llama").named_parameters()}
    save_tiny_model(folder)
    (folder / WEIGHTS_FILE).unlink()
    names = sorted(tensors)
    mapping = {
        name: f"model-0000{1 + (place % 2)}-of-00002.safetensors"
        for place, name in enumerate(names)
    }
    for file in sorted(set(mapping.values())):
        part = {name: tensors[name] for name in names if mapping[name] == file}
        save_file(part, folder / file, metadata={"format": "pt"})
    write_index(folder, mapping)
    return mapping


def write_index(folder: Path, mapping: dict[str, str]) -> None:
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": mapping}), "utf-8")


def edit(file: Path, **changes: torch.Tensor | None) -> None:
    """Replace tensors of a file, or take them out; ``__`` stands for a dot."""
    tensors: dict[str, Any] = {
        **load_file(file),
        **{name.replace("__", "."): tensor for name, tensor in changes.items()},
    }
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    save_file(kept, file, metadata={"format": "pt"})


def test_a_model_in_shards_is_read_and_loaded(tmp_path: Path) -> None:
    split(tmp_path)
    weights = read_model_facts(tmp_path).weights
    assert weights.values == sum(p.numel() for p in tiny_model("llama").parameters())
    assert load_model(tmp_path, dtype=Dtype.FLOAT32, device="cpu").model is not None


def test_two_sets_of_weights_are_refused(tmp_path: Path) -> None:
    """Transformers would take the one, vLLM the other."""
    split(tmp_path)
    save_tiny_model(tmp_path)
    for read in (
        read_model_facts,
        lambda folder: load_model(folder, dtype=Dtype.FLOAT32, device="cpu"),
        lambda folder: read_model_facts(folder, allow_pickle=True),
    ):
        with pytest.raises(UsageError, match=r"two sets of weights: model.*remove the index"):
            read(tmp_path)
    write_index(tmp_path, {NORM: WEIGHTS_FILE})  # an index of the one file says nothing else
    assert read_model_facts(tmp_path).weights.files == (tmp_path / WEIGHTS_FILE,)


def test_a_tensor_stored_twice_is_the_same_twice_or_refused(tmp_path: Path) -> None:
    mapping = split(tmp_path)
    other = next(file for file in mapping.values() if file != mapping[NORM])
    values = load_file(tmp_path / mapping[NORM])[NORM]
    edit(tmp_path / other, model__norm__weight=values.clone())
    assert read_weights(tmp_path).values == sum(p.numel() for p in tiny_model("llama").parameters())
    for different in (values + 1, values.to(torch.float16), values[:-1].clone()):
        edit(tmp_path / other, model__norm__weight=different)
        with pytest.raises(MalformedError, match=rf"{NORM} is stored in .*with other values, in"):
            read_weights(tmp_path)


def test_an_index_that_names_what_a_file_lacks_is_refused(tmp_path: Path) -> None:
    mapping = split(tmp_path)
    write_index(tmp_path, {**mapping, "model.extra.weight": mapping[NORM]})
    with pytest.raises(MalformedError, match=r"weight_map: says that .*holds model.extra.weight"):
        read_model_facts(tmp_path)


def test_a_tied_head_is_the_embedding_or_refused(tmp_path: Path) -> None:
    save_tiny_model(tmp_path)
    path = tmp_path / "config.json"
    document = json.loads(path.read_text("utf-8"))
    read_model_facts(tmp_path)  # not tied: a head of its own
    path.write_text(json.dumps({**document, "tie_word_embeddings": True}), "utf-8")
    for read in (
        read_model_facts,
        lambda folder: load_model(folder, dtype=Dtype.FLOAT32, device="cpu"),
    ):
        with pytest.raises(MalformedError, match=r"tie_word_embeddings is true, and lm_head"):
            read(tmp_path)
    embedding = load_file(tmp_path / WEIGHTS_FILE)[EMBEDDING]
    edit(tmp_path / WEIGHTS_FILE, lm_head__weight=embedding.clone())
    read_model_facts(tmp_path)
    edit(tmp_path / WEIGHTS_FILE, lm_head__weight=None)
    loaded = load_model(tmp_path, dtype=Dtype.FLOAT32, device="cpu")
    assert torch.equal(loaded.model.lm_head.weight, embedding)


def safetensors(entries: dict[str, Any], size: int) -> bytes:
    header = json.dumps(entries).encode()
    return struct.pack("<Q", len(header)) + header + bytes(size)


def entry(dtype: str, shape: list[int], start: int, stop: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"a": entry("F32", [2], 0, 8), "b": entry("F32", [2], 12, 20)}, r"b: .*leaves 4 bytes"),
        ({"a": entry("F32", [2], 4, 12)}, r"a: .*leaves 4 bytes before it"),
        ({"a": entry("F32", [2], 0, 8), "b": entry("F32", [2], 4, 12)}, r"b: .*overlap another"),
        ({"a": entry("F32", [2], 0, 8), "b": entry("U8", [8], 0, 8)}, r"(a|b): .*overlap another"),
        ({"a": entry("BF16", [2], 0, 8)}, r"a: .*more or fewer bytes than its shape"),
        ({"a": entry("F4", [3], 0, 2)}, r"a: .*more or fewer bytes than its shape"),
    ],
)
def test_a_header_with_gaps_or_overlaps_is_refused(
    entries: dict[str, Any], message: str, tmp_path: Path
) -> None:
    save_tiny_model(tmp_path)
    size = max(one["data_offsets"][1] for one in entries.values())
    (tmp_path / WEIGHTS_FILE).write_bytes(safetensors(entries, size))
    with pytest.raises(MalformedError, match=message):
        read_weights(tmp_path)


def test_formats_unknown_here_and_empty_tensors_are_left_to_the_loader(tmp_path: Path) -> None:
    entries = {
        "new": entry("F3_NEW", [8], 0, 3),
        "none": entry("F32", [0, 4], 3, 3),
        "packed": entry("F4", [4], 3, 5),
    }
    (tmp_path / WEIGHTS_FILE).write_bytes(safetensors(entries, 5))
    assert read_weights(tmp_path).values == 12


def test_a_weight_of_another_shape_is_named_with_both_shapes(tmp_path: Path) -> None:
    save_tiny_model(tmp_path)
    edit(tmp_path / WEIGHTS_FILE, model__norm__weight=torch.zeros(31))
    with pytest.raises(
        MalformedError, match=rf"{NORM} has shape \[31\], and config.json asks for \[32\] \(1 in"
    ):
        load_model(tmp_path, dtype=Dtype.FLOAT32, device="cpu")


def test_a_plan_refuses_an_adapter(tmp_path: Path) -> None:
    """``plan --seal`` would bind a folder that no run can load."""
    plan = write_study(tmp_path)
    (tmp_path / "model" / "adapter_config.json").write_text("{}", "utf-8")
    with pytest.raises(UsageError, match="merge it into its base model"):
        resolve_plan(plan)


def _plan(study: Path) -> object:
    return resolve_plan(study / "plan.yaml")


def _chat(study: Path) -> object:
    return ChatFormat.load(study / "model")


def _load(study: Path) -> object:
    return load_model(study / "model", dtype=Dtype.FLOAT32, device="cpu")


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("config.json", _plan),
        ("config.json", _load),
        ("generation_config.json", _plan),
        (WEIGHTS_FILE, _plan),
        (WEIGHTS_FILE, _load),
        ("tokenizer.json", _plan),
        ("tokenizer.json", _chat),
        ("tokenizer_config.json", _chat),
        ("tokenizer.model", _chat),
        ("chat_template.jinja", _chat),
    ],
)
def test_a_git_lfs_pointer_is_called_one(
    name: str, read: Callable[[Path], object], tmp_path: Path
) -> None:
    write_study(tmp_path)
    (tmp_path / "model" / name).write_text(POINTER, "utf-8")
    with pytest.raises(ReceiptsError, match=r"is a Git LFS pointer.*git lfs pull") as raised:
        read(tmp_path)
    assert str(tmp_path / "model" / name) in raised.value.one_line()


def test_an_index_and_a_shard_may_be_pointers_too(tmp_path: Path) -> None:
    mapping = split(tmp_path)
    (tmp_path / mapping[NORM]).write_text(POINTER, "utf-8")
    with pytest.raises(MalformedError, match="Git LFS pointer"):
        read_weights(tmp_path)
    (tmp_path / INDEX).write_text(POINTER, "utf-8")
    with pytest.raises(MalformedError, match="Git LFS pointer"):
        read_weights(tmp_path)


def test_what_transformers_makes_of_two_sets_is_why_they_are_refused(tmp_path: Path) -> None:
    """The reason must stay true: the single file is loaded where both are there."""
    split(tmp_path)
    save_tiny_model(tmp_path)
    edit(tmp_path / WEIGHTS_FILE, model__norm__weight=torch.full((32,), 7.0))
    auto: Any = transformers.AutoModelForCausalLM
    assert (auto.from_pretrained(tmp_path).model.norm.weight == 7).all()
