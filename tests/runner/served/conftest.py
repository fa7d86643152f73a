"""A study, and a server of its model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from id_server import Mischief, id_server
from served_studies import ServedStudies, ServedStudy
from studies import write_study

from safety_receipts.receipts.model.plan import ServerDialect


@pytest.fixture
def served(tmp_path: Path) -> Iterator[ServedStudies]:
    """Write a study and start a server of its model."""
    with ExitStack() as stack:

        def make(
            mischief: Mischief | None = None,
            dialect: ServerDialect = ServerDialect.VLLM,
            **settings: object,
        ) -> ServedStudy:
            folder = tmp_path / "served-study"
            write_study(folder, **settings)  # type: ignore[arg-type]
            started = id_server(folder / "model", mischief, dialect=dialect)
            return ServedStudy(stack.enter_context(started), folder, settings, dialect)

        yield make
