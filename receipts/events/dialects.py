"""What can be said of every server of a kind: facts that no run can contradict.

``runner.engines.served`` speaks the dialects; whoever verifies needs no more than this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from safety_receipts.receipts.model.plan import ServerDialect
from safety_receipts.receipts.model.receipt import ServerProbe

SEED_63: Final = "server-seed-63/1"
"""The first 63 bits of the point's seed of noise: vLLM and SGLang take no more."""
SEED_32: Final = "server-seed-32/1"
"""The point's seed of noise modulo 2^32 − 1: llama.cpp takes 32 bits, of which all ones mean "draw
one"."""
UNSEEN: Final = "behind a server, not seen"
"""What is said of a server's device."""


@dataclass(frozen=True)
class DialectFacts:
    """What holds for every server of a kind."""

    noise: str
    """Name of the rule that makes the server's seed of a point's."""
    probes: tuple[ServerProbe, ...]
    """What one that answers is tried for."""
    penalises: bool
    """Whether it can apply a plan's repetition penalty."""
    arguments: frozenset[str] | None
    """Arguments with which the tool starts one; None: it starts none."""

    def probes_of(self, *, drawn: bool) -> tuple[ServerProbe, ...]:
        """Return what one is tried for: its seeds only where it draws tokens."""
        return tuple(probe for probe in self.probes if drawn or probe is not ServerProbe.SEEDS)

    def starts_with(self, arguments: Sequence[str]) -> bool:
        """Say whether the tool starts one with such arguments."""
        if self.arguments is None:
            return False
        names = [argument.partition("=")[0] for argument in arguments]
        return all(
            name in self.arguments
            if name.startswith("-")
            else place > 0 and names[place - 1].startswith("-")
            for place, name in enumerate(names)
        )


FACTS: Final = {
    ServerDialect.VLLM: DialectFacts(
        noise=SEED_63,
        probes=tuple(ServerProbe),
        penalises=True,
        arguments=frozenset(
            {
                "--attention-backend",
                "--block-size",
                "--data-parallel-size",
                "--disable-log-stats",
                "--enable-chunked-prefill",
                "--enable-prefix-caching",
                "--enforce-eager",
                "--gpu-memory-utilization",
                "--kv-cache-memory-bytes",
                "--max-model-len",
                "--max-num-batched-tokens",
                "--max-num-seqs",
                "--no-enable-chunked-prefill",
                "--no-enable-prefix-caching",
                "--pipeline-parallel-size",
                "--tensor-parallel-size",
            }
        ),
    ),
    ServerDialect.LLAMACPP: DialectFacts(
        noise=SEED_32,
        probes=tuple(probe for probe in ServerProbe if probe is not ServerProbe.TOKEN_IDS),
        penalises=False,
        arguments=frozenset(
            {
                "--batch-size",
                "--cache-type-k",
                "--cache-type-v",
                "--ctx-size",
                "--flash-attn",
                "--n-gpu-layers",
                "--no-warmup",
                "--parallel",
                "--threads",
                "--threads-batch",
                "--ubatch-size",
            }
        ),
    ),
    ServerDialect.SGLANG: DialectFacts(
        noise=SEED_63, probes=tuple(ServerProbe), penalises=False, arguments=None
    ),
}
"""Of each kind."""
