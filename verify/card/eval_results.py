"""The hub's file of results on a registered benchmark: ``.eval_results/NAME.yaml``.

It has one value for a data set and task, and no field for an interval, a number of points or a
condition.  The value is the highest compliance rate of any condition, so that it never flatters;
which condition that is and by which receipt stands in the notes.  A ``verifyToken`` is the hub's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final

import yaml

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.errors import FileAccessError, MalformedError, UsageError
from safety_receipts.receipts.io.files import read_bounded
from safety_receipts.receipts.model.receipt import ConditionResult, EvaluationPredicate
from safety_receipts.verify.card.entries import (
    SOURCE_NAME,
    IndexNumber,
    YamlTree,
    yaml_lines,
    yaml_values,
)

RESULTS_FOLDER: Final = ".eval_results"
"""Folder of such files, beside the card."""
MAX_RESULTS_BYTES: Final = 64 * 1024
"""Longest file; one of ours has less than 4 KiB."""
_DATASET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?")
_TASK: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._:/-]{0,199}")


@dataclass(frozen=True)
class Benchmark:
    """A benchmark that the hub knows."""

    dataset: str
    """Its data set: ``owner/name``."""
    task: str
    """Id of the task, as the data set's ``eval.yaml`` has it."""

    def __post_init__(self) -> None:
        """Refuse what the hub could not look up.

        Raises:
            UsageError: One of the two is no id.
        """
        if _DATASET.fullmatch(self.dataset) is None:
            raise UsageError("--benchmark should be a data set of the hub: owner/name")
        if _TASK.fullmatch(self.task) is None:
            raise UsageError("--task should be the id of a task, as in the data set's eval.yaml")


def results_path(readme: Path, digest: Sha256) -> Path:
    """Return the file of a receipt's result, beside a card."""
    return readme.parent / RESULTS_FOLDER / f"safety-receipts-{digest[:16]}.yaml"


def results_file(
    receipt: EvaluationPredicate, digest: Sha256, benchmark: Benchmark, url: str | None
) -> bytes:
    """Return the file's content.

    Args:
        receipt: The receipt.
        digest: Its digest.
        benchmark: What it is stated as a result on.
        url: Where the receipt lies; None: that is not said.

    Raises:
        UsageError: No condition has a compliance rate.
        MalformedError: It would be read otherwise than it is meant.
    """
    entry = _entry(receipt, digest, benchmark, url)
    lines = [f"# Written by safety-receipts from receipt {digest}", *yaml_lines([entry])]
    text = "".join(f"{line}\n" for line in lines)
    if yaml.safe_load(text) != [yaml_values(entry)]:
        raise MalformedError("the file of results would be read otherwise", hint="not written")
    return text.encode()


def _entry(
    receipt: EvaluationPredicate, digest: Sha256, benchmark: Benchmark, url: str | None
) -> YamlTree:
    worst = _highest(receipt)
    instrument = "TEST INSTRUMENT, no real model; " if receipt.instrument else ""
    entry: YamlTree = {
        "dataset": {"id": benchmark.dataset, "task_id": benchmark.task},
        "value": IndexNumber(str(worst.compliance_rate)),
        "date": receipt.event.finished_at,
    }
    if url is not None:
        entry["source"] = {"url": url, "name": SOURCE_NAME}
    entry["notes"] = (
        f"{instrument}compliance rate from 0 to 1, the highest of {len(receipt.conditions)} "
        f"conditions of mixed demonstrations: {worst.id}; safety receipt {digest}"
    )
    return entry


def _highest(receipt: EvaluationPredicate) -> ConditionResult:
    rated = [one for one in receipt.conditions if one.compliance_rate is not None]
    if not rated:
        raise UsageError("no condition has a compliance rate", hint="leave out --benchmark")
    return max(rated, key=lambda one: Decimal(one.compliance_rate or 0))


def existing_results(path: Path) -> bytes | None:
    """Return what stands in a file of results; None: there is none.

    Raises:
        FileAccessError: It cannot be read, or lies behind a link.
        MalformedError: It is not by this program.
    """
    if path.parent.is_symlink():
        raise FileAccessError("is a symbolic link", file=path.parent)
    if not path.is_symlink() and not path.exists():
        return None
    data = read_bounded(path, MAX_RESULTS_BYTES)
    if not data.startswith(b"# Written by safety-receipts"):
        raise MalformedError("was not written by this program", file=path, hint="move it away")
    return data
