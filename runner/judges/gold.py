"""Gold files, and how far a judge agrees with them.

A gold file holds responses that people labelled, as JSON lines: ``{"query", "response",
"label": "refused" | "complied", "stratum"?}``; other keys are not read.  A calibration says
how often a judge gives the same labels.  It waits in a file of its own until a plan names it
and seals it.

The rates mean what they say where responses were drawn for labelling without regard to what
the judge makes of them: drawing, say, as many that it calls refused as complied, where one is
rare, biases both (verification bias; Begg and Greenes 1983).
"""

from __future__ import annotations

import io
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from safety_receipts.receipts.canonical import Sha256, sha256_hex
from safety_receipts.receipts.documents.strict_json import parse_json
from safety_receipts.receipts.errors import (
    FileAccessError,
    IncompleteError,
    MalformedError,
    UsageError,
)
from safety_receipts.receipts.events.coherence import calibration_problems
from safety_receipts.receipts.findings.counts.rates import rate_string, wilson
from safety_receipts.receipts.io.files import atomic_write, read_own_file
from safety_receipts.receipts.model.base import Name
from safety_receipts.receipts.model.judge import (
    MAX_STRATA,
    CalibrationDocument,
    GoldKind,
    JudgeCalibration,
    JudgeIdentity,
    StratumCalibration,
)
from safety_receipts.receipts.model.point import Outcome, Reason
from safety_receipts.runner.corpora.record import NumberText, Record
from safety_receipts.runner.corpora.tables import Format, open_table
from safety_receipts.runner.judges.judge import Exchange, Judgement

MAX_GOLD_BYTES = 256 * 1024 * 1024
"""Longest gold file; XSTest-Response has 449 responses and less than a megabyte."""

_MAX_DOCUMENT_BYTES = 1024 * 1024
_LABELS = {label.value: label for label in (Outcome.REFUSED, Outcome.COMPLIED)}
_COMMAND = "receipts judge calibrate PLAN --gold FILE --out FILE"
_AGAIN = f"calibrate again: {_COMMAND}"
_STRATUM: TypeAdapter[str] = TypeAdapter(Name)


@dataclass(frozen=True, slots=True)
class GoldResponse:
    """A response with the label that people gave it."""

    exchange: Exchange
    """What the judge is shown."""
    label: Outcome
    """``refused`` or ``complied``."""
    stratum: str | None
    """Its stratum; None where the file has no strata."""


@dataclass(frozen=True)
class GoldFile:
    """A gold file that was read."""

    digest: Sha256
    """SHA-256 of the file's bytes."""
    responses: tuple[GoldResponse, ...]
    """Its responses in order, each once; at least one.  All have a stratum, or none has."""
    repeated: int
    """Lines left out because an earlier one is the same."""


def read_gold(path: Path) -> GoldFile:
    """Read a gold file.

    Two lines with one query and one response, to the letter, are one observation.

    Raises:
        FileAccessError: The file cannot be read.
        MalformedError: It is no gold file, too large, or contradicts itself; with the line.
    """
    data = read_own_file(path, MAX_GOLD_BYTES)
    table = open_table(io.BytesIO(data), os.fspath(path), Format.JSONL)
    first: GoldResponse | None = None
    seen: dict[Exchange, tuple[str, GoldResponse]] = {}
    strata: set[str | None] = set()
    lines = 0
    for record in table.records(table.columns):
        lines += 1
        response = _gold_response(record)
        place, same = seen.setdefault(response.exchange, (record.place, response))
        if same.label is not response.label:
            raise record.error(
                f"is labelled {response.label.value}, and the same response on {place} "
                f"{same.label.value}",
                "decide which label is right, and remove the other line",
            )
        first = first or response
        if (first.stratum is None) != (response.stratum is None):
            raise record.error(
                "has no stratum, unlike the lines before it"
                if response.stratum is None
                else "has a stratum, unlike the lines before it",
                "give every line a stratum, or none",
            )
        if same.stratum != response.stratum:
            raise record.error(
                f"is in stratum {response.stratum!r}, and the same response on {place} in "
                f"{same.stratum!r}",
                "strata do not overlap: remove one of the lines",
            )
        strata.add(response.stratum)
        if len(strata) > MAX_STRATA:
            raise record.error(f"more than {MAX_STRATA} strata", "join some")
    responses = tuple(response for _, response in seen.values())
    return GoldFile(sha256_hex(data), responses, lines - len(responses))


def _gold_response(record: Record) -> GoldResponse:
    texts = {name: _text(record, name) for name in ("query", "response", "label")}
    for name, text in texts.items():
        if not text.strip():
            raise record.error(f"{name}: is empty or missing", "supply it, or remove the line")
    label = texts.pop("label")
    if label not in _LABELS:
        raise record.error(f"label: {label[:40]!r} is not a label", f"one of {', '.join(_LABELS)}")
    stratum = _text(record, "stratum")
    if stratum.strip():
        try:
            _STRATUM.validate_python(stratum)
        except ValidationError:
            raise record.error(
                "stratum: is not a valid name",
                "one line of at most 512 characters, no control characters",
            ) from None
    return GoldResponse(Exchange(**texts), _LABELS[label], stratum if stratum.strip() else None)


def _text(record: Record, name: str) -> str:
    """Return a key's text; null and missing as empty."""
    value = record.values.get(name)
    if value is not None and (not isinstance(value, str) or isinstance(value, NumberText)):
        raise record.error(f"{name}: is not text", "put it in quotes")
    return record.checked(value, name)


def calibration_of(
    gold: GoldFile, kind: GoldKind, judge: JudgeIdentity, judgements: Sequence[Judgement]
) -> JudgeCalibration:
    """Return how often a judge gave the labels of a gold file.

    What it could not judge is neither right nor wrong: it leaves both denominators and is
    counted by itself.  Intervals are Wilson's: they take the responses for independent.

    Args:
        gold: The file.
        kind: Where its responses came from.
        judge: Whose judgements they are.
        judgements: Of its responses, in order.

    Raises:
        IncompleteError: The judge could judge none of them.
    """
    pairs = list(zip(gold.responses, judgements, strict=True))
    if all(judgement.outcome is Outcome.UNSCORED for judgement in judgements):
        errors = (judgement.error or judgement.reason for judgement in judgements)
        raise IncompleteError(
            f"{judge.name} could judge none of {len(pairs):,} gold responses; of the first: "
            f"{next(errors)}",
            hint="check that judge and file are the right ones",
        )
    by_stratum: dict[str, Counter[tuple[Outcome, Outcome]]] = {}
    for response, judgement in pairs:
        if response.stratum is not None:
            counts = by_stratum.setdefault(response.stratum, Counter())
            counts[response.label, judgement.outcome] += 1
    whole = Counter((response.label, judgement.outcome) for response, judgement in pairs)
    return JudgeCalibration(
        judge=judge.digest,
        gold=gold.digest,
        gold_kind=kind,
        **_agreement(whole),
        strata=tuple(
            StratumCalibration(stratum=name, **_agreement(counts))
            for name, counts in sorted(by_stratum.items())
        ),
    )


def _agreement(counts: Counter[tuple[Outcome, Outcome]]) -> dict[str, Any]:
    """Return the fields of a :class:`~receipts.model.judge.GoldAgreement`."""
    refused, complied = Outcome.REFUSED, Outcome.COMPLIED
    true_positives, true_negatives = counts[complied, complied], counts[refused, refused]
    positives = true_positives + counts[complied, refused]
    negatives = true_negatives + counts[refused, complied]
    return {
        "positives": positives,
        "true_positives": true_positives,
        "negatives": negatives,
        "true_negatives": true_negatives,
        "sensitivity": rate_string(true_positives, positives),
        "sensitivity_interval": wilson(true_positives, positives) if positives else None,
        "specificity": rate_string(true_negatives, negatives),
        "specificity_interval": wilson(true_negatives, negatives) if negatives else None,
        "unscored": counts.total() - positives - negatives,
    }


def reasons_unscored(judgements: Sequence[Judgement]) -> dict[Reason, int]:
    """Return why responses could not be judged, with how many, the most frequent first."""
    reasons = Counter(one.reason for one in judgements if one.reason is not None)
    return dict(reasons.most_common())


def write_judge_calibration(path: Path, calibration: JudgeCalibration) -> None:
    """Write a calibration into a file that appears whole or not at all.

    Raises:
        FileAccessError: It cannot be written.
    """
    document = CalibrationDocument(version=1, calibration=calibration)
    text = json.dumps(document.to_wire(), indent=2, ensure_ascii=False)
    atomic_write(path, text.encode("utf-8") + b"\n")


def read_judge_calibration(path: Path) -> JudgeCalibration:
    """Read what :func:`write_judge_calibration` wrote, and hold its numbers to its counts.

    Raises:
        FileAccessError: The file cannot be read.
        MalformedError: It is not a calibration of a judge, or contradicts itself.
    """
    try:
        data = read_own_file(path, _MAX_DOCUMENT_BYTES)
    except FileAccessError as error:
        hint = f"write it with: {_COMMAND}"
        raise FileAccessError(error.message, file=path, hint=hint) from None
    parse_json(data, file=path)
    try:
        document = CalibrationDocument.model_validate_json(data, by_alias=True, by_name=False)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = "$" + "".join(
            f"[{step}]" if isinstance(step, int) else f".{step}" for step in first["loc"]
        )
        raise MalformedError(
            f"is not a calibration of a judge: {first['msg']}", file=path, place=place, hint=_AGAIN
        ) from None
    for problem in calibration_problems(document.calibration):
        raise MalformedError(problem, file=path, hint=_AGAIN)
    return document.calibration


def hold_to_judge(calibration: JudgeCalibration, judge: JudgeIdentity, path: Path) -> None:
    """Make sure that a calibration, read from ``path``, is about this judge.

    Raises:
        UsageError: It is about another.
    """
    if calibration.judge != judge.digest:
        raise UsageError(
            f"calibrates another judge ({calibration.judge[:16]}…) than the plan's {judge.name} "
            f"({judge.digest[:16]}…)",
            file=path,
            hint=_AGAIN,
        )
