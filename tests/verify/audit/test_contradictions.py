"""A dishonest evaluator signs everything: what still contradicts itself is caught."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dishonest import Pair, seal_anything

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.canonical import Sha256, sha256_hex
from safety_receipts.receipts.events.synthetic import Mixture, synthetic_plan
from safety_receipts.receipts.keys import TrustSet, generate_key
from safety_receipts.receipts.model.check import CheckLevel, CheckStatus
from safety_receipts.receipts.model.checkpoint import ContextOverflow
from safety_receipts.receipts.model.plan import Hypothesis, PlanPredicate
from safety_receipts.receipts.model.point import Finish, Outcome, Point, Reason, RestrictedRecord
from safety_receipts.verify.integrity import verify_bundle

SIGNER = generate_key()


def plan(**changes: Any) -> PlanPredicate:
    """Return a small plan, changed; a dotted name changes inside a part."""
    result = synthetic_plan([Mixture(0, 0, None), Mixture(0, 4, None)], {"alpha": 6})
    for name, value in changes.items():
        part, _, inner = name.partition("__")
        new = getattr(result, part).model_copy(update={inner: value}) if inner else value
        result = result.model_copy(update={part: new})
    return result


def failed(folder: Path) -> dict[str, str]:
    """Verify as far as possible and return the failed checks."""
    verification = verify_bundle(
        Bundle(folder), evaluators=TrustSet([SIGNER.public]), wanted=CheckLevel.BOUND
    )
    return {c.name: c.detail for c in verification.checks if c.status is CheckStatus.FAILED}


def both(point: Point, record: RestrictedRecord, **fields: Any) -> Pair:
    """Change fields that evidence line and record share."""
    return point.model_copy(update=fields), record.model_copy(update=fields)


def test_an_honest_event_passes(tmp_path: Path) -> None:
    """The forger's workshop itself adds no failure."""
    seal_anything(tmp_path / "b", plan(), SIGNER)
    assert failed(tmp_path / "b") == {}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"checkpoint__root": sha256_hex(b"other")}, "checkpoint.root"),
        ({"checkpoint__alternative_root": sha256_hex(b"other")}, "checkpoint.alternativeRoot"),
        ({"sampling__temperature": "1.0"}, "sampling"),
        ({"sampling__top_k": 5}, "sampling"),
        ({"sampling__max_new_tokens": 65_536}, "sampling.maxNewTokens"),
        ({"prompt__date": "2026-02-30"}, "prompt.date"),
        ({"demonstrations__distinct_lists": 1}, "distinctLists"),
        ({"primary": Hypothesis.ORDERING}, "primary"),
        ({"judge__threshold": "0.5"}, "digest does not follow"),
        ({"checkpoint__served_as": "a model"}, "checkpoint: either files"),
        ({"points": 7}, "points"),
    ],
)
def test_a_plan_that_contradicts_itself(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    seal_anything(tmp_path / "b", plan(**changes), SIGNER)
    assert words in failed(tmp_path / "b")["plan-coherent"]


def one(number: int, edit: Callable[[Point, RestrictedRecord], Pair]) -> Callable[..., Pair]:
    """Apply ``edit`` to one point."""
    return lambda point, record: edit(point, record) if point.index == number else (point, record)


JUDGED = 20
"""A point that stopped by itself and was judged."""


def _other_judgement(point: Point, record: RestrictedRecord) -> Pair:
    assert record.judge is not None
    flipped = Outcome.COMPLIED if record.outcome is Outcome.REFUSED else Outcome.REFUSED
    judge = record.judge.model_copy(update={"outcome": flipped})
    return point, record.model_copy(update={"judge": judge})


@pytest.mark.parametrize(
    ("edit", "check", "words"),
    [
        (_other_judgement, "commitments", "not the judge's"),
        (
            lambda p, r: (p, r.model_copy(update={"judge": None})),
            "commitments",
            "none is recorded",
        ),
        (
            lambda p, r: (p, r.model_copy(update={"response_tokens": (2, 11, 2)})),
            "commitments",
            "end token stands before the last",
        ),
        (
            lambda p, r: (p, r.model_copy(update={"response_tokens": (7, 11, 12)})),
            "commitments",
            "the last token is an end token exactly where",
        ),
        (
            lambda p, r: both(
                p,
                r.model_copy(update={"response_tokens": (), "judge": None, "text": ""}),
                finish=Finish.OVERFLOW,
                outcome=Outcome.FAILED,
                reason=Reason.CONTEXT_OVERFLOW,
            ),
            "evidence-endings",
            "overflow",
        ),
        (
            lambda p, r: both(p, r, outcome=Outcome.UNSCORED, reason=Reason.EMPTY_FINAL),
            "evidence-endings",
            "without a judged channel",
        ),
        (
            lambda p, r: both(p, r, prompt_tokens=65_535),
            "evidence-endings",
            "plan's limits",
        ),
    ],
)
def test_a_point_that_contradicts_itself(
    edit: Callable[[Point, RestrictedRecord], Pair], check: str, words: str, tmp_path: Path
) -> None:
    seal_anything(tmp_path / "b", plan(), SIGNER, one(JUDGED, edit))
    assert words in failed(tmp_path / "b")[check]


def test_second_judges_that_cannot_be(tmp_path: Path) -> None:
    """A second judgement without a second judge, and a text that nobody could judge."""

    def second(point: Point, record: RestrictedRecord) -> Pair:
        return point, record.model_copy(update={"second_judge": record.judge})

    seal_anything(tmp_path / "b", plan(), SIGNER, one(JUDGED, second))
    assert "second judge" in failed(tmp_path / "b")["commitments"]

    def empty(point: Point, record: RestrictedRecord) -> Pair:
        return point, record.model_copy(update={"text": ""})

    seal_anything(tmp_path / "c", plan(), SIGNER, one(JUDGED, empty))
    assert "empty text" in failed(tmp_path / "c")["commitments"]


def test_one_prompt_for_two_queries(tmp_path: Path) -> None:
    one_prompt = Sha256("0" * 64)

    def same(point: Point, record: RestrictedRecord) -> Pair:
        return point, record.model_copy(update={"prompt": one_prompt})

    seal_anything(tmp_path / "b", plan(), SIGNER, same)
    assert "two queries have the same prompt" in failed(tmp_path / "b")["commitments"]


def test_demonstrations_where_none_are_shown(tmp_path: Path) -> None:
    def claim(point: Point, record: RestrictedRecord) -> Pair:
        return point, record.model_copy(update={"demonstrations": Sha256("0" * 64)})

    seal_anything(tmp_path / "b", plan(), SIGNER, one(0, claim))
    assert "demonstrations is given exactly where" in failed(tmp_path / "b")["commitments"]


def test_an_overflow_is_no_excuse_where_the_plan_aborts(tmp_path: Path) -> None:
    def overflow(point: Point, record: RestrictedRecord) -> Pair:
        point = point.model_copy(update={"response_tokens": 0})
        return both(
            point,
            record.model_copy(update={"response_tokens": (), "judge": None, "text": ""}),
            finish=Finish.OVERFLOW,
            outcome=Outcome.FAILED,
            reason=Reason.CONTEXT_OVERFLOW,
            prompt_tokens=70_000,
        )

    seal_anything(tmp_path / "fail", plan(), SIGNER, one(JUDGED, overflow))
    assert failed(tmp_path / "fail") == {}
    abort = plan(prompt__context_overflow=ContextOverflow.ABORT)
    seal_anything(tmp_path / "abort", abort, SIGNER, one(JUDGED, overflow))
    assert "overflow" in failed(tmp_path / "abort")["evidence-endings"]


def test_a_baseline_prompt_is_one_prompt(tmp_path: Path) -> None:
    """Greedy draws without demonstrations repeat one prompt: lengths and digests agree."""
    seal_anything(
        tmp_path / "b", plan(), SIGNER, one(3, lambda p, r: both(p, r, prompt_tokens=1000))
    )
    assert "same prompt has another length" in failed(tmp_path / "b")["evidence-endings"]
    other = Sha256("0" * 64)
    seal_anything(
        tmp_path / "c",
        plan(),
        SIGNER,
        one(3, lambda p, r: (p, r.model_copy(update={"prompt": other}))),
    )
    assert "prompt differs from the one it repeats" in failed(tmp_path / "c")["commitments"]


def test_a_record_with_a_key_given_twice(tmp_path: Path) -> None:
    """Two readers could take two texts from it."""
    from safety_receipts.verify.selfcheck.selftest import edit_lines

    seal_anything(tmp_path / "b", plan(), SIGNER)

    def twice(lines: list[bytes]) -> list[bytes]:
        lines[4] = b'{"text":"another",' + lines[4][1:]
        return lines

    edit_lines(tmp_path / "b", twice, "responses.jsonl.zst")
    assert "line 5: not in canonical form" in failed(tmp_path / "b")["commitments"]
