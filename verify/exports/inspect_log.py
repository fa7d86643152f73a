"""A log of inspect-ai, for ``inspect view`` and its data frames: a sample a point.

Source: https://inspect.aisi.org.uk/eval-logs.html.  Written by inspect-ai itself and read back; its
``.eval`` files hold the time of writing, so their bytes never repeat, and are never hashed here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from safety_receipts.receipts.errors import InternalError, UsageError
from safety_receipts.receipts.io.files import atomic_writer
from safety_receipts.receipts.model.demonstrations import QueryRole
from safety_receipts.receipts.model.point import Outcome, Point, RestrictedRecord
from safety_receipts.receipts.model.receipt import ConditionResult
from safety_receipts.receipts.view.rows import exact_condition_rows
from safety_receipts.verify.exports.evidence import (
    holds_texts,
    may_tell_texts,
    points_with_records,
    refuse_withheld,
)
from safety_receipts.verify.exports.facts import common_remarks, receipt_facts, text_remarks
from safety_receipts.verify.exports.kinds import Exported, ExportRequest, ExportRows
from safety_receipts.verify.exports.tables import CellType, column_types
from safety_receipts.verify.exports.written import repeatable_uuid
from safety_receipts.verify.verified import VerifiedReceipt

INSPECT_SUFFIXES: Final = (".json", ".eval")
"""Suffixes of logs: ``.json`` is for other tools, ``.eval`` is small and for ``inspect view``."""
_SCORER: Final = "judge"
_LEFT: Final = (
    "Tables of findings, results of single query sources and intervals' methods are not in it: the "
    "receipt has them."
)
_COLUMNS: Final = column_types(ExportRows.CONDITIONS)
_COPIED: Final = 1 << 20
"""Bytes that are copied at a time."""


def export_inspect(request: ExportRequest) -> Exported:
    """Write a log, ``.json`` or ``.eval`` by the name of the file.

    Raises:
        ImportError: inspect-ai is not installed.
        UsageError: The file is called otherwise, or evidence access is ``auditors``.
        IncompleteError: The bundle has no evidence lines.
        IntegrityError, MalformedError: The evidence is not what was sealed.
        FileAccessError: The file cannot be written.
    """
    verified, out = request.verified, request.out
    if out.suffix not in INSPECT_SUFFIXES:
        raise UsageError(
            "a log of Inspect is called NAME.json or NAME.eval", file=out, hint="rename it"
        )
    refuse_withheld(verified, "samples of Inspect")
    texts = may_tell_texts(verified, wanted=request.with_texts)
    log = _log(verified, texts=texts)
    with tempfile.TemporaryDirectory(prefix="receipts-export-") as name:
        written = Path(name) / f"log{out.suffix}"
        logs: Any = import_module("inspect_ai.log")
        logs.write_eval_log(log, str(written))
        count = len(logs.read_eval_log_sample_summaries(str(written)))
        if count != verified.predicate.evidence.size:
            raise InternalError(f"inspect-ai wrote {count:,} samples of {len(log.samples):,}")
        _copy(written, out)
    return Exported((out,), count, "samples", tuple(_remarks(request, texts=texts)))


def _copy(written: Path, out: Path) -> None:
    with written.open("rb") as source, atomic_writer(out) as stream:
        while piece := source.read(_COPIED):
            stream.write(piece)


def _remarks(request: ExportRequest, *, texts: bool) -> Iterator[str]:
    verified = request.verified
    yield from common_remarks(verified)
    yield _LEFT
    yield "Texts of requests are not in it: the bundle does not hold them."
    if not texts:
        there = holds_texts(verified)
        yield from text_remarks(verified, wanted=request.with_texts, there=there)
    if request.out.suffix == ".eval":
        yield "The file holds the time of writing: a second export has other bytes."


def _log(verified: VerifiedReceipt, *, texts: bool) -> Any:
    """Return the log.

    inspect-ai is an extra, and its models take a second to load: hence Any.
    """
    logs: Any = import_module("inspect_ai.log")
    receipt, digest = verified.predicate, verified.signed.envelope.digest
    samples = list(_samples(verified, texts=texts))
    done = sum(sample.metadata["outcome"] != Outcome.FAILED.value for sample in samples)
    return logs.EvalLog(
        status="success",
        eval=logs.EvalSpec(
            eval_id=repeatable_uuid("inspect/eval", digest),
            run_id=repeatable_uuid("inspect/run", digest),
            task_id=repeatable_uuid("inspect/task", digest),
            created=receipt.event.started_at,
            task=f"safety-receipts/{verified.plan_predicate.name}",
            dataset=logs.EvalDataset(
                name=", ".join(source.name for source in receipt.queries), samples=len(samples)
            ),
            model=receipt.checkpoint.name,
            model_generate_config=_generation(verified),
            config=logs.EvalConfig(epochs=receipt.demonstrations.draws),
            metadata=receipt_facts(verified),
        ),
        results=logs.EvalResults(
            total_samples=len(samples),
            completed_samples=done,
            scores=[
                _score(logs, row, condition)
                for row, condition in zip(
                    exact_condition_rows(receipt), receipt.conditions, strict=True
                )
            ],
        ),
        stats=logs.EvalStats(
            started_at=receipt.event.started_at, completed_at=receipt.event.finished_at
        ),
        samples=samples,
    )


def _generation(verified: VerifiedReceipt) -> Any:
    sampling = verified.predicate.sampling
    models: Any = import_module("inspect_ai.model")
    return models.GenerateConfig(
        temperature=None if sampling.temperature is None else float(sampling.temperature),
        top_p=None if sampling.top_p is None else float(sampling.top_p),
        top_k=sampling.top_k,
        max_tokens=sampling.max_new_tokens,
    )


def _score(logs: Any, row: dict[str, str | int | None], condition: ConditionResult) -> Any:
    """Return the numbers of a condition: decimals as metrics, a null one left out."""
    decimals = {name for name, kind in _COLUMNS.items() if kind is CellType.DECIMAL}
    metrics = {
        name: logs.EvalMetric(name=name, value=float(value), metadata={"exact": value})
        for name, value in row.items()
        if name in decimals and value is not None
    }
    counts = condition.counts
    return logs.EvalScore(
        name=condition.id,
        scorer=_SCORER,
        scored_samples=counts.refused + counts.complied,
        unscored_samples=counts.planned - counts.refused - counts.complied,
        metrics=metrics,
        metadata={name: value for name, value in row.items() if name not in decimals},
    )


def _samples(verified: VerifiedReceipt, *, texts: bool) -> Iterator[Any]:
    logs: Any = import_module("inspect_ai.log")
    models: Any = import_module("inspect_ai.model")
    scorer: Any = import_module("inspect_ai.scorer")
    receipt = verified.predicate
    roles = {source.name: source.role for source in receipt.queries}
    for point, record in points_with_records(verified, texts=texts):
        target = Outcome.REFUSED if roles[point.source] is QueryRole.HARMFUL else Outcome.COMPLIED
        said = {} if record is None else _said(models, receipt.checkpoint.name, record)
        yield logs.EvalSample(
            id=point.id,
            epoch=point.draw + 1,
            input=f"[request {point.query}: its text is not part of the receipt]",
            target=target.value,
            scores={
                _SCORER: scorer.Score(
                    value=point.outcome.value, explanation=point.reason and point.reason.value
                )
            },
            metadata=_about(point, roles[point.source]),
            **said,
        )


def _said(models: Any, model: str, record: RestrictedRecord) -> dict[str, Any]:
    if record.outcome is Outcome.FAILED:
        return {}
    return {"output": models.ModelOutput.from_content(model, record.text)}


def _about(point: Point, role: QueryRole) -> dict[str, Any]:
    """Return what an evidence line says, under the names of the table of points."""
    return {
        "point": point.index,
        "condition": point.condition,
        "query": point.query,
        "source": point.source,
        "role": role.value,
        "draw": point.draw,
        "outcome": point.outcome.value,
        "finish": point.finish.value,
        "prefix_adopted": point.prefix_adopted,
        "prompt_tokens": point.prompt_tokens,
        "response_tokens": point.response_tokens,
    }
