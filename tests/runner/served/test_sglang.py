"""SGLang's dialect, over a server that takes and gives what SGLang's source does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from id_server import Answer, Mischief
from running import run, verified
from served_studies import ServedStudies
from sglang_answers import REQUEST_FIELDS, SAMPLING_FIELDS

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.canonical import event_seed
from safety_receipts.receipts.errors import MalformedError, UsageError
from safety_receipts.receipts.keys import Signer
from safety_receipts.receipts.model.plan import ServerDialect
from safety_receipts.receipts.model.point import Finish
from safety_receipts.receipts.model.receipt import Limit, ServerProbe
from safety_receipts.runner.engines.answers import completions_of
from safety_receipts.runner.engines.engine import GREEDY, Decoding, Request
from safety_receipts.runner.engines.served.client import NonsenseError
from safety_receipts.runner.engines.served.reply import check_server_reply
from safety_receipts.runner.engines.served.sglang import Sglang
from safety_receipts.runner.plan.sealed import digest_of
from safety_receipts.runner.run.ahead.resuming import render
from safety_receipts.runner.run.requests import decoding_of, request_of
from safety_receipts.runner.run.stack import load_stack

SGLANG = ServerDialect.SGLANG
SEEDED = "{method: seeded, temperature: 0.9, top_k: 30, max_new_tokens: 6}"
ASKED = Request(0, (5, 6, 7), 4, frozenset({2}), 3)


def test_a_server_gives_the_points_that_the_engine_of_this_process_gives(
    served: ServedStudies, tmp_path: Path, signer: Signer
) -> None:
    study = served(dialect=SGLANG)
    resolved = study.resolved()
    run(resolved, tmp_path / "bundle", signer)
    assert len(verified(tmp_path / "bundle", signer, resolved)) == 64
    plan = resolved.predicate
    seed = event_seed(digest_of(plan), None)
    points = render(resolved, None, lambda _, __: None).points
    requests = [request_of(point, plan.sampling, seed) for point in points]
    engine = load_stack(resolved, device="cpu", memory=2**26, local=True).stack.engine
    here = completions_of(engine, requests, decoding_of(plan.sampling))
    there = [record.response_tokens for record in Bundle(tmp_path / "bundle").responses()]
    assert there == [here[request.key].tokens for request in requests]
    receipt = Bundle(tmp_path / "bundle").receipt.statement.predicate
    account = receipt.environment.server
    assert account is not None
    assert (account.dialect, account.started) == (SGLANG, False)
    assert account.seen.probes == tuple(one for one in ServerProbe if one is not ServerProbe.SEEDS)
    assert (account.seen.repeated, account.seen.differed) == (8, 0)
    assert account.claimed.version == "0.5.23"
    assert account.claimed.weights == "model"
    assert Limit.WEIGHTS_CLAIMED in receipt.limits


@pytest.mark.parametrize("ends", [frozenset({2, 9}), frozenset()])
@pytest.mark.parametrize("decoding", [GREEDY, Decoding(temperature=0.9, top_p=0.8, top_k=30)])
def test_everything_that_changes_tokens_is_written_out_in_names_that_sglang_knows(
    ends: frozenset[int], decoding: Decoding
) -> None:
    body = Sglang().body(Request(0, (5, 6), 4, ends, 2**64 - 1), decoding, "model", best=True)
    assert set(body) <= REQUEST_FIELDS
    sampling = body["sampling_params"]
    # Only texts hang on these, and when a stream speaks.
    apart = {"skip_special_tokens", "spaces_between_special_tokens", "stream_interval"}
    wanted = SAMPLING_FIELDS - apart - (set() if not decoding.greedy else {"sampling_seed"})
    assert set(sampling) == wanted
    assert sampling["ignore_eos"] is not bool(ends)  # it would pass over the plan's, too
    assert sampling["stop_token_ids"] == sorted(ends)
    assert sampling["top_k"] == (decoding.top_k or -1)
    assert sampling.get("sampling_seed") == (None if decoding.greedy else 2**63 - 1)


def test_drawn_responses_get_the_seeds_of_the_sealed_rule(
    served: ServedStudies, tmp_path: Path, signer: Signer
) -> None:
    study = served(dialect=SGLANG, sampling=SEEDED)
    resolved = study.resolved()
    plan = resolved.predicate
    assert plan.sampling.noise == "server-seed-63/1"
    run(resolved, tmp_path / "bundle", signer)
    verified(tmp_path / "bundle", signer, resolved)
    seed = event_seed(digest_of(plan), None)
    points = render(resolved, None, lambda _, __: None).points
    wanted = [request_of(point, plan.sampling, seed).seed >> 1 for point in points]
    assert all(study.server.seeds[each] == 1 for each in wanted)
    assert Limit.SERVER_DRAWS in Bundle(tmp_path / "bundle").receipt.statement.predicate.limits


def test_a_server_that_passes_over_seeds_draws_for_no_plan(
    served: ServedStudies, tmp_path: Path, signer: Signer
) -> None:
    """As SGLang does without a flag."""
    study = served(Mischief(seeds=False), dialect=SGLANG, sampling=SEEDED)
    with pytest.raises(UsageError, match="two answers to one request with one seed"):
        run(study.resolved(), tmp_path / "bundle", signer)
    assert not (tmp_path / "bundle").exists()


def test_a_greedy_plan_asks_for_no_seeds(
    served: ServedStudies, tmp_path: Path, signer: Signer
) -> None:
    study = served(Mischief(seeds=False), dialect=SGLANG)
    run(study.resolved(), tmp_path / "bundle", signer)
    verified(tmp_path / "bundle", signer, study.resolved())
    account = Bundle(tmp_path / "bundle").receipt.statement.predicate.environment.server
    assert account is not None
    assert ServerProbe.SEEDS not in account.seen.probes  # nothing was seen of them


def sampled(**changes: object) -> Callable[[Answer], Answer]:
    """Return what changes a request's sampling on its way."""
    return lambda body: body | {"sampling_params": body["sampling_params"] | changes}


def said(**changes: object) -> Callable[[Answer], Answer]:
    """Return what changes what is said of an answer."""
    return lambda reply: reply | {"meta_info": reply["meta_info"] | changes}


@pytest.mark.parametrize(
    ("mischief", "message"),
    [
        (Mischief(penalty=1.3), "applies a penalty or a bias that nobody asked for"),
        (Mischief(asked=sampled(max_new_tokens=4)), "cut a response after 4 of"),
        (Mischief(asked=sampled(misspelt=1)), "answered 400"),
        (Mischief(stated_context=70), "the server's context is 70 tokens"),
        (Mischief(answered=said(finish_reason={"type": "abort"})), "for the reason 'abort'"),
        (
            Mischief(asked=lambda body: body | {"input_ids": body["input_ids"][-4:]}),
            "counts 4 tokens of a prompt of",
        ),
        (
            Mischief(answered=lambda reply: reply | {"output_ids": None}),
            "cannot give token ids",
        ),
    ],
)
def test_a_server_that_cannot_be_used_is_refused_before_anything_is_sealed(
    served: ServedStudies, tmp_path: Path, signer: Signer, mischief: Mischief, message: str
) -> None:
    study = served(mischief, dialect=SGLANG)
    with pytest.raises(UsageError, match=message):
        run(study.resolved(), tmp_path / "bundle", signer)
    assert not (tmp_path / "bundle").exists()


def test_a_penalty_that_leaves_the_prompt_out_is_refused(served: ServedStudies) -> None:
    penalised = "{method: greedy, max_new_tokens: 6, repetition_penalty: 1.2}"
    study = served(dialect=SGLANG, sampling=penalised)
    with pytest.raises(MalformedError, match="no server of sglang applies a plan's"):
        study.resolved()
    why = Sglang().why_not(Decoding(repetition_penalty=1.2))
    assert "looks at the response alone" in str(why)


def reply_of(tokens: list[int], finish: Answer | None = None, **changes: object) -> Answer:
    """Return a reply of SGLang's, in the parts that are read."""
    says = {
        "prompt_tokens": 3,
        "completion_tokens": len(tokens),
        "finish_reason": finish or {"type": "stop", "matched": tokens[-1]},
        "output_token_logprobs": [[-0.5, token, None] for token in tokens],
    }
    return {"output_ids": tokens, "prompt_token_ids": [5, 6, 7], "meta_info": says | changes}


def held(reply: Answer) -> tuple[tuple[int, ...], Finish]:
    read = Sglang().read(reply, ASKED)
    check_server_reply(ASKED, read, 100)
    return read.tokens, read.finish


def test_a_response_of_sglang_is_read() -> None:
    assert held(reply_of([9, 2])) == ((9, 2), Finish.STOP)
    cut = {"type": "length", "length": 4}
    assert held(reply_of([9, 8, 8, 8], cut)) == ((9, 8, 8, 8), Finish.LENGTH)


NOT_A_NUMBER = {"type": "stop", "matched": "NaN happened"}
"""sglang 0.5.23, srt/managers/schedule_batch.py: an end token stands where logits were none."""


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (reply_of([9, 2], NOT_A_NUMBER), "at 'NaN happened', which is not its last token"),
        (reply_of([9, 2], {"type": "stop", "matched": 9}), "at '9', which is not its last token"),
        (reply_of([9, 8]), "without an end token of the plan's"),
        (reply_of([9, 8], {"type": "length"}), "cut a response after 2 of 4 tokens"),
        (reply_of([900, 2]), "none of the model's 100"),
        (reply_of([9, 2], completion_tokens=3), "and counts 3 tokens"),
        (reply_of([9, 2], prompt_tokens=4), "counts 4 tokens of a prompt of 3"),
        (reply_of([9, 2], output_token_logprobs=[[-0.5, 9, None]]), "of other tokens"),
        (reply_of([9, 2], output_token_logprobs=None), "no log-probabilities"),
        (reply_of([9, 2], output_token_logprobs=[[None, 9, None], [-1, 2, None]]), "no numbers"),
        (reply_of([9, 2], output_top_logprobs=[None, 1]), "likeliest tokens"),
        (reply_of([9, 2]) | {"prompt_token_ids": [5, 6, 8]}, "other token ids than the prompt's"),
        ({"text": "words", "meta_info": {}}, "cannot give token ids"),
    ],
)
def test_a_reply_of_sglang_that_does_not_hold_together(reply: Answer, message: str) -> None:
    with pytest.raises(NonsenseError, match=message):
        held(reply)


def test_a_receipt_says_what_the_server_spoke(
    served: ServedStudies, tmp_path: Path, signer: Signer, receipts: Callable[..., Any]
) -> None:
    study = served(dialect=SGLANG)
    run(study.resolved(), tmp_path / "bundle", signer)
    shown = " ".join(receipts("show", str(tmp_path / "bundle")).out.split())
    assert "sglang" in shown
    assert "claimed: version 0.5.23, model model" in shown


def test_doctor_finds_the_dialect_and_says_of_seeds_what_is(
    served: ServedStudies, receipts: Callable[..., Any]
) -> None:
    study = served(dialect=SGLANG)
    found = receipts("doctor", "--server", study.server.url)
    assert found.code == 0
    assert "sglang" in found.out
    assert "prompts given back as they were sent" in found.out
    assert "one seed, one answer; another seed, another" in found.out
