"""The engine against transformers' own generation, on real architectures."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_models import CONTEXT, END_TOKENS, FAMILIES, WINDOW, tiny_model

from safety_receipts.receipts.model.plan import EngineKind
from safety_receipts.receipts.model.point import Finish, Reason
from safety_receipts.runner.engines.answers import generate_completions
from safety_receipts.runner.engines.batches import MemoryDemand
from safety_receipts.runner.engines.engine import GREEDY, Completion, Decoding, Engine, Request
from safety_receipts.runner.engines.load import wrap_model
from safety_receipts.runner.engines.transformers_engine import TransformersEngine

VOCABULARY = 96
NEW = 18
STOPS = frozenset(END_TOKENS)
SEEDED = Decoding(0.9, top_p=0.95, top_k=60)
LENGTHS = (1, WINDOW - 1, WINDOW, WINDOW + 1, 16, 17, 30, 44)
"""Prompts shorter than the sliding window, longer, and just as long."""


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> Any:
    return tiny_model(request.param, VOCABULARY)


@pytest.fixture(params=["shared", "plain"])
def sharing(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Options of an engine that shares what it can, and of one that shares nothing."""
    return {"share_tokens": 3} if request.param == "shared" else {"shared": False}


@pytest.fixture
def llama() -> Any:
    return tiny_model("llama", VOCABULARY)


def engine_of(model: Any, **options: Any) -> TransformersEngine:
    return TransformersEngine(wrap_model(model), **options)


def prompts() -> list[Request]:
    """Return prompts that begin alike, two thirds of each."""
    draw = random.Random(7)
    common = [draw.randrange(6, VOCABULARY) for _ in range(max(LENGTHS))]
    return [
        Request(
            i,
            (
                *common[: 2 * n // 3],
                *(draw.randrange(6, VOCABULARY) for _ in range(n - 2 * n // 3)),
            ),
            NEW,
            STOPS,
            seed=i << 60,
        )
        for i, n in enumerate(LENGTHS)
    ]


def answers(
    engine: Engine, requests: list[Request], decoding: Decoding = GREEDY
) -> dict[int, Completion]:
    found = list(generate_completions(engine, requests, decoding))
    assert len(found) == len(requests)
    return {completion.key: completion for completion in found}


def test_greedy_responses_equal_transformers_own_prompt_by_prompt(
    model: Any, sharing: dict[str, Any]
) -> None:
    stops = frozenset(range(2, 10))
    requests = [replace(request, stop_ids=stops) for request in prompts()]
    found = answers(engine_of(model, **sharing), requests)
    ended = set()
    for request in requests:
        ids = torch.tensor([request.tokens])
        expected = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=NEW,
            do_sample=False,
            eos_token_id=sorted(stops),
        )[0, ids.shape[1] :].tolist()
        assert list(found[request.key].tokens) == expected
        ended.add(found[request.key].finish)
    assert ended == {Finish.STOP, Finish.LENGTH}  # both ways to end were seen


@pytest.mark.parametrize("decoding", [GREEDY, SEEDED], ids=["greedy", "seeded"])
def test_batch_sizes_and_order_change_no_response(
    model: Any, decoding: Decoding, sharing: dict[str, Any]
) -> None:
    together = answers(engine_of(model, shared=False), prompts(), decoding)
    for max_rows in (1, 3, 100):
        engine = engine_of(model, max_rows=max_rows, **sharing)
        assert answers(engine, prompts(), decoding) == together
    shuffled = prompts()
    random.Random(1).shuffle(shuffled)
    assert answers(engine_of(model, max_rows=4, **sharing), shuffled, decoding) == together


@pytest.mark.parametrize("decoding", [GREEDY, SEEDED], ids=["greedy", "seeded"])
def test_its_own_responses_have_margins_of_zero_and_a_changed_token_more(
    model: Any, decoding: Decoding, sharing: dict[str, Any]
) -> None:
    engine = engine_of(model, **sharing)
    found = answers(engine, prompts(), decoding)
    honest = [(request, found[request.key].tokens) for request in prompts()]
    scored = list(engine.score(honest, decoding))
    assert sorted(margins.key for margins in scored) == sorted(found)
    for margins in scored:
        tokens = found[margins.key].tokens
        assert margins.margins == (0.0,) * len(tokens)
        assert len(margins.logprobs) == len(tokens)
        assert all(logprob <= 0 for logprob in margins.logprobs)
    changed = []
    for request, response in honest:
        place = len(response) // 2
        other = 6 + (response[place] + 1) % (VOCABULARY - 6)
        changed.append((request, (*response[:place], other, *response[place + 1 :])))
    for margins in engine.score(changed, decoding):
        place = len(margins.margins) // 2
        assert margins.margins[place] > 0
        assert set(margins.margins[:place]) <= {0.0}


def test_scores_are_those_of_one_plain_forward_pass(model: Any, sharing: dict[str, Any]) -> None:
    request, response = prompts()[-1], tuple(range(10, 30))
    others = [(replace(r, key=r.key + 100), (9, 9)) for r in prompts()]
    scored = engine_of(model, **sharing).score([*others, (request, response)])
    (margins,) = (one for one in scored if one.key == request.key)
    with torch.inference_mode():
        logits = model(torch.tensor([request.tokens + response])).logits[0].float()
    logits = logits[len(request.tokens) - 1 : -1]
    own = logits[range(len(response)), response]
    assert margins.margins == pytest.approx((logits.amax(-1) - own).tolist(), abs=1e-4)
    logprobs = own - torch.logsumexp(logits, -1)
    assert margins.logprobs == pytest.approx(logprobs.tolist(), abs=1e-4)


def test_seeds_decide_seeded_responses(model: Any, sharing: dict[str, Any]) -> None:
    request = prompts()[4]
    seeds = [replace(request, key=i, seed=i) for i in range(12)]
    again = [replace(request, key=i, seed=5) for i in range(3)]
    engine = engine_of(model, **sharing)
    assert len({c.tokens for c in generate_completions(engine, seeds, SEEDED)}) > 6
    assert len({c.tokens for c in generate_completions(engine, again, SEEDED)}) == 1


@pytest.mark.parametrize("decoding", [GREEDY, SEEDED])
def test_a_response_goes_on_from_its_beginning_as_if_it_had_never_stopped(
    model: Any, sharing: dict[str, Any], decoding: Decoding
) -> None:
    engine = engine_of(model, **sharing)
    whole = answers(engine, prompts(), decoding)
    begun = [
        replace(
            request,
            tokens=(*request.tokens, *whole[request.key].tokens[:3]),
            max_new_tokens=request.max_new_tokens - 3,
            begun=3,
        )
        for request in prompts()
        if len(whole[request.key].tokens) > 3
    ]
    assert len(begun) > 2
    rest = answers(engine, begun, decoding)
    scores = {
        found.key: found.margins
        for found in engine.score([(one, rest[one.key].tokens) for one in begun], decoding)
    }
    for request in begun:
        assert rest[request.key].tokens == whole[request.key].tokens[3:]
        assert max(scores[request.key]) < 1e-3


def test_limits_and_stops_are_each_requests_own(llama: Any, sharing: dict[str, Any]) -> None:
    base = replace(prompts()[-1], stop_ids=frozenset())
    full = answers(engine_of(llama), [replace(base, max_new_tokens=30)])[base.key].tokens
    place = next(i for i in range(3, 30) if full[i] not in full[:i])
    requests = [
        replace(base, key=1, max_new_tokens=1),
        replace(base, key=2, max_new_tokens=30, stop_ids=frozenset({full[place]})),
        replace(base, key=3, max_new_tokens=30, stop_ids=frozenset({full[0], 90})),
        replace(base, key=4, max_new_tokens=17),
        replace(base, key=5, tokens=base.tokens[:2], max_new_tokens=60),
    ]
    found = answers(engine_of(llama, **sharing), requests)
    assert found[1].tokens == full[:1]
    assert found[2].tokens == full[: place + 1]
    assert found[3].tokens == full[:1]
    assert found[4].tokens == full[:17]
    assert [found[k].finish.value for k in (1, 2, 3, 4)] == ["length", "stop", "stop", "length"]
    assert len(found[5].tokens) == 60


def test_wanted_logits_are_raw_and_at_every_position(model: Any, sharing: dict[str, Any]) -> None:
    wanted = (3, 50, 3)
    requests = [replace(request, logits_for=wanted) for request in prompts()[:5]]
    for decoding in (GREEDY, SEEDED):
        for key, completion in answers(engine_of(model, **sharing), requests, decoding).items():
            prompt = requests[key].tokens
            with torch.inference_mode():
                plain = model(torch.tensor([prompt + completion.tokens])).logits[0].float()
            expected = plain[len(prompt) - 1 : -1, list(wanted)]
            torch.testing.assert_close(
                torch.tensor(completion.logits), expected, rtol=1e-3, atol=1e-3
            )


def test_a_memory_bound_gives_the_batches_it_pays_for(llama: Any) -> None:
    requests = [Request(i, tuple(range(6, 36)), NEW, frozenset()) for i in range(10)]
    for rows in (1, 4, 10):
        seen: list[int] = []
        probe = engine_of(llama, shared=False)
        bound = probe._memory_model.batch_bytes(rows, MemoryDemand(30, 30 + NEW - 1, 1))
        engine = engine_of(llama, memory=bound, shared=False)
        hook = llama.model.register_forward_pre_hook(
            lambda _, __, kw, seen=seen: (
                seen.append(kw["input_ids"].shape[0]) if kw["input_ids"].shape[1] == 30 else None
            ),
            with_kwargs=True,
        )
        answers(engine, requests)
        hook.remove()
        assert seen == {1: [1] * 10, 4: [4, 4, 2], 10: [10]}[rows]
        assert [len(batch) for batch in engine.start(requests).batches] == seen


def test_a_request_that_cannot_fit_fails_alone(llama: Any, sharing: dict[str, Any]) -> None:
    short, long = prompts()[2], Request(77, tuple([9] * 400), 100, STOPS)
    bound = engine_of(llama)._memory_model.batch_bytes(2, MemoryDemand(60, 90, 1))
    engine = engine_of(llama, memory=bound, **sharing)
    found = answers(engine, [long, short])
    assert found[77].reason is Reason.OUT_OF_MEMORY
    assert found[77].finish is Finish.ERROR
    assert f"{bound:,}" in str(found[77].error)
    assert found[short.key] == answers(engine_of(llama), [short])[short.key]
    scored = {m.key: m for m in engine.score([(long, (9,) * 90), (short, (8, 9))])}
    assert scored[77].reason is Reason.OUT_OF_MEMORY
    assert len(scored[short.key].margins) == 2


def test_completions_come_batch_by_batch(llama: Any, sharing: dict[str, Any]) -> None:
    calls: list[int] = []
    engine = engine_of(llama, max_rows=2, **sharing)
    hook = llama.model.register_forward_hook(lambda *_: calls.append(1))
    stream = generate_completions(engine, prompts())
    next(stream)
    first = len(calls)
    list(stream)
    hook.remove()
    assert 0 < first <= NEW + 4
    assert len(calls) > 2 * first


def test_rows_that_end_leave_the_batch(llama: Any, sharing: dict[str, Any]) -> None:
    sizes: list[int] = []
    engine = engine_of(llama, **sharing)
    hook = llama.get_output_embeddings().register_forward_hook(
        lambda _, __, out: sizes.append(out.shape[0] * out.shape[1])
    )
    requests = [
        replace(request, max_new_tokens=3 if request.key else NEW, stop_ids=frozenset())
        for request in prompts()
    ]
    answers(engine, requests)
    hook.remove()
    assert sizes[-NEW:] == [8] * 3 + [1] * (NEW - 3)


def test_weights_that_are_not_finite_fail_the_rows_that_meet_them(
    llama: Any, sharing: dict[str, Any]
) -> None:
    requests = [replace(r, tokens=tuple(t if t != 40 else 41 for t in r.tokens)) for r in prompts()]
    clean = answers(engine_of(llama), requests)
    safe = {r.key for r in requests if 40 not in clean[r.key].tokens}
    assert safe
    with torch.no_grad():
        llama.model.embed_tokens.weight[40] = math.nan
    poisoned = Request(99, (9, 40, 9), NEW, STOPS)
    found = answers(engine_of(llama, **sharing), [*requests, poisoned])
    assert found[99].reason is Reason.ENGINE_ERROR
    assert "not finite" in str(found[99].error)
    assert found[99].tokens == ()
    assert {key: found[key] for key in safe} == {key: clean[key] for key in safe}
    (scored,) = engine_of(llama, **sharing).score([(poisoned, (9, 9))])
    assert scored.reason is Reason.ENGINE_ERROR
    assert scored.margins == ()


class _Trap:
    """A forward hook that raises when the model meets a token."""

    def __init__(self, token: int, error: Exception) -> None:
        self.token = token
        self.error = error

    def __call__(self, _: Any, __: Any, kw: dict[str, Any], ___: Any) -> None:
        if bool((kw["input_ids"] == self.token).any()):
            raise self.error


@pytest.mark.parametrize(
    ("error", "reason", "message"),
    [
        (torch.OutOfMemoryError("planted"), Reason.OUT_OF_MEMORY, "memory"),
        (MemoryError(), Reason.OUT_OF_MEMORY, "memory"),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
            Reason.OUT_OF_MEMORY,
            "memory",
        ),
        (ValueError("bad shape of [[9, 95]]\nmore"), Reason.ENGINE_ERROR, "ValueError: bad shape"),
    ],
)
def test_a_fault_in_a_batch_fails_its_rows_and_no_others(
    llama: Any, sharing: dict[str, Any], error: Exception, reason: Reason, message: str
) -> None:
    good = [replace(r, tokens=tuple(t if t != 95 else 94 for t in r.tokens)) for r in prompts()]
    clean = answers(engine_of(llama, max_rows=2), good)
    victim = Request(99, (9,) * 100 + (95,), NEW, STOPS)
    beside = Request(98, (9,) * 101, NEW, STOPS)
    engine = engine_of(llama, max_rows=2, **sharing)
    hook = llama.model.register_forward_hook(_Trap(95, error), with_kwargs=True)
    found = answers(engine, [victim, *good, beside])
    scored = {m.key: m for m in engine.score([(victim, (9,)), (good[0], (9,))])}
    hook.remove()
    assert [found[key].reason for key in (98, 99)] == [reason, reason]
    assert message in str(found[99].error)
    assert "\n" not in str(found[99].error)
    assert "95" not in str(found[99].error)  # what is printed could be the prompt
    met = {key for key, completion in clean.items() if 95 in completion.tokens}
    batches = engine.start([victim, *good, beside]).batches
    names = [99, *(request.key for request in good), 98]
    batches = [[names[index] for index in batch] for batch in batches]
    spared = {key for batch in batches if not (met | {98, 99}) & set(batch) for key in batch}
    assert spared
    assert {key: found[key] for key in spared} == {key: clean[key] for key in spared}
    assert scored[99].reason is reason


def test_an_interrupt_is_not_swallowed(llama: Any) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    hook = llama.model.register_forward_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        list(generate_completions(engine_of(llama), prompts()))
    hook.remove()
    assert not llama.get_output_embeddings()._forward_pre_hooks


@pytest.mark.parametrize(
    "bad",
    [
        Request(50, (), NEW, STOPS),
        Request(50, (VOCABULARY,), NEW, STOPS),
        Request(50, (-1,), NEW, STOPS),
        Request(50, (9,) * (CONTEXT - NEW + 1), NEW, STOPS),
        Request(50, (9,), 0, STOPS),
        Request(50, (9,), NEW, STOPS, logits_for=(VOCABULARY,)),
    ],
)
def test_requests_that_cannot_be_answered_do_not_reach_the_model(llama: Any, bad: Request) -> None:
    good = prompts()[3]
    found = answers(engine_of(llama), [bad, good])
    assert found[50].reason is Reason.ENGINE_ERROR
    assert found[good.key].reason is None
    scored = {m.key: m for m in engine_of(llama).score([(good, ()), (bad, (9,))])}
    assert scored[good.key].error == "the response has no tokens"
    assert scored[50].reason is Reason.ENGINE_ERROR


def test_a_prompt_that_fills_the_context_is_answered(llama: Any) -> None:
    request = Request(1, (9,) * (CONTEXT - NEW), NEW, frozenset())
    assert len(answers(engine_of(llama), [request])[1].tokens) == NEW


def test_two_requests_with_one_key_are_refused(llama: Any) -> None:
    with pytest.raises(ValueError, match="key 0"):
        list(generate_completions(engine_of(llama), [prompts()[0]] * 2))


def test_no_requests_give_no_completions(llama: Any) -> None:
    assert list(generate_completions(engine_of(llama), [])) == []
    assert list(engine_of(llama).score([])) == []


def test_nothing_global_is_changed(llama: Any) -> None:
    def state() -> tuple[Any, ...]:
        return (
            torch.random.get_rng_state().tolist(),
            torch.get_default_dtype(),
            torch.get_num_threads(),
            torch.is_grad_enabled(),
            torch.are_deterministic_algorithms_enabled(),
            random.getstate(),
        )

    before = state()
    answers(engine_of(llama), prompts(), SEEDED)
    assert state() == before


def test_models_whose_positions_depend_on_the_batch_run_one_prompt_at_a_time() -> None:
    model = tiny_model("llama", VOCABULARY)
    loaded = wrap_model(model)
    alone = replace(loaded, architecture=replace(loaded.architecture, alone=True))
    assert [len(b) for b in TransformersEngine(alone).start(prompts()).batches] == [1] * len(
        LENGTHS
    )


def test_the_identity_says_what_ran() -> None:
    identity = engine_of(tiny_model("gpt-oss", VOCABULARY), shared=False).identity
    assert identity.kind is EngineKind.TRANSFORMERS
    assert identity.dtype.value == "float32"
    assert identity.attention == "eager"
    assert identity.torch == torch.__version__
    assert identity.device
    assert "safetensors" in identity.packages
    llama = tiny_model("llama", VOCABULARY)
    assert engine_of(llama, shared=False).identity.attention == "sdpa"
    assert engine_of(llama).identity.attention == "shared-prefix-flash"


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_runs_and_its_margins_are_small(family: str) -> None:
    engine = engine_of(tiny_model(family, VOCABULARY).to(torch.bfloat16))
    found = answers(engine, prompts(), SEEDED)
    honest = [(request, found[request.key].tokens) for request in prompts()]
    margins = [m for scored in engine.score(honest, SEEDED) for m in scored.margins]
    assert sum(m == 0 for m in margins) > 0.8 * len(margins)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_gpu_gives_the_tokens_of_the_cpu(family: str) -> None:
    """In fp32: tokens equal wherever the CPU's own margin to the second choice is above 1e-3."""
    cpu = engine_of(tiny_model(family, VOCABULARY))
    gpu = engine_of(tiny_model(family, VOCABULARY).to("cuda"))
    assert gpu.identity.device != cpu.identity.device
    for decoding in (GREEDY, SEEDED):
        theirs = answers(gpu, prompts(), decoding)
        honest = [(request, theirs[request.key].tokens) for request in prompts()]
        for margins in cpu.score(honest, decoding):
            assert max(margins.margins) < 1e-3
    half = engine_of(tiny_model(family, VOCABULARY).to("cuda", torch.bfloat16))
    ran = answers(half, prompts())
    scored = half.score([(request, ran[request.key].tokens) for request in prompts()])
    margins_ = [m for one in scored for m in one.margins]
    assert sum(m == 0 for m in margins_) > 0.8 * len(margins_)
