"""Log-probabilities that cannot be, and tokens that are not the likeliest, are not believed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from id_server import Answer, Mischief
from running import Quiet, run
from served_judges import JudgedStudies
from served_studies import ServedStudies, after_first_unit

from safety_receipts.receipts.bundle import RECEIPT
from safety_receipts.receipts.errors import IncompleteError, IntegrityError, UsageError
from safety_receipts.receipts.keys import Signer
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.judge import JudgeKind
from safety_receipts.receipts.model.point import Finish
from safety_receipts.runner.engines.engine import GREEDY, Request
from safety_receipts.runner.engines.served.client import NonsenseError
from safety_receipts.runner.engines.served.dialect import TokenScores, check_scores
from safety_receipts.runner.engines.served.llamacpp import LlamaCpp
from safety_receipts.runner.engines.served.reply import (
    ServerReply,
    check_greedy_reply,
    check_server_reply,
    logprobs_of,
)
from safety_receipts.runner.engines.served.vllm import Vllm

ASKED = Request(0, (5, 6, 7), 2, frozenset({2}), logits_for=(8, 9))
HONEST = ServerReply(
    prompt=(5, 6, 7),
    prompt_length=3,
    tokens=(8, 2),
    counted=2,
    finish=Finish.STOP,
    logprobs=(-0.5, -0.1),
    best=(-0.5, -0.1),
    wanted=((-0.5, -2.0), (math.nan, -9.0)),
)
V = 100


def held(reply: ServerReply, dtype: Dtype = Dtype.FLOAT32) -> None:
    check_server_reply(ASKED, reply, V)
    check_greedy_reply(reply, V, dtype)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"best": (), "wanted": ()},
        {"logprobs": (0.00005, -0.1), "best": (0.0, -0.1), "wanted": ()},
        {"logprobs": (None, -0.1), "best": (None, -0.1)},
        {"logprobs": (-math.log(V), -0.1), "best": (-math.log(V), -0.1), "wanted": ()},
    ],
    ids=["as it is", "own alone", "rounding", "inside a character", "an equal share"],
)
def test_an_honest_reply_is_believed(changes: dict[str, Any]) -> None:
    held(replace(HONEST, **changes))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"best": (0.5, -0.1)}, "above 0"),
        ({"wanted": ((12345.0, -2.0), (-3.0, -9.0))}, "above 0"),
        ({"best": (-0.5,)}, "the likeliest tokens of 1 places of 2"),
        ({"logprobs": (-30.0, -0.1), "best": (-30.0, -0.1), "wanted": ()}, "of an equal share"),
        ({"logprobs": (-30.0, -0.1), "best": (), "wanted": ()}, "of an equal share"),
        ({"best": (-0.6, -0.1)}, "likelier than the likeliest"),
        ({"wanted": ((-1.5, -2.0), (-3.0, -9.0))}, "two log-probabilities for one token"),
        ({"best": (-0.4, -0.1)}, "does not choose its likeliest token"),
        ({"best": (), "wanted": ((-0.5, -0.4), (-3.0, -9.0))}, "does not choose its likeliest"),
    ],
)
def test_a_reply_whose_log_probabilities_cannot_be_is_not_believed(
    changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(NonsenseError, match=said):
        held(replace(HONEST, **changes))


def test_near_ties_are_those_of_the_number_format() -> None:
    held(replace(HONEST, best=(-0.4, -0.1)), Dtype.BFLOAT16)
    with pytest.raises(NonsenseError):
        held(replace(HONEST, best=(-0.1, -0.1)), Dtype.BFLOAT16)


@pytest.mark.parametrize(
    ("own", "best", "said"),
    [
        ((-1.0,), (0.5,), "above 0"),
        ((-1e308,), (-1e308,), "of an equal share"),
        ((-1.0,), (-2.0,), "likelier than the likeliest"),
    ],
)
def test_scores_that_cannot_be_are_not_believed(
    own: tuple[float, ...], best: tuple[float, ...], said: str
) -> None:
    check_scores(TokenScores((-90.0, -4.6), (-0.1, -4.6)), V)
    with pytest.raises(NonsenseError, match=said):
        check_scores(TokenScores(own, best), V)


@pytest.mark.parametrize("value", [-(10**400), 10**400, math.inf, math.nan])
def test_a_log_probability_without_bound_is_nonsense(value: float) -> None:
    with pytest.raises(NonsenseError, match="has no bound"):
        logprobs_of([-0.5, value])


def test_a_setting_without_bound_is_nonsense() -> None:
    reply = llama(top=(9, -0.5))
    reply["generation_settings"] = {"min_p": 10**400}
    with pytest.raises(NonsenseError, match="samples with min_p"):
        check_server_reply(replace(ASKED, logits_for=()), LlamaCpp().read(reply, ASKED), V)


def llama(top: tuple[int, float]) -> dict[str, Any]:
    tops = [{"id": top[0], "logprob": top[1]}]
    given = [{"id": token, "logprob": -9.5, "top_logprobs": tops} for token in (9, 8)]
    return {
        "tokens": [9, 8],
        "tokens_predicted": 2,
        "tokens_evaluated": 3,
        "stop_type": "limit",
        "generation_settings": {},
        "completion_probabilities": given,
    }


def test_llama_cpp_keeps_ends_that_it_ignores_from_being_drawn_and_not_from_being_likely() -> None:
    """What is drawn in the place of an end is not the likeliest, and nobody's penalty."""
    without, reply = replace(ASKED, stop_ids=frozenset(), logits_for=()), llama((2, -0.01))
    check_greedy_reply(LlamaCpp().read(reply, without), V, Dtype.FLOAT32)
    with pytest.raises(NonsenseError, match="does not choose its likeliest"):
        check_greedy_reply(LlamaCpp().read(reply, ASKED), V, Dtype.FLOAT32)


def test_a_run_asks_for_the_likeliest_tokens_beside_its_own() -> None:
    assert Vllm().body(ASKED, GREEDY, "m", best=True)["logprobs"] == 20
    assert Vllm().body(replace(ASKED, logits_for=()), GREEDY, "m", best=True)["logprobs"] == 1


def long_penalty(body: Answer) -> Answer:
    """Penalise what is longer than the trial's short prompts."""
    return body | ({"repetition_penalty": 1.8} if len(body["prompt"]) > 20 else {})


def test_a_penalty_on_long_prompts_alone_does_not_pass_the_trial(
    served: ServedStudies, tmp_path: Path, signer: Signer
) -> None:
    study = served(Mischief(asked=long_penalty))
    with pytest.raises(UsageError, match="applies a penalty or a bias that nobody asked for"):
        run(study.resolved(), tmp_path / "bundle", signer)
    assert not (tmp_path / "bundle").exists()


def later(change: Callable[[Answer], None], watcher: Quiet) -> Callable[[Answer], Answer]:
    """Return what changes answers once a unit is answered."""
    second = after_first_unit(watcher)

    def answered(reply: Answer) -> Answer:
        if second():
            change(reply["choices"][0]["logprobs"])
        return reply

    return answered


def unlikely(logprobs: Answer) -> None:
    logprobs["token_logprobs"] = [-30.0 for _ in logprobs["token_logprobs"]]
    logprobs["top_logprobs"] = [{"own": -30.0} for _ in logprobs["token_logprobs"]]


def without_the_likeliest(logprobs: Answer) -> None:
    logprobs["top_logprobs"] = None


def another(logprobs: Answer) -> None:
    for top in logprobs["top_logprobs"]:
        top["best"] = -0.0001
    logprobs["token_logprobs"] = [-1.0 for _ in logprobs["token_logprobs"]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (unlikely, "below that of an equal share"),
        (without_the_likeliest, "does not give the likeliest token beside"),
        (another, "does not choose its likeliest token"),
    ],
)
def test_a_run_holds_each_greedy_token_to_the_likeliest(
    served: ServedStudies,
    tmp_path: Path,
    signer: Signer,
    change: Callable[[Answer], None],
    said: str,
) -> None:
    study, watcher = served(), Quiet()
    study.server.mischief.answered = later(change, watcher)
    with pytest.raises(IntegrityError, match=said):
        run(study.resolved(), tmp_path / "bundle", signer, watcher=watcher)
    assert not (tmp_path / "bundle" / RECEIPT).exists()


def test_a_drawn_token_may_be_as_unlikely_as_it_is(
    served: ServedStudies, tmp_path: Path, signer: Signer
) -> None:
    """Of it alone vLLM gives a log-probability: what stands there is no likeliest token's."""
    sampling = "{method: seeded, temperature: 0.9, max_new_tokens: 6}"
    study, watcher = served(sampling=sampling), Quiet()
    study.server.mischief.answered = later(unlikely, watcher)
    run(study.resolved(), tmp_path / "bundle", signer, watcher=watcher)
    assert (tmp_path / "bundle" / RECEIPT).exists()


def test_margins_that_contradict_the_judges_own_word_are_not_sealed(
    judged: JudgedStudies, tmp_path: Path, signer: Signer
) -> None:
    study, asked = judged(JudgeKind.CHAT), [0]

    def answered(reply: Answer) -> Answer:
        asked[0] += 1
        logprobs = reply["choices"][0]["logprobs"]
        if asked[0] > 30:
            for top, own in zip(logprobs["top_logprobs"], logprobs["tokens"], strict=True):
                top.update({name: -0.01 for name in top if name not in (own, "best")})
        return reply

    study.server.mischief.answered = answered
    with pytest.raises((IntegrityError, UsageError), match="does not choose its likeliest"):
        run(study.served(), tmp_path / "bundle", signer)
    assert not (tmp_path / "bundle" / RECEIPT).exists()


def test_another_server_that_answers_midway_is_not_sealed(
    served: ServedStudies, tmp_path: Path, signer: Signer
) -> None:
    study, watcher = served(), Quiet()
    second = after_first_unit(watcher)

    def answered(reply: Answer) -> Answer:
        if second():
            study.server.mischief.stated_context = 5000
        return reply

    study.server.mischief.answered = answered
    with pytest.raises(IncompleteError, match=r"says otherwise of itself .*: contextLimit") as why:
        run(study.resolved(), tmp_path / "bundle", signer, watcher=watcher)
    assert "run the same command again" in str(why.value.hint)
    assert not (tmp_path / "bundle" / RECEIPT).exists()
    study.server.mischief = Mischief()
    run(study.resolved(), tmp_path / "bundle", signer)
    assert (tmp_path / "bundle" / RECEIPT).exists()
