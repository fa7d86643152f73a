"""What is known of a model folder before it is loaded, and what a bad one ends in."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tiny_models import CONTEXT, FAMILIES, WINDOW, save_tiny_model, tiny_model

from safety_receipts.receipts.errors import (
    FileAccessError,
    MalformedError,
    ReceiptsError,
    UsageError,
)
from safety_receipts.runner.checkpoint import folder_trial
from safety_receipts.runner.checkpoint.model_facts import read_model_facts
from safety_receipts.runner.engines.forward import cache_argument

Edit = Callable[[dict[str, Any]], None]


def rewrite(path: Path, edit: Edit) -> None:
    document = json.loads(path.read_text("utf-8"))
    edit(document)
    path.write_text(json.dumps(document), "utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_tiny_model(tmp_path / "model")


@pytest.mark.parametrize("family", FAMILIES)
def test_keys_and_values_are_those_that_transformers_keeps(family: str, tmp_path: Path) -> None:
    facts = read_model_facts(save_tiny_model(tmp_path, family))
    model = tiny_model(family)
    cache = transformers.DynamicCache(config=model.config)
    with torch.inference_mode():
        model(torch.arange(6, 36)[None], use_cache=True, **{cache_argument(model): cache})
    layers: list[Any] = cache.layers
    if len(layers) < len(facts.architecture.kv_layers):
        pytest.skip("this transformers makes no cache layer where one reuses another's")
    for layer, stated in zip(layers, facts.architecture.kv_layers, strict=True):
        if getattr(layer, "keys", None) is None:
            assert stated.values == 0  # it reuses another layer's
            continue
        kept = layer.keys.numel() + layer.values.numel()
        assert stated.window == (WINDOW if layer.is_sliding else None)
        # transformers keeps window − 1 tokens between steps, and the newest makes the window.
        assert kept == stated.values * (WINDOW - 1 if layer.is_sliding else 30)
    full = sum(layer.values for layer in facts.architecture.kv_layers if layer.window is None)
    slide = sum(layer.values for layer in facts.architecture.kv_layers if layer.window is not None)
    assert facts.kv_bytes(5, 2) == 2 * 5 * (full + slide)
    assert facts.kv_bytes(30, 4) == 4 * (30 * full + WINDOW * slide)


@pytest.mark.parametrize("family", FAMILIES)
def test_limits_and_parameters_are_read(family: str, tmp_path: Path) -> None:
    facts = read_model_facts(save_tiny_model(tmp_path, family, vocab_size=64))
    model = tiny_model(family, 64)
    stored = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    assert facts.context_limit == CONTEXT
    assert facts.architecture.widths.vocabulary == 64
    assert facts.quantisation is None
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count <= facts.parameters <= sum(tensor.numel() for tensor in stored.values())
    assert facts.weights.bytes == 4 * facts.parameters


def test_the_text_part_of_a_multimodal_configuration_is_read(tmp_path: Path) -> None:
    text = tiny_model("gemma4").config.to_dict()
    save_tiny_model(tmp_path, "gemma4")
    plain = read_model_facts(tmp_path)
    document = {"model_type": "gemma4", "text_config": text, "eos_token_id": [2, 11]}
    (tmp_path / "config.json").write_text(json.dumps(document), "utf-8")
    facts = read_model_facts(tmp_path)
    assert facts.architecture.kv_layers == plain.architecture.kv_layers
    assert facts.context_limit == CONTEXT


def test_sizes_of_a_published_shape_are_right(folder: Path) -> None:
    """The Llama-3.1-8B shape keeps 131,072 bytes a token in bfloat16."""
    shape = {
        "model_type": "llama",
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131_072,
        "vocab_size": 128_256,
        "eos_token_id": [128_001, 128_008, 128_009],
    }
    (folder / "config.json").write_text(json.dumps(shape), "utf-8")
    (folder / "generation_config.json").unlink()
    facts = read_model_facts(folder)
    assert facts.kv_bytes(1, 2) == 131_072


def test_quantisation_and_batch_dependent_positions_are_seen(folder: Path) -> None:
    rewrite(
        folder / "config.json",
        lambda d: d.update(
            quantization_config={"quant_method": "mxfp4"},
            rope_parameters={
                "rope_type": "dynamic",
                "factor": 2.0,
                "rope_theta": 1e4,
                "original_max_position_embeddings": CONTEXT // 2,
            },
        ),
    )
    facts = read_model_facts(folder)
    assert facts.quantisation == "mxfp4"
    assert facts.architecture.alone


def test_sharded_weights_are_added_up(tmp_path: Path) -> None:
    tiny_model("llama").save_pretrained(tmp_path, max_shard_size="20KB")
    facts = read_model_facts(tmp_path)
    assert len(facts.weights.files) > 2
    assert facts.parameters == sum(p.numel() for p in tiny_model("llama").parameters())


def test_files_may_be_links_as_in_a_hub_cache(folder: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    for file in folder.iterdir():
        (snapshot / file.name).symlink_to(file)
    linked, plain = read_model_facts(snapshot), read_model_facts(folder)
    assert linked.architecture == plain.architecture
    assert linked.parameters == plain.parameters


def _edited(edit: Edit) -> Callable[[Path], None]:
    return lambda folder: rewrite(folder / "config.json", edit)


def _written(name: str, data: bytes) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).write_bytes(data)

    return damage


def _truncated(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def _indexed(mapping: Any) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        index = folder / "model.safetensors.index.json"
        index.write_text(json.dumps({"weight_map": mapping}), "utf-8")

    return damage


def _header(document: Any) -> bytes:
    data = json.dumps(document).encode()
    return struct.pack("<Q", len(data)) + data


DAMAGE: dict[str, tuple[Callable[[Path], None], type[ReceiptsError], str]] = {
    "no config": (lambda f: (f / "config.json").unlink(), FileAccessError, "config.json: cannot"),
    "config is no JSON": (_written("config.json", b"{"), MalformedError, "not JSON"),
    "config is no object": (_written("config.json", b"[]"), MalformedError, "not a JSON object"),
    "config is not UTF-8": (_written("config.json", b"\xff{}"), MalformedError, "not JSON"),
    "config is deep": (_written("config.json", b"[" * 10**6), MalformedError, "nested too deeply"),
    "config is huge": (_written("config.json", b" " * (2**24 + 1)), MalformedError, "longer than"),
    "no model type": (
        _edited(lambda d: d.pop("model_type")),
        MalformedError,
        "names no model_type",
    ),
    "unknown model type": (
        _edited(lambda d: d.update(model_type="nope")),
        UsageError,
        "unknown to",
    ),
    "own code": (
        _edited(lambda d: d.update(model_type="nope", auto_map={"AutoConfig": "x.Y"})),
        UsageError,
        "needs code of its own .auto_map., which is never run",
    ),
    "a billion layers": (
        _edited(lambda d: d.update(num_hidden_layers=10**9)),
        MalformedError,
        "1,000,000,000 layers are too many",
    ),
    "no layers": (_edited(lambda d: d.update(num_hidden_layers=0)), MalformedError, "config.json"),
    "sizes are text": (
        _edited(lambda d: d.update(hidden_size="wide")),
        MalformedError,
        "cannot read this configuration",
    ),
    "chunked attention": (
        _edited(lambda d: d.update(layer_types=["chunked_attention"] * 2)),
        UsageError,
        "layers of kind chunked_attention are not supported",
    ),
    "encoder-decoder": (
        _written("config.json", b'{"model_type": "t5", "eos_token_id": 1}'),
        UsageError,
        "an encoder and a decoder are not supported",
    ),
    "state-space model": (
        _written("config.json", b'{"model_type": "mamba", "eos_token_id": 1}'),
        UsageError,
        "no attention heads are not supported",
    ),
    "truncated weights": (_truncated, MalformedError, "bytes where its header says"),
    "empty weights": (_written("model.safetensors", b""), MalformedError, "is truncated"),
    "header longer than the file": (
        _written("model.safetensors", b"\xff" * 8 + b"{}"),
        MalformedError,
        "is truncated",
    ),
    "header is not a JSON": (
        _written("model.safetensors", struct.pack("<Q", 4) + b"nope"),
        MalformedError,
        "not JSON",
    ),
    "header has a negative shape": (
        _written(
            "model.safetensors",
            _header({"w": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 0]}}),
        ),
        MalformedError,
        "w: a damaged entry",
    ),
    "index is empty": (_indexed({}), MalformedError, "no weight_map"),
    "index leads out": (
        _indexed({"w": "../x.safetensors"}),
        MalformedError,
        "is not a safetensors file",
    ),
    "index names a pickle": (_indexed({"w": "x.bin"}), MalformedError, "is not a safetensors file"),
    "a shard is missing": (_indexed({"w": "x.safetensors"}), FileAccessError, "x.safetensors"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), UsageError, "holds no model.safe"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_folder_ends_in_one_line(name: str, folder: Path) -> None:
    damage, kind, message = DAMAGE[name]
    damage(folder)
    with pytest.raises(kind, match=message) as raised:
        read_model_facts(folder)
    assert str(folder) in raised.value.one_line()
    assert "\n" not in raised.value.one_line()


def test_pickled_weights_are_refused_with_a_remedy(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UsageError, match=r"pytorch_model\.bin.*convert them to safetensors"):
        read_model_facts(folder)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileAccessError, match="nowhere"):
        read_model_facts(tmp_path / "nowhere")


HOSTILE: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    10**30,
    1e308,
    "x",
    [],
    [None],
    {},
    {"rope_type": 3},
    [[[]]],
)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.filterwarnings("ignore")  # what transformers warns of is not the promise here
def test_any_value_of_any_key_gives_facts_or_one_line(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_trial, "inside", True)  # a child for each would take long
    folder = save_tiny_model(tmp_path, family)
    path = folder / "config.json"
    config = json.loads(path.read_text("utf-8"))
    lines, sizes = [], []
    for key in config:
        for value in HOSTILE:
            path.write_text(json.dumps({**config, key: value}), "utf-8")
            try:
                sizes.append(read_model_facts(folder).kv_bytes(10, 4))
            except ReceiptsError as error:
                lines.append(error.one_line())
    assert len(lines) > 50
    assert not any("\n" in line for line in lines)
    assert len(sizes) > 20
    assert min(sizes) > 0
