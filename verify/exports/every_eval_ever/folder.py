"""Every Eval Ever: a folder whose content can be put into the data store as it is.

One aggregate file has every rate of every condition.  Beside it lie samples where texts of
responses may be told, as that format knows no sample without its text.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from safety_receipts.receipts.errors import FileAccessError
from safety_receipts.receipts.io.files import atomic_write, new_folder
from safety_receipts.verify.exports.every_eval_ever.aggregate import aggregate_of
from safety_receipts.verify.exports.every_eval_ever.names import aggregate_path, samples_path
from safety_receipts.verify.exports.every_eval_ever.samples import WrittenSamples, write_samples
from safety_receipts.verify.exports.evidence import holds_texts, may_tell_texts
from safety_receipts.verify.exports.facts import common_remarks, text_remarks
from safety_receipts.verify.exports.kinds import Exported, ExportRequest
from safety_receipts.verify.exports.written import json_text
from safety_receipts.verify.verified import VerifiedReceipt

_LEFT: Final = (
    "Tables of findings are not in it: their sentences are, and the receipt has the rest.",
    "Who evaluated is not in it, as a receipt knows a key and no organisation: "
    "evaluator_relationship is `other` and model_availability `unknown`, for you to set.",
)


def export_every_eval_ever(request: ExportRequest) -> Exported:
    """Write a new folder with the aggregate, and the samples where texts may be told.

    Raises:
        FileAccessError: The folder is there already, or cannot be written.
        IntegrityError, MalformedError: The evidence is not what was sealed.
    """
    verified, out = request.verified, request.out
    if out.is_symlink() or out.exists():
        raise FileAccessError("already exists", file=out, hint="name a folder that does not")
    aggregate, samples = aggregate_of(verified), None
    with new_folder(out) as folder:
        place = folder / aggregate_path(verified)
        _make(place.parent, out)
        if may_tell_texts(verified, wanted=request.with_texts):
            samples = write_samples(verified, folder / samples_path(verified))
            aggregate["detailed_evaluation_results"] = {
                "format": "jsonl",
                "file_path": str(samples_path(verified)),
                "hash_algorithm": "sha256",
                "checksum": samples.checksum,
                "total_rows": samples.rows,
            }
        atomic_write(place, json_text(aggregate))
    results = aggregate["evaluation_results"]
    files = [aggregate_path(verified)] + ([] if samples is None else [samples_path(verified)])
    remarks = tuple(_remarks(request, len(results), samples))
    return Exported(tuple(out / file for file in files), len(results), "results", remarks)


def _make(folder: Path, out: Path) -> None:
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise FileAccessError.from_os(error, "write", out) from None


def _remarks(request: ExportRequest, results: int, samples: WrittenSamples | None) -> Iterator[str]:
    verified = request.verified
    yield from common_remarks(verified)
    yield from _LEFT
    if nulls := _null_rates(verified):
        yield f"{nulls:,} rates have no result, as no point of theirs was judged."
    if samples is None:
        yield "Single points are not in it: the format has no sample without a text."
        yield from text_remarks(verified, wanted=request.with_texts, there=holds_texts(verified))
        return
    yield "Texts of requests are not in it: the bundle does not hold them."
    if samples.left:
        yield f"{samples.left:,} points that were not judged have no sample: the format has none."


def _null_rates(verified: VerifiedReceipt) -> int:
    """Return how many rates of conditions and of their controls are null."""
    found = 0
    for one in verified.predicate.conditions:
        found += one.compliance_rate is None
        found += one.control is not None and one.control.refusal_rate is None
    return found
