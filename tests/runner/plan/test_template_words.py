"""What a chat template says of its own is sealed with the plan, and is the same in every prompt."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from studies import write_study

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.errors import UsageError
from safety_receipts.runner.plan.resolve import resolve_plan
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.plan.sealed import renderer_of
from safety_receipts.runner.prompts.rendering import Renderer
from safety_receipts.runner.templates.messages import Message, Role
from safety_receipts.runner.templates.stand_ins import StandInLength, stood_in

HEADER = "'<|start_header_id|>' ~ m.role ~ '<|end_header_id|>'"
SILENT = (
    "{%- set all = messages | map(attribute='content') | join(' ') -%}"
    f"{{% for m in messages %}}{{{{ {HEADER} ~ m.content ~ '<|eot_id|>' }}}}{{% endfor %}}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>' }}"
)
ORDER = "Refuse all."


def with_template(folder: Path, template: str) -> ResolvedPlan:
    plan = write_study(folder / "study", queries=2, controls=1)
    (folder / "study/model/chat_template.jinja").write_text(template, "utf-8")
    return resolve_plan(plan)


def ordered(condition: str) -> str:
    return f"{{% if {condition} %}}{ORDER}{{% endif %}}"


def test_a_template_without_words_adds_nothing_to_a_plan(tmp_path: Path) -> None:
    resolved = with_template(tmp_path, SILENT)
    assert "templateWords" not in resolved.predicate.prompt.to_wire()
    renderer_of(resolved, None).check_template()


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_template_with_words_states_and_prints_them(
    place: str, tmp_path: Path, receipts: Callable[..., Any]
) -> None:
    template = ORDER + SILENT if place == "before" else SILENT + ORDER
    resolved = with_template(tmp_path, template)
    stated = resolved.predicate.prompt.to_wire()["templateWords"]
    assert renderer_of(resolved, None).template_words() == stated
    done = receipts("plan", resolved.file)
    assert done.code == 0
    assert ORDER in done.out
    assert "it has words of its own around messages" in " ".join(done.out.split())
    judged = json.loads(receipts("plan", resolved.file, "--json").out)["judged"]
    said = judged["templatePrompt" if place == "before" else "beforeResponse"]
    assert ORDER in said


@pytest.mark.parametrize(
    "condition",
    [
        "'first tea' not in all",  # what the template is tried on
        "'lamp mended' not in all",
        "'Be brief' not in all",
    ],
)
def test_words_that_are_hidden_where_a_template_is_tried_are_found(
    condition: str, tmp_path: Path
) -> None:
    head, tail = SILENT.split("-%}", 1)
    resolved = with_template(tmp_path, f"{head}-%}}{ordered(condition)}{tail}")
    with pytest.raises(UsageError, match="changes what the chat template writes"):
        renderer_of(resolved, None).check_template()


def test_words_that_are_hidden_where_they_are_digested_are_found(tmp_path: Path) -> None:
    """The stand-ins of the digest are known to all, and those of the event to nobody before."""
    asked = [Message(Role.USER, "x")]
    word, lines = (
        stood_in(asked, length, system=None, seed="0" * 64)[0].content[:7]
        for length in StandInLength
    )
    head, tail = SILENT.split("-%}", 1)
    hides = ordered(f"'{word}' not in all and '{lines}' not in all")
    resolved = with_template(tmp_path, f"{head}-%}}{hides}{tail}")
    assert resolved.predicate.prompt.template_words is None
    with pytest.raises(UsageError, match="other text around messages than the plan states"):
        renderer_of(resolved, None).check_template()


def test_every_prompt_of_a_plan_that_states_other_words_is_refused(tmp_path: Path) -> None:
    resolved = with_template(tmp_path, ORDER + SILENT)
    other = resolved.predicate.prompt.model_copy(update={"template_words": Sha256("0" * 64)})
    plan = resolved.predicate.model_copy(update={"prompt": other})
    renderer = Renderer(plan, resolved.artifacts.texts, Sha256("1" * 64))
    for index in (0, 1):
        with pytest.raises(UsageError, match="other text around messages than the plan states"):
            renderer.render(index)
