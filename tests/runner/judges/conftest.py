"""What the judges' tests share."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from judging import load_tokenizer, save_tokenizer


@pytest.fixture(scope="session")
def own_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """Load a tokenizer of a make from its files; each is made once."""

    @cache
    def load(make: str) -> Any:
        folder: Path = tmp_path_factory.mktemp("tokenizer")
        save_tokenizer(folder, make)
        return load_tokenizer(folder)

    return load
