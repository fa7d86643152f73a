"""Loading a checkpoint: the same weights as saved, or a one-line error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tiny_models import FAMILIES, save_tiny_model, tiny_config, tiny_model

from safety_receipts.receipts.errors import FileAccessError, MalformedError, UsageError
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.runner.engines.answers import generate_completions
from safety_receipts.runner.engines.engine import Request
from safety_receipts.runner.engines.load import LoadedModel, load_model, resolve_device
from safety_receipts.runner.engines.transformers_engine import TransformersEngine


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_tiny_model(tmp_path / "model")


def load(folder: Path, **options: Any) -> LoadedModel:
    return load_model(folder, dtype=options.pop("dtype", Dtype.FLOAT32), device="cpu", **options)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_was_saved_is_what_is_loaded(family: str, tmp_path: Path) -> None:
    loaded = load(save_tiny_model(tmp_path, family))
    saved = tiny_model(family)
    ids = torch.arange(6, 46)[None]
    with torch.inference_mode():
        assert torch.equal(loaded.model(ids).logits, saved(ids).logits)
    assert loaded.attention == ("eager" if family == "gpt-oss" else "sdpa")
    assert loaded.model.config._attn_implementation == loaded.attention
    assert not loaded.model.training


@pytest.mark.parametrize("dtype", list(Dtype))
def test_the_number_format_is_the_one_asked_for(dtype: Dtype, folder: Path) -> None:
    loaded = load(folder, dtype=dtype)
    assert {str(p.dtype) for p in loaded.model.parameters()} == {f"torch.{dtype.value}"}
    engine = TransformersEngine(loaded)
    assert engine.identity.dtype is dtype
    (completion,) = generate_completions(engine, [Request(1, (9, 10), 4, frozenset())])
    assert len(completion.tokens) == 4


def test_a_multimodal_checkpoint_answers_text(tmp_path: Path) -> None:
    small = {"num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2}
    vision = {**small, "hidden_size": 16, "intermediate_size": 32, "head_dim": 8}
    make: Any = transformers.Gemma4Config
    special = ("image", "video", "audio", "boi", "eoi", "boa", "eoa")
    config = make(
        text_config=tiny_config("gemma4", 96).to_dict(),
        vision_config={**vision, "global_head_dim": 8},
        audio_config=None,
        **{f"{name}_token_id": 88 + i for i, name in enumerate(special)},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model: Any = transformers.Gemma4ForConditionalGeneration(config)
        model.eval()
    model.save_pretrained(tmp_path)
    engine = TransformersEngine(load(tmp_path))
    prompt = tuple(range(10, 40))
    (completion,) = generate_completions(engine, [Request(1, prompt, 8, frozenset())])
    ids = torch.tensor([prompt])
    model.generation_config.eos_token_id = None
    expected = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False, pad_token_id=0
    )
    assert list(completion.tokens) == expected[0, len(prompt) :].tolist()


def test_the_text_part_of_a_multimodal_checkpoint_is_loaded_without_the_rest(
    tmp_path: Path,
) -> None:
    config = transformers.MllamaConfig(
        text_config={
            "vocab_size": 96,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "cross_attention_layers": [1],
            "max_position_embeddings": 128,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 0,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
        },
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_global_layers": 1,
            "attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
            "vision_output_dim": 32,
            "intermediate_layers_indices": [0],
        },
        image_token_index=90,
    )
    with torch.random.fork_rng(devices=[]):
        transformers.MllamaForConditionalGeneration(config).save_pretrained(tmp_path)
    assert type(load(tmp_path).model).__name__ == "MllamaForCausalLM"
    weights = load_file(tmp_path / "model.safetensors")
    save_file({**weights, "stray": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(MalformedError, match="not part of MllamaForCausalLM: stray"):
        load(tmp_path)


def edit_weights(folder: Path, **changes: torch.Tensor | None) -> None:
    weights = load_file(folder / "model.safetensors")
    for name, tensor in changes.items():
        key = name.replace("__", ".")
        if tensor is None:
            del weights[key]
        else:
            weights[key] = tensor
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_missing_weight_is_never_made_up(folder: Path) -> None:
    edit_weights(folder, model__layers__1__mlp__up_proj__weight=None)
    with pytest.raises(MalformedError, match=r"lacks weights of .*layers\.1\.mlp\.up_proj"):
        load(folder)


def test_an_unexpected_weight_is_refused(folder: Path) -> None:
    edit_weights(folder, model__layers__7__vision__weight=torch.zeros(3))
    with pytest.raises(MalformedError, match=r"not part of .*layers\.7"):
        load(folder)


def test_a_misshapen_weight_is_refused(folder: Path) -> None:
    edit_weights(folder, model__norm__weight=torch.zeros(31))
    with pytest.raises(MalformedError, match=r"model.*(shape|size|cannot be loaded)"):
        load(folder)


def test_weights_of_another_configuration_are_refused(folder: Path) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**config, "num_hidden_layers": 3}), "utf-8")
    with pytest.raises(MalformedError, match=r"lacks weights of .*layers\.2"):
        load(folder)


def test_truncated_weights_are_refused_before_they_are_loaded(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(MalformedError, match="bytes where its header says"):
        load(folder)


def test_a_header_that_only_the_format_refuses_is_one_line_too(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes().replace(b'"F32"', b'"F99"', 1))
    with pytest.raises(MalformedError, match="cannot be loaded") as raised:
        load(folder)
    assert "\n" not in raised.value.one_line()


class _Planted:
    """Unpickling one writes a file."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.proof,))


def test_pickled_weights_are_refused_and_loaded_only_where_allowed(folder: Path) -> None:
    saved = tiny_model("llama")
    (folder / "model.safetensors").unlink()
    torch.save(saved.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(UsageError, match=r"pickles.*convert them to safetensors"):
        load(folder)
    loaded = load(folder, allow_pickle=True)
    assert torch.equal(loaded.model.lm_head.weight, saved.lm_head.weight)


def test_code_in_a_pickle_is_not_run_even_where_pickles_are_allowed(
    folder: Path, tmp_path: Path
) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"w": _Planted(tmp_path / "proof")}, folder / "pytorch_model.bin")
    with pytest.raises(MalformedError, match="cannot be loaded"):
        load(folder, allow_pickle=True)
    assert not (tmp_path / "proof").exists()


def test_safetensors_are_taken_even_where_pickles_are_allowed(folder: Path, tmp_path: Path) -> None:
    torch.save({"w": _Planted(tmp_path / "proof")}, folder / "pytorch_model.bin")
    assert torch.equal(
        load(folder, allow_pickle=True).model.lm_head.weight, tiny_model("llama").lm_head.weight
    )


def with_own_code(folder: Path, tmp_path: Path, **changes: Any) -> Path:
    """Add code to a folder that would leave a proof of having been run."""
    proof = tmp_path / "proof"
    (folder / "own.py").write_text(f"open({str(proof)!r}, 'w').close()\n", "utf-8")
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text(
        f"open({str(proof)!r}, 'w').close()\n", "utf-8"
    )
    path = folder / "config.json"
    config = json.loads(path.read_text("utf-8"))
    config["auto_map"] = {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Model"}
    path.write_text(json.dumps({**config, **changes}), "utf-8")
    return proof


def test_code_of_an_unknown_architecture_is_refused_and_not_run(
    folder: Path, tmp_path: Path
) -> None:
    proof = with_own_code(folder, tmp_path, model_type="own")
    with pytest.raises(UsageError, match=r"needs code of its own .auto_map., which is never run"):
        load(folder)
    assert not proof.exists()


def test_a_known_architecture_is_loaded_by_its_own_class(folder: Path, tmp_path: Path) -> None:
    proof = with_own_code(folder, tmp_path)
    loaded = load(folder)
    assert type(loaded.model) is transformers.LlamaForCausalLM
    assert not proof.exists()


def test_a_configuration_cannot_choose_the_attention(folder: Path) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text("utf-8"))
    config["_attn_implementation"] = config["attn_implementation"] = "someone/kernel"
    path.write_text(json.dumps(config), "utf-8")
    assert load(folder).model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("adapter_config.json", "is an adapter"),
        ("shard-00001-model-00001-of-00001.safetensors", "distributed training checkpoint"),
    ],
)
def test_folders_that_are_not_whole_models_are_refused(
    name: str, message: str, folder: Path
) -> None:
    (folder / name).write_text("{}", "utf-8")
    with pytest.raises(UsageError, match=message):
        load(folder)


def test_a_model_that_does_not_continue_text_is_refused(folder: Path) -> None:
    document = {"model_type": "vit", "eos_token_id": 1, "vocab_size": 9}
    (folder / "config.json").write_text(json.dumps(document), "utf-8")
    with pytest.raises((UsageError, MalformedError), match=r"config\.json"):
        load(folder)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileAccessError, match="nowhere"):
        load(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cuda:-1", "cuda:99", "cpu:1", ""])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="device"):
        resolve_device(name)


def test_devices_are_resolved_by_name() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    found = resolve_device("auto")
    assert found.type == ("cuda" if torch.cuda.is_available() else found.type)


def test_loading_prints_nothing_and_leaves_no_setting_changed(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    logs: Any = transformers.utils.logging
    before = (logs.get_verbosity(), logs.is_progress_bar_enabled(), torch.get_default_dtype())
    generator = torch.random.get_rng_state()
    capfd.readouterr()
    load(folder, dtype=Dtype.BFLOAT16)
    assert capfd.readouterr() == ("", "")
    assert before == (
        logs.get_verbosity(),
        logs.is_progress_bar_enabled(),
        torch.get_default_dtype(),
    )
    assert torch.equal(generator, torch.random.get_rng_state())
