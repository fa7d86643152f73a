"""The engine that runs a checkpoint with transformers' own model code.

Where the model allows it, prompts are computed over their prefix tree: every shared prefix
once (:mod:`runner.engines.prefix.schedule`, :mod:`runner.engines.prefix.prefix_batches`).  Whether
it does is tried when the engine is made, on a few tokens, against the model's ordinary forward
pass.  Otherwise requests are sorted by length and cut into padded batches
(:mod:`runner.engines.plain_batches`).  Either way memory is bounded by an estimate
(:mod:`runner.engines.batches`) and nothing global is changed: no seed, thread count or default.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from safety_receipts.receipts.errors import IncompleteError
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.point import Reason
from safety_receipts.runner.checkpoint.config import error_line
from safety_receipts.runner.engines.answers import SynchronousGeneration
from safety_receipts.runner.engines.batches import (
    MemoryDemand,
    MemoryModel,
    cut_batches,
    default_memory,
    widest_chunk,
)
from safety_receipts.runner.engines.decoding import sampling
from safety_receipts.runner.engines.decoding.drafts import Draft
from safety_receipts.runner.engines.engine import (
    GREEDY,
    Completion,
    Decoding,
    EngineIdentity,
    Generation,
    Margins,
    Request,
)
from safety_receipts.runner.engines.forward import Forward, not_understood
from safety_receipts.runner.engines.identity import read_identity
from safety_receipts.runner.engines.load import LoadedModel
from safety_receipts.runner.engines.plain_batches import PlainBatches
from safety_receipts.runner.engines.prefix.attention import Kernel, keeps_fp32, kernels_of
from safety_receipts.runner.engines.prefix.prefix_batches import PrefixBatches
from safety_receipts.runner.engines.prefix.probe import why_not_cached, why_not_shared
from safety_receipts.runner.engines.prefix.schedule import (
    MAX_BATCH_ROWS,
    SHARE_TOKENS,
    Schedule,
    ScheduledRequest,
    build_schedule,
)
from safety_receipts.runner.engines.prefix.shared_prefix import PassSetting
from safety_receipts.runner.engines.requests import check_keys, failed, in_vocabulary, problem
from safety_receipts.runner.prompts.prefix_tree import in_one_tree

_LEAST_ROWS = 64
_COPIES = 2
"""Copies of weights that make products faster may take one part in so many of a batch's memory."""
_CPU_WORK = 2**34
"""Parameters × rows of a decoding step on a CPU: about a tenth of a second."""

Write = Callable[[int, Sequence[Draft]], None]
"""Writes the responses of a batch, given its number and a draft for each row."""
GivenResponse = tuple[Request, tuple[int, ...]]
"""A request and a response given for it."""


@dataclass(frozen=True, slots=True)
class _Work:
    """Requests cut into batches."""

    batches: list[list[list[int]]]
    """For each row of each batch, the requests that get its response."""
    too_large: list[int]
    """Requests that do not fit even alone."""
    write: Write


class TransformersEngine:
    """Generates and scores with a transformers model.

    Args:
        loaded: The model, from :func:`runner.engines.load.load_model` or ``wrap_model``.
        memory: Bytes that one batch may take beside the weights and such copies of them as make
            products faster (:mod:`runner.engines.operators.products`), which are made only where
            they take no more than half as much; None: a share of what is
            free now (:func:`runner.engines.batches.default_memory`).  Batches, and with them
            the last bits of results, are the same again only where it is given.
        max_rows: Most rows of a batch; None: :data:`MAX_BATCH_ROWS`, and on a CPU fewer for a large
            model, as an interrupted batch is lost.
        shared: Whether prefixes are to be shared, where the model allows it.
        share_tokens: Tokens that sharing a prefix must save
            (:func:`runner.engines.prefix.schedule.build_schedule`).
        kernels: How attention over shared prefixes may be computed, the best first; None: all
            ways that the kind of device has a use for.

    Raises:
        UsageError: The model's forward pass is not understood: it takes no positions or no
            cache, has no output layer, fails, or gives other logits with a cache than without.
        IncompleteError: Not even a few tokens fit in memory.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        *,
        memory: int | None = None,
        max_rows: int | None = None,
        shared: bool = True,
        share_tokens: int = SHARE_TOKENS,
        kernels: Sequence[Kernel] | None = None,
    ) -> None:
        self._loaded = loaded
        architecture, device = loaded.architecture, loaded.device
        number_bytes = 4 if loaded.dtype is Dtype.FLOAT32 else 2
        self._memory_model = MemoryModel(
            architecture,
            number_bytes=number_bytes,
            eager=loaded.attention == "eager",
            chunk_logits=sampling.chunk_logits(device),
            kept_bytes=4 if keeps_fp32(device) else number_bytes,
        )
        self.memory = default_memory(device) if memory is None else memory
        """Bytes that one batch may take beside the weights."""
        self._max_rows = _most_rows(loaded) if max_rows is None else max_rows
        if architecture.alone:
            self._max_rows = 1
        self._share_tokens = share_tokens
        self._forward = Forward(loaded)
        self._chunk = widest_chunk(self._memory_model, self.memory, device)
        windows = tuple(layer.window for layer in architecture.kv_layers)
        self._plain = PlainBatches(self._forward, windows, device)
        self._check_forward()
        self._setting: PassSetting | None = None
        self.not_shared: str | None = "plain batches were asked for"
        """Why prefixes are not shared, in words; None: they are."""
        if shared:
            tried = kernels_of(device) if kernels is None else kernels
            self._forward.pack(self.memory // _COPIES)
            self._setting, self.not_shared = self._try_sharing(windows, tried)
        self._identity = read_identity(loaded)
        if self._setting is not None:
            grouped = self._setting.kernel is Kernel.GROUPED
            self._memory_model = replace(self._memory_model, pooled=grouped)
            name = attention_name(self._setting, self._forward)
            self._identity = replace(self._identity, attention=name)

    @property
    def identity(self) -> EngineIdentity:
        """What it is made of."""
        return self._identity

    @property
    def context_limit(self) -> int:
        """Longest context in tokens, prompt and response together."""
        return self._loaded.architecture.context_limit

    def start(self, requests: Sequence[Request], decoding: Decoding = GREEDY) -> Generation:
        """Cut requests into batches; see :class:`~runner.engines.engine.Engine`.

        Raises:
            ValueError: Two requests have one key.
        """
        check_keys(requests)
        refused: list[tuple[int, Completion]] = []
        sound: list[int] = []
        for index, request in enumerate(requests):
            error = self._problem(request)
            if error is None:
                sound.append(index)
            else:
                refused.append((index, failed(request, Reason.ENGINE_ERROR, error)))
        work = self._work([requests[index] for index in sound], decoding)
        refused += [
            (sound[i], failed(requests[sound[i]], Reason.OUT_OF_MEMORY, self._too_large()))
            for i in work.too_large
        ]
        rows = [[[sound[i] for i in row] for row in batch] for batch in work.batches]
        batches = _Batches(requests, refused, rows, work.write)
        return SynchronousGeneration(batches.members, batches.run)

    def _work(self, requests: Sequence[Request], decoding: Decoding) -> _Work:
        if self._setting is None:
            loads = [_load_of(request) for request in requests]
            batches, too_large = self._cut(loads, decoding)
            rows = [[[index] for index in batch] for batch in batches]
            return _Work(rows, too_large, lambda _, drafts: self._plain.generate(drafts, decoding))
        prompts = in_one_tree([request.tokens for request in requests])
        # Requests that cannot but get the same response are one row.
        alike: dict[tuple[object, ...], list[int]] = {}
        for index, (request, prompt) in enumerate(zip(requests, prompts, strict=True)):
            noise = (0, 0) if decoding.greedy else (request.seed, request.begun)
            how = (request.max_new_tokens, request.stop_ids, request.logits_for, noise)
            alike.setdefault((id(prompt.node), *how), []).append(index)
        groups = list(alike.values())
        schedule = self._schedule(
            [
                ScheduledRequest(prompts[group[0]], 0, requests[group[0]].max_new_tokens - 1)
                for group in groups
            ],
            decoding,
        )
        prefix = PrefixBatches(self._forward, self._setting, schedule, self._chunk)
        return _Work(
            [[groups[schedule.rows[row].ask] for row in batch] for batch in schedule.batches],
            [index for ask in schedule.too_large for index in groups[ask]],
            lambda number, drafts: prefix.generate(number, drafts, decoding),
        )

    def score(
        self, requests: Sequence[GivenResponse], decoding: Decoding = GREEDY
    ) -> Iterator[Margins]:
        """Yield the margins of given responses, batch by batch; see :class:`Engine`.

        Raises:
            ValueError: Two requests have one key.
        """
        check_keys(request for request, _ in requests)
        sound: list[GivenResponse] = []
        for request, response in requests:
            error = self._problem(request) or self._response_problem(request, response)
            if error is None:
                sound.append((request, response))
            else:
                yield Margins(request.key, (), None, (), Reason.ENGINE_ERROR, error)
        if self._setting is None:
            yield from self._score_plain(sound, decoding)
        else:
            yield from self._score_shared(sound, self._setting, decoding)

    def _score_plain(self, pairs: list[GivenResponse], decoding: Decoding) -> Iterator[Margins]:
        loads = [
            MemoryDemand(len(request.tokens) + len(response) - 1, 0, len(response))
            for request, response in pairs
        ]
        batches, too_large = self._cut(loads, decoding)
        yield from self._unscored([pairs[index] for index in too_large])
        for batch in batches:
            members = [pairs[index] for index in batch]
            try:
                yield from self._plain.score(members, decoding)
            except Exception as error:  # the model's code may raise anything; others go on
                yield from _faulty(members, error)

    def _score_shared(
        self, pairs: list[GivenResponse], setting: PassSetting, decoding: Decoding
    ) -> Iterator[Margins]:
        prompts = in_one_tree([request.tokens for request, _ in pairs])
        schedule = self._schedule(
            [
                ScheduledRequest(prompt, len(response) - 1, 0)
                for prompt, (_, response) in zip(prompts, pairs, strict=True)
            ],
            decoding,
        )
        yield from self._unscored([pairs[index] for index in schedule.too_large])
        batches = PrefixBatches(self._forward, setting, schedule, self._chunk)
        for number, batch in enumerate(schedule.batches):
            members = [pairs[schedule.rows[row].ask] for row in batch]
            try:
                yield from batches.score(number, members, decoding)
            except Exception as error:  # the model's code may raise anything; others go on
                yield from _faulty(members, error)

    def _unscored(self, pairs: list[GivenResponse]) -> Iterator[Margins]:
        for request, _ in pairs:
            yield Margins(request.key, (), None, (), Reason.OUT_OF_MEMORY, self._too_large())

    def _schedule(self, asks: list[ScheduledRequest], decoding: Decoding) -> Schedule:
        model = self._memory_of(decoding)
        return build_schedule(
            asks,
            fits=lambda size: model.shared_batch_bytes(size, self._chunk) <= self.memory,
            max_rows=self._max_rows,
            chunk=self._chunk,
            share_tokens=self._share_tokens,
        )

    def _check_forward(self) -> None:
        """Try the ordinary forward pass, which all else is held to."""
        try:
            reason = why_not_cached(self._loaded, self._forward, self._plain)
        except Exception as error:  # the model's code may raise anything
            kind, reason = _diagnose(error)
            if kind is Reason.OUT_OF_MEMORY:
                raise IncompleteError(
                    f"not even a few tokens fit in memory beside the model: {error_line(error)}",
                    hint="use a larger device or a smaller number format",
                ) from None
        if reason is not None:
            raise not_understood(self._loaded.model, reason)

    def _try_sharing(
        self, windows: tuple[int | None, ...], kernels: Sequence[Kernel]
    ) -> tuple[PassSetting | None, str | None]:
        """Return how prefixes can be shared, or why they cannot."""
        if self._loaded.architecture.alone:
            return None, "the position encoding depends on the longest sequence of a batch"
        reason: str | None = None
        own = [i for i, layer in enumerate(self._loaded.architecture.kv_layers) if layer.values]
        reuses, keepers = len(own) < len(windows), own[-1] + 1
        for kernel in kernels:
            setting = PassSetting(windows, reuses, kernel, self._loaded.device, keepers=keepers)
            reason = why_not_shared(self._loaded, self._forward, self._plain, setting)
            if reason is None:
                return setting, None
        self._forward.pack(0)
        return None, reason

    def _problem(self, request: Request) -> str | None:
        widths = self._loaded.architecture.widths
        return problem(request, widths.vocabulary, self.context_limit)

    def _response_problem(self, request: Request, response: tuple[int, ...]) -> str | None:
        if not response:
            return "the response has no tokens"
        if len(request.tokens) + len(response) > self.context_limit:
            return f"prompt and response exceed the context of {self.context_limit:,} tokens"
        if not in_vocabulary(response, self._loaded.architecture.widths.vocabulary):
            return "response: an id is not a token id of this model"
        return None

    def _cut(
        self, loads: list[MemoryDemand], decoding: Decoding
    ) -> tuple[list[list[int]], list[int]]:
        return cut_batches(loads, self._memory_of(decoding), self.memory, self._max_rows)

    def _memory_of(self, decoding: Decoding) -> MemoryModel:
        return replace(self._memory_model, penalised=decoding.repetition_penalty is not None)

    def _too_large(self) -> str:
        return f"it needs more than the {self.memory:,} bytes that a batch may take"


class _Batches:
    """Answers requests in batches, the refused ones last.

    Args:
        requests: All of them.
        refused: What those that cannot be answered get.
        rows: For each row of each batch, the requests that get its response.
        write: Writes the responses of a batch.
    """

    def __init__(
        self,
        requests: Sequence[Request],
        refused: Sequence[tuple[int, Completion]],
        rows: Sequence[Sequence[Sequence[int]]],
        write: Write,
    ) -> None:
        self._requests = requests
        self._refused = [completion for _, completion in refused]
        self._rows = rows
        self._write = write
        self.members = [[index for row in batch for index in row] for batch in rows]
        """Indices of the requests that are answered together."""
        if refused:
            self.members.append([index for index, _ in refused])

    def run(self, number: int) -> Sequence[Completion]:
        """Return one completion for each request of a batch."""
        if number == len(self._rows):
            return self._refused
        drafts = [Draft([self._requests[i] for i in row]) for row in self._rows[number]]
        try:
            self._write(number, drafts)
            return [one for draft in drafts for one in draft.completions()]
        except Exception as error:  # the model's code may raise anything; others go on
            # All rows of the batch fail, even those that had ended: were short responses kept
            # and long ones lost, the rates would lean towards the short ones.
            reason, message = _diagnose(error)
            return [failed(r, reason, message) for draft in drafts for r in draft.requests]


def attention_name(setting: PassSetting, forward: Forward) -> str:
    """Return what a receipt calls the way in which attention was computed.

    For grouped calls it names the kernels that the trial on the device chose, and what else was
    computed in fewer operators than the model's own code takes.
    """
    parts = ["shared-prefix", str(setting.kernel), *sorted(map(str, setting.routes))]
    if setting.kernel is Kernel.GROUPED:
        parts += forward.fused
    return "-".join(parts)


def _faulty(pairs: Sequence[GivenResponse], error: Exception) -> list[Margins]:
    reason, message = _diagnose(error)
    return [Margins(request.key, (), None, (), reason, message) for request, _ in pairs]


def _load_of(request: Request) -> MemoryDemand:
    length = len(request.tokens)
    return MemoryDemand(length, length + request.max_new_tokens - 1, 1)


def _diagnose(error: Exception) -> tuple[Reason, str]:
    """Return the reason and a line for people of an error raised inside a batch."""
    text = str(error)
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in text
    ):
        return Reason.OUT_OF_MEMORY, "the batch did not fit in memory; lower the memory bound"
    return Reason.ENGINE_ERROR, error_line(error)


def _most_rows(loaded: LoadedModel) -> int:
    if loaded.device.type != "cpu":
        return MAX_BATCH_ROWS
    model: Any = loaded.model
    return min(MAX_BATCH_ROWS, max(_LEAST_ROWS, _CPU_WORK // int(model.num_parameters())))
