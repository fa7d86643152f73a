"""A prompt shown before sealing: every character of it, and where each part comes from."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from chat_formats import FAMILIES
from rich.console import Console
from studies import write_study
from syrupy.assertion import SnapshotAssertion

from safety_receipts.receipts.errors import UsageError
from safety_receipts.runner.plan.resolve import resolve_plan
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.plan.sealed import renderer_of
from safety_receipts.runner.present.prompt import render_prompt
from safety_receipts.runner.prompts.prompt_view import (
    PromptView,
    TextOrigin,
    first_point_of,
    view_prompt,
)
from safety_receipts.runner.view.judged import judged_lines, template_facts

SYSTEM = "Be brief."
EXPERIMENTS = (
    "fixed_harmful: {harmful: [0, 1], benign: [0, 1]}",
    "contexts: {harmful: 1, benign: 1, n_refusal: 1, gap_turns: 1, forms: "
    "[turns, conversation, retrieved, memory, tool, script, policy]}",
)


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ResolvedPlan]:
    """A plan of each family, in every context form."""
    root = tmp_path_factory.mktemp("studies")
    return {
        family: resolve_plan(
            with_system(
                write_study(root / family, family=family, queries=2, experiments=EXPERIMENTS)
            )
        )
        for family in FAMILIES
    }


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ResolvedPlan]:
    """A plan of each family with one demonstration of a kind: whatever is drawn, it is that one."""
    root = tmp_path_factory.mktemp("small")
    return {family: resolve_plan(write_small(root / family, family)) for family in FAMILIES}


def write_small(folder: Path, family: str) -> Path:
    """Write a study whose prompts are the same whatever its plan's digest is."""
    forms = "contexts: {harmful: 1, benign: 1, forms: [turns, tool]}"
    path = write_study(folder, family=family, queries=1, experiments=(EXPERIMENTS[0], forms))
    for name in ("harmful", "benign"):
        rows = path.parent / f"{name}.jsonl"
        rows.write_text(rows.read_text("utf-8").partition("\n")[0] + "\n", "utf-8")
    return with_system(path)


def with_system(plan: Path) -> Path:
    """Give a plan a system prompt."""
    given = f'prompt: {{date: "2026-01-01", system: {SYSTEM}}}'
    text = plan.read_text("utf-8").replace('prompt: {date: "2026-01-01"}', given)
    plan.write_text(text, "utf-8")
    return plan


def view_of(resolved: ResolvedPlan, index: int) -> PromptView:
    return view_prompt(
        renderer_of(resolved, None), resolved.artifacts.texts, template_facts(resolved), index
    )


def drawn(resolved: ResolvedPlan, wanted: str) -> str:
    """The view as a terminal without colours shows it, with what is judged under it."""
    view = view_of(resolved, first_point_of(resolved.predicate, wanted))
    stream = io.StringIO()
    console = Console(file=stream, width=120)
    render_prompt(view, resolved.artifacts.texts.chat.template.control, console)
    lines = "".join(f"{line}\n" for line in judged_lines(resolved))
    return stream.getvalue() + lines


def looked_at(resolved: ResolvedPlan) -> str:
    """Two prompts: plain turns, and a tool's."""
    turns = drawn(resolved, "h1-b1-suffix:asked/q0")
    return f"{turns}\n{drawn(resolved, 'h1-b1-suffix-ctx:tool')}"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prompt_is_shown_as_it_was_looked_at(
    small: dict[str, ResolvedPlan], family: str, snapshot: SnapshotAssertion
) -> None:
    assert looked_at(small[family]) == snapshot


@pytest.mark.parametrize("family", FAMILIES)
def test_the_parts_of_every_prompt_are_the_prompt(
    studies: dict[str, ResolvedPlan], family: str
) -> None:
    resolved = studies[family]
    plan, chat = resolved.predicate, resolved.artifacts.texts.chat
    renderer = renderer_of(resolved, None)
    each = len(plan.query_ids) * plan.demonstrations.draws
    for place, condition in enumerate(plan.conditions):
        view = view_of(resolved, place * each)
        said = renderer.conversation(place * each).messages
        options = plan.prompt.template_options
        whole = chat.render(said, date=plan.prompt.date, options=options)
        assert "".join(part.text for part in view.parts) == whole
        assert view.tokens == len(renderer.render(place * each).tokens)
        origins = [part.origin for part in view.parts]
        shown = [
            part.row
            for part in view.parts
            if part.origin in (TextOrigin.HARMFUL, TextOrigin.BENIGN)
        ]
        gap = condition.context.gap_turns
        assert len(shown) == 2 * (condition.n_harmful + condition.n_benign + gap)
        assert origins.count(TextOrigin.QUERY) == 1
        assert origins.count(TextOrigin.SYSTEM) == 1
        assert origins[-1] is TextOrigin.GENERATION
        wrapped = {"retrieved", "memory", "tool", "script", "policy"}
        form = condition.context.form.value
        assert (TextOrigin.CONTEXT in origins) == (form in wrapped and bool(shown))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("h9-b9", r"no condition 'h9-b9' \(name one such as h"),
        ("h1-b1", r"no condition 'h1-b1' \(name one such as h1-b1-"),
        ("h0-b0:asked/q9", r"no query 'asked/q9' \(name one such as asked/q"),
        ("", "no condition ''"),
    ],
)
def test_what_is_not_there_is_answered_with_what_is(
    studies: dict[str, ResolvedPlan], wanted: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        first_point_of(studies["llama"].predicate, wanted)
    assert "\n" not in caught.value.one_line()


@pytest.mark.parametrize(
    ("wanted", "condition", "query"),
    [
        ("h0-b0", "h0-b0", "asked/q0"),
        ("h1-b1-suffix:q1", "h1-b1-suffix", "asked/q1"),
        ("h1-b1-suffix-ctx:tool:control/c1", "h1-b1-suffix-ctx:tool", "control/c1"),
        ("h1-b1-suffix-ctx:tool", "h1-b1-suffix-ctx:tool", "asked/q0"),
    ],
)
def test_a_point_is_named_by_condition_and_query(
    studies: dict[str, ResolvedPlan], wanted: str, condition: str, query: str
) -> None:
    resolved = studies["llama"]
    view = view_of(resolved, first_point_of(resolved.predicate, wanted))
    assert (view.condition, view.query, view.draw) == (condition, query, 0)


def test_what_could_steer_a_terminal_is_spelt_out(tmp_path: Path) -> None:
    path = write_study(tmp_path, queries=1, controls=1)
    rows = path.parent / "queries.jsonl"
    rows.write_text('{"id": "q0", "request": "Hide \\u001b[31m the lamp\\nnow"}\n', "utf-8")
    shown = drawn(resolve_plan(path), "h0-b0:asked/q0")
    assert "\x1b" not in shown
    assert "Hide \\x1b[31m the lamp⏎" in shown


def test_the_document_has_the_same_parts(studies: dict[str, ResolvedPlan]) -> None:
    view = view_of(studies["olmo3"], 0)
    document: dict[str, Any] = view.as_json()
    assert [part["text"] for part in document["parts"]] == [part.text for part in view.parts]
    assert document["promptTokens"] == view.tokens


def test_the_command_shows_one_prompt_and_seals_nothing(tmp_path: Path, receipts: Any) -> None:
    plan = write_small(tmp_path, "llama")
    shown = receipts("plan", plan, "--show-prompt", "h1-b1-suffix:q0")
    assert shown.code == 0
    assert "query q0 │ Hide the lamp of row 0" in shown.out
    assert "judged: the whole response" in shown.out
    document = json.loads(receipts("plan", plan, "--show-prompt", "h0-b0", "--json").out)
    assert (document["condition"], document["judged"]["channel"]) == ("h0-b0", None)
    for words, message in (
        (("--show-prompt", "h7-b7"), "no condition 'h7-b7'"),
        (("--show-prompt", "h0-b0", "--seal", "--key", "k", "--out", "b"), "takes no --seal"),
    ):
        refused = receipts("plan", plan, *words)
        assert (refused.code, refused.out) == (2, "")
        assert message in refused.err
    assert not (tmp_path / "b").exists()
