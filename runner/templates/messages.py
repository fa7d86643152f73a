"""What a chat template is given: the messages of a conversation."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Role(StrEnum):
    """Who a message is from, in the words chat templates use."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool by the assistant."""

    id: str
    """What its result refers to."""
    name: str
    """Name of the tool."""
    arguments: tuple[tuple[str, str], ...]
    """Arguments by name."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation."""

    role: Role
    """Who it is from."""
    content: str
    """What it says; empty where it is a tool call."""
    call: ToolCall | None = None
    """The call it makes, if it is the assistant's, or whose result it is, if it is a tool's."""

    def as_template_data(self) -> dict[str, Any]:
        """Return the dictionary that chat templates take, in the OpenAI API's shape.

        A tool call has no ``content``: several templates print ``None`` or an empty text.
        """
        role = str(
            self.role
        )  # which takes a quarter of the time of `value`, of thousands of messages
        if self.call is None:
            return {"role": role, "content": self.content}
        if self.role is Role.TOOL:
            named = {"name": self.call.name, "tool_call_id": self.call.id}
            return {"role": role, "content": self.content, **named}
        function = {"name": self.call.name, "arguments": dict(self.call.arguments)}
        calls = [{"id": self.call.id, "type": "function", "function": function}]
        return {"role": role, "tool_calls": calls}
