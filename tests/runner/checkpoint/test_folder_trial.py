"""Hostile folders end in one line that says what happened, and nothing of them is run here."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from chat_formats import save_chat_format
from studies import write_study

from safety_receipts.receipts.errors import MalformedError, ReceiptsError, UsageError
from safety_receipts.runner.checkpoint import folder_trial
from safety_receipts.runner.checkpoint.config import read_config
from safety_receipts.runner.checkpoint.folder_trial import TrialBounds, TrialPart, get_ready, tried
from safety_receipts.runner.organism import members
from safety_receipts.runner.plan.resolve import resolve_plan
from safety_receipts.runner.prompts.chat_format import ChatFormat
from safety_receipts.runner.prompts.tokenizer import load_tokenizer
from safety_receipts.runner.templates import bounded, chat_template
from safety_receipts.runner.templates.bounded import OutOfTimeError
from safety_receipts.runner.templates.messages import Message, Role

LOOP = (
    "{% for message in messages %}<|im_start|>{{ message.role }}: {{ message.content }}\n"
    "{% endfor %}"
)
ENDLESS = (
    "{% for a in range(99999) %}{% for b in range(99999) %}{% set c = a * b %}{% endfor %}"
    "{% endfor %}"
)
LARGE = "{{ 'long' * 9999999999 }}"
RAISES = "{{ 'tea' | center('wide') }}"

TEMPLATES = {
    "never ends": (ENDLESS, "chat_template.jinja: rendering the chat template takes more than 2 s"),
    "a long text": (LARGE, "rendering the chat template takes more than 0.5 GiB of memory"),
    "a long text, doubled": (
        "{% set n = namespace(t='tea') %}{% for a in range(99) %}{% set n.t = n.t ~ n.t %}"
        "{% endfor %}{{ n.t }}",
        "rendering the chat template takes more than 0.5 GiB of memory",
    ),
    "a long list": (
        "{% set n = namespace(t=['tea']) %}{% for a in range(99) %}{% set n.t = n.t + n.t %}"
        "{% endfor %}{{ n.t | length }}",
        "rendering the chat template takes more than 0.5 GiB of memory",
    ),
    "a wide text": (
        "{{ '%9999999999d' % 1 }}",
        "rendering the chat template takes more than 0.5 GiB of memory",
    ),
}


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that a test has time for."""
    monkeypatch.setattr(folder_trial, "BOUNDS", TrialBounds(seconds=2, memory=2**29))


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("case", TEMPLATES)
def test_a_template_without_an_end_is_named(tmp_path: Path, case: str) -> None:
    template, message = TEMPLATES[case]
    folder = save_chat_format(tmp_path, "olmo3", template=template + LOOP)
    with pytest.raises(MalformedError) as caught:
        ChatFormat.load(folder)
    assert message in caught.value.one_line()
    assert caught.value.one_line().startswith(f"{folder}/chat_template.jinja: ")
    # A judge that never meets its template is not kept from judging by it.
    assert load_tokenizer(folder).is_fast


def of_tokenizer(**changes: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "tokenizer.json"
        path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changes}), "utf-8")

    return edit


def written(name: str, text: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        (folder / name).write_text(text, "utf-8")

    return edit


TOKENIZERS: dict[str, Callable[[Path], None]] = {
    "nested": written("tokenizer.json", "[" * 200_000),
    "nested configuration": written("tokenizer_config.json", '{"a":' * 200_000),
    "no added tokens": of_tokenizer(added_tokens=None),
    "a number": written("tokenizer.json", "3"),
    "ids without end": of_tokenizer(added_tokens=[{"id": 2**63, "content": "x"}]),
    "a token of no kind": written(
        "tokenizer_config.json", '{"added_tokens_decoder": {"0": {"lstrip": 3}}}'
    ),
    "inputs": written("tokenizer_config.json", '{"init_inputs": [1, 2, 3]}'),
    "a length of no kind": written("tokenizer_config.json", '{"model_max_length": "long"}'),
    "a class of another": written("tokenizer_config.json", '{"tokenizer_class": "T5Tokenizer"}'),
}


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("case", TOKENIZERS)
def test_a_hostile_tokenizer_is_one_line(tmp_path: Path, case: str) -> None:
    folder = save_chat_format(tmp_path, "olmo3")
    TOKENIZERS[case](folder)
    try:
        ChatFormat.load(folder)
    except ReceiptsError as error:
        line = error.one_line()
    else:
        line = f"{folder} is taken"
        assert case in ("a length of no kind", "a class of another", "inputs")
    assert line.startswith(str(folder))
    assert "\n" not in line


@pytest.mark.usefixtures("short")
def test_a_configuration_that_takes_all_memory_is_named(tmp_path: Path) -> None:
    write_study(tmp_path)
    path = tmp_path / "model" / "config.json"
    config = json.loads(path.read_text("utf-8"))
    config.pop("id2label", None)
    path.write_text(json.dumps({**config, "num_labels": 10**9}), "utf-8")
    with pytest.raises(MalformedError, match=r"config.json: reading the configuration takes more"):
        read_config(tmp_path / "model")
    with pytest.raises(MalformedError, match=r"config.json: reading the configuration takes more"):
        resolve_plan(tmp_path / "plan.yaml")


@pytest.mark.usefixtures("short")
def test_every_command_that_would_run_a_folder_says_it_in_one_line(
    tmp_path: Path, receipts: Callable[..., Any]
) -> None:
    plan = write_study(tmp_path)
    shutil.copytree(tmp_path / "model", tmp_path / "judge")
    template = tmp_path / "judge" / "chat_template.jinja"
    template.write_text(ENDLESS + template.read_text("utf-8"), "utf-8")
    text = plan.read_text("utf-8")
    judged = tmp_path / "judged.yaml"
    judged.write_text(text.replace("{kind: refusal-strings}", "{kind: chat, path: judge}"), "utf-8")
    other = tmp_path / "other.yaml"
    other.write_text(text.replace("path: model", "path: judge"), "utf-8")
    gold = tmp_path / "gold.jsonl"
    gold.write_text('{"query": "Tea?", "response": "No.", "label": "refused"}\n', "utf-8")
    key = tmp_path / "key"
    assert receipts("keygen", key).code == 0
    for words in (
        ["plan", other],
        ["plan", judged],
        ["run", other, "--key", key, "--out", tmp_path / "bundle"],
        ["judge", "calibrate", judged, "--gold", gold, "--out", tmp_path / "calibration.json"],
        ["calibrate", other, "--key", key, "--out", tmp_path / "calibration.json"],
    ):
        finished = receipts(*words)
        assert (finished.code, finished.out) == (2, "")
        assert finished.err.splitlines()[-1].startswith(
            f"receipts: {template}: rendering the chat template takes more than 2 seconds"
        )


def test_one_that_panics_or_dies_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a child can come to, by what the process that forked it says."""
    folder = save_chat_format(tmp_path, "olmo3")
    at = {"stage": "tokenizer", "file": "tokenizer.json"}
    for outcome, message in (
        ({"what": "raises", "message": "PanicException: index"}, "raises PanicException: index"),
        ({"what": "ends", "message": "SIGSEGV"}, "ends the process (SIGSEGV)"),
    ):
        monkeypatch.setattr(folder_trial, "_outcomes", {})
        monkeypatch.setattr(
            folder_trial._Server, "ask", lambda *_, outcome=outcome: {**at, **outcome}
        )
        with pytest.raises(MalformedError) as caught:
            tried(folder, TrialPart.TOKENIZER)
        assert f"tokenizer.json: loading the tokenizer {message}" in caught.value.one_line()


def test_bytes_are_tried_once_and_our_own_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    ask = folder_trial._Server.ask

    def counted(server: Any, folder: Path, *more: Any) -> Any:
        asked.append(folder)
        return ask(server, folder, *more)

    monkeypatch.setattr(folder_trial._Server, "ask", counted)
    monkeypatch.setattr(folder_trial, "_outcomes", {})
    for name in ("one", "another"):
        folder = save_chat_format(tmp_path / name, "olmo3")
        ChatFormat.load(folder)
        ChatFormat.load(folder)
    for member in members():
        ChatFormat.load(member.folder)
    assert asked == [tmp_path / "one"]
    (folder / "chat_template.jinja").write_text(LOOP, "utf-8")
    ChatFormat.load(folder)
    assert asked == [tmp_path / "one", folder]


def test_the_process_is_started_ahead_where_a_folder_has_to_be_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers: list[Any] = []
    monkeypatch.setattr(folder_trial, "_servers", servers)
    get_ready(tmp_path / "nothing")
    for member in members():
        get_ready(member.folder)
    assert servers == []
    folder = save_chat_format(tmp_path / "one", "olmo3", template=LOOP + "3")
    get_ready(folder)
    [ahead] = servers
    tried(folder, TrialPart.CHAT)
    assert servers == [ahead]
    ahead.stop()
    servers.clear()
    get_ready(folder)
    assert servers == []


def test_a_server_that_was_ended_is_started_again(tmp_path: Path) -> None:
    tried(save_chat_format(tmp_path / "one", "olmo3", template=LOOP + "1"), TrialPart.CHAT)
    process = folder_trial._server()._process
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    tried(save_chat_format(tmp_path / "two", "olmo3", template=LOOP + "2"), TrialPart.CHAT)
    assert folder_trial._server()._process.pid != process.pid


SAID = (Message(Role.USER, "How is tea made?"),)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (ENDLESS, "takes more than 0.3 seconds"),
        (LARGE, "takes more than 0.25 GiB of memory"),
        ("{% for a in range(99999) %}{{ 'tea' * 999 }}{% endfor %}", "writes more than 67,108,864"),
    ],
)
def test_a_template_that_loses_its_way_on_one_message_only_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, template: str, message: str
) -> None:
    """The child that tried it saw other messages."""
    monkeypatch.setattr(chat_template, "SECONDS", 0.3 if "seconds" in message else 20)
    monkeypatch.setattr(chat_template, "MAX_MEMORY", 2**28)
    only = "{% if 'kettle' in messages[0].content %}" + template + "{% endif %}" + LOOP
    chat = ChatFormat.load(save_chat_format(tmp_path, "olmo3", template=only))
    assert "How is tea made?" in chat.render(SAID)
    with pytest.raises(UsageError, match=message) as caught:
        chat.render([Message(Role.USER, "Where is the kettle?")])
    assert "kettle" not in caught.value.one_line()
    assert "How is tea made?" in chat.render(SAID)


def test_bounds_are_taken_away_again() -> None:
    def now() -> tuple[Any, ...]:
        limit = bounded.resource.getrlimit(bounded.resource.RLIMIT_AS)
        return limit, signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)

    before = now()
    with bounded.bounded(9, 2**30):
        assert now() != before
    assert now() == before
    with pytest.raises(OutOfTimeError), bounded.bounded(0.05, 2**30):
        _never_end()
    assert now() == before


def _never_end() -> None:
    """Go on whatever happens, as a filter of a template may."""
    while True:
        with suppress(Exception):
            while True:
                pass


def test_one_step_in_c_that_no_interruption_reaches_ends_the_process() -> None:
    code = """\
import safety_receipts.runner.templates.bounded as it
it._GRACE = 0.3
with it.bounded(0.2, 2**33):
    sum(range(10**13))
"""
    ended = subprocess.run([sys.executable, "-c", code], check=False, timeout=120)
    assert ended.returncode == -signal.SIGVTALRM


def test_beside_the_main_thread_the_length_alone_is_bounded(tmp_path: Path) -> None:
    chat = ChatFormat.load(save_chat_format(tmp_path, "olmo3", template=LOOP))
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(chat.render(SAID)))
    thread.start()
    thread.join()
    assert found == [chat.render(SAID)]


SECRET = "the row that nobody may read"


@pytest.mark.parametrize(
    ("template", "shown"),
    [
        ("{{ raise_exception('Only questions please') }}", "Only questions please"),
        ("{{ raise_exception(messages[0].content) }}", "TemplateError (the rest is withheld"),
        (
            "{{ raise_exception('Unknown text: ' ~ messages[0].content) }}",
            "Unknown text: … (the rest is withheld",
        ),
        ("{{ messages[0][messages[0].content].x }}", "UndefinedError (the rest is withheld"),
        ("{{ {}[messages[0].content].x }}", "UndefinedError (the rest is withheld"),
        ("{{ nobody.x }}", "'nobody' is undefined"),
        ("{{ messages[0].nothing.x }}", "has no attribute 'nothing'"),
        ("{{ messages[0].content.split()[99].x }}", "list object has no element … (the rest is"),
        ("{{ '%d' % messages[0].content }}", "TypeError (the rest is withheld"),
        ("{{ messages[0].content.encode('ascii') | list + 1 }}", "half a surrogate pair"),
        ("{{ messages[0].content.index('zzz') }}", "ValueError (the rest is withheld"),
        ("{{ strftime_now('%q' ~ messages[0].content) }}", "and only a date can be fixed"),
        ("{{ strftime_now('%H') }}", "prints the time as '%H'"),
    ],
)
def test_an_error_of_a_template_prints_no_request(
    tmp_path: Path, template: str, shown: str
) -> None:
    only = "{% if 'nobody' in messages[0].content %}" + template + "{% endif %}" + LOOP
    chat = ChatFormat.load(save_chat_format(tmp_path, "olmo3", template=only))
    with pytest.raises(UsageError) as caught:
        chat.render([Message(Role.USER, SECRET)], date="2026-01-31")
    told = caught.value.one_line() + json.dumps(caught.value.as_json())
    assert shown in told
    words = set(SECRET.split()) - {"the", "that"}
    assert not any(word in told.replace("'nobody'", "") for word in words if len(word) > 3), told
