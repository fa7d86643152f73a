"""Choosing a token from logits, and the margin of a given token."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from safety_receipts.runner.engines.decoding.noise import (
    gumbel,
    gumbel_fp32,
    hash_tokens,
    row_state,
    seed_tensor,
)
from safety_receipts.runner.engines.decoding.sampling import choose, margins, winner, winner_unasked
from safety_receipts.runner.engines.engine import GREEDY, Decoding

CPU = torch.device("cpu")


def everything(
    logits: torch.Tensor, decoding: Decoding, seeds: list[int], positions: list[int]
) -> torch.Tensor:
    """Scores of all tokens as the module's docstring defines them, one by one."""
    assert decoding.temperature is not None
    limit = 2.0 if decoding.top_p in (None, 1.0) else decoding.top_p
    assert limit is not None
    scores = torch.full(logits.shape, -math.inf, dtype=torch.float64)
    for i, row in enumerate(logits.tolist()):
        ranked = sorted(range(len(row)), key=lambda v: (-row[v], v))[: decoding.top_k]
        weights = [math.exp((row[v] - row[ranked[0]]) / decoding.temperature) for v in ranked]
        before, kept = 0.0, list[int]()
        for v, weight in zip(ranked, weights, strict=True):
            if not kept or before / sum(weights) < limit:
                kept.append(v)
            before += weight
        state = row_state(seed_tensor([seeds[i]], CPU), torch.tensor([positions[i]]))
        noise = gumbel(hash_tokens(state, torch.tensor(kept)))
        scores[i, kept] = logits[i, kept].double() / decoding.temperature + noise
    return scores


def test_greedy_takes_the_largest_and_the_lowest_id_among_equals() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0, 3.0], [2.0, 2.0, 2.0, 2.0], [-5.0, -4.0, -9.0, -4.5]])
    assert choose(logits, GREEDY).tolist() == [1, 0, 1]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    spread=st.sampled_from([0.1, 3.0, 40.0]),
    decoding=st.builds(
        Decoding,
        temperature=st.sampled_from([0.05, 0.7, 1.0, 4.0]),
        top_k=st.sampled_from([None, 1, 5, 50, 1000]),
        top_p=st.sampled_from([None, 1e-9, 0.5, 0.9, 1.0]),
    ),
)
def test_skipping_hopeless_tokens_changes_no_choice_and_no_margin(
    seed: int, spread: float, decoding: Decoding
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(4, 200, generator=generator) * spread
    seeds, positions = [seed, 2**64 - 1, 3, seed], [0, 1, 2, 500]
    scores = everything(logits, decoding, seeds, positions)
    bits, places = seed_tensor(seeds, CPU), torch.tensor(positions)
    assert torch.equal(choose(logits, decoding, bits, places), scores.argmax(-1))
    for token in (0, 17, 199):
        given_token = torch.full((4,), token)
        found, taken = margins(logits, given_token, decoding, bits, places)
        assert torch.equal(taken, scores.argmax(-1))
        expected = scores.amax(-1) - scores[:, token]
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "decoding",
    [GREEDY, Decoding(0.8), Decoding(1.0, top_k=7), Decoding(1.3, top_p=0.8, top_k=40)],
)
def test_a_chosen_token_has_margin_zero_and_any_other_more(decoding: Decoding) -> None:
    logits = torch.randn(8, 60, generator=torch.Generator().manual_seed(1))
    seeds, positions = seed_tensor(list(range(8)), CPU), torch.arange(8)
    chosen = choose(logits, decoding, seeds, positions)
    assert margins(logits, chosen, decoding, seeds, positions)[0].tolist() == [0.0] * 8
    for token in range(60):
        others, _ = margins(logits, torch.full((8,), token), decoding, seeds, positions)
        assert torch.equal(others > 0, chosen != token)


def test_of_equal_tokens_one_is_taken_although_the_others_margins_are_zero() -> None:
    """An evaluator must not choose among them: the branch is told apart from the margin."""
    logits = torch.tensor([[1.0, 3.0, 3.0, 0.0]])
    for token in (1, 2):
        found, chosen = margins(logits, torch.tensor([token]), GREEDY)
        assert (found.tolist(), chosen.tolist()) == ([0.0], [1])


def test_a_token_outside_top_k_or_top_p_has_an_infinite_margin() -> None:
    logits = torch.tensor([[4.0, 3.0, 2.0, 1.0]])
    for decoding in (Decoding(1.0, top_k=2), Decoding(1.0, top_p=0.7)):
        seeds, first = seed_tensor([5], CPU), torch.tensor([0])
        found = [margins(logits, torch.tensor([v]), decoding, seeds, first)[0] for v in range(4)]
        assert [math.isinf(m.item()) for m in found] == [False, False, True, True]


def test_top_k_keeps_exactly_k_of_tied_tokens_the_lowest_ids() -> None:
    logits = torch.zeros(2000, 6)
    logits[:, 0] = -1.0
    seeds = seed_tensor(list(range(2000)), CPU)
    chosen = choose(logits, Decoding(1.0, top_k=3), seeds, torch.zeros(2000, dtype=torch.int64))
    assert set(chosen.tolist()) == {1, 2, 3}


def test_top_p_keeps_the_shortest_prefix_that_reaches_the_mass() -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().expand(3000, 4)
    seeds, positions = seed_tensor(list(range(3000)), CPU), torch.zeros(3000, dtype=torch.int64)
    for p, expected in ((0.4, {0}), (0.51, {0, 1}), (0.79, {0, 1}), (0.81, {0, 1, 2})):
        chosen = choose(logits, Decoding(1.0, top_p=p), seeds, positions)
        assert set(chosen.tolist()) == expected


@pytest.mark.parametrize(
    ("decoding", "dropped"),
    [
        (Decoding(1.0), ()),
        (Decoding(0.6), ()),
        (Decoding(1.5, top_k=12), range(12, 16)),
        (Decoding(1.0, top_p=0.9), None),
    ],
)
def test_draws_follow_the_softmax(decoding: Decoding, dropped: range | None) -> None:
    """χ² of 40,000 draws at fixed seeds: below the 99.9 % quantile of 15 degrees."""
    n = 40_000
    logits = torch.linspace(2.0, -2.0, 16)
    assert decoding.temperature is not None
    law = torch.softmax(logits.double() / decoding.temperature, -1)
    if dropped is None:
        assert decoding.top_p is not None
        law[law.cumsum(-1) - law >= decoding.top_p] = 0
    elif dropped:
        law[list(dropped)] = 0
    law /= law.sum()
    seeds = seed_tensor([i * 2_654_435_761 for i in range(n)], CPU)
    chosen = choose(logits.expand(n, -1), decoding, seeds, torch.arange(n) % 7)
    counts = torch.bincount(chosen, minlength=16).double()
    assert counts[law == 0].sum() == 0
    present = law > 0
    chi = ((counts - n * law)[present] ** 2 / (n * law)[present]).sum().item()
    assert chi < 37.7
    assert chi > 1.0  # draws that fit too well are not draws


def test_successive_positions_are_independent() -> None:
    """χ² of pairs of draws at neighbouring positions and at neighbouring seeds."""
    n = 40_000
    logits = torch.zeros(n, 4)
    seeds, zeros = seed_tensor(list(range(n)), CPU), torch.zeros(n, dtype=torch.int64)
    first = choose(logits, Decoding(1.0), seeds, zeros)
    for second in (choose(logits, Decoding(1.0), seeds, zeros + 1), first.roll(1)):
        pairs = torch.bincount(first * 4 + second, minlength=16).double()
        assert ((pairs - n / 16) ** 2 / (n / 16)).sum().item() < 37.7


def test_a_row_is_chosen_the_same_whatever_stands_beside_it() -> None:
    logits = torch.randn(300, 1500, generator=torch.Generator().manual_seed(3)) * 3
    seeds, positions = seed_tensor(list(range(300)), CPU), torch.arange(300)
    decoding = Decoding(0.9, top_p=0.95)
    together = choose(logits, decoding, seeds, positions)
    alone = [
        choose(logits[i : i + 1], decoding, seeds[i : i + 1], positions[i : i + 1]).item()
        for i in range(0, 300, 30)
    ]
    assert together[::30].tolist() == alone


def test_the_global_generator_is_not_touched() -> None:
    before = torch.random.get_rng_state()
    choose(torch.randn(2, 9, generator=torch.Generator()), Decoding(1.0), *_two())
    assert torch.equal(before, torch.random.get_rng_state())


def _two() -> tuple[torch.Tensor, torch.Tensor]:
    return seed_tensor([1, 2], CPU), torch.tensor([0, 0])


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    vocabulary=st.sampled_from([1, 3, 40, 5000]),
    spread=st.sampled_from([0.0, 0.1, 3.0, 40.0]),
    temperature=st.sampled_from([0.05, 0.7, 1.0, 4.0]),
    allowed=st.sampled_from([0.2, 1.0]),
)
def test_an_accelerator_that_is_not_asked_chooses_the_same(
    *, seed: int, vocabulary: int, spread: float, temperature: float, allowed: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(12, vocabulary, generator=generator) * spread + 1000
    hidden = torch.rand(12, vocabulary, generator=generator) > allowed
    hidden[:, seed % vocabulary] = False
    logits.masked_fill_(hidden, -math.inf)
    state = torch.randint(-(2**31), 2**31, (12,), generator=generator).to(torch.int32)
    for one, other in zip(
        winner(logits, temperature, state),
        winner_unasked(logits, temperature, state),
        strict=True,
    ):
        assert torch.equal(one, other)


def test_rows_that_are_not_finite_get_a_token_of_the_vocabulary() -> None:
    logits = torch.tensor([[0.0, math.nan, 1.0], [math.inf, 0.0, math.inf], [-math.inf] * 3])
    chosen, _ = winner_unasked(logits, 1.0, torch.zeros(3, dtype=torch.int32))
    assert all(0 <= token < 3 for token in chosen.tolist())


def test_noise_in_fp32_is_near_the_noise_everywhere() -> None:
    ends = torch.arange(2**16)
    hashes = torch.cat([ends, ends + 2**31 - 2**15, 2**32 - 1 - ends, ends * 65_537 % 2**32])
    words = torch.where(hashes >= 2**31, hashes - 2**32, hashes).to(torch.int32)
    assert (gumbel(words) - gumbel_fp32(words).double()).abs().max() < 1e-5
