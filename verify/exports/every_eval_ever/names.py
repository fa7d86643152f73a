"""What a receipt, its model and its rates are called in Every Eval Ever.

Source: https://github.com/evaleval/every_eval_ever.
"""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Final

from safety_receipts.receipts.model.base import ConditionId
from safety_receipts.receipts.model.checkpoint import Checkpoint
from safety_receipts.verify.exports.written import repeatable_uuid
from safety_receipts.verify.verified import VerifiedReceipt

EEE_VERSION: Final = "0.3.0"
"""Version of the schema."""
EEE_BENCHMARK: Final = "safety-receipts"
"""Name of the benchmark: a folder of the data store."""
NO_DEVELOPER: Final = "unpublished"
"""Developer of a checkpoint that is on no hub; ``unknown`` is refused there."""

_NOT_PORTABLE: Final = re.compile(r"[^A-Za-z0-9._-]+")
_DEVICES: Final = {"CON", "PRN", "AUX", "NUL"} | {
    f"{d}{n}" for d in ("COM", "LPT") for n in "123456789"
}


class RateKind(StrEnum):
    """The rates of a condition that have a result of their own."""

    COMPLIANCE = "compliance"
    """On harmful queries."""
    OVER_REFUSAL = "over-refusal"
    """On benign control queries."""
    SOURCE = "source"
    """Compliance on one query source."""


def model_id(checkpoint: Checkpoint) -> str:
    """Return ``developer/model``: what the folders are called, so portable names."""
    developer, _, model = (checkpoint.hub or "").rpartition("/")
    if not developer:
        developer, model = NO_DEVELOPER, checkpoint.name
    return f"{_portable(developer)}/{_portable(model)}"


def _portable(name: str) -> str:
    """Return a name that can be a folder on every system, and in the data store."""
    clean = _NOT_PORTABLE.sub("_", name).strip("._-")[:100].rstrip("._-")
    taken = clean.lower() in ("", "data", "unknown") or clean.split(".")[0].upper() in _DEVICES
    return f"model-{clean}".rstrip("-") if taken else clean


def recorded_at(verified: VerifiedReceipt) -> str:
    """Return when the record was made, in seconds since 1970: when the event ended.

    So a second export of one receipt says the same.
    """
    ended = datetime.fromisoformat(verified.predicate.event.finished_at)
    return str(int(ended.timestamp()))


def evaluation_id(verified: VerifiedReceipt) -> str:
    """Return the id of the evaluation: name with the receipt's digest, model and time."""
    name = f"{EEE_BENCHMARK}-{verified.signed.envelope.digest[:16]}"
    return f"{name}/{model_id(verified.predicate.checkpoint)}/{recorded_at(verified)}"


def result_id(condition: ConditionId, kind: RateKind, source: str = "") -> str:
    """Return the id of one rate, by which samples name it."""
    return "/".join(part for part in (condition, kind.value, source) if part)


def aggregate_path(verified: VerifiedReceipt) -> PurePosixPath:
    """Return where the aggregate lies in the data store."""
    folder = PurePosixPath("data", EEE_BENCHMARK, model_id(verified.predicate.checkpoint))
    return folder / f"{repeatable_uuid('every-eval-ever', verified.signed.envelope.digest)}.json"


def samples_path(verified: VerifiedReceipt) -> PurePosixPath:
    """Return where the samples lie: beside the aggregate."""
    aggregate = aggregate_path(verified)
    return aggregate.with_name(f"{aggregate.stem}_samples.jsonl")
