"""Where responses end: what each file of a folder says, what the template writes, what rules."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from chat_formats import end_ids, save_chat_format, token_id
from scripted import CHATML, Script, Vocabulary, save_format, save_scripted
from studies import write_study

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.errors import MalformedError, UsageError
from safety_receipts.receipts.keys import generate_key, write_key_pair
from safety_receipts.receipts.model.checkpoint import EndTokenOrigin
from safety_receipts.receipts.model.judge import JudgeKind
from safety_receipts.receipts.model.point import Outcome
from safety_receipts.runner.checkpoint.end_tokens import find_end_tokens
from safety_receipts.runner.judges.judge import Exchange
from safety_receipts.runner.judges.make import load_judge
from safety_receipts.runner.plan.entries.judge import JudgeIdentityEntry
from safety_receipts.runner.plan.parts.judges import resolve_judge
from safety_receipts.runner.plan.resolve import resolve_plan
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.prompts.chat_format import ChatFormat
from safety_receipts.runner.warnings import refuse_warnings

Receipts = Callable[..., Any]

IM_END, ENDS = "<|im_end|>", "<|endoftext|>"
GOES_ON = ("Sure, polish it.", IM_END, "\nuser: And if it is sealed?", "I'm sorry, no.", ENDS)
"""An answer, the end of the turn, and what a model that is not stopped there writes next."""

LOOP = "{% for m in messages %}"
GEN = "{% if add_generation_prompt %}"
FI = "{% endif %}"

SHAPES: dict[str, tuple[str, tuple[str, ...], str | None]] = {
    "one token after every turn": (CHATML, ("<|im_start|>", IM_END), IM_END),
    "a system prompt of the template's own": (
        "{{ '<|im_start|>system\\nBe kind.<|im_end|>\\n' }}" + CHATML,
        ("<|im_start|>", IM_END),
        IM_END,
    ),
    "header of several tokens": (
        "{{ '<|b|><|h|>system<|/h|>\\n\\nKind.<|eot|>' }}" + LOOP + "{{ '<|h|>' ~ m.role ~ "
        "'<|/h|>\\n\\n' ~ m.content ~ '<|eot|>' }}{% endfor %}"
        + GEN
        + "{{ '<|h|>assistant<|/h|>\\n\\n' }}"
        + FI,
        ("<|b|>", "<|h|>", "<|/h|>", "<|eot|>"),
        "<|eot|>",
    ),
    "end after the assistant alone, user turns in brackets": (
        "{{ '<s>' }}" + LOOP + "{% if m.role == 'user' %}{{ '[Q]' ~ m.content ~ '[/Q]' }}"
        "{% else %}{{ m.content ~ '</s>' }}{% endif %}{% endfor %}",
        ("<s>", "</s>", "[Q]", "[/Q]"),
        "</s>",
    ),
    "end and a new beginning after the assistant": (
        LOOP + "{% if m.role == 'user' %}{{ '<s>[Q] ' ~ m.content ~ ' [/Q]' }}"
        "{% else %}{{ ' ' ~ m.content ~ ' </s>' }}{% endif %}{% endfor %}",
        ("<s>", "</s>"),
        "</s>",
    ),
    "a beginning written before the next turn": (
        "{{ '<s>' }}" + LOOP + "{% if m.role == 'user' %}{{ 'Q: ' ~ m.content }}{% else %}"
        "{{ m.content ~ '</s><s>' }}{% endif %}{% endfor %}" + GEN + "{{ '\\nA: ' }}" + FI,
        ("<s>", "</s>"),
        "</s>",
    ),
    "the end of a part, then the end of the turn": (
        "{{ '<bos>' }}" + LOOP + "{% if m.role == 'user' %}{{ '<turn><user>' ~ m.content ~ "
        "'</turn>' }}{% else %}{{ '<turn><bot><part>' ~ m.content ~ '</part></turn>' }}{% endif %}"
        "{% endfor %}" + GEN + "{{ '<turn><bot>' }}" + FI,
        ("<bos>", "<turn>", "</turn>", "<user>", "<bot>", "<part>", "</part>"),
        "</turn>",
    ),
    "headers alone": (
        "{{ '[g]<sop>' }}"
        + LOOP
        + "{{ '<|' ~ m.role ~ '|>\\n' ~ m.content }}{% endfor %}"
        + GEN
        + "{{ '<|assistant|>' }}"
        + FI,
        ("[g]", "<sop>", "<|user|>", "<|assistant|>"),
        None,
    ),
    "headers alone, whatever is asked for": (
        LOOP + "{{ '<|h|>' ~ m.role ~ '\\n' ~ m.content ~ '\\n' }}{% endfor %}"
        "{{ '<|h|>assistant\\n' }}",
        ("<|h|>",),
        None,
    ),
    "an end, and a generation prompt whatever is asked for": (
        LOOP + "{{ '<|h|>' ~ m.role ~ '\\n' ~ m.content ~ '<|e|>\\n' }}{% endfor %}"
        "{{ '<|h|>assistant\\n' }}",
        ("<|h|>", "<|e|>"),
        "<|e|>",
    ),
    "end of the assistant's turn, roles and an opening whatever is asked for": (
        "{{ '<b>' }}" + LOOP + "{% if m.role == 'user' %}{{ '<u>' ~ m.content }}{% else %}"
        "{{ '<a>' ~ m.content ~ '<e>' }}{% endif %}{% endfor %}{{ '<a>' }}",
        ("<b>", "<u>", "<a>", "<e>"),
        "<e>",
    ),
    "no end after the last turn": (
        LOOP + "{{ '<|im_start|>' ~ m.role ~ '\\n' ~ m.content }}{% if not loop.last or "
        "add_generation_prompt %}{{ '<|im_end|>\\n' }}{% endif %}{% endfor %}"
        + GEN
        + "{{ '<|im_start|>assistant\\n' }}"
        + FI,
        ("<|im_start|>", IM_END),
        IM_END,
    ),
    "another token after the last turn": (
        LOOP + "{{ '<|s|>' ~ m.role ~ '<|m|>' ~ m.content ~ ('<|r|>' if loop.last and not "
        "add_generation_prompt else '<|e|>') }}{% endfor %}" + GEN + "{{ '<|s|>assistant' }}" + FI,
        ("<|s|>", "<|m|>", "<|e|>", "<|r|>"),
        None,
    ),
    "plain text": (
        LOOP
        + "{{ m.role ~ ': ' ~ m.content ~ '\\n###\\n' }}{% endfor %}"
        + GEN
        + "assistant:"
        + FI,
        ("<s>",),
        None,
    ),
    "plain text before the token": (
        LOOP
        + "{{ m.role ~ ': ' ~ m.content ~ ' (over)<e>' }}{% endfor %}"
        + GEN
        + "assistant:"
        + FI,
        ("<e>",),
        None,
    ),
    "nothing": (LOOP + "{{ m.content }}\n{% endfor %}", ("<s>",), None),
    "a conversation that is refused": (
        "{{ raise_exception('one turn only') if messages | length > 1 }}{{ messages[0].content }}",
        ("<s>",),
        None,
    ),
}
"""Template, its special tokens, and the one that ends the assistant's turns."""


@pytest.mark.parametrize("shape", SHAPES)
def test_what_a_template_writes_after_a_turn_ends_it(shape: str, tmp_path: Path) -> None:
    template, special, expected = SHAPES[shape]
    save_format(tmp_path, Vocabulary(special=special), template=template, eos=None)
    chat = ChatFormat.load(tmp_path)
    found = chat.turn_end()
    assert (None if found is None else chat.token_text(found)) == expected


@pytest.mark.parametrize(
    ("family", "expected"),
    [("llama", "<|eot_id|>"), ("olmo3", IM_END), ("gemma4", "<turn|>"), ("gpt-oss", None)],
)
def test_the_turns_of_the_four_families_end(
    family: str, expected: str | None, tmp_path: Path
) -> None:
    """In the harmony format what a past message ends with closes a channel, no response."""
    chat = ChatFormat.load(save_chat_format(tmp_path, family))
    found = chat.turn_end(date="2026-01-01")
    assert found == (None if expected is None else token_id(family, expected))
    if expected is not None:
        assert found in end_ids(family)


def rewritten(path: Path, **values: Any) -> None:
    document = {**json.loads(path.read_text("utf-8")), **values}
    kept = {key: value for key, value in document.items() if value is not ...}
    path.write_text(json.dumps(kept), "utf-8")


def configured(folder: Path, config: Any, generation: Any, *, text: Any = ...) -> Path:
    folder.mkdir(exist_ok=True)
    parts = {"eos_token_id": config, "text_config": text}
    given = {key: value for key, value in parts.items() if value is not ...}
    (folder / "config.json").write_text(json.dumps(given), "utf-8")
    if generation is not None:
        given = {} if generation is ... else {"eos_token_id": generation}
        (folder / "generation_config.json").write_text(json.dumps(given), "utf-8")
    return folder


def found(folder: Path, **more: Any) -> dict[int, str]:
    options = {"tokenizer": None, "template": None, "text_of": str, **more}
    ends = find_end_tokens(folder, 100, **options)
    assert ends.ids == tuple(end.token for end in ends.found if not end.removed)
    return {
        end.token: " ".join([origin.value for origin in end.origins] + ["-"] * end.removed)
        for end in ends.found
    }


def test_every_source_counts_and_is_named(tmp_path: Path) -> None:
    folder = configured(tmp_path, [9], [7, 3], text={"eos_token_id": 11})
    assert found(folder, tokenizer=3, template=5, add=[8, 9], remove=[7]) == {
        3: "generation_config tokenizer",
        5: "template",
        7: "generation_config -",
        8: "plan",
        9: "config plan",
        11: "config",
    }
    (folder / "generation_config.json").unlink()
    assert found(folder, tokenizer=9) == {9: "config tokenizer", 11: "config"}


def test_an_end_that_the_model_cannot_write_ends_nothing(tmp_path: Path) -> None:
    assert found(configured(tmp_path, 9, 9), tokenizer=100, template=101) == {
        9: "generation_config config"
    }


@pytest.mark.parametrize(
    ("config", "generation", "more", "message"),
    [
        (
            ...,
            ...,
            {},
            r"states no end token \(add eos_token_id to generation_config.json, or name",
        ),
        (9, 9, {"remove": [9]}, "states no end token"),
        (100, 9, {}, "config.json: eos_token_id: 100 is not a token id below 100"),
        (9, [2, True], {}, "generation_config.json: eos_token_id: true is not a token id"),
        (9, "2", {}, "eos_token_id: 2 is not a token id"),
        (9, 9, {"add": [100]}, "sampling.end_tokens.add: 100 is not a token id below 100"),
        (9, 9, {"remove": [8]}, r"8 \(8\) is not an end token, so that it cannot be removed"),
        (9, list(range(70)), {}, "more than 64 end tokens"),
    ],
)
def test_what_cannot_end_a_response_is_refused(
    config: Any, generation: Any, more: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(MalformedError, match=message):
        found(configured(tmp_path, config, generation), **more)


@pytest.mark.parametrize(
    ("config", "generation", "more", "told"),
    [
        (9, [9, 3], {"tokenizer": 3, "template": 3}, None),
        (
            9,
            9,
            {"template": 3},
            "end at 3 (3), stated by template, where transformers' generate "
            "does not stop; nor does vLLM",
        ),
        (
            9,
            9,
            {"tokenizer": 3},
            "stated by tokenizer, where transformers' generate does not stop; vLLM does",
        ),
        (
            9,
            9,
            {"tokenizer": 3, "template": 4},
            "and 4 (4), stated by template, where transformers'"
            " generate does not stop; nor does vLLM at 4 (4)",
        ),
        (9, 3, {}, "end at 9 (9), stated by config, where"),
        (
            9,
            ...,
            {},
            "end at 9 (9), stated by config, where",
        ),  # the file is there: config is not asked
        (9, None, {}, None),
        (9, 9, {"template": 3, "add": [3]}, None),  # whoever wrote the plan knows
        (9, 9, {"template": 3, "remove": [3]}, None),
    ],
)
def test_a_deployment_that_stops_elsewhere_is_named(
    config: Any, generation: Any, more: dict[str, Any], told: str | None, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"tokenizer": None, "template": None, "text_of": str, **more}
    ends = find_end_tokens(configured(tmp_path, config, generation), 100, **options)
    warnings = list(ends.warnings())
    if told is None:
        refuse_warnings(warnings, tmp_path)
        assert warnings == []
        return
    assert [warning.code for warning in warnings] == ["end-tokens"]
    assert told in warnings[0].message
    with pytest.raises(UsageError, match="--strict: responses end at"):
        refuse_warnings(warnings, tmp_path)


# Whole folders


def talker(
    folder: Path,
    sampling: str = "max_new_tokens: 12",
    *,
    ends: Sequence[str] = (ENDS,),
    eos: str | None = IM_END,
) -> Path:
    """Write a study of a checkpoint that goes on with the next turn; return the plan file."""
    plan = write_study(
        folder,
        queries=64,  # enough to decide its hypothesis
        controls=0,
        sampling=f"{{method: greedy, {sampling}}}",
        experiments=("fixed_harmful: {harmful: [0], benign: [0, 2]}",),
    )
    plan.write_text(
        plan.read_text("utf-8")
        .replace('prompt: {date: "2026-01-01"}\n', "")
        .replace(
            "  - {corpus: own, name: control, path: controls.jsonl, role: benign_control}\n", ""
        ),
        "utf-8",
    )
    for file in (folder / "model").iterdir():
        file.unlink()
    save_scripted(folder / "model", Script(GOES_ON, ends=ends), eos=eos)
    return plan


def texts(resolved: ResolvedPlan) -> tuple[str, ...]:
    return tuple(
        map(resolved.artifacts.texts.chat.token_text, resolved.predicate.sampling.end_tokens)
    )


def test_a_turn_ends_where_the_template_ends_it(receipts: Receipts, tmp_path: Path) -> None:
    """The files name one token, tokenizer and template another: the other ends the answer."""
    plan = talker(tmp_path)
    write_key_pair(tmp_path / "key", generate_key(), None)
    done = receipts("plan", plan, "--device", "cpu")
    assert done.code == 0
    assert "<|im_end|> (" in done.out
    assert "; tokenizer, template)" in " ".join(done.out.split())
    assert "transformers' generate does not stop" in " ".join(done.err.split())
    document = json.loads(receipts("plan", plan, "--device", "cpu", "--json").out)
    assert [(end["text"], end["origins"], end["removed"]) for end in document["endTokens"]] == [
        (ENDS, ["generation_config", "config"], False),
        (IM_END, ["tokenizer", "template"], False),
    ]
    assert [warning["code"] for warning in document["warnings"]] == ["end-tokens"]
    run = ("run", plan, "--key", tmp_path / "key", "--out", tmp_path / "b", "--device", "cpu")
    refused = receipts(*run, "--strict")
    assert (refused.code, (tmp_path / "b").exists()) == (2, False)
    assert receipts("plan", plan, "--device", "cpu", "--strict").code == 2
    done = receipts(*run)
    assert done.code == 0
    assert "transformers' generate does not stop" in " ".join(done.err.split())
    bundle = Bundle(tmp_path / "b")
    records = list(bundle.responses())
    assert {record.text for record in records} == {"Sure, polish it."}
    checked = receipts(
        "verify", tmp_path / "b", "--trust", tmp_path / "key.pub", "--artifacts", plan
    )
    assert checked.code == 0, checked.out


@pytest.mark.parametrize("ends", [(ENDS, IM_END), (IM_END,), ()])
def test_folders_that_say_it_once_say_it(ends: tuple[str, ...], tmp_path: Path) -> None:
    plan = talker(tmp_path, ends=ends)
    assert set(texts(resolve_plan(plan))) == {*ends, IM_END}
    assert bool(resolve_plan(plan).warnings) == (IM_END not in ends)


def test_a_template_alone_says_it(tmp_path: Path) -> None:
    plan = talker(tmp_path, ends=(), eos=None)
    assert texts(resolve_plan(plan)) == (IM_END,)


def test_a_plan_adds_and_removes(receipts: Receipts, tmp_path: Path) -> None:
    """What it decides is sealed, and whoever verifies decides it again."""
    entry = f"max_new_tokens: 12, end_tokens: {{add: ['{IM_END}'], remove: ['{ENDS}']}}"
    plan = talker(tmp_path, entry, ends=(ENDS, IM_END), eos=None)
    resolved = resolve_plan(plan)
    assert texts(resolved) == (IM_END,)
    sealed = resolved.predicate.sampling.end_token_origins
    assert sealed is not None
    assert [(end.origins[-1], end.removed) for end in sealed] == [
        (EndTokenOrigin.CONFIG, True),
        (EndTokenOrigin.PLAN, False),
    ]
    assert resolved.warnings == ()
    write_key_pair(tmp_path / "key", generate_key(), None)
    run = ("run", plan, "--key", tmp_path / "key", "--out", tmp_path / "b", "--device", "cpu")
    assert receipts(*run, "--strict").code == 0
    verify = ("verify", tmp_path / "b", "--trust", tmp_path / "key.pub", "--artifacts")
    told = receipts(*verify, plan)
    assert told.code == 0
    assert "the plan file decides" in " ".join(told.out.split())
    other = tmp_path / "other.yaml"
    other.write_text(plan.read_text("utf-8").replace(entry, "max_new_tokens: 12"), "utf-8")
    told = receipts(*verify, other)
    assert told.code == 3
    assert "as sampling.end_tokens of a plan file decides" in " ".join(told.out.split())


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{add: ['<|nowhere|>']}", r"sampling.end_tokens.add.*'<\|nowhere\|>' is not a token"),
        ("{add: [true]}", r"should be a token.*or its id"),
        ("{add: [-1]}", r"should be a token.*or its id"),
        ("{add: [7, 7]}", "7 appears twice"),
        ("{take: [7]}", "no such key; allowed: add, remove"),
        (f"{{add: ['{IM_END}'], remove: ['{IM_END}']}}", r"<\|im_end\|> is added and removed"),
        ("{remove: [5]}", "is not an end token"),
    ],
)
def test_an_entry_that_cannot_be_meant_is_refused(entry: str, message: str, tmp_path: Path) -> None:
    plan = talker(tmp_path, f"max_new_tokens: 12, end_tokens: {entry}")
    with pytest.raises(MalformedError, match=message):
        resolve_plan(plan)


def test_a_judges_reply_ends_where_its_template_ends_it(tmp_path: Path) -> None:
    script = Script(("REFUSED", IM_END, "\nuser: Are you sure?", "COMPLIED", ENDS), ends=(ENDS,))
    folder = save_scripted(tmp_path / "judge", script)
    entry = JudgeIdentityEntry(kind=JudgeKind.CHAT, path=folder)
    identity = resolve_judge(entry, folder, Sha256("ab" * 32))
    judge = load_judge(identity, folder, device="cpu", memory=2**26)
    (judgement,) = judge.judge_many([Exchange("Mend the lamp", "I would rather not.")])
    assert (judgement.outcome, judgement.raw) == (Outcome.REFUSED, "REFUSED")
