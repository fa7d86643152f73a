"""What a judge will see of a plan's responses, and what the chat template does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.model.demonstrations import ContextForm
from safety_receipts.receipts.view.answers import judged_words
from safety_receipts.runner.judges.registry import ModelKind, kind_of_judge
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.prompts.template_probe import (
    Conversation,
    TemplateFacts,
    around_answers,
    around_context,
    around_tool,
    try_template,
)
from safety_receipts.runner.templates.own_words import words_of

LINE_BREAK = "⏎"
"""How a line break that is part of a prompt is shown."""

_SHORT_FOR_THOUGHTS = 1024
"""New tokens below which a response that begins inside a thought is likely to end there."""


def template_facts(resolved: ResolvedPlan) -> TemplateFacts | None:
    """Return what the chat template does beside showing messages.

    None where it refuses a conversation of two requests, as a plan may show one alone.
    """
    prompt, artifacts = resolved.predicate.prompt, resolved.artifacts
    told = Conversation(artifacts.texts.system, prompt.date, prompt.template_options)
    try:
        return try_template(artifacts.texts.chat, told, prompt.thoughts)
    except UsageError:
        return None


def judged_document(resolved: ResolvedPlan) -> dict[str, Any]:
    """Return what is judged, and what the template does, for ``--json``."""
    plan, facts = resolved.predicate, template_facts(resolved)
    thoughts = plan.prompt.thoughts
    return {
        "channel": plan.prompt.judged_channel,
        "thoughts": None if thoughts is None else thoughts.to_wire(),
        "requestSeen": kind_of_judge(plan.judge.kind).reads_request,
        "demonstrationsWithMarks": _with_marks(resolved),
        "templatePrompt": None if facts is None else facts.own_prompt,
        "beforeEarlierAnswer": None if facts is None else facts.before_answer,
        "afterEarlierAnswer": None if facts is None else facts.after_answer,
        "earlierThoughtKept": None if facts is None else facts.thought,
        "aroundToolResult": _around_tool(resolved),
        "wordsInContexts": [
            {"context": form, "words": words} for form, words in _words_in_contexts(resolved)
        ],
        "beforeResponse": None if facts is None else facts.before_response,
        "judgeTemplateWords": [
            {"judge": name, "before": before, "after": after}
            for name, before, after in _judges_words(resolved)
        ],
    }


def judged_lines(resolved: ResolvedPlan) -> list[str]:
    """Return the same for people, a sentence a line."""
    return [
        f"judged: {_judged(resolved)}",
        f"judge sees: {_judge(resolved)}",
        *(f"template: {line}" for line in _template(resolved)),
        *(f"judge's template: {line}" for line in _judges_templates(resolved)),
    ]


def _judged(resolved: ResolvedPlan) -> str:
    prompt, most = resolved.predicate.prompt, resolved.predicate.sampling.max_new_tokens
    said = judged_words(prompt)
    opened = prompt.thoughts is not None and prompt.thoughts.prompt_opens is not None
    if not opened or most >= _SHORT_FOR_THOUGHTS:
        return said
    return (
        f"{said}. {most:,} new tokens may be too few to come to an answer: a response that ends "
        "inside its thought is unscored"
    )


def _judge(resolved: ResolvedPlan) -> str:
    judge = resolved.predicate.judge
    if kind_of_judge(judge.kind).reads_request:
        return "the request and what is judged, and no demonstrations"
    return "what is judged alone: neither the request nor demonstrations"


def _template(resolved: ResolvedPlan) -> Iterator[str]:
    facts = template_facts(resolved)
    yield from (
        f"in the context {form} it says of its own: {_shown(words)}"
        for form, words in _words_in_contexts(resolved)
    )
    if facts is None:
        yield "it refuses a conversation of two requests"
        return
    if facts.own_prompt is not None:
        yield f"it says of its own, before the first request: {_shown(facts.own_prompt)}"
    yield (
        f"an earlier answer stands between {_quoted(facts.before_answer)} and "
        f"{_quoted(facts.after_answer)}"
    )
    if (tool := _around_tool(resolved)) is not None:
        yield f"the result of a tool stands between {_quoted(tool[0])} and {_quoted(tool[1])}"
    if facts.before_response is not None:
        yield f"it begins every response with words of its own: {_shown(facts.before_response)}"
    if facts.thought is not None:
        does = "kept" if facts.thought else "left out"
        yield f"a thought inside an earlier answer would be {does}"
    if number := _with_marks(resolved):
        yield (
            f"{number:,} demonstrations hold marks of thoughts; they are shown as the plain text "
            "that they are"
        )


def _judges_words(resolved: ResolvedPlan) -> Iterator[tuple[str, str | None, str | None]]:
    """Yield every chat judge whose template says something around the question, with what."""
    judge, artifacts = resolved.predicate.judge, resolved.artifacts
    for each, folder in (
        (judge, artifacts.judge_folder),
        (judge.second, artifacts.second_judge_folder),
    ):
        made = None if each is None else kind_of_judge(each.kind).made
        if each is None or folder is None or not isinstance(made, ModelKind):
            continue
        before, after = made.module().own_words(folder)
        if before is not None or after is not None:
            yield each.name, before, after


def _judges_templates(resolved: ResolvedPlan) -> Iterator[str]:
    for name, before, after in _judges_words(resolved):
        for words, where in ((before, "before the question"), (after, "after it")):
            if words is not None:
                yield f"{name}: it says of its own, {where}: {_shown(words)}"


def _around_tool(resolved: ResolvedPlan) -> tuple[str, str] | None:
    """Return what stands around the result of a tool, where the plan shows one."""
    prompt, texts = resolved.predicate.prompt, resolved.artifacts.texts
    if all(context.form is not ContextForm.TOOL for context in resolved.predicate.contexts):
        return None
    told = Conversation(texts.system, prompt.date, prompt.template_options)
    return around_tool(texts.chat, told)


def _words_in_contexts(resolved: ResolvedPlan) -> Iterator[tuple[str, str]]:
    """Yield what a template says in some context alone, as where there is a system message.

    What it says around the result of a tool is told apart.
    """
    prompt, texts = resolved.predicate.prompt, resolved.artifacts.texts
    told = Conversation(texts.system, prompt.date, prompt.template_options)
    control = texts.chat.template.control
    pieces = around_answers(texts.chat, told)
    known = [words for piece in pieces if (words := words_of(piece, control))]
    for context in resolved.predicate.contexts:
        for piece in around_context(texts.chat, told, context):
            words = words_of(piece, control)
            if words is not None and not any(words in other for other in known):
                known.append(words)
                yield context.form.value, words


def _quoted(text: str) -> str:
    return f"«{_shown(text)}»" if text else "nothing"


def _shown(text: str) -> str:
    """Return a text of several lines on one."""
    return text.replace("\n", LINE_BREAK)


def _with_marks(resolved: ResolvedPlan) -> int:
    """Return how many demonstrations of all pools hold a mark of thoughts."""
    thoughts, pools = resolved.predicate.prompt.thoughts, resolved.artifacts.texts.pools
    marks = [
        mark
        for pair in (() if thoughts is None else thoughts.marks)
        for mark in (pair.opening, pair.closing)
    ]
    items = [
        item
        for pool in (pools.harmful, *pools.benign.values(), pools.refusal)
        if pool is not None
        for item in pool.items
    ]
    texts = (f"{item.request}\0{item.response}" for item in items)
    return sum(any(mark in text for mark in marks) for text in texts)
