"""The repetition penalty against transformers' own, with and without shared prefixes."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_models import END_TOKENS, FAMILIES, tiny_model
from transformers import RepetitionPenaltyLogitsProcessor

from safety_receipts.runner.engines.answers import generate_completions
from safety_receipts.runner.engines.decoding.noise import seed_tensor
from safety_receipts.runner.engines.decoding.repetition import (
    SeenTokens,
    SeenTokensAlong,
    penalised,
)
from safety_receipts.runner.engines.decoding.sampling import choose
from safety_receipts.runner.engines.engine import GREEDY, Completion, Decoding, Margins, Request
from safety_receipts.runner.engines.load import wrap_model
from safety_receipts.runner.engines.transformers_engine import TransformersEngine
from safety_receipts.runner.prompts.prefix_tree import in_one_tree

VOCABULARY = 64
NEW = 14
STOPS = frozenset(END_TOKENS)
PENALTIES = (1.3, 0.75)
SEEDED = Decoding(0.9, top_p=0.95, top_k=40, repetition_penalty=1.3)
CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> Any:
    return tiny_model(request.param, VOCABULARY)


@pytest.fixture(params=["shared", "plain"])
def sharing(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {"share_tokens": 3} if request.param == "shared" else {"shared": False}


def prompts() -> list[Request]:
    draw = random.Random(3)
    common = [draw.randrange(6, VOCABULARY) for _ in range(12)]
    tails = [[draw.randrange(6, VOCABULARY) for _ in range(n)] for n in (1, 1, 3, 5, 9)]
    return [Request(i, (*common, *tail), NEW, STOPS, seed=i << 60) for i, tail in enumerate(tails)]


def engine_of(model: Any, **options: Any) -> TransformersEngine:
    return TransformersEngine(wrap_model(model), **options)


def answers(engine: TransformersEngine, decoding: Decoding) -> dict[int, Completion]:
    return {one.key: one for one in generate_completions(engine, prompts(), decoding)}


def scores(
    engine: TransformersEngine, given: dict[int, tuple[int, ...]], decoding: Decoding
) -> dict[int, Margins]:
    pairs = [(request, given[request.key]) for request in prompts()]
    return {one.key: one for one in engine.score(pairs, decoding)}


@pytest.mark.parametrize("penalty", PENALTIES)
def test_greedy_responses_are_those_of_transformers_prompt_by_prompt(
    model: Any, sharing: dict[str, Any], penalty: float
) -> None:
    found = answers(engine_of(model, **sharing), Decoding(repetition_penalty=penalty))
    without = answers(engine_of(model, **sharing), GREEDY)
    for request in prompts():
        ids = torch.tensor([request.tokens])
        expected = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=NEW,
            do_sample=False,
            repetition_penalty=penalty,
            eos_token_id=sorted(STOPS),
        )[0, ids.shape[1] :].tolist()
        assert list(found[request.key].tokens) == expected
    assert {k: one.tokens for k, one in found.items()} != {
        k: one.tokens for k, one in without.items()
    }


@pytest.mark.parametrize("decoding", [Decoding(repetition_penalty=1.3), SEEDED])
def test_its_own_responses_have_margins_of_zero_and_others_more(
    model: Any, sharing: dict[str, Any], decoding: Decoding
) -> None:
    engine = engine_of(model, **sharing)
    own = {key: one.tokens for key, one in answers(engine, decoding).items()}
    for margins in scores(engine, own, decoding).values():
        assert margins.branch is None
        assert max(margins.margins) == 0
    # By the same weights without the penalty some of these tokens are not the best.
    plain = scores(engine, own, replace(decoding, repetition_penalty=None))
    assert any(one.branch is not None for one in plain.values())
    changed = {key: (*one[:-1], (one[-1] + 1) % VOCABULARY) for key, one in own.items()}
    for key, margins in scores(engine, changed, decoding).items():
        assert margins.branch == len(changed[key]) - 1
        assert margins.margins[-1] > 0


@pytest.mark.parametrize("decoding", [Decoding(repetition_penalty=1.3), SEEDED])
def test_batches_change_no_response(
    model: Any, sharing: dict[str, Any], decoding: Decoding
) -> None:
    together = answers(engine_of(model, shared=False), decoding)
    for rows in (1, 2):
        assert answers(engine_of(model, max_rows=rows, **sharing), decoding) == together


def test_a_response_goes_on_from_its_middle_as_it_would_have(sharing: dict[str, Any]) -> None:
    engine = engine_of(tiny_model("llama", VOCABULARY), **sharing)
    for decoding in (Decoding(repetition_penalty=1.3), SEEDED):
        whole = answers(engine, decoding)
        rest = [
            replace(
                request,
                tokens=(*request.tokens, *whole[request.key].tokens[:4]),
                max_new_tokens=NEW - 4,
                begun=4,
            )
            for request in prompts()
            if len(whole[request.key].tokens) > 4
        ]
        assert len(rest) > 2
        for one in generate_completions(engine, rest, decoding):
            assert one.tokens == whole[one.key].tokens[4:]


def test_seeded_scores_are_penalised_before_temperature_and_limits() -> None:
    model = tiny_model("llama", VOCABULARY)
    engine = engine_of(model)
    processor = RepetitionPenaltyLogitsProcessor(penalty=1.3)
    for request in prompts():
        [found] = generate_completions(engine, [request], SEEDED)
        ids = [*request.tokens]
        for place, token in enumerate(found.tokens):
            with torch.inference_mode():
                raw = model(input_ids=torch.tensor([ids])).logits[:, -1].float()
            changed = processor(torch.tensor([ids]), raw)
            seeds = seed_tensor([request.seed], CPU)
            plain = replace(SEEDED, repetition_penalty=None)
            assert choose(changed, plain, seeds, torch.tensor([place])).tolist() == [token]
            ids.append(token)


def test_logits_that_are_asked_for_are_those_before_the_penalty() -> None:
    engine = engine_of(tiny_model("llama", VOCABULARY))
    request = replace(prompts()[0], logits_for=tuple(range(VOCABULARY)), max_new_tokens=1)
    [plain] = generate_completions(engine, [request])
    [found] = generate_completions(engine, [request], Decoding(repetition_penalty=1.3))
    assert found.logits == plain.logits


@pytest.mark.parametrize("penalty", [1.05, 50.0, 0.5])
def test_every_bit_is_that_of_transformers_processor(penalty: float) -> None:
    torch.manual_seed(5)
    logits = 8 * torch.randn(7, VOCABULARY)
    logits[0, :4] = torch.tensor([0.0, -0.0, 1e-38, -1e-38])
    ids = torch.randint(0, VOCABULARY, (7, 30))
    expected = RepetitionPenaltyLogitsProcessor(penalty=penalty)(ids, logits.clone())
    requests = [Request(i, row.tolist(), 1, frozenset()) for i, row in enumerate(ids)]
    seen = SeenTokens(requests, VOCABULARY, CPU)
    found = penalised(logits, seen.of(torch.arange(7)), penalty)
    assert torch.equal(found, expected)


def test_what_was_seen_is_the_same_step_by_step_and_all_at_once() -> None:
    response = (9, 9, 7, 63, 0)
    spelt = Request(0, (5, 6, 5, 7), 5, frozenset())
    [in_tree] = in_one_tree([spelt.tokens])
    for request in (spelt, replace(spelt, tokens=in_tree)):
        along = SeenTokensAlong(request, response, VOCABULARY, CPU).at(0, len(response))
        steps = SeenTokens([request], VOCABULARY, CPU)
        row = torch.tensor([0])
        for place, token in enumerate(response):
            assert torch.equal(steps.of(row)[0], along[place])
            assert along[place].nonzero()[:, 0].tolist() == sorted(
                {*spelt.tokens, *response[:place]}
            )
            steps.add(row, torch.tensor([token]))


def test_what_a_penalty_keeps_is_counted_in_memory() -> None:
    model = tiny_model("llama", VOCABULARY)
    bound = 600_000
    engine = engine_of(model, memory=bound, shared=False)
    many = [Request(i, (6, 7, 8), 4, STOPS) for i in range(200)]
    with_penalty = engine.start(many, Decoding(repetition_penalty=1.1)).batches
    assert len(with_penalty) >= len(engine.start(many).batches) > 1
    assert max(map(len, with_penalty)) < max(map(len, engine.start(many).batches))
