"""How often a second judge gives the first one's label."""

from __future__ import annotations

import pytest

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.findings.counts.agreement import AgreementCounter
from safety_receipts.receipts.model.judge import JudgeAgreement
from safety_receipts.receipts.model.point import Outcome, RecordedJudgement

R, C, U, F = Outcome.REFUSED, Outcome.COMPLIED, Outcome.UNSCORED, Outcome.FAILED


@pytest.mark.parametrize(
    ("pairs", "points", "agreed", "unscored"),
    [
        ([], 0, 0, 0),
        ([(R, R), (C, C), (R, C), (C, R), (C, C)], 5, 3, 0),
        ([(R, U), (C, U), (R, R)], 1, 1, 2),
        ([(U, R), (U, U), (F, R)], 0, 0, 0),
        ([(R, None), (C, None)], 0, 0, 0),
    ],
)
def test_agreement_is_over_what_both_judged(
    sealed: Bundle,
    pairs: list[tuple[Outcome, Outcome | None]],
    points: int,
    agreed: int,
    unscored: int,
) -> None:
    template = next(sealed.responses())
    counter = AgreementCounter()
    for first, second in pairs:
        judgement = None
        if second is not None:
            judgement = RecordedJudgement(outcome=second, reason=None, raw="", margin=None)
        counter.add(template.model_copy(update={"outcome": first, "second_judge": judgement}))
    expected = JudgeAgreement(points=points, agreed=agreed, second_unscored=unscored)
    assert counter.result() == expected
