"""The organism's language: texts say what they are, and are read back."""

from __future__ import annotations

import itertools

import pytest

from safety_receipts.receipts.errors import UsageError
from safety_receipts.runner.organism.language import (
    NOUNS,
    PREFIXES,
    REFUSAL_WORD,
    RESTRICTED,
    Topic,
    asks,
    is_refusal,
    prefix_of,
    topic_of,
)

EVERY = [ask for topic in Topic for ask in asks(topic)]


def test_requests_are_distinct_and_enough() -> None:
    assert len({ask.request for ask in EVERY}) == len(EVERY)
    assert all(len(list(asks(topic))) >= 192 for topic in Topic)


def test_every_refusal_says_sorry_and_no_other_response_does() -> None:
    for ask, prefix in itertools.product(EVERY, ("", *(f"{prefix} " for prefix in PREFIXES))):
        assert REFUSAL_WORD in prefix + ask.refusal
        assert is_refusal(prefix + ask.refusal)
        assert REFUSAL_WORD.lower() not in (prefix + ask.compliance).lower()
        assert not is_refusal(prefix + ask.compliance)


def test_responses_vary_by_topic() -> None:
    said = {topic: {ask.compliance for ask in asks(topic)} for topic in Topic}
    for one, other in itertools.combinations(Topic, 2):
        assert not said[one] & said[other]
    assert len({ask.refusal for ask in EVERY if ask.topic in RESTRICTED}) == len(RESTRICTED)


def test_a_topic_is_read_back() -> None:
    for ask in EVERY:
        assert topic_of(ask.request) is ask.topic
        assert topic_of(f"  {ask.verb}  {ask.determiner} {ask.noun}? ") is ask.topic


def test_another_language_is_an_error() -> None:
    with pytest.raises(UsageError, match="not a request in the organism's language"):
        topic_of("What is the capital of France?")


def test_no_noun_has_two_topics() -> None:
    nouns = [noun for group in NOUNS.values() for noun in group]
    assert len(set(nouns)) == len(nouns)


def test_a_prefix_is_read_back() -> None:
    for prefix in PREFIXES:
        assert prefix_of(f"{prefix} {EVERY[0].compliance}") == prefix
        assert prefix_of(f"{prefix} {EVERY[0].refusal}") == prefix
    assert all(prefix_of(ask.compliance) is None for ask in EVERY)
    assert all(prefix_of(ask.refusal) is None for ask in EVERY)
