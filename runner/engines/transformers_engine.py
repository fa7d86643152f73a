"""The engine that runs a checkpoint with transformers' own model code.

Requests are sorted by length and cut into padded batches by a bound on memory
(:mod:`runner.engines.batches`); each batch reads its prompts in one forward pass and then
decodes one token a step (:mod:`runner.engines.cache`), choosing tokens by
:mod:`runner.engines.sampling`.  Nothing global is changed: no seed, thread count or default.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from receipts.errors import UsageError
from receipts.model.checkpoint import Dtype
from receipts.model.point import Finish, Reason
from runner.engines import sampling
from runner.engines.batches import Load, MemoryModel, available_memory, cut
from runner.engines.cache import RowCache, Rows
from runner.engines.engine import (
    GREEDY,
    Completion,
    Decoding,
    EngineIdentity,
    Margins,
    Request,
)
from runner.engines.identity import read_identity
from runner.engines.load import LoadedModel, load_model
from runner.engines.noise import seed_tensor
from runner.engines.requests import check_keys, failed, in_vocabulary, problem
from runner.model_facts import one_line

MAX_ROWS = 64
"""Most rows of a batch, unless the caller says otherwise."""
ACCELERATOR_SHARE = 0.8
"""Share of an accelerator's memory, free after loading, that batches may take by default."""
CPU_SHARE = 0.5
"""Share of the available main memory that batches may take by default."""


class _Draft:
    """A response being written."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.tokens: list[int] = []
        self.logits: list[tuple[float, ...]] = []
        self.finish: Finish | None = None

    def take(self, token: int, logits: torch.Tensor) -> None:
        self.tokens.append(token)
        if self.request.logits_for:
            self.logits.append(tuple(logits[list(self.request.logits_for)].tolist()))
        if token in self.request.stop_ids:
            self.finish = Finish.STOP
        elif len(self.tokens) == self.request.max_new_tokens:
            self.finish = Finish.LENGTH

    def completion(self) -> Completion:
        if self.finish is Finish.ERROR:
            message = f"the logits of token {len(self.tokens)} of the response are not finite"
            return failed(self.request, Reason.ENGINE_ERROR, message)
        assert self.finish is not None
        return Completion(
            self.request.key, tuple(self.tokens), self.finish, logits=tuple(self.logits)
        )


class TransformersEngine:
    """Generates and scores with a transformers model.

    Args:
        loaded: The model, from :func:`runner.engines.load.load_model` or ``wrap_model``.
        memory: Bytes that one batch may take beside the weights; None: a share of what is
            free now (:data:`ACCELERATOR_SHARE`, :data:`CPU_SHARE`).  Batches, and with them
            the last bits of results, are the same again only where it is given.
        max_rows: Most requests of a batch.

    Raises:
        UsageError: A model whose forward pass does not take positions, or has no output layer.
    """

    def __init__(
        self, loaded: LoadedModel, *, memory: int | None = None, max_rows: int = MAX_ROWS
    ) -> None:
        self._loaded = loaded
        self._model: Any = loaded.model
        self._head: Any = self._model.get_output_embeddings()
        takes = inspect.signature(self._model.forward).parameters
        if self._head is None or not {"position_ids", "past_key_values"} <= takes.keys():
            raise UsageError(
                f"{type(self._model).__name__} is no decoder with positions and a cache",
                hint="use a checkpoint of another architecture",
            )
        architecture = loaded.architecture
        self._windows = tuple(layer.window for layer in architecture.kv_layers)
        self._memory = MemoryModel(
            architecture,
            number_bytes=4 if loaded.dtype is Dtype.FLOAT32 else 2,
            eager=loaded.attention == "eager",
            chunk_logits=sampling.chunk_logits(loaded.device),
        )
        self.memory = _default_memory(loaded.device) if memory is None else memory
        """Bytes that one batch may take beside the weights."""
        self._max_rows = 1 if architecture.alone else max_rows
        self._identity = read_identity(loaded)

    @classmethod
    def from_folder(
        cls,
        folder: Path,
        *,
        dtype: Dtype,
        device: str = "auto",
        memory: int | None = None,
        allow_pickle: bool = False,
    ) -> TransformersEngine:
        """Load a model folder and return an engine that runs it.

        Raises:
            ReceiptsError: As :func:`runner.engines.load.load_model`.
        """
        loaded = load_model(folder, dtype=dtype, device=device, allow_pickle=allow_pickle)
        return cls(loaded, memory=memory)

    @property
    def identity(self) -> EngineIdentity:
        """What it is made of."""
        return self._identity

    @property
    def end_tokens(self) -> tuple[int, ...]:
        """Token ids that end a response, ascending."""
        return self._loaded.end_tokens

    @property
    def context_limit(self) -> int:
        """Longest context in tokens, prompt and response together."""
        return self._loaded.architecture.context_limit

    def batches(self, requests: Sequence[Request]) -> list[list[int]]:
        """Return the batches that requests would be cut into, as indices.

        Requests that cannot be answered are in none.
        """
        sound = [i for i, request in enumerate(requests) if self._problem(request) is None]
        cut_, _ = self._cut([_load_of(requests[i]) for i in sound])
        return [[sound[place] for place in batch] for batch in cut_]

    def generate(
        self, requests: Sequence[Request], decoding: Decoding = GREEDY
    ) -> Iterator[Completion]:
        """Yield one completion for each request, batch by batch; see :class:`Engine`.

        Raises:
            ValueError: Two requests have one key.
        """
        check_keys(requests)
        sound: list[Request] = []
        for request in requests:
            error = self._problem(request)
            if error is None:
                sound.append(request)
            else:
                yield failed(request, Reason.ENGINE_ERROR, error)
        batches, too_large = self._cut([_load_of(request) for request in sound])
        for index in too_large:
            yield failed(sound[index], Reason.OUT_OF_MEMORY, self._too_large())
        for batch in batches:
            members = [sound[index] for index in batch]
            try:
                completions = self._generate_batch(members, decoding)
            except Exception as error:  # the model's code may raise anything; others go on
                # All rows of the batch fail, even those that had ended: were short responses
                # kept and long ones lost, the rates would lean towards the short ones.
                reason, message = _diagnose(error)
                completions = [failed(request, reason, message) for request in members]
            yield from completions

    def score(
        self,
        requests: Sequence[tuple[Request, tuple[int, ...]]],
        decoding: Decoding = GREEDY,
    ) -> Iterator[Margins]:
        """Yield the margins of given responses, batch by batch; see :class:`Engine`.

        Raises:
            ValueError: Two requests have one key.
        """
        check_keys(request for request, _ in requests)
        sound: list[tuple[Request, tuple[int, ...]]] = []
        for request, response in requests:
            error = self._problem(request) or self._response_problem(request, response)
            if error is None:
                sound.append((request, response))
            else:
                yield Margins(request.key, (), (), Reason.ENGINE_ERROR, error)
        loads = [
            Load(len(request.tokens) + len(response) - 1, 0, len(response))
            for request, response in sound
        ]
        batches, too_large = self._cut(loads)
        for index in too_large:
            key = sound[index][0].key
            yield Margins(key, (), (), Reason.OUT_OF_MEMORY, self._too_large())
        for batch in batches:
            members = [sound[index] for index in batch]
            try:
                found = self._score_batch(members, decoding)
            except Exception as error:  # the model's code may raise anything; others go on
                reason, message = _diagnose(error)
                found = [Margins(request.key, (), (), reason, message) for request, _ in members]
            yield from found

    def _problem(self, request: Request) -> str | None:
        widths = self._loaded.architecture.widths
        return problem(request, widths.vocabulary, self.context_limit)

    def _response_problem(self, request: Request, response: tuple[int, ...]) -> str | None:
        if not response:
            return "the response has no tokens"
        if len(request.tokens) + len(response) > self.context_limit:
            return f"prompt and response exceed the context of {self.context_limit:,} tokens"
        if not in_vocabulary(response, self._loaded.architecture.widths.vocabulary):
            return "response: an id is no token id of this model"
        return None

    def _cut(self, loads: list[Load]) -> tuple[list[list[int]], list[int]]:
        return cut(loads, self._memory, self.memory, self._max_rows)

    def _too_large(self) -> str:
        return f"it needs more than the {self.memory:,} bytes that a batch may take"

    @torch.inference_mode()
    def _generate_batch(self, requests: list[Request], decoding: Decoding) -> list[Completion]:
        drafts = [_Draft(request) for request in requests]
        ids, lengths = self._padded([request.tokens for request in requests])
        longest = max(len(r.tokens) + r.max_new_tokens - 1 for r in requests)
        rows = Rows(lengths, longest)
        cache = RowCache(rows, self._windows)
        logits = self._forward(ids, _counting(ids), (lengths - 1)[:, None], cache)[:, 0]
        alive = drafts
        while True:
            tokens = self._take(logits, alive, decoding)
            going = [i for i, draft in enumerate(alive) if draft.finish is None]
            if not going:
                return [draft.completion() for draft in drafts]
            if len(going) <= len(alive) // 2:
                kept = torch.tensor(going, device=tokens.device)
                cache.select(kept)
                tokens, alive = tokens[kept], [alive[i] for i in going]
            moving = torch.tensor([d.finish is None for d in alive], device=tokens.device)
            rows.advance(moving)
            first = torch.zeros_like(tokens)[:, None]
            logits = self._forward(tokens[:, None], rows.positions[:, None], first, cache)[:, 0]

    def _take(self, logits: torch.Tensor, drafts: list[_Draft], decoding: Decoding) -> torch.Tensor:
        """Give each unfinished response its next token; return the tokens, int64 [rows]."""
        device = logits.device
        if device.type == "mps":  # has no float64, which the noise is defined in
            logits = logits.cpu()
        finite = torch.isfinite(logits).all(-1)
        sound = torch.where(finite[:, None], logits, 0.0)
        seeds = seed_tensor([draft.request.seed for draft in drafts], sound.device)
        positions = torch.tensor([len(draft.tokens) for draft in drafts], device=sound.device)
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

    @torch.inference_mode()
    def _score_batch(
        self, members: list[tuple[Request, tuple[int, ...]]], decoding: Decoding
    ) -> list[Margins]:
        ids, lengths = self._padded([r.tokens + response[:-1] for r, response in members])
        starts = torch.tensor([len(r.tokens) - 1 for r, _ in members], device=ids.device)
        longest = max(len(response) for _, response in members)
        at = starts[:, None] + torch.arange(longest, device=ids.device)
        logits = self._forward(ids, _counting(ids), at.minimum(lengths[:, None] - 1), None)
        if logits.device.type == "mps":
            logits = logits.cpu()
        return [
            _margins(request, response, row[: len(response)], decoding)
            for (request, response), row in zip(members, logits, strict=True)
        ]

    def _padded(self, sequences: list[tuple[int, ...]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return token ids padded on the right, int64 [rows, longest], and lengths.

        The padding repeats a row's own last token: a token of no row's could have an embedding
        that is not finite, and 0 weight times that is not 0.
        """
        longest = max(map(len, sequences))
        device = self._loaded.device
        ids = [[*tokens, *tokens[-1:] * (longest - len(tokens))] for tokens in sequences]
        lengths = [len(tokens) for tokens in sequences]
        return torch.tensor(ids, device=device), torch.tensor(lengths, device=device)

    def _forward(
        self,
        ids: torch.Tensor,
        positions: torch.Tensor,
        at: torch.Tensor,
        cache: RowCache | None,
    ) -> torch.Tensor:
        """Return fp32 logits [rows, n, vocabulary] of one forward pass.

        Args:
            ids: Token ids, int64 [rows, tokens].
            positions: Their positions, int64 [rows, tokens].
            at: int64 [rows, n], which tokens' logits are wanted.  Only those pass through the
                output layer, and through whatever scaling and capping the model puts after it.
            cache: Keys and values; None: none are kept.
        """

        def pick(_: Any, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            index = at[:, :, None].expand(-1, -1, arguments[0].shape[-1])
            return (arguments[0].gather(1, index), *arguments[1:])

        hook = self._head.register_forward_pre_hook(pick)
        try:
            output = self._model(
                input_ids=ids,
                attention_mask=cache.rows.mask()
                if cache is not None and cache.rows.columns
                else None,
                position_ids=positions,
                past_key_values=cache,
                use_cache=cache is not None,
            )
        finally:
            hook.remove()
        logits: torch.Tensor = output.logits
        vocabulary = self._loaded.architecture.widths.vocabulary
        if logits.shape != (*at.shape, vocabulary):
            raise ValueError(f"logits of shape {tuple(logits.shape)}".replace("[", "("))
        return logits.float()


def _load_of(request: Request) -> Load:
    length = len(request.tokens)
    return Load(length, length + request.max_new_tokens - 1, 1)


def _counting(ids: torch.Tensor) -> torch.Tensor:
    """Return positions 0, 1, … for each row, int64 of the ids' shape."""
    return torch.arange(ids.shape[1], device=ids.device).expand(ids.shape)


def _margins(
    request: Request, response: tuple[int, ...], logits: torch.Tensor, decoding: Decoding
) -> Margins:
    if not bool(torch.isfinite(logits).all()):
        message = "the logits of the response are not finite"
        return Margins(request.key, (), (), Reason.ENGINE_ERROR, message)
    tokens = torch.tensor(response, device=logits.device)
    seeds = seed_tensor([request.seed], logits.device).expand(len(response))
    positions = torch.arange(len(response), device=logits.device)
    margins = sampling.margins(logits, tokens, decoding, seeds, positions)
    logprobs = torch.log_softmax(logits, dim=-1).gather(1, tokens[:, None])[:, 0]
    return Margins(request.key, tuple(margins.tolist()), tuple(logprobs.tolist()))


def _diagnose(error: Exception) -> tuple[Reason, str]:
    """Return the reason and a line for people of an error raised inside a batch."""
    text = str(error)
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in text
    ):
        return Reason.OUT_OF_MEMORY, "the batch did not fit in memory; lower the memory bound"
    return Reason.ENGINE_ERROR, one_line(error)


def _default_memory(device: torch.device) -> int:
    """Return the bytes that a batch may take where the caller names no bound."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free * ACCELERATOR_SHARE)
    if device.type == "mps":
        left = torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
        return int(left * ACCELERATOR_SHARE)
    return int(available_memory() * CPU_SHARE)
