"""Is a receipt of what its reader expects: a checkpoint, a training stage, a real model?

Nothing here says that a receipt is false.  It may be true of another model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from safety_receipts.receipts.canonical import Sha256, is_hex32
from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.model.checkpoint import (
    Checkpoint,
    CheckpointFile,
    RootOrder,
    model_root,
)
from safety_receipts.receipts.model.receipt import EvaluationPredicate
from safety_receipts.receipts.view.names import presentable
from safety_receipts.runner.checkpoint.sealed_files import file_problem, short
from safety_receipts.verify.check_names import CheckName
from safety_receipts.verify.checks import CheckList
from safety_receipts.verify.subject import is_instrument

_PREFIX = "sha256:"


@dataclass(frozen=True)
class ExpectedRoot:
    """A checkpoint, known by its root."""

    root: Sha256
    """OpenSSF Model Signing root, in either order of the files."""


@dataclass(frozen=True)
class ExpectedFiles:
    """A checkpoint, known by the files of a folder."""

    folder: Path
    """The folder."""
    files: tuple[CheckpointFile, ...]
    """What it holds."""
    weights: tuple[str, ...]
    """Names of the files that weights are loaded from."""


ExpectedCheckpoint: TypeAlias = ExpectedRoot | ExpectedFiles


@dataclass(frozen=True)
class Expectations:
    """What a reader asks of a receipt beside that it holds."""

    checkpoint: ExpectedCheckpoint | None = None
    """The checkpoint that it must be of; None: any."""
    stage: str | None = None
    """The training stage that it must name, in the same letters; None: any."""
    allow_instrument: bool = False
    """Whether it may be of a test instrument, which says nothing about any real model."""


def is_root(text: str) -> bool:
    """Say whether a text is a checkpoint's root, and not the path of a folder."""
    return is_hex32(text.removeprefix(_PREFIX))


def expected_checkpoint(
    wanted: str, progress: Callable[[int, int], None] | None = None
) -> ExpectedCheckpoint:
    """Return the checkpoint that somebody names by its root or by its folder.

    Args:
        wanted: 64 lower-case hex digits, with ``sha256:`` before them or without; else the path
            of a folder, all files of which are hashed.
        progress: Told how many bytes are hashed, and of how many.

    Raises:
        UsageError: It is neither, or the folder holds no weights.
        FileAccessError: Something in the folder cannot be read.
        MalformedError: The folder is empty, or an index of its weights is damaged.
    """
    if is_root(wanted):
        return ExpectedRoot(Sha256(wanted.removeprefix(_PREFIX)))
    folder = Path(wanted)
    if not wanted or not folder.is_dir():
        raise UsageError(
            f"no checkpoint is named by {printable(wanted)}",
            hint="give its root, 64 lower-case hex digits, or its folder",
        )
    # Whoever names a root hashes nothing, and a gate takes as long as what it loads.
    from safety_receipts.runner.checkpoint.folder import hash_folder  # noqa: PLC0415
    from safety_receipts.runner.checkpoint.model_files import weight_files  # noqa: PLC0415

    weights = tuple(weight_files(folder, allow_pickle=True))
    hashed = hash_folder(folder, progress=progress)
    return ExpectedFiles(folder, hashed.files, weights)


def check_expected(
    expected: Expectations, receipt: EvaluationPredicate | None, checks: CheckList
) -> None:
    """Hold a receipt to what its reader expects, one check for each thing.

    Args:
        expected: What is expected; what is not asked for is not checked, but for instruments.
        receipt: The receipt; None: there is none that fits its schema.
        checks: Receives the checks.
    """
    if receipt is None:
        asked = {
            CheckName.EXPECTED_CHECKPOINT: expected.checkpoint is not None,
            CheckName.EXPECTED_STAGE: expected.stage is not None,
            CheckName.INSTRUMENT: True,
        }
        for name in (name for name, wanted in asked.items() if wanted):
            checks.skip(name, "needs a receipt that fits its schema")
        return
    if expected.checkpoint is not None:
        problem = checkpoint_problem(expected.checkpoint, receipt.checkpoint)
        good = f"root {short(receipt.checkpoint.root)}, as asked for"
        checks.decide(CheckName.EXPECTED_CHECKPOINT, problem, good)
    if expected.stage is not None:
        stated = receipt.training_stage
        problem = None
        if stated != expected.stage:
            said, asked_for = presentable(stated), presentable(expected.stage)
            problem = f"it says stage {said}, and {asked_for} was asked for"
        checks.decide(
            CheckName.EXPECTED_STAGE, problem, f"it says {presentable(stated)}, as asked for"
        )
    _check_instrument(expected, receipt, checks)


def checkpoint_problem(expected: ExpectedCheckpoint, stated: Checkpoint) -> str | None:
    """Return why a receipt is not of the checkpoint that is expected, or None.

    Args:
        expected: The checkpoint that is expected.
        stated: The one that the receipt states.
    """
    if isinstance(expected, ExpectedRoot):
        if expected.root in _roots(stated):
            return None
        return f"it is of {short(stated.root)}, and {short(expected.root)} was asked for"
    if not stated.files:
        return "it lists no files of its checkpoint: it is of a model behind an API"
    problem = file_problem(stated, expected.files, expected.weights)
    if problem is None:
        return None
    return f"it is not of what {printable(str(expected.folder), 100)} holds: there {problem}"


def _roots(stated: Checkpoint) -> frozenset[str]:
    """Return the roots of a checkpoint, in either order of its files.

    They are computed from the files: that the stated ones follow is checked at level consistent,
    and somebody may ask for less.
    """
    if not stated.files:
        return frozenset((stated.root,))
    return frozenset(model_root(stated.files, order) for order in RootOrder)


def _check_instrument(
    expected: Expectations, receipt: EvaluationPredicate, checks: CheckList
) -> None:
    if not is_instrument(receipt):
        checks.decide(CheckName.INSTRUMENT, None, "it says that it is of none")
        return
    what = "it is of a test instrument"
    if not receipt.instrument:
        what += ", and says that it is of none"
    if expected.allow_instrument:
        checks.spare(CheckName.INSTRUMENT, f"{what}, which --allow-instrument accepts")
    else:
        checks.decide(CheckName.INSTRUMENT, f"{what} (--allow-instrument accepts those)")
