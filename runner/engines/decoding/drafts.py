"""Responses while they are written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

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

_STEPS_AHEAD = 8
"""Steps that an accelerator is given before it is asked what came of them."""


def steps_ahead(device: torch.device) -> int | None:
    """Return after how many steps a device is asked what came of them; None: after each.

    Asking a CPU costs nothing, and no step is wasted there on a response that has ended.
    """
    return None if device.type == "cpu" else _STEPS_AHEAD


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

    def extend(self, tokens: Iterable[int], logits: Iterable[Sequence[float]]) -> None:
        """Add tokens until the response ends.

        Args:
            tokens: The next ones; a negative number stands for logits that were not finite.
            logits: For each, its position's logits of the ids that the request asks for.
        """
        for token, wanted in zip(tokens, logits, strict=True):
            if self.finish is not None:
                return
            if token < 0:
                self.finish = Finish.ERROR
                return
            self.tokens.append(token)
            if self.request.logits_for:
                self.logits.append(tuple(wanted))
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
    """Chooses the tokens of a batch of responses, step by step, and says which go on.

    Steps follow each other on the device: it is waited for, and the responses are given their
    tokens, only when :meth:`read` is called.  Until then a response that has ended is given
    further tokens, which are thrown away.

    Args:
        drafts: All of them, none begun.
        decoding: How tokens are chosen.
        device: Where logits lie.
    """

    def __init__(self, drafts: Sequence[Draft], decoding: Decoding, device: torch.device) -> None:
        self._decoding = decoding
        self._drafts = list(drafts)
        # MPS has no float64, which the noise is defined in.
        self._device = torch.device("cpu") if device.type == "mps" else device
        self._back = device
        self._ahead = steps_ahead(self._device)
        self._unread: list[torch.Tensor] = []
        self._unread_logits: list[torch.Tensor] = []
        self.steps = 0
        """Tokens that each response which goes on has been given."""
        requests = [draft.request for draft in drafts]
        self._rows = _RowsAtWork.of(requests, self._device)
        self._seen: SeenTokens | None = None

    def take(self, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Choose the next token of each response at work.

        Args:
            logits: fp32 [rows, vocabulary]; a row that is not finite ends its response.

        Returns:
            The tokens, int64 [rows], and which responses go on, bool [rows].
        """
        logits = logits.to(self._device)
        rows = self._rows
        # A sum is finite if all its terms are, as fp32 holds many more than a vocabulary's logits.
        finite = logits.sum(-1).abs() < torch.inf
        if self._device.type == "cpu" and not bool(finite.all()):
            logits = torch.where(finite[:, None], logits, 0.0)
        tokens = self._choose(logits)
        if rows.wanted is not None:
            self._unread_logits.append(logits.gather(1, rows.wanted))
        self._unread.append(torch.where(finite, tokens, -1))
        self.steps += 1
        going = rows.going & finite & (tokens[:, None] != rows.stops).all(-1)
        if self.steps >= rows.shortest:
            going &= rows.limits > self.steps
        rows.going = going
        tell_written(len(self._drafts))
        return tokens.to(self._back), going.to(self._back)

    def due(self) -> bool:
        """Say whether to read now: when a response has ended, as far as that is asked.

        Where it is not (:func:`steps_ahead`), it is every few steps, and when the last must end.
        """
        if self._ahead is None:
            return int(self._rows.going.sum()) < self._rows.expected
        return len(self._unread) >= self._ahead or self.steps >= self._rows.longest

    def read(self) -> NDArray[np.bool_]:
        """Give the responses at work their tokens; return which of them go on, bool [rows]."""
        tokens = torch.stack(self._unread, 1)
        if self._unread_logits:  # one transfer: a token id is exact in float64, and so is fp32
            logits = torch.stack(self._unread_logits, 1).double()
            both = torch.cat([tokens[:, :, None].double(), logits], -1).cpu()
            tokens, found = both[:, :, 0].long(), both[:, :, 1:].tolist()
        else:
            tokens, found = tokens.cpu(), [[()] * len(self._unread)] * len(self._drafts)
        self._unread, self._unread_logits = [], []
        for draft, new, wanted in zip(self._drafts, tokens.tolist(), found, strict=True):
            number = len(draft.request.logits_for)
            draft.extend(new, (one[:number] for one in wanted))
        going = np.array([draft.finish is None for draft in self._drafts])
        self._rows.expected = int(going.sum())
        return going

    def keep(self, going: NDArray[np.bool_]) -> None:
        """Leave out responses, bool [rows], that have ended; all were read."""
        index = torch.from_numpy(np.flatnonzero(going)).to(self._device)
        self._drafts = [draft for draft, on in zip(self._drafts, going, strict=True) if on]
        self._rows = self._rows.keep(index, [draft.request for draft in self._drafts])

    def _choose(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the next token of each response at work, int64 [rows].

        Args:
            logits: fp32 [rows, vocabulary], on a device with float64; on a CPU they are finite.
        """
        rows, penalty = self._rows, self._decoding.repetition_penalty
        seeds, positions = rows.seeds, rows.begun + self.steps
        if penalty is None:
            return sampling.choose(logits, self._decoding, seeds, positions)
        if self._seen is None:
            requests = [draft.request for draft in self._drafts]
            self._seen = SeenTokens(requests, logits.shape[1], self._device)
        chosen = [
            sampling.choose(
                penalised(logits[part], self._seen.of(rows.places[part]), penalty),
                self._decoding,
                seeds[part],
                positions[part],
            )
            for part in sampling.parts(logits)
        ]
        tokens = torch.cat(chosen)
        self._seen.add(rows.places, tokens)
        return tokens


@dataclass(slots=True)
class _RowsAtWork:
    """What is asked of the responses at work, on the device."""

    places: torch.Tensor
    """int64 [rows], which of the batch each one is."""
    seeds: torch.Tensor
    """int64 [rows], bits of the 64-bit seeds."""
    begun: torch.Tensor
    """int64 [rows], tokens of the response that stand in the prompt."""
    stops: torch.Tensor
    """int64 [rows, most], ids that end a response, filled up with −1."""
    limits: torch.Tensor
    """int64 [rows], most tokens."""
    wanted: torch.Tensor | None
    """int64 [rows, most], ids whose logits are wanted, filled up with 0; None: none are."""
    going: torch.Tensor
    """bool [rows], which have not ended."""
    expected: int
    """How many had not ended when they were last read."""
    shortest: int
    """Fewest tokens at which one ends."""
    longest: int
    """Most tokens that any of them has."""

    @classmethod
    def of(cls, requests: Sequence[Request], device: torch.device) -> _RowsAtWork:
        """Return responses none of which has begun."""
        limits = [request.max_new_tokens for request in requests]
        wanted = _filled([request.logits_for for request in requests], 0)
        return cls(
            places=torch.arange(len(requests), device=device),
            seeds=seed_tensor([request.seed for request in requests], device),
            begun=torch.tensor([request.begun for request in requests], device=device),
            stops=_filled([sorted(request.stop_ids) for request in requests], -1).to(device),
            limits=torch.tensor(limits, device=device),
            wanted=wanted.to(device) if wanted.shape[1] else None,
            going=torch.ones(len(requests), dtype=torch.bool, device=device),
            expected=len(requests),
            shortest=min(limits),
            longest=max(limits),
        )

    def keep(self, index: torch.Tensor, requests: Sequence[Request]) -> _RowsAtWork:
        """Return some of them (int64 indices), none of which has ended."""
        limits = [request.max_new_tokens for request in requests]
        return _RowsAtWork(
            places=self.places[index],
            seeds=self.seeds[index],
            begun=self.begun[index],
            stops=self.stops[index],
            limits=self.limits[index],
            wanted=None if self.wanted is None else self.wanted[index],
            going=self.going[index],
            expected=len(requests),
            shortest=min(limits),
            longest=max(limits),
        )


def _filled(rows: Sequence[Sequence[int]], value: int) -> torch.Tensor:
    """Return rows of whole numbers as int64 [rows, most], shorter ones filled up."""
    most = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (most - len(row))] for row in rows], dtype=torch.int64)


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
