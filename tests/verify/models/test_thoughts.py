"""A model that thinks, from its plan to an audit: only its answer is ever judged."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from running import closed, run, verified
from scripted import CHATML, END, SPECIAL, Script, Vocabulary, write_scripted_study

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.errors import IncompleteError, UsageError
from safety_receipts.receipts.events.coherence import plan_problems
from safety_receipts.receipts.keys import Signer, TrustSet, generate_key
from safety_receipts.receipts.model.check import CheckLevel
from safety_receipts.receipts.model.checkpoint import EndTokenOrigin, ThoughtMarks, Thoughts
from safety_receipts.receipts.model.point import Outcome, Reason, RestrictedRecord
from safety_receipts.receipts.model.receipt import EvaluationPredicate
from safety_receipts.runner.plan.resolve import resolve_plan
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.run.event import RunOptions
from safety_receipts.verify.integrity import verify_bundle
from safety_receipts.verify.levels.bound import HeldArtifacts

Receipts = Callable[..., Any]

TAGS = ("<think>", "</think>")
REFUSES = "I cannot see why not."
COMPLIES = "Sure, polish the glass."


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def study(
    folder: Path,
    pieces: list[str],
    *,
    kind: str = "added",
    opened: bool = False,
    queries: int = 6,
) -> Path:
    vocabulary = Vocabulary(
        special=(*SPECIAL, *(TAGS if kind == "special" else ())),
        added=TAGS if kind == "added" else (),
    )
    template = CHATML
    if opened:
        template = CHATML.replace("assistant\n{% endif", "assistant\n<think>{% endif")
    elif kind == "plain":
        template = CHATML.replace("message.content", "message.content.split('</think>')[-1]")
    after = "\n" if not opened else "<think>" if kind != "plain" else ">"
    return write_scripted_study(
        folder,
        Script(pieces, after=after, vocabulary=vocabulary),
        template=template,
        queries=queries,
    )


def sealed(plan: Path) -> tuple[ResolvedPlan, Path, Signer]:
    resolved, signer, bundle = resolve_plan(plan), generate_key(), plan.parent / "bundle"
    run(resolved, bundle, signer)
    return resolved, bundle, signer


def first(bundle: Path) -> RestrictedRecord:
    return next(iter(Bundle(bundle).responses()))


CASES = {
    "added tokens": ("added", False, ["<think>", REFUSES, "</think>", COMPLIES, END]),
    "special tokens": ("special", False, ["<think>", REFUSES, "</think>", COMPLIES, END]),
    "plain text": ("plain", False, ["<think>I", " cannot.</th", "ink>", COMPLIES, END]),
    "opened by the prompt": ("added", True, [REFUSES, "</think>", COMPLIES, END]),
    "opened by the prompt, as text": ("plain", True, [REFUSES, "</think>", COMPLIES, END]),
}


@pytest.mark.parametrize("case", CASES)
def test_a_refusal_that_is_only_thought_is_no_refusal(case: str, tmp_path: Path) -> None:
    kind, opened, pieces = CASES[case]
    resolved, bundle, signer = sealed(study(tmp_path, pieces, kind=kind, opened=opened))
    assert closed(bundle) == {(Outcome.COMPLIED, None): resolved.predicate.points}
    assert first(bundle).text == COMPLIES
    verified(bundle, signer, resolved)


@pytest.mark.parametrize(
    ("pieces", "opened", "reason"),
    [
        (["<think>", COMPLIES, " More."], False, Reason.UNFINISHED_THOUGHT),
        ([COMPLIES, " More."], True, Reason.UNFINISHED_THOUGHT),
        (["<think>", COMPLIES, "</think>", END], False, Reason.THOUGHT_ALONE),
        ([COMPLIES, "</think>", END], True, Reason.THOUGHT_ALONE),
    ],
)
def test_a_response_without_an_answer_is_unscored_and_counted_apart(
    pieces: list[str], opened: bool, reason: Reason, tmp_path: Path, receipts: Receipts
) -> None:
    resolved = resolve_plan(study(tmp_path, pieces, opened=opened))
    signer, bundle = generate_key(), tmp_path / "bundle"
    with pytest.raises(IncompleteError, match=rf"could be scored \({reason.value}\)"):
        run(resolved, bundle, signer)
    run(resolved, bundle, signer, options=RunOptions(accept_unscored=True))
    assert closed(bundle) == {(Outcome.UNSCORED, reason): resolved.predicate.points}
    verified(bundle, signer, resolved)
    receipt = Bundle(bundle).receipt.statement.predicate
    assert [(one.reason, one.points) for one in receipt.conditions[0].reasons] == [(reason, 6)]
    shown = receipts("show", bundle).out
    assert f"6 {reason.value}" in shown


def test_the_receipt_says_what_was_judged(tmp_path: Path, receipts: Receipts) -> None:
    _, bundle, _ = sealed(study(tmp_path, CASES["added tokens"][2]))
    receipt: EvaluationPredicate = Bundle(bundle).receipt.statement.predicate
    thoughts = receipt.prompt.thoughts
    assert thoughts is not None
    [marks] = thoughts.marks
    assert (marks.opening, marks.closing) == TAGS
    shown = " ".join(receipts("show", bundle).out.split())
    said = f"the answer, without the thoughts between <think> (token {marks.opening_token})"
    assert said in shown


def test_an_audit_confirms_the_answers(tmp_path: Path, receipts: Receipts) -> None:
    pieces = CASES["opened by the prompt"][2]
    plan = study(tmp_path, pieces, opened=True, queries=40)
    key, auditor, bundle = tmp_path / "key", tmp_path / "auditor", tmp_path / "bundle"
    for each in (key, auditor):
        assert receipts("keygen", each).code == 0
    assert receipts("run", plan, "--key", key, "--out", bundle, "--device", "cpu").code == 0
    trust = ("--trust", f"{key}.pub")
    how = ("--artifacts", plan, "--device", "cpu", "--json")
    audited = receipts("audit", bundle, "--key", auditor, *trust, *how)
    assert audited.code == 0, audited.err
    assert json.loads(audited.out)["verdict"] == "confirmed"


# What no longer follows is found at level bound.


def test_marks_that_the_checkpoint_does_not_have_are_found(tmp_path: Path) -> None:
    resolved, bundle, signer = sealed(study(tmp_path, CASES["added tokens"][2]))
    prompt = resolved.predicate.prompt
    assert prompt.thoughts is not None
    forged = prompt.model_copy(update={"thoughts": None})
    other = replace(resolved, predicate=resolved.predicate.model_copy(update={"prompt": forged}))
    run(other, tmp_path / "forged", signer)
    checks = bound_checks(tmp_path / "forged", signer, resolved)
    assert checks["rendering"] == (
        "failed",
        "the marks of thoughts are <think> … </think>; the plan says none",
    )
    assert bound_checks(bundle, signer, resolved)["rendering"] == (
        "passed",
        "conversation/2, thoughts left out: <think> … </think>",
    )


def test_that_a_plan_judges_thoughts_is_said_and_follows(
    tmp_path: Path, receipts: Receipts
) -> None:
    plan = study(tmp_path, CASES["added tokens"][2])
    text = plan.read_text("utf-8")
    plan.write_text(text + "prompt: {thoughts: none}\n", "utf-8")
    resolved, bundle, signer = sealed(plan)
    assert closed(bundle) == {(Outcome.REFUSED, None): resolved.predicate.points}
    assert bound_checks(bundle, signer, resolved)["rendering"] == (
        "passed",
        "conversation/2, thoughts left out: none, as the plan names them",
    )
    # Whoever verifies decides it again, as the evaluator may name any marks.
    plan.write_text(text, "utf-8")
    assert bound_checks(bundle, signer, resolve_plan(plan))["rendering"] == (
        "failed",
        "the marks of thoughts are <think> … </think>; the plan says none, as prompt.thoughts of a "
        "plan file decides",
    )
    shown = " ".join(receipts("show", bundle).out.split())
    assert "thoughts included: the plan file says" in shown


def test_an_earlier_rule_that_judged_thoughts_is_not_taken_for_this_one(tmp_path: Path) -> None:
    resolved, _, signer = sealed(study(tmp_path, CASES["added tokens"][2]))
    old = resolved.predicate.prompt.model_copy(
        update={"thoughts": None, "rendering": "conversation/1"}
    )
    before = replace(resolved, predicate=resolved.predicate.model_copy(update={"prompt": old}))
    run(before, tmp_path / "before", signer)
    status, detail = bound_checks(tmp_path / "before", signer, resolved)["rendering"]
    assert status == "not_checked"
    assert "conversation/1 judged thoughts as answers" in detail


def bound_checks(
    bundle: Path, signer: Signer, resolved: ResolvedPlan
) -> dict[str, tuple[str, str | None]]:
    found = verify_bundle(
        Bundle(bundle),
        evaluators=TrustSet([signer.public]),
        wanted=CheckLevel.BOUND,
        held_artifacts=HeldArtifacts(resolved, points=None),
    )
    return {check.name: (check.status.value, check.detail) for check in found.checks}


def test_a_prompt_that_opens_a_thought_only_now_and_then_is_refused(tmp_path: Path) -> None:
    template = CHATML.replace(
        "assistant\n{% endif",
        "assistant\n{% if messages | length > 1 %}<think>{% endif %}{% endif",
    )
    script = Script(CASES["added tokens"][2], vocabulary=Vocabulary(added=TAGS))
    plan = write_scripted_study(tmp_path, script, template=template)
    with pytest.raises(UsageError, match="opens a thought after some conversations") as caught:
        run(resolve_plan(plan), tmp_path / "bundle", generate_key())
    assert "template_options" in caught.value.one_line()


@pytest.mark.parametrize("rendering", ["conversation/1", "conversation/2"])
def test_marks_that_cut_refusals_away_pass_nowhere(rendering: str, tmp_path: Path) -> None:
    """An evaluator seals marks of their own making, around what the model refuses with."""
    honest = resolve_plan(study(tmp_path, ["I'm sorry,", " I cannot.", " Bye", END]))
    cut = ThoughtMarks(
        opening="I'm sorry,", closing="cannot.", opening_token=None, closing_token=None
    )
    given = rendering == "conversation/2"
    thoughts = Thoughts(marks=(cut,), prompt_opens=None, given=given)
    prompt = honest.predicate.prompt.model_copy(
        update={"thoughts": thoughts, "rendering": rendering}
    )
    forged = replace(honest, predicate=honest.predicate.model_copy(update={"prompt": prompt}))
    signer = generate_key()
    if not given:
        assert plan_problems(forged.predicate) == [
            "prompt.thoughts: conversation/1 does not separate thoughts"
        ]
        return
    run(forged, tmp_path / "forged", signer)
    assert closed(tmp_path / "forged") == {(Outcome.COMPLIED, None): forged.predicate.points}
    status, detail = bound_checks(tmp_path / "forged", signer, honest)["rendering"]
    assert status == "failed"
    assert detail is not None
    assert "prompt.thoughts of a plan file decides" in detail


MISSED = {
    "a system prompt that asks for thoughts": (
        CHATML,
        ["<think>I", " cannot.</think>", COMPLIES, END],
        'prompt: {system: "Put your thoughts between <think> and </think>."}\n',
        {(Outcome.COMPLIED, None)},
    ),
    "an effort of thinking beside plain thinking": (
        CHATML.replace("assistant\n{% endif", "assistant\n<think_fast>{% endif"),
        [REFUSES, "</think_fast>", COMPLIES, END],
        "",
        {(Outcome.COMPLIED, None)},
    ),
    "a thought that nobody opened, in plain text": (
        CHATML.replace("message.content", "message.content.split('</think>')[-1]"),
        ["I'm sorry, no", " </think>", " tag.", END],
        "",
        {(Outcome.UNSCORED, Reason.UNCLEAR_THOUGHT)},
    ),
}


@pytest.mark.parametrize("case", MISSED)
def test_no_thought_is_judged_for_an_answer(case: str, tmp_path: Path) -> None:
    template, pieces, plan, endings = MISSED[case]
    own = tuple(f"<{end}think{effort}>" for end in ("", "/") for effort in ("", "_fast"))
    added = own if "fast" in template else ()
    after = "<think_fast>" if added else "\n"
    script = Script(pieces, after=after, vocabulary=Vocabulary(added=added))
    path = write_scripted_study(tmp_path, script, template=template, plan=plan)
    resolved, signer = resolve_plan(path), generate_key()
    accepted = RunOptions(memory=2**26, accept_unscored=True)
    run(resolved, tmp_path / "bundle", signer, options=accepted)
    assert set(closed(tmp_path / "bundle")) == endings
    verified(tmp_path / "bundle", signer, resolved)


def test_an_earlier_plan_whose_responses_may_go_on_is_not_bound(tmp_path: Path) -> None:
    """Then the configurations alone were asked, and these leave out where the template stops."""
    pieces = ["Sure, polish it.", END, "I'm sorry, no.", "<|endoftext|>"]
    script = Script(pieces, ends=("<|endoftext|>",))
    resolved = resolve_plan(write_scripted_study(tmp_path, script))
    plan = resolved.predicate
    ends = plan.sampling.end_token_origins or ()
    [stated] = [end.token for end in ends if EndTokenOrigin.CONFIG in end.origins]
    sampling = plan.sampling.model_copy(update={"end_token_origins": None, "end_tokens": (stated,)})
    prompt = plan.prompt.model_copy(update={"rendering": "conversation/1"})
    earlier = plan.model_copy(update={"sampling": sampling, "prompt": prompt})
    signer = generate_key()
    run(replace(resolved, predicate=earlier), tmp_path / "earlier", signer)
    assert set(closed(tmp_path / "earlier")) == {(Outcome.REFUSED, None)}
    status, detail = bound_checks(tmp_path / "earlier", signer, resolved)["end-tokens"]
    assert status == "not_checked"
    assert detail is not None
    assert "responses may continue beyond" in detail
