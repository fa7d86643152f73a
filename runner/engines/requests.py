"""What every engine checks of a request, and says of one that it cannot answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from safety_receipts.receipts.model.point import Finish, Reason
from safety_receipts.runner.engines.engine import Completion, Request
from safety_receipts.runner.prompts.prefix_tree import TreePrompt


def check_keys(requests: Iterable[Request]) -> None:
    """Raise ValueError where two requests of a call have one key."""
    seen: set[int] = set()
    for request in requests:
        if request.key in seen:
            raise ValueError(f"two requests have the key {request.key}")
        seen.add(request.key)


def problem(request: Request, vocabulary: int, context_limit: int) -> str | None:
    """Return why a request cannot be answered, or None."""
    return next(_problems(request, vocabulary, context_limit), None)


def _problems(request: Request, vocabulary: int, context_limit: int) -> Iterator[str]:
    if not request.tokens:
        yield "the prompt has no tokens"
        return
    if request.max_new_tokens < 1:
        yield "the request leaves no room for a response"
    if len(request.tokens) + request.max_new_tokens > context_limit:
        yield f"prompt and response exceed the context of {context_limit:,} tokens"
    if not 0 <= request.begun < len(request.tokens):
        yield "the response begins before the prompt"
    if not 0 <= request.seed < 2**64:
        yield "the seed is not a 64-bit integer"
    for name, ids in (("prompt", request.tokens), ("logits wanted", request.logits_for)):
        if not in_vocabulary(ids, vocabulary):
            yield f"{name}: an id is not a token id below {vocabulary:,}"


def in_vocabulary(ids: Sequence[int], vocabulary: int) -> bool:
    """Say whether all ids are token ids: on a GPU another one would end the process."""
    if isinstance(ids, TreePrompt):
        # Mostly all of a tree are: a hundred thousand prompts are not spelt out for it.
        return ids.tree.largest < vocabulary or int(ids.node.spelt().max(initial=0)) < vocabulary
    return not ids or (min(ids) >= 0 and max(ids) < vocabulary)


def failed(request: Request, reason: Reason, error: str) -> Completion:
    """Return the completion of a request that failed."""
    return Completion(request.key, (), Finish.ERROR, reason=reason, error=error)
