"""Does a second judge, asked again, agree as often as is recorded?

Its labels stand in the restricted records alone, and no rate depends on them, so no draw for a
rate would show a false one.  It is asked again of those points, among the ones replayed for
the model's identity, on which both judges are recorded to agree: a uniform sample of all such
points, without replacement.  What both agree on is false, too, where the first judge's label or
the response is not what the record says: else false ones could be made to agree.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.model.audit import AuditTerms, SecondJudgeVerdict
from safety_receipts.receipts.model.judge import JudgeAgreement
from safety_receipts.runner.judges.judge import Exchange, ResponseJudge
from safety_receipts.runner.prompts.rendering import Renderer
from safety_receipts.runner.run.counting import render_points
from safety_receipts.runner.run.judging import JUDGED, judged
from safety_receipts.verify.audit.replay import Entry
from safety_receipts.verify.audit.statistics.agreement import second_verdict


class SecondOpinion:
    """Asks the auditor's second judge of recorded texts.

    Args:
        judge: The judge.
        renderer: Knows the queries.
    """

    def __init__(self, judge: ResponseJudge, renderer: Renderer) -> None:
        self._judge, self._renderer = judge, renderer

    def contradicted(self, entries: Sequence[Entry]) -> list[int]:
        """Return the numbers, from 1, of those whose recorded label it does not give again."""
        rendered = render_points(self._renderer, [point.index for point, _ in entries])
        exchanges = [
            Exchange(one.query, record.text)
            for one, (_, record) in zip(rendered, entries, strict=True)
        ]
        answers = judged(self._judge, exchanges)
        return [
            number
            for number, (answer, (_, record)) in enumerate(
                zip(answers, entries, strict=True), start=1
            )
            if record.second_judge is None or answer.outcome is not record.second_judge.outcome
        ]


class AsksAgain(Protocol):
    """Asks a second judge again, here or in a worker."""

    def contradicted(self, entries: Sequence[Entry]) -> list[int]:
        """Return the numbers, from 1, of those whose recorded label it does not give again."""


def ask_again(
    entries: Sequence[Entry],
    agreement: JudgeAgreement,
    terms: AuditTerms,
    asked: AsksAgain,
    contradicted: Collection[Sha256] = (),
) -> SecondJudgeVerdict:
    """Ask a second judge again of points on which both are recorded to agree.

    Args:
        entries: The points replayed for the model's identity, in the order drawn.
        agreement: What the receipt says.
        terms: The audit's.
        asked: Asks it.
        contradicted: Ids of those whose replay counts against their recorded outcome.
    """
    agreed = [
        entry
        for entry in entries
        if entry[1].second_judge is not None
        and entry[1].outcome in JUDGED
        and entry[1].second_judge.outcome is entry[1].outcome
    ]
    wrong = set(asked.contradicted(agreed))
    wrong.update(n for n, (point, _) in enumerate(agreed, start=1) if point.id in contradicted)
    return second_verdict(agreement, terms, len(agreed), wrong)
