"""The identity of a judge."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import rfc8785

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.model.judge import JudgeIdentity, JudgeKind, judge_digest

JUDGE = JudgeIdentity(
    kind=JudgeKind.CHAT,
    name="a judge",
    hub="example/judge",
    revision="main",
    digest=Sha256("00" * 32),
    weights=Sha256("ab" * 32),
    template=Sha256("cd" * 32),
    parser="yes-no/1",
    threshold="0.5",
    max_new_tokens=16,
    remote=False,
)


def test_the_digest_is_over_all_that_a_label_depends_on() -> None:
    array: list[str | int] = [
        "safety-receipts/judge/1",
        "chat",
        "ab" * 32,
        "cd" * 32,
        "yes-no/1",
        "0.5",
        16,
    ]
    assert judge_digest(JUDGE) == hashlib.sha256(rfc8785.dumps(array)).hexdigest()


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": JudgeKind.WILDGUARD},
        {"weights": None},
        {"template": "ab" * 32},
        {"parser": "yes-no/2"},
        {"threshold": None},
        {"threshold": "0.50"},
        {"max_new_tokens": None},
        {"max_new_tokens": 17},
    ],
)
def test_another_way_to_judge_is_another_judge(changes: dict[str, Any]) -> None:
    assert judge_digest(JUDGE.model_copy(update=changes)) != judge_digest(JUDGE)


@pytest.mark.parametrize(
    "changes",
    [{"name": "the same judge"}, {"hub": None, "revision": None}, {"digest": "ff" * 32}],
)
def test_where_a_judge_came_from_is_not_what_it_is(changes: dict[str, Any]) -> None:
    assert judge_digest(JUDGE.model_copy(update=changes)) == judge_digest(JUDGE)
