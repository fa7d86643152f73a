"""A receipt made on a CPU, audited on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from auditing import make_event

from safety_receipts.receipts.keys import generate_key, write_key_pair


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_receipt_made_on_a_cpu_is_confirmed_on_a_gpu(
    dtype: str, receipts: Callable[..., Any], tmp_path: Path
) -> None:
    event = make_event(tmp_path, queries=120)
    write_key_pair(tmp_path / "auditor", generate_key(), None)
    audited = receipts(
        "audit", event.bundle, "--key", tmp_path / "auditor", "--trust", event.key,
        "--artifacts", tmp_path / "study" / "plan.yaml", "--device", "cuda", "--dtype", dtype,
        "--epsilon", "0.1",
    )  # fmt: skip
    assert audited.code == 0, audited.out + audited.err
