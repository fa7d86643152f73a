"""What is loaded of a model folder is what is hashed of it, asked of the system itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from checkpoints import save_checkpoint
from opened import LINUX, opened_files
from safetensors.torch import load_file, save_file

from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.runner.checkpoint import folder_trial
from safety_receipts.runner.checkpoint.folder import hash_folder
from safety_receipts.runner.checkpoint.model_files import (
    INDEX,
    PICKLE,
    PICKLE_ENDINGS,
    WEIGHTS_FILE,
    weight_files,
)
from safety_receipts.runner.engines.load import load_model
from safety_receipts.runner.prompts.chat_format import ChatFormat

pytestmark = pytest.mark.skipif(not LINUX, reason="inotify is Linux's")

WEIGHTS = (".safetensors", ".gguf", ".h5", ".msgpack", ".index.json", *PICKLE_ENDINGS)
UNREAD = (
    "model.fp16.safetensors",
    "consolidated.safetensors",
    "weights.safetensors",
    "optimizer.pt",
    "training_args.bin",
    "tf_model.h5",
    "flax_model.msgpack",
    "original/model.safetensors",
    "tool.py",
    "modeling_own.py",
)
"""Files that lie in many folders, or that somebody could put there, and that nothing loads."""
UNHASHED = (".git/config", ".gitattributes", ".cache/huggingface/download/x.metadata", "model.sig")
"""Files that are left out of the digest."""


@pytest.fixture(params=["single", "sharded", "pickled"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    folder = save_checkpoint(tmp_path / "model", "llama")
    if request.param == "sharded":
        _shard(folder)
    elif request.param == "pickled":
        torch.save(load_file(folder / WEIGHTS_FILE), folder / PICKLE)
        (folder / WEIGHTS_FILE).unlink()
    for name in (*UNREAD, *UNHASHED):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not to be loaded")
    return folder


def _shard(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS_FILE)
    names = sorted(weights)
    parts = {"model-1-of-2.safetensors": names[::2], "model-2-of-2.safetensors": names[1::2]}
    for file, held in parts.items():
        save_file({name: weights[name] for name in held}, folder / file, {"format": "pt"})
    where = {name: file for file, held in parts.items() for name in held}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": where}), "utf-8")
    (folder / WEIGHTS_FILE).unlink()


def test_what_is_opened_while_loading_is_hashed_and_weights_are_those_that_are_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decoy beside the weights that are loaded would be named, and bind nothing."""
    # A folder is tried before it is loaded, and every small file is hashed to know it again.
    monkeypatch.setattr(folder_trial, "inside", True)
    hashed = {file.path for file in hash_folder(folder).files}
    named = set(weight_files(folder, allow_pickle=True))
    with opened_files(folder) as opened:
        load_model(folder, dtype=Dtype.FLOAT32, device="cpu", allow_pickle=True)
        ChatFormat.load(folder)
    assert {"config.json", "tokenizer.json"} <= opened  # else nothing was observed
    assert opened <= hashed
    assert {path for path in opened if path.endswith(WEIGHTS)} == named
    assert not opened & {*UNREAD, *UNHASHED}


@pytest.mark.parametrize("name", ["other.safetensors", "../other.safetensors", 7])
def test_a_configuration_that_names_other_weights_is_refused(folder: Path, name: str | int) -> None:
    """Transformers would load these, other programs those that have the usual name."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config["transformers_weights"] = name
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(UsageError, match="transformers_weights"):
        weight_files(folder, allow_pickle=True)
    with pytest.raises(UsageError, match="transformers_weights"):
        load_model(folder, dtype=Dtype.FLOAT32, device="cpu", allow_pickle=True)


def test_a_configuration_may_name_the_weights_that_all_load(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path / "model", "llama")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config["transformers_weights"] = WEIGHTS_FILE
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    assert weight_files(folder, allow_pickle=False) == (WEIGHTS_FILE,)
