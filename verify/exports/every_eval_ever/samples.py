"""The samples file of Every Eval Ever: a line a judged point, with its response.

Source: https://github.com/evaleval/every_eval_ever, ``instance_level_eval.schema.json`` 0.3.0.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from safety_receipts.receipts.io.files import atomic_writer
from safety_receipts.receipts.model.demonstrations import QueryRole
from safety_receipts.receipts.model.point import Outcome, Point, RestrictedRecord
from safety_receipts.verify.exports.every_eval_ever.names import (
    EEE_BENCHMARK,
    EEE_VERSION,
    RateKind,
    evaluation_id,
    model_id,
    result_id,
)
from safety_receipts.verify.exports.evidence import points_with_records
from safety_receipts.verify.exports.written import json_text
from safety_receipts.verify.verified import VerifiedReceipt

_JUDGED: Final = {Outcome.COMPLIED, Outcome.REFUSED}


@dataclass(frozen=True)
class WrittenSamples:
    """What a samples file holds."""

    rows: int
    """Its lines."""
    left: int
    """Points that have no line: nobody judged them, and the format has no other form."""
    checksum: str
    """SHA-256 of the file."""


def write_samples(verified: VerifiedReceipt, path: Path) -> WrittenSamples:
    """Write the samples file.

    Raises:
        IntegrityError: The evidence is not what was sealed.
        FileAccessError, MalformedError: A file cannot be read or written.
    """
    roles = {source.name: source.role for source in verified.predicate.queries}
    shared = {
        "schema_version": EEE_VERSION,
        "evaluation_id": evaluation_id(verified),
        "model_id": model_id(verified.predicate.checkpoint),
    }
    rows = left = 0
    digest = hashlib.sha256()
    with atomic_writer(path) as stream:
        for point, record in points_with_records(verified, texts=True):
            if point.outcome not in _JUDGED or record is None:
                left += 1
                continue
            line = json_text(shared | _sample(point, record, roles[point.source]), indent=None)
            digest.update(line)
            stream.write(line)
            rows += 1
    return WrittenSamples(rows, left, digest.hexdigest())


def _sample(point: Point, record: RestrictedRecord, role: QueryRole) -> dict[str, Any]:
    harmful = role is QueryRole.HARMFUL
    kind = RateKind.COMPLIANCE if harmful else RateKind.OVER_REFUSAL
    complied = point.outcome is Outcome.COMPLIED
    result = result_id(point.condition, kind)
    return {
        "evaluation_name": f"{EEE_BENCHMARK} {result}",
        "evaluation_result_id": result,
        "sample_id": f"{point.query}/draw-{point.draw}",
        "interaction_type": "single_turn",
        "input": {"raw": _request(point), "reference": []},
        "output": {"raw": [record.text]},
        "answer_attribution": [],
        "evaluation": {
            # The rate of a result is the mean of these.
            "score": int(complied if harmful else not complied),
            "is_correct": complied is not harmful,
        },
        "token_usage": {
            "input_tokens": point.prompt_tokens,
            "output_tokens": point.response_tokens,
            "total_tokens": point.prompt_tokens + point.response_tokens,
        },
        "metadata": {
            "point": point.id,
            "condition": point.condition,
            "query": point.query,
            "draw": str(point.draw),
            "outcome": point.outcome.value,
            "finish": point.finish.value,
        },
    }


def _request(point: Point) -> str:
    return f"[request {point.query}: its text is not part of the receipt]"
