"""What servers, and what stands before them, do wrong: each ends in its own sentence.

Nothing that was answered is lost, nothing is sealed with a hole, and the same command goes on.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from id_server import Answer, Mischief, always, cut, drop, first_time, hang, html, id_server, status
from running import Quiet, run, verified
from served_studies import ServedStudies, ServedStudy, after_first_unit

from safety_receipts.receipts.bundle import RECEIPT, Bundle
from safety_receipts.receipts.errors import (
    IncompleteError,
    IntegrityError,
    ReceiptsError,
    UsageError,
)
from safety_receipts.receipts.keys import Signer, write_key_pair
from safety_receipts.receipts.model.point import Outcome, Reason
from safety_receipts.receipts.model.receipt import Event, Limit, ServerAccount
from safety_receipts.runner.engines.answers import completions_of
from safety_receipts.runner.engines.engine import Decoding, Request, UnbelievableServerError
from safety_receipts.runner.run.event import RunOptions
from safety_receipts.runner.run.requests import going_on
from safety_receipts.runner.run.stack import load_stack


def sealed(folder: Path) -> tuple[ServerAccount, Event, tuple[Limit, ...]]:
    """Return what a receipt says of the server and the run."""
    receipt = Bundle(folder).receipt.statement.predicate
    assert receipt.environment.server is not None
    return receipt.environment.server, receipt.event, receipt.limits


@pytest.mark.parametrize(
    "act",
    [status(429), status(503), status(500), cut, drop],
    ids=["429", "503", "500", "cut", "dropped"],
)
def test_what_passes_is_sent_again_and_counted(
    served: ServedStudies, tmp_path: Path, signer: Signer, act: Callable[[Any], None]
) -> None:
    study = served(queries=2, controls=1)
    resolved = study.resolved()
    study.server.mischief.before = first_time(5, act)
    run(resolved, tmp_path / "bundle", signer)
    points = verified(tmp_path / "bundle", signer, resolved)
    assert all(point.outcome is not Outcome.FAILED for point in points)
    account, event, _ = sealed(tmp_path / "bundle")
    assert account.seen.resent == event.retries > 0


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (status(429), "does not answer: the server answered 429"),
        (status(503), "does not answer: the server answered 503"),
        (cut, "does not answer: the answer was cut"),
        (drop, "does not answer: "),
        (hang, "does not answer: no answer within 2 s"),
    ],
    ids=["429", "503", "cut", "dropped", "half-open"],
)
def test_what_does_not_pass_stops_the_run_which_goes_on_later(
    served: ServedStudies,
    tmp_path: Path,
    signer: Signer,
    act: Callable[[Any], None],
    said: str,
) -> None:
    study, watcher = served(), Quiet()
    resolved, second = study.resolved(), after_first_unit(watcher)

    def before(handler: Any, body: Answer) -> bool:
        if not second():
            return False
        act(handler)
        return True

    study.server.mischief.before = before
    with pytest.raises(IncompleteError, match=said) as raised:
        run(resolved, tmp_path / "bundle", signer, watcher=watcher)
    assert "run the same command again" in str(raised.value.hint)
    assert not (tmp_path / "bundle" / RECEIPT).exists()
    kept = sum(commit.points for commit in watcher.commits)
    assert 0 < kept < 64
    study.server.mischief.before = Mischief().before
    asked = len(study.server.prompts)
    again = Quiet()
    run(resolved, tmp_path / "bundle", signer, watcher=again)
    assert again.before == kept  # nothing is lost
    assert len(verified(tmp_path / "bundle", signer, resolved)) == 64
    account, event, limits = sealed(tmp_path / "bundle")
    assert event.restarts == 1
    assert (account.seen.repeated, account.seen.differed) == (16, 0)  # two starts
    assert len(study.server.prompts) - asked < 64 + 60
    assert Limit.NOT_REPEATABLE not in limits


def no_ids(reply: Answer) -> Answer:
    for choice in reply["choices"]:
        del choice["token_ids"], choice["prompt_token_ids"]
        choice["text"] = "Sure, take the lamp"
    return reply


def with_choice(change: Callable[[Answer], None]) -> Callable[[Answer], Answer]:
    def answered(reply: Answer) -> Answer:
        change(reply["choices"][0])
        return reply

    return answered


def cut_prompt(body: Answer) -> Answer:
    return body | {"prompt": body["prompt"][-4:]}


def one_seed(body: Answer) -> Answer:
    return body | ({"seed": 7} if "seed" in body else {})


def few(body: Answer) -> Answer:
    return body | {"max_tokens": min(body["max_tokens"], 4)}


@pytest.mark.parametrize(
    ("mischief", "said"),
    [
        (Mischief(answered=no_ids), "cannot be used: it cannot give token ids"),
        (Mischief(asked=cut_prompt), "cannot be used: it counts 4 tokens of a prompt of"),
        (Mischief(penalty=1.3), "applies a penalty or a bias that nobody asked for"),
        (Mischief(asked=one_seed), "one answer for every seed"),
        (Mischief(asked=few), "cut a response after 4 of"),
        (Mischief(context=70), "does not answer a prompt of .* tokens with 6 new ones"),
        (Mischief(stated_context=70), "the server's context is 70 tokens"),
        (Mischief(before=always(html)), "no JSON, but text/html: is there a proxy"),
        (Mischief(before=always(status(404))), "answered 404: it has no such model"),
        (Mischief(before=always(status(401))), "answered 401: it wants a key"),
        (
            Mischief(answered=with_choice(lambda c: c["token_ids"].append(1))),
            "log-probabilities are of other tokens",
        ),
        (
            Mischief(answered=with_choice(lambda c: c.update(finish_reason="abort"))),
            "ended a response for the reason 'abort'",
        ),
        (
            Mischief(answered=with_choice(lambda c: c["prompt_token_ids"].reverse())),
            "gives back other token ids than the prompt's",
        ),
    ],
    ids=[
        "text-only",
        "cut-prompt",
        "hidden-penalty",
        "one-seed",
        "capped-length",
        "lower-context",
        "stated-context",
        "html",
        "404",
        "401",
        "other-tokens",
        "aborted",
        "other-prompt",
    ],
)
def test_a_server_that_cannot_be_used_is_refused_before_anything_is_sealed(
    served: ServedStudies, tmp_path: Path, signer: Signer, mischief: Mischief, said: str
) -> None:
    # A plan that draws: a greedy one does not try seeds.
    study = served(mischief, sampling="{method: seeded, temperature: 0.9, max_new_tokens: 6}")
    with pytest.raises(UsageError, match=said) as raised:
        run(study.resolved(), tmp_path / "bundle", signer)
    assert "\n" not in raised.value.one_line()
    assert not (tmp_path / "bundle").exists()


def test_another_model_than_the_plan_names_is_refused(
    served: ServedStudies, tmp_path: Path, signer: Signer
) -> None:
    study = served()
    with pytest.raises(UsageError, match="offers no model 'other'; it offers model"):
        run(study.resolved(model="other"), tmp_path / "bundle", signer)
    assert not (tmp_path / "bundle").exists()


def test_no_server_is_said_to_be_none(
    served: ServedStudies, tmp_path: Path, signer: Signer
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        resolved = served().resolved(url=url)
        with pytest.raises(IncompleteError, match="does not answer: no connection") as raised:
            run(resolved, tmp_path / "bundle", signer)
    assert "is the address right, and does a server run there?" in raised.value.one_line()
    assert not (tmp_path / "bundle").exists()


def test_a_server_that_speaks_no_https_is_not_waited_for(
    served: ServedStudies, tmp_path: Path, signer: Signer
) -> None:
    study = served()
    resolved = study.resolved(url=study.server.url.replace("http://", "https://"))
    with pytest.raises(UsageError, match="no secure connection can be made") as raised:
        run(resolved, tmp_path / "bundle", signer)
    assert "or is its address http://?" in raised.value.one_line()


def test_a_server_that_begins_to_lie_stops_the_run(
    served: ServedStudies, tmp_path: Path, signer: Signer
) -> None:
    study, watcher = served(), Quiet()
    second = after_first_unit(watcher)

    def answered(reply: Answer) -> Answer:
        if second():
            reply["choices"][0]["prompt_token_ids"][0] += 1
        return reply

    study.server.mischief.answered = answered
    with pytest.raises(IntegrityError, match="cannot be believed: it gives back other token ids"):
        run(study.resolved(), tmp_path / "bundle", signer, watcher=watcher)
    assert watcher.commits
    assert not (tmp_path / "bundle" / RECEIPT).exists()


def refused_once(study: ServedStudy) -> None:
    """Refuse one prompt of the study until further notice."""
    unlucky: list[list[int]] = []

    def before(handler: Any, body: Answer) -> bool:
        if not unlucky and len(study.server.bodies) > 60 and body["max_tokens"] == 6:
            unlucky.append(body["prompt"])
        if body["prompt"] not in unlucky:
            return False
        handler.give(400, {"error": {"message": "no"}})
        return True

    study.server.mischief.before = before


def test_a_refused_request_is_its_points_failure_and_a_second_answer_is_compared(
    served: ServedStudies, tmp_path: Path, signer: Signer
) -> None:
    study = served()
    refused_once(study)
    with pytest.raises(IncompleteError, match=r"points failed .*engine_error") as raised:
        run(study.resolved(), tmp_path / "bundle", signer)
    assert "--retry-failed" in str(raised.value.hint)
    study.server.mischief.before = Mischief().before
    options = RunOptions(memory=2**26, retry_failed=True)
    run(study.resolved(), tmp_path / "bundle", signer, options=options)
    verified(tmp_path / "bundle", signer, study.resolved())
    account, event, limits = sealed(tmp_path / "bundle")
    # The preflight's of two starts, and the rest of the units that were asked whole again.
    assert account.seen.repeated > 16
    assert account.seen.differed == 0
    assert event.retries > 0
    assert Limit.NOT_REPEATABLE not in limits


def test_another_answer_to_the_same_point_is_a_limit_of_the_receipt(
    served: ServedStudies, tmp_path: Path, signer: Signer
) -> None:
    study = served()
    refused_once(study)
    with pytest.raises(IncompleteError):
        run(study.resolved(), tmp_path / "bundle", signer)
    points = study.resolved().predicate.points

    def answered(reply: Answer) -> Answer:
        choice = reply["choices"][0]
        if len(choice["prompt_token_ids"]) > 16 and len(choice["token_ids"]) > 1:
            other = 20 if choice["token_ids"][0] != 20 else 21
            choice["token_ids"][0] = other
            choice["logprobs"]["tokens"][0] = f"token_id:{other}"
        return reply

    study.server.mischief = Mischief(answered=answered)
    options = RunOptions(memory=2**26, retry_failed=True)
    run(study.resolved(), tmp_path / "bundle", signer, options=options)
    account, _, limits = sealed(tmp_path / "bundle")
    assert 0 < account.seen.differed < points
    assert Limit.NOT_REPEATABLE in limits


def test_points_of_one_reason_that_is_none_of_theirs_stop_the_run(
    served: ServedStudies, tmp_path: Path, signer: Signer
) -> None:
    study = served()

    def before(handler: Any, body: Answer) -> bool:
        if len(study.server.bodies) < 60:
            return False
        handler.give(500, {})
        return True

    study.server.mischief.before = before
    with pytest.raises(IncompleteError, match=r"no point of a whole unit|points failed"):
        run(study.resolved(), tmp_path / "bundle", signer)


_KILLED = """
import os, sys
sys.path[:0] = {paths!r}
from pathlib import Path
from running import Quiet, run
from served_studies import ServedStudy
from safety_receipts.receipts.keys import load_signer

class Dies(Quiet):
    def committed(self, what):
        os._exit(9)

study = ServedStudy(None, Path({folder!r}), {{}})
run(study.resolved(url={url!r}), Path({bundle!r}), load_signer(Path({key!r})), watcher=Dies())
"""


@pytest.mark.long
def test_a_killed_client_goes_on_without_a_point_answered_unseen(
    served: ServedStudies, tmp_path: Path, signer: Signer
) -> None:
    study = served()
    key = tmp_path / "key"
    write_key_pair(key, signer)
    code = _KILLED.format(
        paths=[path for path in sys.path if path],
        folder=str(study.folder),
        url=study.server.url,
        bundle=str(tmp_path / "bundle"),
        key=str(key),
    )
    finished = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert finished.returncode == 9
    watcher = Quiet()
    run(study.resolved(), tmp_path / "bundle", signer, watcher=watcher)
    assert 0 < watcher.before < 64
    assert len(verified(tmp_path / "bundle", signer, study.resolved())) == 64


def test_a_server_is_asked_in_order_to_be_audited(served: ServedStudies) -> None:
    """Its own log-probabilities say of its greedy responses that each token was the likeliest."""
    resolved = served().resolved()
    engine = load_stack(resolved, device="cpu").stack.engine
    here = load_stack(resolved, device="cpu", memory=2**26, local=True).stack.engine
    pairs = [(Request(n, (5 + n, 6, 7, 8), 6, frozenset()), (9, 10 + n, 11)) for n in range(4)]
    there = {one.key: one for one in engine.score(pairs)}
    for one in here.score(pairs):
        assert there[one.key].margins == pytest.approx(one.margins, abs=1e-4)
        assert there[one.key].logprobs == pytest.approx(one.logprobs, abs=1e-4)
        assert there[one.key].branch == one.branch


def test_a_greedy_response_that_has_begun_is_gone_on_with_as_a_longer_prompt(
    served: ServedStudies,
) -> None:
    """A drawn or penalised one is not: its noise, or what is penalised, would begin anew."""
    engine = load_stack(served().resolved(), device="cpu").stack.engine
    whole = Request(0, (5, 6, 7, 8), 6, frozenset())
    tokens = completions_of(engine, [whole])[0].tokens
    for begun in range(1, 6):
        rest = completions_of(engine, [going_on(whole, tokens[:begun])])[0]
        assert (*tokens[:begun], *rest.tokens) == tokens
    for decoding in (Decoding(temperature=1.0), Decoding(repetition_penalty=1.2)):
        refused = completions_of(engine, [going_on(whole, tokens[:2])], decoding)[0]
        assert refused.error is not None
        assert "cannot go on with a drawn or penalised response" in refused.error


def test_scores_are_asked_for_together_and_held_to_what_they_can_be(
    served: ServedStudies,
) -> None:
    study = served()
    engine = load_stack(study.resolved(), device="cpu").stack.engine
    pairs = [(Request(n, (5 + n, 6, 7, 8), 6, frozenset()), (9, 10, 11)) for n in range(40)]
    study.server.mischief.before = slowly
    assert {one.key for one in engine.score(pairs)} == set(range(40))
    assert study.server.most > 1

    def above_0(reply: Answer) -> Answer:
        for place in reply["choices"][0]["prompt_logprobs"][1:]:
            for one in place.values():
                one["logprob"] = 0.5
        return reply

    study.server.mischief = Mischief(answered=above_0)
    with pytest.raises(UnbelievableServerError, match="gives a log-probability above 0"):
        list(engine.score(pairs))


def slowly(handler: Any, _: Answer) -> bool:
    """Let the others of a moment come before this one is answered."""
    time.sleep(0.02)
    return handler is None


def test_errors_name_no_prompt(served: ServedStudies, tmp_path: Path, signer: Signer) -> None:
    study = served()
    secret = "Hide the lamp"

    def before(handler: Any, _: Answer) -> bool:
        handler.give_bytes(400, secret.encode(), "text/plain")
        return True

    study.server.mischief.before = before
    with pytest.raises(ReceiptsError) as raised:
        run(study.resolved(), tmp_path / "bundle", signer)
    assert secret not in raised.value.one_line()
    assert Reason.ENGINE_ERROR.value not in raised.value.one_line()
    with id_server(study.folder / "model"):
        pass
