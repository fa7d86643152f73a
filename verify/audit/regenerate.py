"""Auditing a model that cannot be loaded: ask it again, and compare rates.

Behind an API there are no logits to hold a recorded response against.  What is left is to ask
for new responses to drawn points and to test whether the rate over them agrees: the same
betting test, on points drawn from all that were planned, with everything that does not end as
the claim has it counting against it.  Nothing ties the recorded responses to the model then, and
a model may have changed since: the most such an audit says is *consistent with*.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from safety_receipts.receipts.canonical import Sha256, tagged_digest
from safety_receipts.receipts.errors import IntegrityError
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.receipts.model.point import Outcome, Reason
from safety_receipts.runner.engines.answers import completions_of
from safety_receipts.runner.prompts.rendering import Renderer
from safety_receipts.runner.run.counting import render_points
from safety_receipts.runner.run.execute import RunStack
from safety_receipts.runner.run.judging import judgeable_response, opinions
from safety_receipts.runner.run.requests import decoding_of, request_of
from safety_receipts.verify.audit.replay import Entry
from safety_receipts.verify.audit.statistics.replayed import ReplayedPoint
from safety_receipts.verify.levels.rederive import prompt_problem

REGENERATE_SEED_TAG = "safety-receipts/regenerate/1"


@dataclass(frozen=True)
class Regenerator:
    """Asks for new responses to points of one sealed event.

    Args:
        plan: The sealed plan.
        renderer: Renders its prompts from the auditor's artifacts.
        stack: The auditor's engine and judge.
        nonce: The challenge's: seeded sampling gets noise of its own from it, as the recorded
            responses' noise would only give the recorded responses again.
    """

    plan: PlanPredicate
    renderer: Renderer
    stack: RunStack
    nonce: str

    def replay(self, entries: Sequence[Entry]) -> list[ReplayedPoint]:
        """Return the label of a new response to each point, in order.

        Args:
            entries: Points, each with its record, whatever became of them.

        Raises:
            IntegrityError: A record's prompt does not follow from the plan and the artifacts.
        """
        rendered = render_points(self.renderer, [point.index for point, _ in entries])
        seed = Sha256(tagged_digest(REGENERATE_SEED_TAG, self.nonce).hex())
        sampling = self.plan.sampling
        requests = []
        for (point, record), one in zip(entries, rendered, strict=True):
            problem = prompt_problem(one, record)
            if problem is not None:
                raise IntegrityError(f"point {point.index} ({point.condition}): {problem}")
            requests.append(request_of(one, sampling, seed))
        completions = completions_of(self.stack.engine, requests, decoding_of(sampling))
        answered = [completions[request.key] for request in requests]
        said = [judgeable_response(completion, self.stack.reader) for completion in answered]
        exchanges = [one.after(point.query) for one, point in zip(said, rendered, strict=True)]
        judgements = [first for first, _ in opinions(self.stack.judge, None, exchanges)]
        return [
            ReplayedPoint(
                id=point.id,
                condition=point.condition,
                recorded=point.outcome,
                label=Outcome.UNSCORED if judgement is None else judgement.outcome,
                missing=_missing(completion.reason, completion.error),
            )
            for (point, _), completion, judgement in zip(entries, answered, judgements, strict=True)
        ]


def _missing(reason: Reason | None, error: str | None) -> str | None:
    return None if reason is None else error or reason.value
