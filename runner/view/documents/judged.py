"""What ``receipts plan --json`` says of the texts that a judge will see."""

from __future__ import annotations

from safety_receipts.receipts.model.base import Count
from safety_receipts.receipts.model.checkpoint import Thoughts
from safety_receipts.receipts.view.documents.base import Document
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.view.judged import judged_document


class JudgeTemplateWords(Document):
    """What the chat template of a judge says of its own around the question."""

    judge: str
    """Name of the judge."""
    before: str | None
    """What it says before the question; null: nothing."""
    after: str | None
    """What it says after it; null: nothing."""


class ContextWords(Document):
    """What the chat template says of its own in a context."""

    context: str
    """The context's form."""
    words: str
    """What it says."""


class JudgedPart(Document):
    """What a judge will see of responses, and what the chat template does."""

    channel: str | None
    """The only channel that is judged; null: there are none."""
    thoughts: Thoughts | None
    """How thoughts are told from the answer; null: there are no marks of thoughts."""
    request_seen: bool
    """Whether the judge reads the request, too."""
    demonstrations_with_marks: Count
    """Demonstrations that hold a mark of thoughts."""
    template_prompt: str | None
    """What the template says of its own before the first request; null: nothing."""
    before_earlier_answer: str | None
    """What stands before an answer of an earlier turn; null: the template shows no such turn."""
    after_earlier_answer: str | None
    """What stands after it."""
    earlier_thought_kept: bool | None
    """Whether a thought inside an earlier answer is kept; null: not known."""
    around_tool_result: tuple[str, str] | None
    """What stands before the result of a tool, its call with it, and after it; null: the plan shows
    none."""
    words_in_contexts: tuple[ContextWords, ...]
    """What the template says of its own in some context alone, as beside a system message."""
    before_response: str | None
    """What the template says of its own where a response begins; null: nothing."""
    judge_template_words: tuple[JudgeTemplateWords, ...]
    """What the templates of chat judges say of their own."""


def judged_part(resolved: ResolvedPlan) -> JudgedPart:
    """Return what a judge will see of a plan's responses."""
    # Not strict: the value is JSON already, so that its arrays are lists.
    return JudgedPart.model_validate(judged_document(resolved), strict=False)
