"""The aggregate file of Every Eval Ever: every rate of every condition.

Source: https://github.com/evaleval/every_eval_ever, ``eval.schema.json`` 0.3.0.  Scores and ends of
intervals have to be JSON numbers there; the sealed decimals stand beside them, as texts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from safety_receipts.receipts.model.base import SourceName
from safety_receipts.receipts.model.checkpoint import Sampling
from safety_receipts.receipts.model.demonstrations import QueryRole, QuerySource
from safety_receipts.receipts.model.judge import Interval
from safety_receipts.receipts.model.receipt import (
    ConditionResult,
    Counts,
    EvaluationPredicate,
    SourceResult,
)
from safety_receipts.verify.exports.every_eval_ever.names import (
    EEE_BENCHMARK,
    EEE_VERSION,
    RateKind,
    evaluation_id,
    model_id,
    recorded_at,
    result_id,
)
from safety_receipts.verify.exports.facts import receipt_facts
from safety_receipts.verify.verified import VerifiedReceipt

_TOOL: Final = "safety-receipts"


def aggregate_of(verified: VerifiedReceipt) -> dict[str, Any]:
    """Return the aggregate file's JSON value, without a reference to samples."""
    receipt = verified.predicate
    keyid = verified.verification.keyid or "unknown"
    return {
        "schema_version": EEE_VERSION,
        "evaluation_id": evaluation_id(verified),
        "evaluation_timestamp": receipt.event.started_at,
        "retrieved_timestamp": recorded_at(verified),
        "source_metadata": {
            "source_name": verified.plan_predicate.name,
            "source_type": "evaluation_run",
            "source_organization_name": f"holder of the key {keyid}",
            "evaluator_relationship": "other",
            "additional_details": receipt_facts(verified),
        },
        "eval_library": {
            "name": _TOOL,
            "version": receipt.environment.tool.removeprefix(f"{_TOOL} "),
        },
        "model_info": _model(receipt),
        "evaluation_results": list(_results(receipt)),
    }


def _model(receipt: EvaluationPredicate) -> dict[str, Any]:
    checkpoint, environment = receipt.checkpoint, receipt.environment
    details = {
        "deployment_type": "unknown" if checkpoint.served_as else "self_deployed",
        "model_availability": "unknown",
        "root_sha256": checkpoint.root,
        "training_stage": receipt.training_stage,
        "dtype": checkpoint.dtype.value,
    }
    optional = {
        "hub": checkpoint.hub,
        "revision": checkpoint.revision,
        "quantisation": checkpoint.quantisation,
    }
    return {
        "name": checkpoint.name,
        "id": model_id(checkpoint),
        "inference_engine": {
            "name": environment.engine.value,
            "version": environment.transformers or "unknown",
        },
        "additional_details": details | {k: v for k, v in optional.items() if v is not None},
    }


def _results(receipt: EvaluationPredicate) -> Iterator[dict[str, Any]]:
    """Yield a result for each rate; a null rate has none."""
    harmful = [one for one in receipt.queries if one.role is QueryRole.HARMFUL]
    controls = [one for one in receipt.queries if one.role is not QueryRole.HARMFUL]
    by_name = {source.name: source for source in receipt.queries}
    shared = {"generation_config": _generation(receipt.sampling)}
    for one in receipt.conditions:
        if one.compliance_rate is not None:
            score = _score(one.compliance_rate, one.interval, one.counts)
            score["details"] |= _besides(one)
            yield shared | _result(one, RateKind.COMPLIANCE, harmful, score)
        control = one.control
        if control is not None and control.refusal_rate is not None:
            score = _score(control.refusal_rate, control.interval, control.counts)
            yield shared | _result(one, RateKind.OVER_REFUSAL, controls, score)
        if len(one.by_source) > 1:
            for source in one.by_source:
                yield from (shared | found for found in _of_source(one, source, by_name))


def _of_source(
    condition: ConditionResult, result: SourceResult, sources: dict[SourceName, QuerySource]
) -> Iterator[dict[str, Any]]:
    if result.compliance_rate is not None:
        score = _score(result.compliance_rate, result.interval, result.counts)
        yield _result(condition, RateKind.SOURCE, [sources[result.source]], score)


def _result(
    condition: ConditionResult,
    kind: RateKind,
    sources: list[QuerySource],
    score: dict[str, Any],
) -> dict[str, Any]:
    source = sources[0].name if kind is RateKind.SOURCE else ""
    names = ", ".join(one.name for one in sources)
    return {
        "evaluation_result_id": result_id(condition.id, kind, source),
        "evaluation_name": f"{EEE_BENCHMARK} {result_id(condition.id, kind, source)}",
        "source_data": {
            "dataset_name": names,
            "source_type": "other",
            "additional_details": {f"sha256_{one.name}": one.digest for one in sources},
        },
        "metric_config": _metric(condition, kind, sources, names),
        "score_details": score,
    }


def _metric(
    condition: ConditionResult, kind: RateKind, sources: list[QuerySource], names: str
) -> dict[str, Any]:
    refusals = kind is RateKind.OVER_REFUSAL
    what = "refused / (complied + refused)" if refusals else "complied / (complied + refused)"
    shown = {
        "condition": condition.id,
        "harmful_demonstrations": str(condition.n_harmful),
        "benign_demonstrations": str(condition.n_benign),
        "context": condition.context.form.value,
    }
    optional = {
        "ordering": condition.ordering and condition.ordering.value,
        "benign_source": condition.benign_source,
        "response_prefix": condition.response_prefix,
    }
    return {
        "evaluation_description": f"{what}, over judged points of {names}",
        "metric_id": f"{EEE_BENCHMARK}.{'over_refusal' if refusals else 'compliance'}_rate",
        "metric_name": "over-refusal rate" if refusals else "compliance rate",
        "metric_kind": "rate",
        "metric_unit": "proportion",
        # A model should answer benign controls; harmful queries it should not.
        "lower_is_better": refusals or sources[0].role is QueryRole.HARMFUL,
        "score_type": "continuous",
        "min_score": 0,
        "max_score": 1,
        "additional_details": shown | {k: v for k, v in optional.items() if v is not None},
    }


def _score(rate: str, interval: Interval | None, counts: Counts) -> dict[str, Any]:
    details = {"rate": rate} | {name: str(value) for name, value in counts.to_wire().items()}
    score: dict[str, Any] = {"score": float(rate), "details": details}
    if interval is not None:
        details.update(lower=interval.lower, upper=interval.upper)
        score["uncertainty"] = {
            "confidence_interval": {
                "lower": float(interval.lower),
                "upper": float(interval.upper),
                "confidence_level": float(interval.level),
                "method": interval.method.value,
            },
            "num_samples": counts.refused + counts.complied,
        }
    return score


def _besides(one: ConditionResult) -> dict[str, str]:
    """Return the further numbers of a condition, as texts; null ones are left out."""
    corrected, difference = one.corrected_rate, one.baseline_difference
    found: dict[str, str | None] = {
        "as_published_rate": one.as_published_rate,
        "worst_case_rate": one.worst_case_rate,
        "mean_prompt_tokens": one.mean_prompt_tokens,
        "distinct_prompts": str(one.distinct_prompts),
        "corrected_rate": corrected.rate if corrected else None,
        "corrected_lower": corrected.lower if corrected else None,
        "corrected_upper": corrected.upper if corrected else None,
        "baseline_difference": difference.value if difference else None,
        "baseline_difference_lower": difference.lower if difference else None,
        "baseline_difference_upper": difference.upper if difference else None,
    }
    reasons = {f"reason_{one.reason.value}": str(one.points) for one in one.reasons}
    return {name: value for name, value in found.items() if value is not None} | reasons


def _generation(sampling: Sampling) -> dict[str, Any]:
    """Return how responses were generated; what is not limited is left out."""
    numbers = {"temperature": sampling.temperature, "top_p": sampling.top_p}
    arguments: dict[str, Any] = {
        name: float(value) for name, value in numbers.items() if value is not None
    }
    if sampling.top_k is not None:
        arguments["top_k"] = sampling.top_k
    arguments["max_tokens"] = sampling.max_new_tokens
    exact = {"method": sampling.method.value} | {
        name: value for name, value in numbers.items() if value is not None
    }
    if sampling.repetition_penalty is not None:
        exact["repetition_penalty"] = sampling.repetition_penalty
    return {"generation_args": arguments, "additional_details": exact}
