"""What a plan's digests stand for on this machine: texts, and folders of weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from safety_receipts.receipts.errors import UsageError
from safety_receipts.runner.checkpoint.end_tokens import EndTokens
from safety_receipts.runner.checkpoint.model_facts import ModelFacts
from safety_receipts.runner.engines.served.options import NamedServer, ServerPlace
from safety_receipts.runner.prompts.texts import PromptTexts


class NoCheckpointFolderError(UsageError):
    """Something needs the checkpoint's weights or configuration, and they are not here."""


@dataclass(frozen=True)
class LocalCheckpoint:
    """A checkpoint whose folder is on this machine."""

    folder: Path
    """The folder."""
    facts: ModelFacts
    """What its configuration says."""
    end_tokens: EndTokens
    """What ends its responses, and who says so."""


@dataclass(frozen=True)
class Artifacts:
    """What a plan's digests stand for on this machine."""

    texts: PromptTexts
    """What prompts are made of."""
    local: LocalCheckpoint | None
    """The checkpoint, to load; None: the model is elsewhere, behind a server."""
    judge_folder: Path | None
    """Weights of the judge; None for a rule."""
    second_judge_folder: Path | None
    """Weights of the second judge; None for a rule, or where there is none."""
    server: ServerPlace | None = None
    """Where the plan's server is; None: the plan names none."""
    judge_server: NamedServer | None = None
    """The server that the judge asks; None: the tool runs it."""
    second_judge_server: NamedServer | None = None
    """The server that the second judge asks; None: the tool runs it, or there is none."""

    @property
    def asks_servers(self) -> bool:
        """Whether a run asks some server, for responses or verdicts."""
        servers = (self.server, self.judge_server, self.second_judge_server)
        return any(server is not None for server in servers)

    @property
    def checkpoint(self) -> LocalCheckpoint:
        """The checkpoint, for whoever loads it or reads its configuration.

        Raises:
            NoCheckpointFolderError: It is not here.
        """
        if self.local is None:
            raise NoCheckpointFolderError(
                "the plan's model is behind a server, and its folder is not on this machine",
                hint="give the checkpoint's folder in the plan file, under `checkpoint: {path: …}`",
            )
        return self.local
