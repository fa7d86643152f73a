"""A study, and a server of its model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from id_server import Mischief, id_server
from served_judges import LEARNT, JudgedStudies, JudgedStudy, with_judge
from served_studies import ServedStudies, ServedStudy
from studies import write_study
from tiny_judges import learnt_judge

from safety_receipts.receipts.model.judge import JudgeKind
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


@pytest.fixture(scope="session")
def own_judges(tmp_path_factory: pytest.TempPathFactory) -> dict[JudgeKind, Path]:
    """A judge of each kind that generates; it learnt a little."""
    top = tmp_path_factory.mktemp("own-judges")
    return {
        kind: learnt_judge(top / kind.value, kind, LEARNT)
        for kind in (JudgeKind.CHAT, JudgeKind.WILDGUARD)
    }


@pytest.fixture
def judged(tmp_path: Path, own_judges: dict[JudgeKind, Path]) -> Iterator[JudgedStudies]:
    """Make a study and start a server of its judge."""
    with ExitStack() as stack:

        def make(
            kind: JudgeKind = JudgeKind.CHAT, mischief: Mischief | None = None, **settings: object
        ) -> JudgedStudy:
            folder = tmp_path / "judged-study"
            judge = with_judge(folder, own_judges[kind])
            server = stack.enter_context(id_server(judge, mischief, model="judge"))
            return JudgedStudy(server, folder, kind, {"queries": 3, "controls": 1} | settings)

        yield make
