"""Files of a model folder that nothing loads, and those that something could."""

from __future__ import annotations

import pytest

from safety_receipts.runner.checkpoint.tokenizer_files import TOKENIZER_FILES
from safety_receipts.runner.checkpoint.unloaded import loaded_by_nothing

NOTHING = (
    ".DS_Store",
    "Thumbs.db",
    "desktop.ini",
    "._model-00001-of-00002.safetensors",
    ".gitattributes",
    "README.md",
    "readme",
    "README_zh.md",
    "LICENSE",
    "LICENSE.txt",
    "NOTICE",
    "USE_POLICY.md",
    "config.json~",
    "#config.json#",
    ".#config.json",
    ".config.json.swp",
    "model.safetensors.bak",
    "tokenizer.json.orig",
    "train.log",
    "figure.png",
    "demo.ipynb",
    "__pycache__/modeling.cpython-311.pyc",
    "sub/__pycache__/x.pyc",
    ".ipynb_checkpoints/config.json",
    ".idea/workspace.xml",
    "__MACOSX/config.json",
)
SOMETHING = (
    *TOKENIZER_FILES,
    "config.json",
    "generation_config.json",
    "chat_template.jinja",
    "chat_template.json",
    "additional_chat_templates/tool_use.jinja",
    "adapter_config.json",
    "adapter_model.safetensors",
    "model.safetensors",
    "model-00002-of-00002.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "consolidated.00.pth",
    "model.gguf",
    "modeling_own.py",
    "modeling_own.pyc",
    "preprocessor_config.json",
    "params.json",
    "README.json",
    "LICENSE.py",
    "license.safetensors",
    "notes.txt",
    "weights",
    "quantize_config.json",
    "hf_quant_config.json",
    "something.new",
)


@pytest.mark.parametrize("path", NOTHING)
def test_what_nothing_loads(path: str) -> None:
    assert loaded_by_nothing(path)


@pytest.mark.parametrize("path", SOMETHING)
def test_what_could_be_loaded(path: str) -> None:
    assert not loaded_by_nothing(path)
