"""How a model's forward pass takes its cache, and what is said where it takes none."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from tiny_models import tiny_model

from safety_receipts.receipts.errors import IncompleteError, UsageError
from safety_receipts.runner.engines.answers import generate_completions
from safety_receipts.runner.engines.engine import Request
from safety_receipts.runner.engines.forward import TESTED, cache_argument
from safety_receipts.runner.engines.load import wrap_model
from safety_receipts.runner.engines.transformers_engine import TransformersEngine

NAMES = ("cache", "past_key_values")
PROMPT = Request(0, (6, 7, 8, 9), 5, frozenset())


@pytest.fixture
def llama() -> Any:
    return tiny_model("llama", 64)


def renamed(model: Any, name: str) -> Callable[..., Any]:
    """Return a model's forward pass with its cache under another name, as releases rename it."""
    original, before = model.forward, cache_argument(model)

    def forward(**arguments: Any) -> Any:
        if name in arguments:
            arguments[before] = arguments.pop(name)
        return original(**arguments)

    return forward


def answer(model: Any, **options: Any) -> tuple[int, ...]:
    engine = TransformersEngine(wrap_model(model), **options)
    return next(iter(generate_completions(engine, [PROMPT]))).tokens


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shared", [True, False])
def test_either_name_of_the_cache_gives_the_same_tokens(
    llama: Any, name: str, *, shared: bool
) -> None:
    expected = answer(llama, shared=shared)
    original = renamed(llama, name)
    if name == "cache":

        def forward(
            input_ids: Any = None, position_ids: Any = None, cache: Any = None, **others: Any
        ) -> Any:
            given = {} if cache is None else {"cache": cache}
            return original(input_ids=input_ids, position_ids=position_ids, **given, **others)
    else:

        def forward(  # type: ignore[misc]  # the other name is the point
            input_ids: Any = None,
            position_ids: Any = None,
            past_key_values: Any = None,
            **others: Any,
        ) -> Any:
            given = {} if past_key_values is None else {"past_key_values": past_key_values}
            return original(input_ids=input_ids, position_ids=position_ids, **given, **others)

    llama.forward = forward
    assert cache_argument(llama) == name
    assert answer(llama, shared=shared) == expected


def test_the_name_is_found_behind_decorators_and_in_the_model_inside(llama: Any) -> None:
    name, inner = cache_argument(llama), llama.forward
    assert name in NAMES

    @functools.wraps(inner)
    def decorated(*arguments: Any, **options: Any) -> Any:
        return inner(*arguments, **options)

    llama.forward = decorated
    assert cache_argument(llama) == name

    def handing_on(**options: Any) -> Any:
        return inner(**options)

    llama.forward = handing_on
    assert cache_argument(llama) == name


def refused(model: Any, **options: Any) -> str:
    """Return what is said of a model, which never is that its checkpoint were at fault."""
    with pytest.raises(UsageError) as caught:
        TransformersEngine(wrap_model(model), **options)
    assert f"in transformers {transformers.__version__} is not understood" in caught.value.message
    assert all(release in str(caught.value.hint) for release in TESTED)
    assert "checkpoint" not in str(caught.value)
    return caught.value.message


def test_a_forward_pass_without_a_cache_or_positions_is_refused(llama: Any) -> None:
    whole = llama.forward
    llama.forward = lambda input_ids, position_ids, use_cache: whole(input_ids)
    assert refused(llama).endswith("it takes no cache as cache or past_key_values")
    llama.forward = lambda input_ids, cache, use_cache: whole(input_ids)
    assert refused(llama).endswith("it takes no position_ids")


@pytest.mark.parametrize("shared", [True, False])
def test_a_cache_that_a_model_does_not_look_at_is_found(llama: Any, *, shared: bool) -> None:
    whole = llama.forward

    def ignoring(input_ids: Any, position_ids: Any, cache: Any = None, **others: Any) -> Any:
        return whole(input_ids=input_ids, position_ids=position_ids, **others)

    llama.forward = ignoring
    assert refused(llama, shared=shared).endswith(
        "ValueError: the forward pass kept nothing in the cache that it was given"
    )


def test_a_mask_that_is_read_in_another_way_is_found(llama: Any) -> None:
    whole = llama.forward

    def unmasked(
        input_ids: Any,
        position_ids: Any,
        attention_mask: Any = None,
        cache: Any = None,
        **others: Any,
    ) -> Any:
        if attention_mask is not None:  # the first token is hidden, where it was the last
            attention_mask = attention_mask.clone()
            attention_mask[:, 0] = False
            others["attention_mask"] = attention_mask
        name = next(one for one in NAMES if one in types)
        given = {} if cache is None else {name: cache}
        return whole(input_ids=input_ids, position_ids=position_ids, **given, **others)

    types = {cache_argument(llama)}
    llama.forward = unmasked
    assert "with a cache its logits are" in refused(llama, shared=False)


def test_what_a_forward_pass_raises_is_told_with_the_release(llama: Any) -> None:
    def failing(input_ids: Any, position_ids: Any, cache: Any = None, **_: Any) -> Any:
        raise TypeError("mask() got an unexpected keyword argument 'cache_position'")

    llama.forward = failing
    assert "unexpected keyword argument 'cache_position'" in refused(llama)


def test_a_lack_of_memory_is_told_as_one(llama: Any) -> None:
    def failing(input_ids: Any, position_ids: Any, cache: Any = None, **_: Any) -> Any:
        raise torch.OutOfMemoryError("no memory")

    llama.forward = failing
    with pytest.raises(IncompleteError, match="not even a few tokens fit in memory"):
        TransformersEngine(wrap_model(llama))
