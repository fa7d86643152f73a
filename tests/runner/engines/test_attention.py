"""Attention over parts of a context against attention over the whole, written out in float64."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from safety_receipts.runner.engines.prefix.attention import Kernel, Terms, attend, merge

KERNELS = tuple(Kernel)


def whole(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    terms: Terms,
    mask: torch.Tensor,
) -> torch.Tensor:
    """Return attention over everything at once, the sink a column without a value."""
    heads = query.shape[1]
    each = heads // key.shape[1]
    query, key, value = (x.double() for x in (query, key, value))
    key, value = key.repeat_interleave(each, 1), value.repeat_interleave(each, 1)
    scores = query @ key.transpose(-1, -2) * terms.scale
    if terms.softcap is not None:
        scores = terms.softcap * torch.tanh(scores / terms.softcap)
    scores = scores.masked_fill(~mask, -torch.inf)
    if terms.sink is not None:
        sink = terms.sink.double().view(1, heads, 1, 1).expand(*scores.shape[:3], 1)
        scores = torch.cat([scores, sink], -1)
        value = torch.cat([value, torch.zeros_like(value[:, :, :1])], 2)
    return (torch.softmax(scores, -1).nan_to_num() @ value).float()


def random_states(
    draw: torch.Generator, heads: int, groups: int, queries: int, keys: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    def states(number: int, length: int) -> torch.Tensor:
        return torch.randn((1, number, length, 8), generator=draw)

    return states(heads, queries), states(groups, keys), states(groups, keys)


@settings(deadline=None, max_examples=60)
@given(data=st.data(), kernel=st.sampled_from(KERNELS))
def test_parts_merged_are_the_whole(data: st.DataObject, kernel: Kernel) -> None:
    """Wherever the context is cut, with windows, grouped heads, a sink or a soft cap."""
    groups, each = data.draw(st.sampled_from([(1, 1), (2, 1), (2, 3), (1, 4)]))
    queries, keys = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 12))
    draw = torch.Generator().manual_seed(data.draw(st.integers(0, 2**31)))
    query, key, value = random_states(draw, groups * each, groups, queries, keys)
    sink = torch.randn(groups * each, generator=draw) if data.draw(st.booleans()) else None
    terms = Terms(0.5, data.draw(st.sampled_from([None, 3.0])), sink, kernel)
    seen = torch.rand((queries, keys), generator=draw) < data.draw(st.sampled_from([1.1, 0.6]))
    seen[:, 0] = True  # every token sees something: itself
    cuts = sorted({0, keys, *data.draw(st.lists(st.integers(1, keys), max_size=3))})
    outs, sums = [], []
    for first, last in pairwise(cuts):
        mask = None if bool(seen.all()) else seen[None, None, :, first:last]
        out, lse = attend(query, key[:, :, first:last], value[:, :, first:last], terms, mask=mask)
        outs.append(out[0])
        sums.append(lse[0])
    found = merge(outs, sums, sink)
    expected = whole(query, key, value, terms, seen)
    torch.testing.assert_close(found, expected[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("softcap", [None, 2.0])
def test_causal_attention_sees_what_came_before(kernel: Kernel, softcap: float | None) -> None:
    query, key, value = random_states(torch.Generator().manual_seed(1), 6, 2, 9, 9)
    terms = Terms(0.3, softcap, kernel=kernel)
    out, lse = attend(query, key, value, terms, causal=True)
    seen = torch.ones(9, 9, dtype=torch.bool).tril()
    torch.testing.assert_close(out, whole(query, key, value, terms, seen), rtol=1e-5, atol=1e-5)
    same, same_lse = attend(query, key, value, terms, mask=seen[None, None])
    torch.testing.assert_close(same, out, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(same_lse, lse, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kernel", KERNELS)
def test_masks_of_single_queries_differ_by_row(kernel: Kernel) -> None:
    draw = torch.Generator().manual_seed(2)
    query = torch.randn((3, 4, 1, 8), generator=draw)
    key, value = (torch.randn((3, 2, 5, 8), generator=draw) for _ in range(2))
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 0, 0, 0, 0], [0, 1, 1, 0, 0]]).bool()[:, None, None]
    terms = Terms(0.4, kernel=kernel)
    out, _ = attend(query, key, value, terms, mask=mask)
    torch.testing.assert_close(out, whole(query, key, value, terms, mask), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_query_that_sees_nothing_adds_nothing(kernel: Kernel) -> None:
    query, key, value = random_states(torch.Generator().manual_seed(3), 4, 2, 3, 5)
    mask = torch.ones(1, 1, 3, 5, dtype=torch.bool)
    mask[:, :, 1] = False
    out, lse = attend(query, key, value, Terms(1.0, kernel=kernel), mask=mask)
    assert bool(lse[:, :, 1].isneginf().all())
    assert not bool(out[:, :, 1].any())
    other, other_lse = attend(query, key, value, Terms(1.0, kernel=kernel))
    merged = merge([out[0], other[0]], [lse[0], other_lse[0]])
    torch.testing.assert_close(merged[:, 1], other[0, :, 1])


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_keeps_its_partial_results_in_fp32(
    kernel: Kernel, dtype: torch.dtype
) -> None:
    """They equal fp32 attention over the same rounded states, far below the format's steps."""
    states = random_states(torch.Generator().manual_seed(4), 4, 2, 7, 300)
    half = [x.to(dtype) for x in states]
    out, lse = attend(*half, Terms(0.35, kernel=kernel))
    exact, exact_lse = attend(*(x.float() for x in half), Terms(0.35, kernel=Kernel.MATH))
    assert out.dtype == lse.dtype == torch.float32
    torch.testing.assert_close(out, exact, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(lse, exact_lse, rtol=1e-5, atol=1e-5)


def test_long_calls_are_computed_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    query, key, value = random_states(torch.Generator().manual_seed(5), 4, 2, 11, 11)
    mask = torch.ones(11, 11, dtype=torch.bool).tril()[None, None]
    terms = Terms(0.5, softcap=4.0)
    calls = [{"causal": True}, {"mask": mask}, {}]
    before = [attend(query, key, value, terms, **call) for call in calls]  # type: ignore[arg-type]
    monkeypatch.setattr("safety_receipts.runner.engines.prefix.attention._SCORES", 4 * 11 * 3)
    after = [attend(query, key, value, terms, **call) for call in calls]  # type: ignore[arg-type]
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one, other)
