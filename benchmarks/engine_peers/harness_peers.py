"""Evaluation harnesses: lm-evaluation-harness and Inspect, each with its transformers model."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

from engine_peers.peer import Answers, counting, load
from engine_peers.workloads import CONTEXT, Prompt, Workload, text_of, tokens_of


class LmEval:
    """``HFLM.generate_until`` of lm-evaluation-harness."""

    packages: tuple[str, ...] = ("lm_eval", "torch", "transformers")

    def __init__(self, folder: Path) -> None:
        from lm_eval.models.huggingface import HFLM  # type: ignore[import-not-found, unused-ignore]
        from transformers import AutoTokenizer

        logging.disable(logging.WARNING)
        self._model = load(folder)
        self._harness: Any = HFLM(
            pretrained=self._model,
            tokenizer=AutoTokenizer.from_pretrained(str(folder)),
            max_length=CONTEXT,
            backend="causal",
        )
        self._harness.add_bos_token = False  # the prompts have theirs

    def run(self, workload: Workload, batch: int) -> Answers:
        """Answer the prompts as texts; the harness sorts and batches them."""
        from lm_eval.api.instance import Instance  # type: ignore[import-not-found, unused-ignore]

        self._harness.batch_size_per_gpu = batch
        options = {"until": [], "max_gen_toks": workload.shape.new_tokens, "do_sample": False}
        instances = [
            Instance(
                request_type="generate_until",
                doc={},
                arguments=(text_of(prompt.tokens), dict(options)),
                idx=0,
            )
            for prompt in workload.prompts
        ]
        with counting(self._model.model) as positions:
            texts = self._harness.generate_until(instances, disable_tqdm=True)
        return Answers([list(tokens_of(text)) for text in texts], positions.count, text=True)


class Inspect:
    """Inspect's provider of transformers models, prompts given as conversations."""

    packages: tuple[str, ...] = ("inspect_ai", "torch", "transformers")

    def __init__(self, folder: Path) -> None:
        from inspect_ai.model import get_model  # type: ignore[import-not-found, unused-ignore]

        logging.disable(logging.WARNING)
        self._model: Any = get_model(
            "hf/local",
            model_path=str(folder),
            device="cpu",
            do_sample=False,
            memoize=False,
            tokenizer_call_args={"add_special_tokens": False},
        )
        self._inner = self._model.api.model
        self._inner.generation_config.eos_token_id = None

    def run(self, workload: Workload, batch: int) -> Answers:
        """Answer the prompts, ``batch`` of them in flight."""
        with counting(self._inner.model) as positions:
            texts = asyncio.run(self._answer(workload, batch))
        return Answers([list(tokens_of(text)) for text in texts], positions.count, text=True)

    async def _answer(self, workload: Workload, batch: int) -> list[str]:
        from inspect_ai.model import GenerateConfig

        config = GenerateConfig(max_tokens=workload.shape.new_tokens, max_connections=batch)
        free = asyncio.Semaphore(batch)

        async def answer(prompt: Prompt) -> str:
            async with free:
                output = await self._model.generate(_conversation(prompt), config=config)
                return str(output.completion)

        return await asyncio.gather(*map(answer, workload.prompts))


def _conversation(prompt: Prompt) -> list[Any]:
    from inspect_ai.model import ChatMessageAssistant, ChatMessageUser

    kinds = (ChatMessageUser, ChatMessageAssistant)
    return [kinds[i % 2](content=text) for i, text in enumerate(prompt.turns)]
