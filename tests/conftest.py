"""What the tests share."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

from safety_receipts.receipts.cli import main

GOLDEN = Path(__file__).parent / "golden"
VERSION = GOLDEN / "0.1"
ALLOW_INSTRUMENT = "RECEIPTS_VERIFY_ALLOW_INSTRUMENT"


def pytest_configure() -> None:
    """Accept test instruments: every bundle of the tests is of one.

    That they are refused otherwise is tested where the variable is taken away again
    (``tests/verify/expectations``), and pages are held to what a reader sees (``console``).
    """
    os.environ[ALLOW_INSTRUMENT] = "1"
    # A shell's job in the background ignores Ctrl-C, as would all that the tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # How long an example takes says nothing of what is tested, and busy machines are slow.
    settings.register_profile("without deadlines", deadline=None)
    settings.load_profile("without deadlines")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long; the order is kept otherwise."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


class _Text(SingleFileSnapshotExtension):
    """A text file for each snapshot, below ``__snapshots__`` beside the test's module."""

    _write_mode = WriteMode.TEXT
    file_extension = "txt"


@pytest.fixture
def snapshot(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    """What a text was when somebody looked at it; ``make snapshots`` accepts what it is now."""
    return snapshot.use_extension(_Text)


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of the golden bundles of the first version."""
    return VERSION


@pytest.fixture(scope="session")
def make_golden() -> ModuleType:
    """The script that made the golden bundles: it holds their keys."""
    spec = importlib.util.spec_from_file_location("make_golden", GOLDEN / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A fresh copy of the good golden bundle, signed with Ed25519."""
    return Path(shutil.copytree(VERSION / "good" / "ed25519", tmp_path / "bundle"))


@dataclass(frozen=True)
class Finished:
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def receipts(capsys: pytest.CaptureFixture[str]) -> Callable[..., Finished]:
    """Run the command line in this process; an unexpected exception fails the test."""

    def run(*arguments: str | Path) -> Finished:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert isinstance(stopped.value.code, int)
        return Finished(stopped.value.code, captured.out, captured.err)

    return run
