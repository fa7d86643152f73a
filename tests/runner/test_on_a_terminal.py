"""Commands of the runner, as a terminal shows them."""

from __future__ import annotations

from pathlib import Path

import pytest
from terminals import on_a_terminal

from safety_receipts.runner.commands.init import write_preset


def test_no_bar_is_drawn_into_a_prompt(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="the prompt is rendered")
    plan = write_preset(tmp_path / "study", "demo")
    printed = on_a_terminal("plan", str(plan), "--show-prompt", "h4-b0", folder=tmp_path)
    prompt = printed[printed.index("h4-b0, query") :]
    assert "judged:" in prompt
    assert "━" not in prompt
