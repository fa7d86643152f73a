"""Responses while they are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from safety_receipts.receipts.model.point import Finish, Reason
from safety_receipts.runner.engines.decoding import sampling
from safety_receipts.runner.engines.decoding.noise import seed_tensor
from safety_receipts.runner.engines.decoding.repetition import (
    SeenTokens,
    SeenTokensAlong,
    penalised,
)
from safety_receipts.runner.engines.decoding.written import tell_written
from safety_receipts.runner.engines.engine import Completion, Decoding, Margins, Request
from safety_receipts.runner.engines.requests import failed


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


class TokenChooser:
    """Chooses the tokens of a batch of responses, step by step.

    Args:
        drafts: All of them, none begun.
        decoding: How tokens are chosen.
    """

    def __init__(self, drafts: Sequence[Draft], decoding: Decoding) -> None:
        self._decoding = decoding
        self._drafts = drafts
        self._places = {id(draft): place for place, draft in enumerate(drafts)}
        self._seen: SeenTokens | None = None

    def take(self, logits: torch.Tensor, drafts: Sequence[Draft]) -> torch.Tensor:
        """Give each unfinished response its next token; return the tokens, int64 [rows].

        Args:
            logits: fp32 [rows, vocabulary]; a row that is not finite ends its response.
            drafts: The responses, some of the batch.
        """
        device = logits.device
        if device.type == "mps":  # has no float64, which the noise is defined in
            logits = logits.cpu()
        # A sum is finite if all its terms are, as fp32 holds many more than a vocabulary's logits.
        finite = torch.isfinite(logits.sum(-1))
        sound = logits if bool(finite.all()) else torch.where(finite[:, None], logits, 0.0)
        tokens = self._choose(sound, drafts)
        for i, (draft, token, ok) in enumerate(
            zip(drafts, tokens.tolist(), finite.tolist(), strict=True)
        ):
            if draft.finish is not None:
                continue
            if ok:
                draft.take(token, logits[i])
            else:
                draft.finish = Finish.ERROR
        tell_written(len(drafts))
        return tokens.to(device)

    def _choose(self, logits: torch.Tensor, drafts: Sequence[Draft]) -> torch.Tensor:
        """Return the next token of each response, int64 [rows].

        Args:
            logits: fp32 [rows, vocabulary], finite, on a device with float64.
            drafts: The responses.
        """
        device, penalty = logits.device, self._decoding.repetition_penalty
        seeds = seed_tensor([draft.request.seed for draft in drafts], device)
        positions = torch.tensor(
            [draft.request.begun + len(draft.tokens) for draft in drafts], device=device
        )
        if penalty is None:
            return sampling.choose(logits, self._decoding, seeds, positions)
        if self._seen is None:
            requests = [draft.request for draft in self._drafts]
            self._seen = SeenTokens(requests, logits.shape[1], device)
        places = torch.tensor([self._places[id(draft)] for draft in drafts], device=device)
        chosen = [
            sampling.choose(
                penalised(logits[part], self._seen.of(places[part]), penalty),
                self._decoding,
                seeds[part],
                positions[part],
            )
            for part in sampling.parts(logits)
        ]
        tokens = torch.cat(chosen)
        self._seen.add(places, tokens)
        return tokens


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
    penalty = decoding.repetition_penalty
    if penalty is None:
        margins, chosen = sampling.margins(logits, tokens, decoding, seeds, positions)
    else:
        seen = SeenTokensAlong(request, response, logits.shape[1], logits.device)
        found = [
            sampling.margins(
                penalised(logits[part], seen.at(part.start, part.stop), penalty),
                tokens[part],
                decoding,
                seeds[part],
                positions[part],
            )
            for part in sampling.parts(logits)
        ]
        margins, chosen = (torch.cat(each) for each in zip(*found, strict=True))
    others = (chosen != tokens).nonzero()
    branch = int(others[0]) if len(others) else None
    logprobs = torch.log_softmax(logits, dim=-1).gather(1, tokens[:, None])[:, 0]
    return Margins(request.key, tuple(margins.tolist()), branch, tuple(logprobs.tolist()))
