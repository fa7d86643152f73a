"""CycloneDX bill of materials of the evaluated model, with a model card (ECMA-424; 1.6 and 1.7).

Source: https://cyclonedx.org/docs/1.6/json/.  Written by hand: the format's libraries drop model
cards when they save.  All numbers are texts there, so they are the sealed decimals.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from safety_receipts.receipts import __version__
from safety_receipts.receipts.io.files import atomic_write
from safety_receipts.receipts.model.demonstrations import QueryRole
from safety_receipts.receipts.model.difference import Difference
from safety_receipts.receipts.model.judge import Interval
from safety_receipts.receipts.model.receipt import (
    LIMIT_MEANINGS,
    ConditionResult,
    Counts,
    EvaluationPredicate,
)
from safety_receipts.receipts.view.summary import INSTRUMENT
from safety_receipts.verify.exports.facts import common_remarks, receipt_facts
from safety_receipts.verify.exports.kinds import Exported, ExportRequest
from safety_receipts.verify.exports.written import json_text, repeatable_uuid
from safety_receipts.verify.subject import is_instrument
from safety_receipts.verify.verified import VerifiedReceipt

_TOOL: Final = "safety-receipts"
_LEFT: Final = (
    "Outcomes of single points, tables of findings, intervals' methods and the plan are not in it: "
    "the bundle has them.",
    "Its component names the checkpoint by its root, which is the digest of no file; the files "
    "below it have their own.",
)
_MODEL: Final = "checkpoint"
"""Reference of the model inside the bill."""


def export_cyclonedx(request: ExportRequest) -> Exported:
    """Write a bill of materials with one machine-learning model: the checkpoint.

    Raises:
        FileAccessError: The file cannot be written.
    """
    metrics = list(_metrics(request.verified.predicate))
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": request.spec_version.value,
        "serialNumber": _serial(request.verified),
        "version": 1,
        "metadata": {
            "timestamp": request.verified.predicate.event.finished_at,
            "tools": {
                "components": [{"type": "application", "name": _TOOL, "version": __version__}]
            },
        },
        "components": [_model(request.verified, metrics)],
    }
    atomic_write(request.out, json_text(bill))
    remarks = (*common_remarks(request.verified), *_LEFT)
    return Exported((request.out,), len(metrics), "metrics", remarks)


def _serial(verified: VerifiedReceipt) -> str:
    return f"urn:uuid:{repeatable_uuid('cyclonedx', verified.signed.envelope.digest)}"


def _model(verified: VerifiedReceipt, metrics: list[dict[str, Any]]) -> dict[str, Any]:
    checkpoint = verified.predicate.checkpoint
    described = {"description": INSTRUMENT} if is_instrument(verified.predicate) else {}
    revision = {"version": checkpoint.revision} if checkpoint.revision else {}
    return {
        "type": "machine-learning-model",
        "bom-ref": _MODEL,
        "name": checkpoint.name,
        **revision,
        **described,
        "hashes": [_sha256(checkpoint.root)],
        "components": [
            {"type": "file", "name": file.path, "hashes": [_sha256(file.sha256)]}
            for file in checkpoint.files
        ],
        "externalReferences": [_attestation(verified)],
        "modelCard": {
            "quantitativeAnalysis": {"performanceMetrics": metrics},
            "considerations": {"technicalLimitations": _limitations(verified.predicate)},
        },
        "properties": [
            {"name": f"{_TOOL}:{name}", "value": value}
            for name, value in receipt_facts(verified).items()
        ],
    }


def _sha256(digest: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": digest}


def _attestation(verified: VerifiedReceipt) -> dict[str, Any]:
    digest = verified.signed.envelope.digest
    return {
        "type": "attestation",
        "url": f"urn:safety-receipts:receipt:{digest}",
        "comment": "The receipt, by the digest of the payload of receipt.dsse.json",
        "hashes": [_sha256(digest)],
    }


def _limitations(receipt: EvaluationPredicate) -> list[str]:
    first = [INSTRUMENT] if is_instrument(receipt) else []
    return [*first, *(LIMIT_MEANINGS[limit] for limit in receipt.limits)]


def _metrics(receipt: EvaluationPredicate) -> Iterator[dict[str, Any]]:
    """Yield every count and rate of every condition; a null rate has no metric."""
    for one in receipt.conditions:
        where = f"condition {one.id}"
        yield from _condition(one, where)
        for source in one.by_source:
            place = f"{where}, query source {source.source} ({source.role.value})"
            yield from _counts(source.counts, place)
            name = "compliance rate"
            yield from _rate(name, source.compliance_rate, place, source.interval)
        if one.control is not None:
            place = f"{where}, benign control queries"
            yield from _counts(one.control.counts, place)
            yield from _rate(
                "over-refusal rate", one.control.refusal_rate, place, one.control.interval
            )


def _condition(one: ConditionResult, condition: str) -> Iterator[dict[str, Any]]:
    where = f"{condition}, {QueryRole.HARMFUL.value} queries"
    corrected, difference = one.corrected_rate, one.baseline_difference
    yield from _counts(one.counts, where)
    for reason in one.reasons:
        yield _metric(f"points with reason {reason.reason.value}", str(reason.points), where)
    yield from _rate("compliance rate", one.compliance_rate, where, one.interval)
    rate = None if corrected is None else corrected.rate
    yield from _rate("compliance rate corrected for the judge's errors", rate, where, corrected)
    rate = None if difference is None else difference.value
    yield from _rate("compliance rate minus the baseline's", rate, where, difference)
    yield from _rate("compliance rate as published", one.as_published_rate, where)
    yield from _rate("compliance rate at most", one.worst_case_rate, where)
    yield _metric("distinct prompts", str(one.distinct_prompts), where)
    yield from _rate("mean prompt tokens", one.mean_prompt_tokens, where)


def _counts(counts: Counts, where: str) -> Iterator[dict[str, Any]]:
    for name in type(counts).model_fields:
        yield _metric(f"{name.replace('_', '-')} points", str(getattr(counts, name)), where)


def _rate(
    name: str, value: str | None, where: str, interval: Interval | Difference | None = None
) -> Iterator[dict[str, Any]]:
    if value is None:
        return
    found = _metric(name, value, where)
    if interval is not None:
        found["confidenceInterval"] = {
            "lowerBound": interval.lower,
            "upperBound": interval.upper,
        }
    yield found


def _metric(name: str, value: str, where: str) -> dict[str, Any]:
    return {"type": name, "value": value, "slice": where}
