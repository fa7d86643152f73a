"""Who asks a server: the run for responses, or a judge for its verdicts."""

from __future__ import annotations

from enum import Enum


class ServerRole(Enum):
    """Who asks a server.

    Each has a key and a program of its own: one server's key is no other server's matter.
    """

    ENGINE = ("the server", "engine", "checkpoint", "RECEIPTS_SERVER")
    """The run, for responses."""
    JUDGE = ("the judge's server", "judge.server", "judge", "RECEIPTS_JUDGE_SERVER")
    """The judge, for verdicts."""
    SECOND_JUDGE = (
        "the second judge's server",
        "judge.second.server",
        "judge",
        "RECEIPTS_SECOND_JUDGE_SERVER",
    )
    """The second judge, likewise."""

    def __init__(self, words: str, entry: str, model: str, variable: str) -> None:
        self.words = words
        """What it is called in messages."""
        self.entry = entry
        """Where a plan file names it."""
        self.model = model
        """What its model is to the plan."""
        self.key = f"{variable}_KEY"
        """Environment variable that holds its key."""
        self.program = f"{variable}_PROGRAM"
        """Environment variable that names the program to start; else it is on the PATH."""

    @property
    def judges(self) -> bool:
        """Whether a judge asks it: it draws nothing."""
        return self is not ServerRole.ENGINE
