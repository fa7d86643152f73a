"""Do prompts become what they did, and is the same part of a response judged, by a sealed plan?

Tokenizer, chat template, end tokens and marks of thoughts follow from the checkpoint's folder and
from what the plan file decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from safety_receipts.receipts.model.checkpoint import (
    FIRST_RENDERING,
    EndToken,
    EndTokenOrigin,
    Prompt,
    Sampling,
    Thoughts,
)
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.runner.checkpoint.end_tokens import ids_of_files
from safety_receipts.runner.checkpoint.sampling_defaults import not_applied, read_defaults
from safety_receipts.runner.checkpoint.sealed_files import short
from safety_receipts.runner.plan.resolved import ResolvedPlan, UnrunPlan
from safety_receipts.runner.prompts.chat_format import RENDERING
from safety_receipts.runner.prompts.contexts import WRAPPERS
from safety_receipts.verify.check_names import CheckName
from safety_receipts.verify.checks import CheckList

_RUN = (CheckName.RENDERING, CheckName.CONTEXT_LIMIT, CheckName.END_TOKENS)
"""Checks of what follows from running a template, a tokenizer or a configuration."""

_UNSTATED: Final = "; it has words of its own around messages, and the plan does not state them"


def check_prompt(
    plan: PlanPredicate, resolved: ResolvedPlan | UnrunPlan, checks: CheckList
) -> dict[CheckName, bool]:
    """Check what makes prompts of conversations; return what passed, by name of the check.

    What follows from running the checkpoint's files is not checked where they are not the plan's.
    """
    mine = resolved.predicate
    sealed, found = plan.prompt, mine.prompt
    good: dict[CheckName, bool] = {}
    for name, before, after in (
        (CheckName.TOKENIZER, sealed.tokenizer, found.tokenizer),
        (CheckName.CHAT_TEMPLATE, sealed.chat_template, found.chat_template),
        (CheckName.SYSTEM_PROMPT, sealed.system_prompt, found.system_prompt),
    ):
        problem = None if before == after else f"{short(after)}, the plan names {short(before)}"
        if name is CheckName.TOKENIZER and problem is None:
            problem = resolved.rewriting.model
        unstated = name is CheckName.CHAT_TEMPLATE and _speaks_unstated(sealed, found)
        says = f"{short(before)}{_UNSTATED if unstated else ''}"
        good[name] = checks.decide(name, problem, says)
    if isinstance(resolved, UnrunPlan):
        for name in _RUN:
            good[name] = checks.skip(name, resolved.why)
        return good
    why = _other_rule(sealed, resolved)
    if why is not None:
        # Another version's rule: nothing here says that it was broken.
        good[CheckName.RENDERING] = checks.skip(CheckName.RENDERING, why)
    else:
        problem = next(_rendering_problems(plan, resolved), None)
        good[CheckName.RENDERING] = checks.decide(CheckName.RENDERING, problem, _answer(sealed))
    limits = (sealed.context_limit, found.context_limit)
    problem = None if limits[0] == limits[1] else f"{limits[1]:,}, the plan says {limits[0]:,}"
    checks.decide(CheckName.CONTEXT_LIMIT, problem, f"{limits[0]:,} tokens")
    why = _later_ends(plan.sampling, mine.sampling)
    if why is None or plan.prompt.rendering != FIRST_RENDERING:
        checks.decide(CheckName.END_TOKENS, *_end_tokens(plan, mine.sampling))
    else:
        checks.skip(CheckName.END_TOKENS, why)
    return good


def _speaks_unstated(sealed: Prompt, found: Prompt) -> bool:
    """Say whether a template says something of its own of which a plan states no digest.

    Plans of earlier versions state none, and a program may leave it out.
    """
    return sealed.template_words is None and found.template_words is not None


def _later_ends(sealed: Sampling, found: Sampling) -> str | None:
    """Return why the end tokens of an earlier plan say too little, or None.

    When the configurations alone were asked, responses may have gone on into the next turn.
    """
    stated = found.end_token_origins or ()
    if sealed.end_token_origins is not None or sealed.end_tokens != ids_of_files(stated):
        return None
    more = [end for end in stated if not end.removed and end.token not in sealed.end_tokens]
    if not more:
        return None
    return (
        f"only the configurations were consulted, and responses may continue beyond {_ends(more)}"
    )


def _end_tokens(plan: PlanPredicate, found: Sampling) -> tuple[str | None, str]:
    """Return in what the end tokens differ, or None; and what is said where they do not.

    Under the first rule of rendering plans named no origins, as the configurations alone were
    asked.  What the plan file adds and removes is compared too: whoever verifies decides it again.
    """
    sealed = plan.sampling
    ids = ", ".join(map(str, sealed.end_tokens))
    stated = found.end_token_origins or ()
    if sealed.end_token_origins is None:
        if plan.prompt.rendering != FIRST_RENDERING:
            return f"the plan does not say who states each of {ids}", ids
        before = ids_of_files(stated)
        if sealed.end_tokens != before:
            return f"{', '.join(map(str, before))}; the plan says {ids}", ids
        return None, ids
    problem = None
    if sealed.end_tokens != found.end_tokens:
        problem = f"{', '.join(map(str, found.end_tokens))}; the plan says {ids}"
    for end in (*sealed.end_token_origins, *stated):
        if end not in stated or end not in sealed.end_token_origins:
            who = "the plan file and folder say" if end in stated else "the plan says"
            decided = ", as sampling.end_tokens of a plan file decides" if _by_plan(end) else ""
            says = f"{who} {_ends([end])}{decided}"
            return f"{problem}: {says}" if problem else says, ids
    changed = [end for end in sealed.end_token_origins if _by_plan(end)]
    return problem, f"{ids}; the plan file decides {_ends(changed)}" if changed else ids


def _by_plan(end: EndToken) -> bool:
    return end.removed or EndTokenOrigin.PLAN in end.origins


def _ends(ends: Iterable[EndToken]) -> str:
    return ", ".join(
        f"{end.token}{' is removed' if end.removed else ''} "
        f"({', '.join(origin.value for origin in end.origins)})"
        for end in ends
    )


def check_defaults(plan: PlanPredicate, folder: Path, checks: CheckList) -> None:
    """Check what the plan says of defaults that come with the checkpoint and are not applied."""
    told = plan.sampling.defaults_not_applied
    if told is None:
        checks.skip(CheckName.SAMPLING_DEFAULTS, "the plan does not state them")
        return
    sealed = {one.name: one.value for one in told}
    defaults = not_applied(read_defaults(folder), plan.sampling)
    found = {one.name: one.value for one in defaults}
    names = sorted({*sealed, *found})
    name = next((name for name in names if sealed.get(name) != found.get(name)), None)
    problem = None
    if name is not None:
        problem = f"{name} is {found.get(name, 'none')}, the plan says {sealed.get(name, 'none')}"
    good = ", ".join(f"{one.name} = {one.value}" for one in told)
    checks.decide(CheckName.SAMPLING_DEFAULTS, problem, good or "there are none")


def _other_rule(sealed: Prompt, resolved: ResolvedPlan) -> str | None:
    """Return why this version does not render by the rule that a plan names, or None."""
    chat, thoughts = resolved.artifacts.texts.chat, resolved.predicate.prompt.thoughts
    if sealed.rendering == RENDERING:
        return None
    if sealed.rendering != FIRST_RENDERING:
        return f"this version renders by {RENDERING}, the plan names {sealed.rendering}"
    if thoughts is not None and thoughts.marks:
        return (
            f"{FIRST_RENDERING} judged thoughts as answers, and this checkpoint writes thoughts "
            f"({_marks(thoughts)})"
        )
    if chat.first_rendering_differs:
        return f"{FIRST_RENDERING} took other tokens of this vocabulary for control tokens"
    return None


def _answer(prompt: Prompt) -> str:
    """Return the rule and, in words, what of a response is judged by it."""
    thoughts = prompt.thoughts
    if thoughts is None:
        return prompt.rendering
    by = ", as the plan names them" if thoughts.given else ""
    return f"{prompt.rendering}, thoughts left out: {_marks(thoughts)}{by}"


def _marks(thoughts: Thoughts | None) -> str:
    if thoughts is None or not thoughts.marks:
        return "none"
    marks = ", ".join(f"{pair.opening} … {pair.closing}" for pair in thoughts.marks)
    return marks if thoughts.prompt_opens is None else f"{marks}, opened by the prompt"


def _thoughts_problem(sealed: Prompt, resolved: ResolvedPlan) -> str | None:
    """Return in what the thoughts of a plan do not follow from checkpoint and plan file, or None.

    Marks that the plan file named are compared too: whoever verifies decides them again.
    """
    if sealed.rendering == FIRST_RENDERING:
        return None
    before, after = sealed.thoughts, resolved.predicate.prompt.thoughts
    if before == after:
        return None
    if _marks(before) == _marks(after) and _given(before) == _given(after):
        return "the tokens of the marks of thoughts are not those of this vocabulary"
    decided = _given(before) or _given(after)
    by = ", as prompt.thoughts of a plan file decides" if decided else ""
    return f"the marks of thoughts are {_marks(after)}; the plan says {_marks(before)}{by}"


def _given(thoughts: Thoughts | None) -> bool:
    return thoughts is not None and thoughts.given


def _rendering_problems(plan: PlanPredicate, resolved: ResolvedPlan) -> Iterator[str]:
    mine = resolved.predicate
    for context in (*plan.contexts, *(condition.context for condition in plan.conditions)):
        wrapper = WRAPPERS.get(context.form)
        known = (None, None) if wrapper is None else (wrapper.role.value, wrapper.digest)
        if (context.role, context.template) != known:
            yield f"context {context.form.value} is not the one of {plan.prompt.rendering}"
    channels = plan.prompt.judged_channel, mine.prompt.judged_channel
    if channels[0] != channels[1]:
        yield f"the judged channel is {channels[1]}, the plan names {channels[0]}"
    problem = _thoughts_problem(plan.prompt, resolved)
    if problem is not None:
        yield problem
