"""A prompt on a terminal: where each part comes from, and every control token seen."""

from __future__ import annotations

import re

from rich.console import Console
from rich.text import Text

from safety_receipts.receipts.io.text import printable, spelt_out
from safety_receipts.receipts.present.tables import say
from safety_receipts.runner.prompts.prompt_view import PromptPart, PromptView, TextOrigin
from safety_receipts.runner.view.judged import LINE_BREAK

_STYLES = {
    TextOrigin.TEMPLATE: "dim",
    TextOrigin.OWN_PROMPT: "bold yellow",
    TextOrigin.SYSTEM: "cyan",
    TextOrigin.CONTEXT: "blue",
    TextOrigin.HARMFUL: "red",
    TextOrigin.BENIGN: "green",
    TextOrigin.REFUSAL: "magenta",
    TextOrigin.QUERY: "bold",
    TextOrigin.GENERATION: "bold blue",
}
_CONTROL = "reverse"
_MOST_OF_A_LABEL = 28


def render_prompt(view: PromptView, control: re.Pattern[str], console: Console) -> None:
    """Draw a prompt.

    Every part starts a line of its own, behind where it comes from; ``⏎`` marks the line breaks
    that are part of the prompt, so that nothing else is.

    Args:
        view: The prompt.
        control: Matches control tokens.
        console: Where to.
    """
    say(
        console,
        f"{view.condition}, query {printable(view.query)}, draw {view.draw}: "
        f"{view.tokens:,} tokens of a context of {view.context_limit:,}",
        style="bold",
    )
    labels = [_label(part) for part in view.parts]
    width = max(map(len, labels))
    for part, label in zip(view.parts, labels, strict=True):
        for number, line in enumerate(_lines(part.text)):
            row = Text(f"{label if not number else '':>{width}} │ ", style="dim")
            row.append_text(_marked(line, control, _STYLES[part.origin]))
            console.print(row, soft_wrap=True)


def _label(part: PromptPart) -> str:
    name = part.origin.value if part.row is None else f"{part.origin.value} {part.row}"
    return printable(name, _MOST_OF_A_LABEL)


def _lines(text: str) -> list[str]:
    lines = text.split("\n")
    ended = [f"{line}{LINE_BREAK}" for line in lines[:-1]]
    return [*ended, lines[-1]] if lines[-1] else ended


def _marked(line: str, control: re.Pattern[str], style: str) -> Text:
    """Return a line with its control tokens set apart, safe to print."""
    text, place = Text(), 0
    for match in control.finditer(line):
        text.append(spelt_out(line[place : match.start()]), style)
        text.append(spelt_out(match[0]), f"{style} {_CONTROL}")
        place = match.end()
    text.append(spelt_out(line[place:]), style)
    return text
