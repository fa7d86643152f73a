"""The folder of a judge with weights, and what is loaded of it: tokenizer, engine, limits.

Nothing here imports torch or transformers before a judge is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safety_receipts.receipts.errors import IncompleteError
from safety_receipts.receipts.extras import install
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.judge import JudgeIdentity
from safety_receipts.runner.checkpoint.config import read_config
from safety_receipts.runner.checkpoint.end_tokens import find_end_tokens
from safety_receipts.runner.checkpoint.model_facts import Architecture, read_architecture
from safety_receipts.runner.checkpoint.model_files import CONFIG, read_json_object
from safety_receipts.runner.engines.engine import GREEDY
from safety_receipts.runner.engines.served.options import NamedServer, ServedModel
from safety_receipts.runner.judges.generative import ReplyLimits

if TYPE_CHECKING:
    from safety_receipts.runner.engines.engine import Engine


@dataclass(frozen=True)
class JudgeWeights:
    """Where a judge's weights lie, and how they are loaded."""

    folder: Path
    """Folder of the weights: whoever resolved the identity has hashed them."""
    device: str | None = None
    """``cpu``, ``cuda``, ``cuda:1``, ``mps``; None: an accelerator if there is one."""
    memory: int | None = None
    """Bound on the engine's memory in bytes; None: the engine's own choice."""
    allow_pickle: bool = False
    """Whether a causal language model's weights may be pickles."""
    server: NamedServer | None = None
    """The server that it asks; None: the weights are loaded here."""

    def tokenizer(self) -> Any:
        """Load the folder's tokenizer.

        Raises:
            IncompleteError: torch or transformers is not installed.
            ReceiptsError: It cannot be loaded.
        """
        try:
            import_module("torch")
            prompts: Any = import_module("safety_receipts.runner.prompts.tokenizer")
        except ImportError:
            raise IncompleteError(
                "this judge needs torch and transformers", hint=install("run")
            ) from None
        return prompts.load_tokenizer(self.folder)

    def engine(self, limits: ReplyLimits) -> Engine:
        """Return what generates with a causal language model: here, or behind the plan's server.

        Here it runs in the number format that its configuration names, float32 where it names none.

        Args:
            limits: What bounds its replies.

        Raises:
            ReceiptsError: It cannot be loaded, or its server does not answer, or cannot be used.
        """
        if self.server is not None:
            return self._served(self.server, limits)
        from safety_receipts.runner.engines.load import load_model  # noqa: PLC0415 (torch)
        from safety_receipts.runner.engines.transformers_engine import (  # noqa: PLC0415 (torch)
            TransformersEngine,
        )

        model = load_model(
            self.folder,
            dtype=named_dtype(self.folder),
            device=self.device or "auto",
            allow_pickle=self.allow_pickle,
        )
        return TransformersEngine(model, memory=self.memory)

    def _served(self, server: NamedServer, limits: ReplyLimits) -> Engine:
        from safety_receipts.runner.engines.served.load import load_server  # noqa: PLC0415

        model = ServedModel(
            vocabulary=self.architecture.widths.vocabulary,
            context_limit=limits.context,
            dtype=named_dtype(self.folder),
            end_tokens=limits.end_tokens,
            decoding=GREEDY,
        )
        return load_server(server.planned, server.place, model, self.folder)

    @cached_property
    def architecture(self) -> Architecture:
        """What follows from the folder's configuration.

        Raises:
            ReceiptsError: It cannot be read, or is none of a causal language model's.
        """
        return read_architecture(read_config(self.folder), self.folder)

    def limits(
        self,
        identity: JudgeIdentity,
        tokenizer: Any,
        *,
        turn_end: int | None = None,
    ) -> ReplyLimits:
        """Return what bounds a reply: it ends where a response of its folder would end.

        Args:
            identity: The judge's.
            tokenizer: The folder's.
            turn_end: Token with which its chat template ends a turn; None: it is not asked through
                one, or that writes none.

        Raises:
            ReceiptsError: The folder's configuration cannot be read.
        """
        architecture = self.architecture
        ends = find_end_tokens(
            self.folder,
            architecture.widths.vocabulary,
            tokenizer=tokenizer.eos_token_id,
            template=turn_end,
            text_of=tokenizer.convert_ids_to_tokens,
        )
        return ReplyLimits(
            context=architecture.context_limit,
            max_new_tokens=identity.max_new_tokens or 0,
            end_tokens=frozenset(ends.ids),
        )


def named_dtype(folder: Path) -> Dtype:
    """Return the number format that a causal language model's configuration names.

    Raises:
        ReceiptsError: It cannot be read.
    """
    config = read_json_object(folder / CONFIG)
    inner = config.get("text_config")
    named = [
        part.get(key)
        for part in (config, inner if isinstance(inner, dict) else {})
        for key in ("dtype", "torch_dtype")
    ]
    return next((dtype for dtype in Dtype if dtype.value in named), Dtype.FLOAT32)
