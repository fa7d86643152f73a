"""The entries of ``model-index`` that a receipt gives: as values, and as the YAML of them.

The format is the Hugging Face hub's (``huggingface_hub.model_index_to_eval_results``).  Results
that share task, data set, configuration, split and revision count as one there, and keep the first
one's names: so each condition is a configuration of its own, and the revision is the receipt.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.model.judge import Interval
from safety_receipts.receipts.model.receipt import ConditionResult, EvaluationPredicate
from safety_receipts.receipts.model.statement import EVALUATION_TYPE

TASK_TYPE: Final = "text-generation"
"""The hub's name of the task."""
SOURCE_NAME: Final = "safety-receipts"
"""What the source of the results is called."""
_TASK_NAME: Final = "Harmful requests after mixed demonstrations"
_LONGEST_NAME: Final = 200


@dataclass(frozen=True)
class IndexNumber:
    """A number as the receipt spells it; in YAML and JSON it is that number."""

    text: str

    @property
    def value(self) -> int | float:
        """Return the number as a reader of YAML has it."""
        return float(self.text) if "." in self.text else int(self.text)


YamlTree = dict[str, Any]
"""Mappings, lists, text and :class:`IndexNumber`: what YAML is written from."""


def index_entry(receipt: EvaluationPredicate, digest: Sha256, url: str | None) -> YamlTree:
    """Return the entry of ``model-index`` that a receipt gives.

    Conditions without any rate are left out: the format has no form for them.

    Args:
        receipt: The receipt.
        digest: Its digest.
        url: Where it lies; None: that is not said.
    """
    results = []
    for condition in receipt.conditions:
        metrics = list(_metrics(condition))
        if not metrics:
            continue
        result: YamlTree = {
            "task": {"type": TASK_TYPE, "name": _TASK_NAME},
            "dataset": {
                "type": EVALUATION_TYPE,
                "name": _dataset_name(receipt, condition),
                "config": condition.id,
                "revision": digest,
            },
            "metrics": metrics,
        }
        if url is not None:
            result["source"] = {"name": SOURCE_NAME, "url": url}
        results.append(result)
    return {"name": printable(receipt.checkpoint.name, _LONGEST_NAME), "results": results}


def _dataset_name(receipt: EvaluationPredicate, condition: ConditionResult) -> str:
    shown = f"{condition.n_harmful} harmful and {condition.n_benign} benign demonstrations"
    if not condition.n_harmful + condition.n_benign:
        shown = "no demonstrations"
    before = "TEST INSTRUMENT, no real model: " if receipt.instrument else ""
    stage = printable(receipt.training_stage, _LONGEST_NAME)
    return f"{before}stage {stage} after {shown} ({condition.id})"


def _metrics(condition: ConditionResult) -> Iterator[YamlTree]:
    counts, control = condition.counts, condition.control
    judged = counts.complied + counts.refused
    if condition.compliance_rate is not None:
        yield _metric(
            "compliance_rate",
            "Compliance rate, of judged responses to harmful requests",
            condition.compliance_rate,
            _args(condition.interval, judged),
        )
    if condition.worst_case_rate is not None:
        yield _metric(
            "worst_case_compliance_rate",
            "Compliance rate if all that is not a judged refusal complied",
            condition.worst_case_rate,
            {"planned": IndexNumber(str(counts.planned))},
        )
    if control is not None and control.refusal_rate is not None:
        yield _metric(
            "over_refusal_rate",
            "Over-refusal, of judged responses to benign requests",
            control.refusal_rate,
            _args(control.interval, control.counts.complied + control.counts.refused),
        )


def _metric(kind: str, name: str, rate: str, args: YamlTree) -> YamlTree:
    return {"type": kind, "name": name, "value": IndexNumber(rate), "args": args}


def _args(interval: Interval | None, judged: int) -> YamlTree:
    """Return what belongs to a rate: its interval, and over how many it is."""
    ends = {}
    if interval is not None:
        ends = {
            "interval_lower": IndexNumber(interval.lower),
            "interval_upper": IndexNumber(interval.upper),
            "interval_level": IndexNumber(interval.level),
        }
    return {**ends, "judged": IndexNumber(str(judged))}


def yaml_values(tree: Any) -> Any:
    """Return a tree as a reader of YAML has it: numbers are numbers."""
    match tree:
        case IndexNumber():
            return tree.value
        case dict():
            return {key: yaml_values(part) for key, part in tree.items()}
        case list():
            return [yaml_values(part) for part in tree]
        case _:
            return tree


def yaml_lines(tree: Any, column: int = 0) -> Iterator[str]:
    """Yield a tree as lines of YAML in block style.

    Text stands in double quotes, which readers of YAML 1.1 and 1.2 and of JSON take alike: no
    digest is taken for a number, and no name for a truth value.

    Args:
        tree: Mappings and lists that are not empty, text of printable characters, and numbers.
        column: How far it is indented.
    """
    blanks = " " * column
    if isinstance(tree, list):
        for item in tree:
            first, *rest = yaml_lines(item, column + 2)
            yield f"{blanks}- {first.lstrip(' ')}"
            yield from rest
        return
    for key, part in tree.items():
        if isinstance(part, dict | list):
            yield f"{blanks}{key}:"
            yield from yaml_lines(part, column + (2 if isinstance(part, dict) else 0))
        else:
            yield f"{blanks}{key}: {_scalar(part)}"


def _scalar(part: Any) -> str:
    return part.text if isinstance(part, IndexNumber) else json.dumps(part, ensure_ascii=False)
