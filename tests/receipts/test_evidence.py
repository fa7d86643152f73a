"""Points held to their plan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from safety_receipts.receipts.canonical import Sha256, event_seed, sha256_hex
from safety_receipts.receipts.events.synthetic import Mixture, synthetic_plan, synthetic_points
from safety_receipts.receipts.evidence import FirstProblems, PointChecker
from safety_receipts.receipts.findings.counts.observations import OUTCOMES
from safety_receipts.receipts.model.base import ConditionId, QueryId, SourceName
from safety_receipts.receipts.model.checkpoint import ContextOverflow
from safety_receipts.receipts.model.demonstrations import Ordering
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.receipts.model.point import Finish, Outcome, Point, Reason

DIGEST = sha256_hex(b"a plan")
SEED = event_seed(DIGEST, None)
FAILED: dict[str, Any] = {
    "finish": Finish.ERROR,
    "outcome": Outcome.FAILED,
    "reason": Reason.ENGINE_ERROR,
    "response_tokens": 0,
    "prefix_adopted": None,
}
OVERFLOWED = FAILED | {
    "finish": Finish.OVERFLOW,
    "reason": Reason.CONTEXT_OVERFLOW,
    "prompt_tokens": 65_536,
}
UNSCORED: dict[str, Any] = {"outcome": Outcome.UNSCORED, "reason": Reason.JUDGE_NA}


def a_plan() -> PlanPredicate:
    """Return a plan whose second condition is random and whose third has a prefix.

    Four queries and two draws: the conditions start at points 0, 8 and 16.
    """
    mixtures = [Mixture(0, 0, None), Mixture(2, 2, Ordering.RANDOM), Mixture(1, 0, None)]
    plan = synthetic_plan(mixtures, {"alpha": 3}, controls={"gamma": 1})
    *others, last = plan.conditions
    last = last.model_copy(update={"id": ConditionId("h1-b0-pre:1"), "response_prefix": "Answer:"})
    return plan.model_copy(
        update={"conditions": (*others, last), "response_prefixes": ("Answer:",)}
    )


def good_points(plan: PlanPredicate) -> list[Point]:
    """Return points as planned, every one of them judged."""
    judged: dict[str, Any] = {
        "finish": Finish.STOP,
        "outcome": Outcome.REFUSED,
        "reason": None,
        "response_tokens": 3,
    }
    return [
        point.model_copy(
            update=judged | {"prefix_adopted": True if ":1" in point.condition else None}
        )
        for point, _ in synthetic_points(plan, DIGEST)
    ]


def checked(points: list[Point], plan: PlanPredicate, seed: Sha256 = SEED) -> PointChecker:
    """Return a checker that has seen the points."""
    checker = PointChecker(plan, seed)
    for point in points:
        assert checker.check(point)
    return checker


def test_points_as_planned_have_no_problems_and_are_collected() -> None:
    plan = a_plan()
    points = good_points(plan)
    checker = checked(points, plan)
    assert checker.problems == FirstProblems()
    assert checker.problems.first() is None
    found = checker.observer.result()
    assert found.plan is plan
    assert [OUTCOMES[code] for code in found.outcome.ravel()] == [p.outcome for p in points]
    assert found.prompt_tokens.ravel().tolist() == [p.prompt_tokens for p in points]


def test_synthetic_points_have_no_problems() -> None:
    plan = a_plan()
    points = [point for point, _ in synthetic_points(plan, DIGEST)]
    assert checked(points, plan).problems == FirstProblems()


def test_the_plan_says_where_the_points_end() -> None:
    plan = a_plan()
    points = good_points(plan)
    checker = checked(points, plan)
    assert not checker.check(points[-1])


def change(number: int, **changes: Any) -> Callable[[list[Point]], list[Point]]:
    """Return an edit of one point."""

    def edit(points: list[Point]) -> list[Point]:
        points[number] = points[number].model_copy(update=changes)
        return points

    return edit


ORDER: dict[str, Callable[[list[Point]], list[Point]]] = {
    "a point is missing": lambda points: points[1:],
    "a point is repeated": lambda points: [points[0], *points[:-1]],
    "points are swapped": lambda points: [points[1], points[0], *points[2:]],
    "points run backwards": lambda points: points[::-1],
    "an index is wrong": change(3, index=4),
    "a query is another": change(3, query=QueryId("alpha/00009")),
    "a draw is another": change(3, draw=5),
    "a condition is another": change(3, condition=ConditionId("h1-b1")),
    "a source is another": change(3, source=SourceName("gamma")),
}


@pytest.mark.parametrize("edit", ORDER.values(), ids=ORDER)
def test_points_out_of_order(edit: Callable[[list[Point]], list[Point]]) -> None:
    plan = a_plan()
    problems = checked(edit(good_points(plan)), plan).problems
    assert problems.order is not None
    assert "should be point" in problems.order
    assert problems.first() == problems.order


def test_the_first_point_out_of_order_is_named() -> None:
    plan = a_plan()
    problems = checked(change(9, draw=7)(change(3, draw=5)(good_points(plan))), plan).problems
    assert problems.order is not None
    assert problems.order.startswith("line 4 should be point 3: h0-b0, alpha/00001, draw 1; it is")


LABELS: dict[str, Callable[[list[Point]], list[Point]]] = {
    "labels of another order": change(9, labels="bbhh"),
    "labels left out under random": change(9, labels=None),
    "labels where the condition has them": change(3, labels=""),
    "a prefix flag without a prefix": change(3, prefix_adopted=False),
    "a prefix without its flag": change(17, prefix_adopted=None),
    "a prefix flag without a response": change(17, **FAILED | {"prefix_adopted": False}),
}


@pytest.mark.parametrize("edit", LABELS.values(), ids=LABELS)
def test_labels_and_flags_that_do_not_follow(edit: Callable[[list[Point]], list[Point]]) -> None:
    plan = a_plan()
    assert good_points(plan)[9].labels != "bbhh"
    problems = checked(edit(good_points(plan)), plan).problems
    assert problems.labels is not None
    assert problems.labels.startswith(("line 10:", "line 4:", "line 18:"))
    assert problems.order is problems.endings is None
    assert problems.first() == problems.labels


def test_labels_follow_from_the_seed_of_the_event() -> None:
    """A run that drew its order after looking at some results has other labels."""
    plan = a_plan()
    problems = checked(good_points(plan), plan, event_seed(DIGEST, "ab" * 32)).problems
    assert problems.labels is not None
    assert "labels do not follow from the plan's seed" in problems.labels


def test_each_random_condition_has_labels_of_its_own() -> None:
    """Conditions that differ in a prefix only are shuffled by their own ids."""
    mixtures = [Mixture(0, 0, None), Mixture(3, 3, Ordering.RANDOM)]
    plan = synthetic_plan(mixtures, {"alpha": 4})
    baseline, plain = plan.conditions
    update = {"id": ConditionId("h3-b3-random-pre:1"), "response_prefix": "Answer:"}
    conditions = (baseline, plain, plain.model_copy(update=update))
    plan = plan.model_copy(update={"conditions": conditions, "points": 24})
    points = good_points(plan)
    assert [p.labels for p in points[8:16]] != [p.labels for p in points[16:]]
    assert checked(points, plan).problems == FirstProblems()


def test_queries_of_a_block_share_their_labels() -> None:
    plan = a_plan()
    one_block = plan.demonstrations.model_copy(update={"draw_block": "all", "distinct_lists": 2})
    plan = plan.model_copy(update={"demonstrations": one_block})
    points = good_points(plan)
    assert checked(points, plan).problems == FirstProblems()
    assert len({point.labels for point in points[8:16]}) <= 2


ENDINGS: dict[str, Callable[[list[Point]], list[Point]]] = {
    "a response of no token": change(9, response_tokens=0),
    "a response beyond the limit": change(9, response_tokens=5),
    "a length stop before the limit": change(9, finish=Finish.LENGTH, response_tokens=3),
    "a length stop beyond the limit": change(9, finish=Finish.LENGTH, response_tokens=5),
    "a failure with a response": change(9, **FAILED | {"response_tokens": 1}),
    "an overflow that would have fitted": change(9, **OVERFLOWED | {"prompt_tokens": 65_532}),
    "an overflow with a response": change(9, **OVERFLOWED | {"response_tokens": 1}),
    "a prompt that was answered and does not fit": change(9, prompt_tokens=65_533),
    "an error on a prompt that does not fit": change(9, **FAILED | {"prompt_tokens": 65_533}),
    "one prompt of two lengths": change(3, prompt_tokens=1),
    "an empty channel where there are none": change(9, **UNSCORED | {"reason": Reason.EMPTY_FINAL}),
}


@pytest.mark.parametrize("edit", ENDINGS.values(), ids=ENDINGS)
def test_endings_that_contradict_the_plan(edit: Callable[[list[Point]], list[Point]]) -> None:
    plan = a_plan()
    assert (plan.sampling.max_new_tokens, plan.prompt.context_limit) == (4, 65_536)
    problems = checked(edit(good_points(plan)), plan).problems
    assert problems.endings is not None
    assert problems.endings.startswith(("line 10:", "line 4:"))
    assert problems.order is problems.labels is None
    assert problems.first() == problems.endings


@pytest.mark.parametrize(
    "changes",
    [
        FAILED,
        OVERFLOWED,
        OVERFLOWED | {"prompt_tokens": 65_533},
        UNSCORED,
        {"prompt_tokens": 65_532},
        {"response_tokens": 1},
        {"response_tokens": 4},
        {"finish": Finish.LENGTH, "response_tokens": 4},
        FAILED | {"reason": Reason.OUT_OF_MEMORY},
    ],
)
def test_endings_that_can_occur(changes: dict[str, Any]) -> None:
    plan = a_plan()
    assert checked(change(9, **changes)(good_points(plan)), plan).problems == FirstProblems()


def test_an_overflow_needs_a_plan_that_allows_it() -> None:
    plan = a_plan()
    abort = plan.prompt.model_copy(update={"context_overflow": ContextOverflow.ABORT})
    plan = plan.model_copy(update={"prompt": abort})
    problems = checked(change(9, **OVERFLOWED)(good_points(plan)), plan).problems
    assert problems.endings is not None


def test_an_empty_channel_needs_a_plan_that_judges_one() -> None:
    plan = a_plan()
    prompt = plan.prompt.model_copy(update={"judged_channel": "final"})
    plan = plan.model_copy(update={"prompt": prompt})
    edit = change(9, **UNSCORED | {"reason": Reason.EMPTY_FINAL})
    assert checked(edit(good_points(plan)), plan).problems == FirstProblems()


def test_after_a_point_out_of_order_nothing_else_is_claimed() -> None:
    plan = a_plan()
    points = change(3, draw=5)(change(9, labels="bbhh")(good_points(plan)))
    checker = PointChecker(plan, SEED)
    for point in points[:12]:
        assert checker.check(point)
    assert checker.problems.order is not None
    assert checker.problems.labels is None
    with pytest.raises(ValueError, match="cannot reshape"):
        checker.observer.result()
