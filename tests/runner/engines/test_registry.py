"""How every kind of engine is loaded."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_models import save_tiny_model

from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.plan import EngineKind, is_served
from safety_receipts.runner.engines import batches
from safety_receipts.runner.engines.registry import EngineOptions, loader_of

MEMORY = 2**28


def test_a_loaded_engine_is_of_its_kind(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path)
    loaders = {kind: load for kind in EngineKind if (load := loader_of(kind)) is not None}
    assert list(loaders) == [EngineKind.TRANSFORMERS, EngineKind.HTTP]
    del loaders[EngineKind.HTTP]  # tests/runner/served: it needs a server
    for kind, load in loaders.items():
        loaded = load(EngineOptions(folder, Dtype.FLOAT32, "cpu", False, MEMORY, 1, None))
        assert loaded.engine.identity.kind is kind
        assert loaded.engine.identity.dtype is Dtype.FLOAT32
        assert loaded.memory == MEMORY


def test_models_that_work_in_turn_share_what_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "default_memory", lambda device: 2**32)
    folder, load = save_tiny_model(tmp_path), loader_of(EngineKind.TRANSFORMERS)
    assert load is not None
    options = [EngineOptions(folder, Dtype.FLOAT32, "cpu", False, None, n, None) for n in (1, 4)]
    assert [load(each).memory for each in options] == [2**32, 2**30]
    known = [replace(options[1], beside=taken) for taken in (2**20, 2**32 - 2**30, 2**33)]
    assert [load(each).memory for each in known] == [2**32 - 2**20, 2**30, 2**30]


def test_only_a_server_is_served() -> None:
    assert [kind.value for kind in EngineKind if is_served(kind)] == ["openai", "http"]


def test_reading_the_registry_loads_no_torch() -> None:
    code = (
        "import sys\n"
        "from safety_receipts.receipts.model.plan import EngineKind\n"
        "from safety_receipts.runner.engines.registry import loader_of\n"
        "print([kind.value for kind in EngineKind if loader_of(kind) is None])\n"
        "print({'torch', 'transformers'} & sys.modules.keys())"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout == "['openai', 'mock']\nset()\n"
