"""Shared prefixes on real architectures: what is computed, what is kept, who is served."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
import transformers
from tiny_models import FAMILIES, WINDOW, tiny_model

from safety_receipts.receipts.model.point import Finish, Reason
from safety_receipts.runner.engines import forward
from safety_receipts.runner.engines.answers import generate_completions
from safety_receipts.runner.engines.decoding import drafts, sampling
from safety_receipts.runner.engines.engine import GREEDY, Completion, Decoding, Generation, Request
from safety_receipts.runner.engines.load import wrap_model
from safety_receipts.runner.engines.prefix import prefix_batches
from safety_receipts.runner.engines.prefix.attention import Kernel
from safety_receipts.runner.engines.prefix.pool import KeyPool
from safety_receipts.runner.engines.prefix.prefix_memory import OwnCache, Segment
from safety_receipts.runner.engines.transformers_engine import TransformersEngine
from safety_receipts.runner.prompts.prefix_tree import PrefixTree

VOCABULARY = 96
NEW = 7
SEEDED = Decoding(0.9, top_p=0.95, top_k=60)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> Any:
    return tiny_model(request.param, VOCABULARY)


@pytest.fixture(params=[Kernel.GROUPED, Kernel.FLASH])
def kernel(request: pytest.FixtureRequest) -> Kernel:
    """Attention in one grouped call a layer, as on accelerators, and segment by segment."""
    return Kernel(request.param)


def engine_of(model: Any, **options: Any) -> TransformersEngine:
    return TransformersEngine(wrap_model(model), **({"share_tokens": 16} | options))


def study() -> list[Request]:
    """Return a small sweep: 6 queries after 0, 3 and 9 demonstrations of two draws.

    What comes before a query is longer than a sliding window, and queries begin alike.
    """
    draw = random.Random(11)

    def words(number: int) -> list[int]:
        return [draw.randrange(6, VOCABULARY) for _ in range(number)]

    turn = words(2)
    queries = [[*turn, *words(draw.randint(2, 7))] for _ in range(6)]
    prompts = []
    for _ in range(2):
        shown = [turn + words(5) for _ in range(9)]
        for number in (0, 3, 9):
            before = [1, *(token for one in shown[:number] for token in one)]
            assert number == 0 or len(before) > 2 * WINDOW
            prompts += [[*before, *query] for query in queries]
    return [Request(i, tuple(p), NEW, frozenset(), seed=i) for i, p in enumerate(prompts)]


def answers(
    engine: TransformersEngine, requests: list[Request], decoding: Decoding = GREEDY
) -> dict[int, Completion]:
    return {one.key: one for one in generate_completions(engine, requests, decoding)}


def run(generation: Generation, number: int) -> tuple[Completion, ...]:
    """Return the completions of one batch."""
    generation.submit(number)
    answer = generation.collect()
    assert (answer.batch, answer.trouble) == (number, None)
    return answer.completions


@contextmanager
def counted(model: Any) -> Iterator[list[int]]:
    """Count the tokens, padding included, that pass through a model's layers, by pass."""
    passes: list[int] = []
    hook = model.model.register_forward_pre_hook(
        lambda _, __, kw: passes.append(kw["input_ids"].numel()), with_kwargs=True
    )
    yield passes
    hook.remove()


@pytest.mark.parametrize("decoding", [GREEDY, SEEDED], ids=["greedy", "seeded"])
def test_a_sweep_gives_the_answers_of_plain_batches(
    model: Any, decoding: Decoding, kernel: Kernel
) -> None:
    expected = answers(engine_of(model, shared=False), study(), decoding)
    for options in ({}, {"max_rows": 5}, {"share_tokens": 1}, {"share_tokens": 10**9}):
        engine = engine_of(model, kernels=[kernel], **options)
        assert engine.not_shared is None
        assert answers(engine, study(), decoding) == expected


@pytest.mark.parametrize("decoding", [GREEDY, SEEDED], ids=["greedy", "seeded"])
def test_what_a_gpu_computes_in_fewer_operators_gives_the_same_answers(
    model: Any, decoding: Decoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here on a CPU, where nothing but the device keeps it from being used."""
    expected = answers(engine_of(model, shared=False), study(), decoding)
    monkeypatch.setattr(forward, "_FUSING", frozenset({"cpu"}))
    engine = engine_of(model, kernels=[Kernel.GROUPED])
    assert engine.identity.attention == "shared-prefix-grouped-written-out-norms-rotary"
    assert answers(engine, study(), decoding) == expected


def test_experts_are_computed_in_fewer_operators_in_half_formats(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forward, "_FUSING", frozenset({"cpu"}))
    model = tiny_model("gpt-oss", VOCABULARY).to(torch.bfloat16)
    engine = engine_of(model, kernels=[Kernel.GROUPED])
    assert engine.identity.attention == "shared-prefix-grouped-written-out-experts-norms-rotary"
    found = answers(engine, study())
    assert {one.finish for one in found.values()} == {Finish.LENGTH}


def ending() -> list[Request]:
    """Return the sweep with responses that end at other places, some of whose logits are wanted."""
    stops = frozenset(range(0, VOCABULARY, 9))
    return [
        replace(
            one,
            stop_ids=stops if one.key % 3 else frozenset(),
            max_new_tokens=2 + one.key % 19,
            logits_for=(5, 7) if one.key % 4 else (),
        )
        for one in study()
    ]


@pytest.mark.parametrize(
    "decoding", [GREEDY, SEEDED, replace(SEEDED, repetition_penalty=1.3)], ids=str
)
def test_a_device_that_is_asked_every_few_steps_gives_the_same_answers(
    model: Any, decoding: Decoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CPU is made to run on as an accelerator does."""
    engines = [engine_of(model, shared=shared) for shared in (True, False)]
    expected = [answers(engine, ending(), decoding) for engine in engines]
    lengths = {len(one.tokens) for one in expected[0].values()}
    assert len(lengths) > 5
    assert {one.finish for one in expected[0].values()} == {Finish.STOP, Finish.LENGTH}
    asked: list[int] = []
    read = drafts.TokenChooser.read

    def reading(self: drafts.TokenChooser) -> Any:
        asked.append(self.steps)
        return read(self)

    monkeypatch.setattr(drafts.TokenChooser, "read", reading)
    monkeypatch.setattr(drafts, "steps_ahead", lambda _: 8)
    monkeypatch.setattr(sampling, "winner", sampling.winner_unasked)
    for engine, found in zip(engines, expected, strict=True):
        for key, one in answers(engine, ending(), decoding).items():
            # With other rows beside them, sums are rounded otherwise.
            wanted, theirs = torch.tensor(one.logits), torch.tensor(found[key].logits)
            torch.testing.assert_close(wanted, theirs, atol=1e-3, rtol=0)
            assert replace(one, logits=found[key].logits) == found[key]
    assert set(asked) <= {8, 16, *range(2, 21)}
    assert sum(step % 8 == 0 for step in asked) >= len(engines)


def test_a_sweep_computes_its_tree_and_what_it_decodes(model: Any) -> None:
    """Every unique token of the prompts once, and no answer twice to one prompt."""
    tree = PrefixTree()
    for request in study():
        tree.add(request.tokens)
    engine = engine_of(model)
    with counted(model) as passes:
        found = answers(engine, study())
    assert sum(passes) == tree.unique + tree.distinct * (NEW - 1)
    assert tree.distinct == len(study()) - 6  # the baseline's prompts, once per draw
    assert len(found) == len(study())


def test_layers_whose_results_nobody_reads_are_left_out(model: Any, kernel: Kernel) -> None:
    """Of a prompt but its last token, the last layer's keys are all that is wanted of it."""
    tree = PrefixTree()
    for request in study():
        tree.add(request.tokens)
    engine = engine_of(model, kernels=[kernel])
    layers = model.model.layers
    passed = [0] * len(layers)

    def count(number: int, states: torch.Tensor) -> None:
        passed[number] += states.shape[1]

    hooks = [
        layer.mlp.register_forward_pre_hook(lambda _, given, i=i: count(i, given[0]))
        for i, layer in enumerate(layers)
    ]
    answers(engine, study())
    for hook in hooks:
        hook.remove()
    reusing = getattr(model.config, "num_kv_shared_layers", 0)
    whole = len(layers) - 1 - reusing
    assert whole > 0
    assert passed[:whole] == [tree.unique + tree.distinct * (NEW - 1)] * whole
    assert passed[whole:] == [tree.distinct * NEW] * (1 + reusing)


def test_seeded_answers_to_one_prompt_read_it_once(model: Any) -> None:
    prompt = study()[-1].tokens
    requests = [Request(i, prompt, NEW, frozenset(), seed=i) for i in range(5)]
    engine = engine_of(model)
    with counted(model) as passes:
        found = answers(engine, requests, SEEDED)
    # Only the last token, with which answering begins, is each row's own.
    assert sum(passes) == len(prompt) - 1 + 5 * NEW
    assert len({one.tokens for one in found.values()}) > 1


def test_scoring_computes_prompts_once_too(model: Any, kernel: Kernel) -> None:
    engine = engine_of(model, kernels=[kernel])
    found = answers(engine, study(), SEEDED)
    pairs = [(request, found[request.key].tokens) for request in study()]
    with counted(model) as passes:
        scored = list(engine.score(pairs, SEEDED))
    assert all(set(one.margins) == {0.0} for one in scored)
    tree = PrefixTree()
    for request in study():
        tree.add(request.tokens)
    # Each response is scored with its prompt's last token before it.
    assert sum(passes) == tree.unique - tree.distinct + len(pairs) * NEW


def test_a_batch_gives_the_same_bits_whatever_ran_before_it(model: Any, kernel: Kernel) -> None:
    """What a resumed run needs: logits, too, are equal to the last bit."""
    requests = [replace(request, logits_for=tuple(range(VOCABULARY))) for request in study()]
    options = {"max_rows": 4, "memory": 2**20, "kernels": [kernel]}
    whole = engine_of(model, **options).start(requests)
    numbers = range(len(whole.batches))
    assert len(numbers) > 5
    in_order = [run(whole, number) for number in numbers]
    for number in reversed(numbers):
        fresh = engine_of(model, **options).start(requests)
        assert [*fresh.batches] == [*whole.batches]
        assert run(fresh, number) == in_order[number]


def test_prompts_held_in_a_tree_are_answered_like_prompts_spelt_out(model: Any) -> None:
    tree = PrefixTree()
    held = [replace(request, tokens=tree.add(request.tokens)) for request in study()]
    assert answers(engine_of(model), held) == answers(engine_of(model), study())


def test_a_prefix_is_kept_once_and_never_by_row(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    own: list[int] = []
    segments: list[int] = []

    class Cache(OwnCache):
        def __init__(self, rows: int, columns: int) -> None:
            own.append(columns)
            super().__init__(rows, columns)

    class Kept(Segment):
        def __init__(self, start: int, length: int) -> None:
            segments.append(length)
            super().__init__(start, length)

    engine = engine_of(model)
    monkeypatch.setattr(prefix_batches, "OwnCache", Cache)
    monkeypatch.setattr(prefix_batches, "Segment", Kept)
    answers(engine, study())
    shown = max(len(request.tokens) for request in study())
    # A query's own tokens and its answer; nothing of the demonstrations before it.
    assert max(own) <= 9 + NEW < shown
    # The turn's opening, and for each draw the demonstrations of its two conditions.
    assert len(segments) == 5
    assert sum(segments) == 3 + 2 * 9 * 7


def test_less_memory_gives_smaller_batches_and_the_same_answers(model: Any, kernel: Kernel) -> None:
    expected = answers(engine_of(model), study())
    sizes = []
    for memory in (2**30, 2**20, 2**19):
        engine = engine_of(model, memory=memory, kernels=[kernel])
        found = answers(engine, study())
        fitting = {key for key, one in found.items() if one.reason is not Reason.OUT_OF_MEMORY}
        assert memory < 2**20 or fitting == set(expected)
        assert {key: found[key] for key in fitting} == {key: expected[key] for key in fitting}
        batches = engine.start(study()).batches
        sizes.append(max(len(batch) for batch in batches if fitting >= set(batch)))
    assert sizes[0] == len(study())
    assert sizes[0] >= sizes[1] > sizes[2]


def test_what_a_pool_takes_stays_within_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("olmo3", VOCABULARY)
    taken: list[int] = []
    resize = KeyPool.resize

    def watched(pool: KeyPool, tokens: int, kept: int) -> None:
        resize(pool, tokens, kept)
        tensors = [one for layer in pool._layers.values() for one in layer]
        taken.append(sum(one.numel() * one.element_size() for one in tensors))

    monkeypatch.setattr(KeyPool, "resize", watched)
    bound = 2**19
    engine = engine_of(model, memory=bound, kernels=[Kernel.GROUPED], share_tokens=1)
    taken.clear()  # the trial's
    answers(engine, study())
    assert len(taken) > 2
    assert bound / 20 < max(taken) < bound


def test_what_does_not_fit_fails_alone_and_says_why() -> None:
    model = tiny_model("llama", VOCABULARY)
    engine = engine_of(model, memory=2**17)
    long = Request(900, tuple([9] * 450), NEW, frozenset())
    found = answers(engine, [long, *study()[:3]])
    assert found[900].reason is Reason.OUT_OF_MEMORY
    assert "131,072 bytes" in str(found[900].error)
    assert all(found[i].reason is None for i in range(3))


def test_a_fault_while_a_prefix_is_computed_leaves_no_half_of_it() -> None:
    model = tiny_model("llama", VOCABULARY)
    engine = engine_of(model, max_rows=4)
    expected = answers(engine, study())
    generation = engine.start(study())
    raised = False

    def once(_: Any, __: Any, keys: torch.Tensor) -> None:
        nonlocal raised
        if not raised and keys.shape[1] > 20:
            raised = True
            raise RuntimeError("planted")

    hook = model.model.layers[1].self_attn.k_proj.register_forward_hook(once)
    found = [one for n in range(len(generation.batches)) for one in run(generation, n)]
    failed = {one.key for one in found if one.reason is not None}
    hook.remove()
    assert raised
    assert 0 < len(failed) <= 8
    assert {one.key: one for one in found if one.key not in failed} == {
        key: one for key, one in expected.items() if key not in failed
    }


BASE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "eos_token_id": 2,
    "initializer_range": 0.25,
}
OTHERS: dict[str, dict[str, Any]] = {
    "Qwen2": {},
    "Qwen3": {},
    "Qwen3Moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32},
    "Mistral": {"sliding_window": WINDOW},
    "Phi3": {},
    "Olmo2": {},
    "Granite": {},
    "Gemma2": {"sliding_window": WINDOW},
    "Gemma3": {"sliding_window": WINDOW},
    "Cohere2": {"sliding_window": WINDOW},
    "Glm4": {},
    "Starcoder2": {},
}


@pytest.mark.parametrize("kernel", Kernel)
@pytest.mark.parametrize("name", OTHERS)
def test_further_architectures_share_prefixes(name: str, kernel: Kernel) -> None:
    """Soft caps, windows, experts, scaled logits: the same answers as plain batches."""
    config = getattr(transformers, f"{name}TextConfig", None) or getattr(
        transformers, f"{name}Config"
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = getattr(transformers, f"{name}ForCausalLM")(config(**BASE, **OTHERS[name])).eval()
    engine = engine_of(model, kernels=[kernel])
    written = "-written-out" if kernel is Kernel.GROUPED else ""  # the way of a CPU
    assert engine.identity.attention == f"shared-prefix-{kernel}{written}"
    assert answers(engine, study()) == answers(engine_of(model, shared=False), study())


def test_a_model_that_attends_in_its_own_way_runs_in_plain_batches() -> None:
    """Its code passes no further arguments on, or does something else with attention."""
    model = tiny_model("llama", VOCABULARY)
    expected = answers(engine_of(model), study())
    attention = model.model.layers[1].self_attn
    plain = attention.forward

    def without(*arguments: Any, shared_prefix: Any = None, **options: Any) -> Any:
        del shared_prefix
        return plain(*arguments, **options)

    attention.forward = without
    engine = engine_of(model)
    assert "shared_prefix" in str(engine.not_shared)
    assert engine.identity.attention == "sdpa"
    assert answers(engine, study()) == expected

    def scaled(*arguments: Any, **options: Any) -> Any:
        out, weights = plain(*arguments, **options)
        return (out if "shared_prefix" in options else out * 1.5), weights

    attention.forward = scaled
    engine = engine_of(model)
    assert "its logits are" in str(engine.not_shared)
    assert len(answers(engine, study())) == len(study())


def test_the_models_own_attention_is_put_back() -> None:
    model = tiny_model("llama", VOCABULARY)
    engine = engine_of(model)
    answers(engine, study())
    assert model.config._attn_implementation == "sdpa"
    assert not model.get_output_embeddings()._forward_pre_hooks
