"""The deterministic stand-in keeps the engines' promises."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_receipts.receipts.model.plan import EngineKind
from safety_receipts.receipts.model.point import Finish, Reason
from safety_receipts.runner.engines.answers import generate_completions
from safety_receipts.runner.engines.engine import GREEDY, Decoding, Engine, Request
from safety_receipts.runner.engines.mock import MockEngine
from safety_receipts.runner.prompts.prefix_tree import in_one_tree

SEEDED = Decoding(1.0)
STOPS = frozenset({3, 4})


def asked(key: int, *tokens: int, new: int = 12, seed: int = 0) -> Request:
    return Request(key, tokens or (7,), new, STOPS, seed)


def test_it_is_an_engine_of_kind_mock() -> None:
    engine: Engine = MockEngine()
    assert engine.identity.kind is EngineKind.MOCK


@given(
    tokens=st.lists(st.integers(0, 255), min_size=1, max_size=9),
    seed=st.integers(0, 2**64 - 1),
    new=st.integers(1, 40),
)
def test_responses_depend_on_the_request_and_end_as_promised(
    tokens: list[int], seed: int, new: int
) -> None:
    one, other = asked(1, *tokens, new=new, seed=seed), asked(9, 1, 2, new=5)
    engine = MockEngine()
    (alone,) = generate_completions(engine, [one], SEEDED)
    beside = {c.key: c for c in generate_completions(engine, [other, one], SEEDED)}
    assert beside[1] == alone
    assert all(token not in STOPS for token in alone.tokens[:-1])
    if alone.finish is Finish.STOP:
        assert alone.tokens[-1] in STOPS
    else:
        assert alone.finish is Finish.LENGTH
        assert alone.tokens[-1] not in STOPS
        assert len(alone.tokens) == new


def test_seeds_change_seeded_responses_and_no_greedy_ones() -> None:
    requests = [asked(seed, 1, 2, 3, seed=seed) for seed in range(20)]
    engine = MockEngine()
    assert len({c.tokens for c in generate_completions(engine, requests, GREEDY)}) == 1
    assert len({c.tokens for c in generate_completions(engine, requests, SEEDED)}) == 20


def test_its_own_responses_have_margin_zero_and_a_changed_token_has_more() -> None:
    engine = MockEngine()
    requests = [asked(key, key, seed=key) for key in range(10)]
    for request, completion in zip(
        requests, generate_completions(engine, requests, SEEDED), strict=True
    ):
        (own,) = engine.score([(request, completion.tokens)], SEEDED)
        assert set(own.margins) == {0.0}
        changed = ((completion.tokens[0] + 1) % 256, *completion.tokens[1:])
        (other,) = engine.score([(request, changed)], SEEDED)
        assert other.margins[0] > 0
        assert len(other.margins) == len(other.logprobs) == len(changed)


def test_logits_are_given_for_every_token_of_the_response() -> None:
    request = Request(1, (5,), 6, frozenset(), logits_for=(0, 9))
    (completion,) = generate_completions(
        MockEngine(respond=lambda _: [9, 0, 1, 9, 9, 2]), [request]
    )
    assert completion.logits == ((0, 1), (1, 0), (0, 0), (0, 1), (0, 1), (0, 0))


def test_planted_faults_fail_their_request_and_no_other() -> None:
    def respond(request: Request) -> Sequence[int]:
        if request.key == 1:
            raise RuntimeError("planted\nsecond line")
        if request.key == 2:
            raise MemoryError
        return {3: [], 4: [8, 8], 5: [9, 999] * 6}.get(request.key, [8, 3, 8])

    engine = MockEngine(respond=respond)
    found = {c.key: c for c in generate_completions(engine, [asked(key) for key in range(1, 7)])}
    assert found[1].error == "RuntimeError: planted"
    assert found[2].reason is Reason.OUT_OF_MEMORY
    assert [found[k].reason for k in (1, 3, 4, 5)] == [Reason.ENGINE_ERROR] * 4
    assert found[6].tokens == (8, 3)
    assert found[6].finish is Finish.STOP
    (margins,) = engine.score([(asked(1), (8,))])
    assert margins.reason is Reason.ENGINE_ERROR
    assert margins.margins == ()


def test_a_prompt_is_held_to_the_vocabulary_whatever_else_stands_in_its_tree() -> None:
    prompts = in_one_tree([(5, 6), (5, 256), (5, 255)])
    assert {id(prompt.tree) for prompt in prompts} == {id(prompts[0].tree)}
    asked = [Request(key, prompt, 4, STOPS) for key, prompt in enumerate(prompts)]
    found = {c.key: c.reason for c in generate_completions(MockEngine(), asked)}
    assert found == {0: None, 1: Reason.ENGINE_ERROR, 2: None}


@pytest.mark.parametrize(
    "request_",
    [
        Request(1, (), 4, STOPS),
        Request(1, (5,), 0, STOPS),
        Request(1, (256,), 4, STOPS),
        Request(1, (-1,), 4, STOPS),
        Request(1, (5,) * 60, 5, STOPS),
        Request(1, (5,), 4, STOPS, seed=2**64),
        Request(1, (5,), 4, STOPS, logits_for=(256,)),
    ],
)
def test_requests_that_cannot_be_answered_end_in_an_error(request_: Request) -> None:
    (completion,) = generate_completions(MockEngine(context_limit=64), [request_])
    assert completion.finish is Finish.ERROR
    assert completion.reason is Reason.ENGINE_ERROR
    assert completion.tokens == ()
    assert completion.error


def test_two_requests_with_one_key_are_refused() -> None:
    with pytest.raises(ValueError, match="key 1"):
        list(generate_completions(MockEngine(), [asked(1), asked(1)]))


def test_the_mock_needs_no_torch() -> None:
    code = (
        "import sys, safety_receipts.runner.engines.mock; "
        "import safety_receipts.runner.engines.decoding.noise_seed; "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
