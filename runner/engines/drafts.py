"""Responses while they are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from receipts.model.point import Finish, Reason
from runner.engines import sampling
from runner.engines.engine import Completion, Decoding, Margins, Request
from runner.engines.noise import seed_tensor
from runner.engines.requests import failed


class Draft:
    """A response being written, for requests that cannot but get the same one.

    Args:
        requests: At least one; alike but for their keys (and seeds, when greedy).
    """

    def __init__(self, requests: Sequence[Request]) -> None:
        self.requests = requests
        self.request = requests[0]
        self.tokens: list[int] = []
        self.logits: list[tuple[float, ...]] = []
        self.finish: Finish | None = None

    def take(self, token: int, logits: torch.Tensor) -> None:
        """Add a token; ``logits`` are its position's, fp32 [vocabulary]."""
        self.tokens.append(token)
        if self.request.logits_for:
            self.logits.append(tuple(logits[list(self.request.logits_for)].tolist()))
        if token in self.request.stop_ids:
            self.finish = Finish.STOP
        elif len(self.tokens) == self.request.max_new_tokens:
            self.finish = Finish.LENGTH

    def completions(self) -> list[Completion]:
        """Return what the requests get."""
        if self.finish is Finish.ERROR:
            message = f"the logits of token {len(self.tokens)} of the response are not finite"
            return [failed(one, Reason.ENGINE_ERROR, message) for one in self.requests]
        assert self.finish is not None
        done = Completion(
            self.request.key, tuple(self.tokens), self.finish, logits=tuple(self.logits)
        )
        return [replace(done, key=one.key) for one in self.requests]


def take_tokens(logits: torch.Tensor, drafts: Sequence[Draft], decoding: Decoding) -> torch.Tensor:
    """Give each unfinished response its next token; return the tokens, int64 [rows].

    Args:
        logits: fp32 [rows, vocabulary]; a row that is not finite ends its response.
        drafts: The responses.
        decoding: How a token is chosen.
    """
    device = logits.device
    if device.type == "mps":  # has no float64, which the noise is defined in
        logits = logits.cpu()
    # A sum is finite if all its terms are, as fp32 holds many more than a vocabulary's logits.
    finite = torch.isfinite(logits.sum(-1))
    sound = logits if bool(finite.all()) else torch.where(finite[:, None], logits, 0.0)
    seeds = seed_tensor([draft.request.seed for draft in drafts], sound.device)
    positions = torch.tensor(
        [draft.request.begun + len(draft.tokens) for draft in drafts], device=sound.device
    )
    tokens = sampling.choose(sound, decoding, seeds, positions)
    for i, (draft, token, ok) in enumerate(
        zip(drafts, tokens.tolist(), finite.tolist(), strict=True)
    ):
        if draft.finish is not None:
            continue
        if ok:
            draft.take(token, logits[i])
        else:
            draft.finish = Finish.ERROR
    return tokens.to(device)


def margins_of(
    request: Request, response: tuple[int, ...], logits: torch.Tensor, decoding: Decoding
) -> Margins:
    """Return the margins of a given response.

    Args:
        request: Its request.
        response: Its token ids.
        logits: fp32 [tokens of the response, vocabulary], on a device with float64.
        decoding: How the response claims to have been chosen.
    """
    if not bool(torch.isfinite(logits).all()):
        message = "the logits of the response are not finite"
        return Margins(request.key, (), None, (), Reason.ENGINE_ERROR, message)
    tokens = torch.tensor(response, device=logits.device)
    seeds = seed_tensor([request.seed], logits.device).expand(len(response))
    positions = request.begun + torch.arange(len(response), device=logits.device)
    margins, chosen = sampling.margins(logits, tokens, decoding, seeds, positions)
    others = (chosen != tokens).nonzero()
    branch = int(others[0]) if len(others) else None
    logprobs = torch.log_softmax(logits, dim=-1).gather(1, tokens[:, None])[:, 0]
    return Margins(request.key, tuple(margins.tolist()), branch, tuple(logprobs.tolist()))
