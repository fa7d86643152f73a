"""What the tests of attacks share: one honest event of the embedded organism a process."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

_BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

if _BENCHMARKS.is_dir():
    sys.path.insert(0, str(_BENCHMARKS))
else:  # a source distribution leaves them out
    collect_ignore_glob = ["test_*.py"]

if TYPE_CHECKING:
    from attacks.audits import Record
    from attacks.forgeries import Scene
    from attacks.subject import Shape, Subject

    from safety_receipts.runner.engines.engine import Engine
    from safety_receipts.verify.audit.replay import Entry


@dataclass(frozen=True)
class Honest:
    """An honest event, and its replay on the same stack."""

    subject: Subject
    engine: Engine
    entries: Sequence[Entry]
    record: Record


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Honest:
    """Two conditions of 120 points, run and replayed in fp32."""
    from attacks.subject import SMALL

    return _honest(tmp_path_factory.mktemp("attacked"), SMALL)


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Honest:
    """Two conditions of 240 points from two sources and of 120 benign controls, judged twice."""
    from attacks.subject import WHOLE

    return _honest(tmp_path_factory.mktemp("whole"), WHOLE)


def _honest(folder: Path, shape: Shape) -> Honest:
    from attacks.audits import Terms, replay, twice_judged
    from attacks.subject import Subject

    subject = Subject(folder, shape)
    engine = subject.engine()
    entries = subject.generate(engine)
    record = replay(subject.replayer(engine, Terms().limits), entries)
    return Honest(subject, engine, entries, twice_judged(subject, record))


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """A sealed bundle of two conditions of 24 points, and an auditor's files."""
    from attacks.forgeries import set_scene
    from attacks.subject import TINY, Subject

    folder = tmp_path_factory.mktemp("forged")
    return set_scene(folder / "honest", Subject(folder, TINY))
