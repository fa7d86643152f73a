"""What of a response is judged, in words."""

from __future__ import annotations

from safety_receipts.receipts.model.checkpoint import (
    FIRST_RENDERING,
    Prompt,
    ThoughtMarks,
    Thoughts,
)


def judged_words(prompt: Prompt) -> str:
    """Return what of a response a judge is given."""
    if prompt.judged_channel is not None:
        return f"the channel {prompt.judged_channel} of a response, and no other"
    if prompt.thoughts is not None:
        return _without(prompt.thoughts)
    if prompt.rendering == FIRST_RENDERING:
        return (
            "the whole response, with thoughts if the model writes some: they were not looked for"
        )
    return "the whole response: the checkpoint has no marks of thoughts"


def _without(thoughts: Thoughts) -> str:
    if not thoughts.marks:
        return "the whole response, thoughts included: the plan file says that there are none"
    marks = " or ".join(
        f"{_mark(pair, opening=True)} and {_mark(pair, opening=False)}" for pair in thoughts.marks
    )
    by = ", as the plan file names them" if thoughts.given else ""
    opened = (
        "prompts leave no thought open"
        if thoughts.prompt_opens is None
        else "every prompt opens a thought, so that responses begin inside it"
    )
    return f"the answer, without the thoughts between {marks}{by}; {opened}"


def _mark(pair: ThoughtMarks, *, opening: bool) -> str:
    text, token = (
        (pair.opening, pair.opening_token) if opening else (pair.closing, pair.closing_token)
    )
    return f"{text} (found in the text)" if token is None else f"{text} (token {token})"
