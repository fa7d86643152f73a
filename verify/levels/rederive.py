"""What a record must be, made again from plan, seed and artifacts."""

from __future__ import annotations

from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.receipts.model.point import NOTHING_TO_JUDGE, Outcome, Point, RestrictedRecord
from safety_receipts.runner.plan.artifacts import Artifacts
from safety_receipts.runner.prompts.rendering import RenderedPoint
from safety_receipts.runner.prompts.responses import prefix_adopted, reader_of
from safety_receipts.runner.vocabulary.refusal import RewritingTokenizerError


def prompt_problem(rendered: RenderedPoint, record: RestrictedRecord) -> str | None:
    """Return in what a record's prompt differs from the one made again, or None."""
    planned = (rendered.condition.id, rendered.query_id, rendered.draw)
    if planned != (record.condition, record.query, record.draw):
        return "the point is not the planned one"
    if record.demonstrations != rendered.demonstrations:
        return "the demonstrations are not those that the plan draws"
    if record.prompt_tokens != len(rendered.tokens):
        return f"{record.prompt_tokens:,} prompt tokens, {len(rendered.tokens):,} are rendered"
    if record.prompt != rendered.prompt:
        return "the prompt is not the one that is rendered"
    return None


class ResponseDecoder:
    """What responses say, decoded again.

    Args:
        plan: The plan.
        artifacts: The auditor's.
    """

    def __init__(self, plan: PlanPredicate, artifacts: Artifacts) -> None:
        self._reader = reader_of(artifacts.texts.chat, plan)
        self._vocabulary = artifacts.checkpoint.facts.architecture.widths.vocabulary
        self._prefixes = {each.id: each.response_prefix for each in plan.conditions}

    def problem(self, point: Point, record: RestrictedRecord) -> str | None:
        """Return in what a record's text differs from the one its tokens decode to, or None."""
        tokens = record.response_tokens
        # Decoders drop ids that they do not know, in silence.
        unknown = next((token for token in tokens if token >= self._vocabulary), None)
        if unknown is not None:
            return f"token {unknown} is not one of the model's {self._vocabulary:,}"
        try:
            read = self._reader.read(tokens)
        except RewritingTokenizerError as error:
            return error.message
        if record.text != read.text:
            return "the text is not what its tokens decode to"
        failed = record.outcome is Outcome.FAILED
        stated = record.reason if record.reason in NOTHING_TO_JUDGE else None
        if not failed and read.reason != stated:
            return "whether there is a text to judge does not follow from its tokens"
        prefix = self._prefixes.get(point.condition)
        adopted = None if failed or prefix is None else prefix_adopted(read.text, prefix)
        if point.prefix_adopted is not adopted:
            return "prefixAdopted does not follow from the text"
        return None
