"""Thoughts: found by their marks, and never judged as answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import END, SPECIAL, Vocabulary, save_format
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import Unigram

from safety_receipts.receipts.model.checkpoint import ThoughtMarks
from safety_receipts.receipts.model.point import Reason
from safety_receipts.runner.prompts.chat_format import ChatFormat
from safety_receipts.runner.prompts.responses import ResponseReader, ResponseText, UnmarkedResponses
from safety_receipts.runner.prompts.thoughts import (
    FoundThoughtMarks,
    MarkReader,
    Piece,
    find_marks,
    opened_by,
    placed,
)

ALONE, UNFINISHED = Reason.THOUGHT_ALONE, Reason.UNFINISHED_THOUGHT
UNCLEAR = Reason.UNCLEAR_THOUGHT
NOTHING = Reason.EMPTY_RESPONSE

PAIRS = {
    "tags": ("<think>", "</think>"),
    "tags of a family": ("<seed:think>", "</seed:think>"),
    "brackets": ("[THINK]", "[/THINK]"),
    "bars": ("<|START_THINKING|>", "<|END_THINKING|>"),
}
KINDS = ("special", "added", "plain")

# What stands between the marks of a response, and what is judged.  ( and ) stand for the marks,
# | for the token limit: what follows was never generated.
SHAPES: dict[str, tuple[str, ResponseText]] = {
    "a thought, then an answer": ("(Hm. They may.)Sure.", ResponseText("Sure.", None)),
    "white space around": ("\n( Hm. )\n\nSure.\n", ResponseText("\n\n\nSure.\n", None)),
    "no thought": ("Sure.", ResponseText("Sure.", None)),
    "an empty thought": ("()Sure.", ResponseText("Sure.", None)),
    "a thought that weighs a refusal": (
        "(I'm sorry, I cannot? I can.)Sure.",
        ResponseText("Sure.", None),
    ),
    "cut inside the thought": ("(Hm. They|", ResponseText("", UNFINISHED)),
    "cut before a word is thought": ("(|", ResponseText("", UNFINISHED)),
    "ended inside the thought": ("(Hm. They may.", ResponseText("", UNFINISHED)),
    "cut inside the answer": ("(Hm.)Sure, fi|", ResponseText("Sure, fi", None)),
    "a thought and no answer": ("(Hm.)", ResponseText("", ALONE)),
    "a thought and white space": ("(Hm.)\n \n", ResponseText("\n \n", ALONE)),
    "an empty thought alone": ("()", ResponseText("", ALONE)),
    "cut after the thought": ("(Hm.)|", ResponseText("", ALONE)),
    "two thoughts": ("(Hm.)Sure.(More?) Then stop.", ResponseText("Sure. Then stop.", None)),
    "a second thought that never ends": ("(Hm.)Sure.(More|", ResponseText("Sure.", UNFINISHED)),
    "an answer, then a thought": ("Sure.(Was that right?)", ResponseText("Sure.", None)),
    "a thought inside a thought": ("(Hm. (Or?) No.)Sure.", ResponseText("Sure.", None)),
    "a thought that opens one": ("(I write ( here.)Sure.", ResponseText("Sure.", None)),
    "a thought never opened": ("Hm. They may.)Sure.", ResponseText("Sure.", None)),
    "a thought never opened, and no answer": ("Hm.)", ResponseText("", ALONE)),
    "a closing mark in the answer": ("(Hm.)Sure.) Yes.", ResponseText("Sure. Yes.", None)),
    "nothing": ("", ResponseText("", NOTHING)),
    "white space alone": (" \n", ResponseText(" \n", NOTHING)),
}

# In plain text such a mark may as well be a mention: nobody can tell.
NEVER_OPENED = ("a thought never opened", "a thought never opened, and no answer")

# The same where the prompt has opened the thought.
OPENED: dict[str, tuple[str, ResponseText]] = {
    "goes on, and answers": ("Hm. They may.)Sure.", ResponseText("Sure.", None)),
    "opens it again": ("(Hm.)Sure.", ResponseText("Sure.", None)),
    "answers at once": (")Sure.", ResponseText("Sure.", None)),
    "two thoughts": ("Hm.)Sure.(More?) Stop.", ResponseText("Sure. Stop.", None)),
    "a thought inside it": ("Hm. (Or?) No.)Sure.", ResponseText("Sure.", None)),
    "cut inside the thought": ("Sure, I could. They|", ResponseText("", UNFINISHED)),
    "ended inside the thought": ("Sure.", ResponseText("", UNFINISHED)),
    "ended at once": ("", ResponseText("", UNFINISHED)),
    "closes, and no answer": ("Hm.)", ResponseText("", ALONE)),
    "closes at once, and no answer": (")\n", ResponseText("\n", ALONE)),
}


Formats = Mapping[tuple[str, str], tuple[ChatFormat, Vocabulary]]


@pytest.fixture(scope="module")
def formats(tmp_path_factory: pytest.TempPathFactory) -> Formats:
    """Chat formats, and their tokens, by name of the marks and kind of token that they are."""
    root = tmp_path_factory.mktemp("formats")
    return {
        (name, kind): _format(root / f"{place}-{kind}", marks, kind)
        for place, (name, marks) in enumerate(PAIRS.items())
        for kind in KINDS
    }


def _format(folder: Path, marks: tuple[str, str], kind: str) -> tuple[ChatFormat, Vocabulary]:
    vocabulary = Vocabulary(
        special=(*SPECIAL, *(marks if kind == "special" else ())),
        added=marks if kind == "added" else (),
        # Tokens that reach over a mark's border, as vocabularies have them.
        pieces=(f"{marks[0][-1]}Hm", f"{marks[1][-1]}Sure", f".{marks[1][:2]}"),
    )
    return ChatFormat.load(save_format(folder, vocabulary)), vocabulary


def tokens_of(vocabulary: Vocabulary, marks: tuple[str, str], shape: str) -> list[int]:
    """Return the tokens of a response; marks as the vocabulary has them, ended unless cut."""
    text, cut, _ = shape.partition("|")
    tokenizer = vocabulary.tokenizer()
    ids: list[int] = []
    own = {*vocabulary.special, *vocabulary.added}
    spelt = text.replace("(", "\0(\0").replace(")", "\0)\0").split("\0")
    plain = ""
    for part in spelt:
        mark = {"(": marks[0], ")": marks[1]}.get(part)
        if mark in own:
            ids += _read(vocabulary, plain)
            plain = ""
            ids.append(tokenizer.token_to_id(mark))
        else:
            plain += part if mark is None else mark
    ids += _read(vocabulary, plain)
    return ids if cut else [*ids, tokenizer.token_to_id(END)]


def _read(vocabulary: Vocabulary, text: str) -> list[int]:
    """Return ids of a text, with the longest piece of the vocabulary wherever one fits."""
    ids: list[int] = []
    while text:
        piece = next((each for each in vocabulary.pieces if text.startswith(each)), text[0])
        ids.append(vocabulary.id_of(piece))
        text = text[len(piece) :]
    return ids


def reader(
    chat: ChatFormat, vocabulary: Vocabulary, pair: tuple[str, str], opens: int | None
) -> ResponseReader:
    marks = placed([pair], chat.added)
    end = vocabulary.id_of(END)
    return ResponseReader(chat, frozenset([end]), MarkReader(marks, opens))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_judged_is_the_answer(formats: Formats, name: str, kind: str, shape: str) -> None:
    chat, vocabulary = formats[name, kind]
    said, expected = SHAPES[shape]
    if kind == "plain" and shape in NEVER_OPENED:
        expected = ResponseText(said.replace(")", PAIRS[name][1]), UNCLEAR)
    tokens = tokens_of(vocabulary, PAIRS[name], said)
    assert reader(chat, vocabulary, PAIRS[name], None).read(tokens) == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", OPENED)
def test_a_response_may_begin_inside_a_thought(formats: Formats, kind: str, shape: str) -> None:
    chat, vocabulary = formats["tags", kind]
    said, expected = OPENED[shape]
    tokens = tokens_of(vocabulary, PAIRS["tags"], said)
    assert reader(chat, vocabulary, PAIRS["tags"], 0).read(tokens) == expected


@pytest.mark.parametrize("kind", ["special", "added"])
def test_a_mark_that_is_a_token_is_not_found_in_text_that_spells_it(
    formats: Formats, kind: str
) -> None:
    chat, vocabulary = formats["tags", kind]
    tokens = [*map(vocabulary.id_of, "R1 writes <think>."), vocabulary.id_of(END)]
    read = reader(chat, vocabulary, PAIRS["tags"], None).read(tokens)
    assert read == ResponseText("R1 writes <think>.", None)


@pytest.mark.parametrize("length", range(1, len("<think>")))
def test_a_response_cut_inside_its_opening_mark_is_unfinished(
    formats: Formats, length: int
) -> None:
    chat, vocabulary = formats["tags", "plain"]
    tokens = list(map(vocabulary.id_of, "\n<think>"[: 1 + length]))
    plain = reader(chat, vocabulary, PAIRS["tags"], None)
    assert plain.read(tokens).reason is UNFINISHED
    # Where it ended there, that is what it says.
    assert plain.read([*tokens, vocabulary.id_of(END)]).reason is None


def test_special_tokens_in_an_answer_are_not_shown(formats: Formats) -> None:
    chat, vocabulary = formats["tags", "plain"]
    start = vocabulary.id_of("<|im_start|>")
    said = (map(vocabulary.id_of, part) for part in ("<think>Hm</think>Su", "re"))
    tokens = [id_ for part in said for id_ in (start, *part)]
    assert reader(chat, vocabulary, PAIRS["tags"], None).read(tokens) == ResponseText("Sure", None)


def test_marks_of_which_one_is_a_token_and_one_is_text(tmp_path: Path) -> None:
    vocabulary = Vocabulary(special=(*SPECIAL, "<think>"))
    chat = ChatFormat.load(save_format(tmp_path, vocabulary))
    ids = [vocabulary.id_of("<think>"), *map(vocabulary.id_of, "Hm</think>Sure")]
    assert reader(chat, vocabulary, PAIRS["tags"], None).read(ids) == ResponseText("Sure", None)


def test_marks_of_several_tokens(tmp_path: Path) -> None:
    """Marks may be made of special tokens and text, where a plan names them so."""
    vocabulary = Vocabulary(special=(*SPECIAL, "<|open|>", "<|close|>", "<|sep|>"))
    chat = ChatFormat.load(save_format(tmp_path, vocabulary))

    def ids(*parts: str) -> list[int]:
        return [
            id_
            for part in parts
            for id_ in ([vocabulary.id_of(part)] if part[0] == "<" else map(vocabulary.id_of, part))
        ]

    pair = ("<|open|>think<|sep|>", "<|close|>think<|sep|>")
    read = reader(chat, vocabulary, pair, None)
    tokens = ids("<|open|>", "think", "<|sep|>", "Hm", "<|close|>", "think", "<|sep|>", "Sure")
    assert read.read(tokens) == ResponseText("Sure", None)
    assert read.read(tokens[:9]) == ResponseText("", UNFINISHED)


def test_spaces_stay_where_a_decoder_takes_the_first_one_away(tmp_path: Path) -> None:
    """Vocabularies with spaces in front of words, as those of SentencePiece have them."""
    words = [("<unk>", 0.0), ("▁", -9.0), *((f"▁{w}", -1.0) for w in ("I", "cannot", "help", "Hm"))]
    tokenizer = Tokenizer(Unigram(words, unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()  # type: ignore[assignment]
    tokenizer.decoder = decoders.Metaspace()  # type: ignore[assignment]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in SPECIAL])
    tokenizer.add_tokens([AddedToken(tag, normalized=False) for tag in PAIRS["tags"]])
    save_format(tmp_path, Vocabulary())
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    chat = ChatFormat.load(tmp_path)
    said = ("▁I", "<think>", "▁Hm", "</think>", "▁cannot", "<|im_start|>", "▁help")
    tokens = [token for word in said if (token := tokenizer.token_to_id(word)) is not None]
    marks = MarkReader(placed([PAIRS["tags"]], chat.added), None)
    read = ResponseReader(chat, frozenset(), marks).read(tokens)
    assert (len(tokens), read) == (len(said), ResponseText("I cannot help", None))


def _told_apart(pieces: Sequence[str], opened: bool) -> tuple[str, bool, bool]:
    """Answer, whether it ends in a thought, and whether one ended that was never opened."""
    kept: list[str] = []
    lone = False
    inside, seen, owed, last = opened, opened, 0, 0
    for piece in pieces:
        if inside:
            if piece == "(":
                owed += 1
            elif piece == ")":
                inside, last = False, len(kept)
        elif piece == "(":
            inside, seen, owed = True, True, 0
        elif piece == ")":
            lone |= not seen
            if not seen or owed:
                del kept[last:]
                owed, seen = max(0, owed - 1), True
            last = len(kept)
        else:
            kept.append(piece)
    return "".join(kept), inside, lone


@given(st.lists(st.sampled_from(["(", ")", "a", "b c", "\n"]), max_size=14), st.booleans())
def test_any_response_is_told_apart_alike_by_tokens_and_by_text(
    pieces: list[str], opened: bool
) -> None:
    answer, ends_inside, lone = _told_apart(pieces, opened)
    opens = 0 if opened else None
    by_token = MarkReader(
        [ThoughtMarks(opening="(", closing=")", opening_token=1, closing_token=2)], opens
    )
    by_text = MarkReader(
        [ThoughtMarks(opening="(", closing=")", opening_token=None, closing_token=None)], opens
    )
    own = {"(": 1, ")": 2}
    tokens = [Piece(p, shown=p not in own, token=own.get(p)) for p in pieces]
    text = [Piece("".join(pieces), shown=True)] if pieces else []
    of_tokens, of_text = by_token.read(tokens, ended=True), by_text.read(text, ended=True)
    assert (of_tokens.answer, of_tokens.open, of_tokens.unclear) == (answer, ends_inside, False)
    assert of_text.unclear is lone
    if not lone:
        assert (of_text.answer, of_text.open) == (answer, ends_inside)


UNMARKED = {
    "a thought in plain text": ("<think>I cannot?</think>Sure.", ResponseText("Sure.", None)),
    "after white space": ("\n [THINK]Hm[/THINK]Sure.", ResponseText("\n Sure.", None)),
    "cut inside it": ("<think>Sure, I|", ResponseText("", UNFINISHED)),
    "a thought alone": ("<thought>Hm.</thought>", ResponseText("", ALONE)),
    "a tag that is no mark": ("<b>Sure.</b>", ResponseText("<b>Sure.</b>", None)),
    "a mark that only stands in it": (
        "R1 writes <think>Hm</think> first.",
        ResponseText("R1 writes <think>Hm</think> first.", None),
    ),
    "a closing mark first": ("</think>Sure.", ResponseText("</think>Sure.", None)),
    "no mark": ("Sure.", ResponseText("Sure.", None)),
}


@pytest.mark.parametrize("case", UNMARKED)
def test_where_no_marks_are_known_a_response_may_begin_with_one(
    formats: Formats, case: str
) -> None:
    chat, vocabulary = formats["tags", "plain"]
    said, expected = UNMARKED[case]
    text, cut, _ = said.partition("|")
    tokens = [*map(vocabulary.id_of, text), *([] if cut else [vocabulary.id_of(END)])]
    read = ResponseReader(chat, frozenset([vocabulary.id_of(END)]), UnmarkedResponses())
    assert read.read(tokens) == expected


# Finding them


@pytest.mark.parametrize(
    ("texts", "vocabulary", "pairs"),
    [
        (["<think>", "</think>"], [], [("<think>", "</think>")]),
        (["{{ '</think>' }}"], [], [("<think>", "</think>")]),
        ([], ["<think>", "</think>"], [("<think>", "</think>")]),
        (["a <mm:think> b"], [], [("<mm:think>", "</mm:think>")]),
        (["<think:open>x</think:open>"], [], [("<think:open>", "</think:open>")]),
        (["[THINK]"], ["[/THINK]"], [("[THINK]", "[/THINK]")]),
        (["◁think▷◁/think▷"], [], [("◁think▷", "◁/think▷")]),
        (["<thought>"], [], [("<thought>", "</thought>")]),
        (["<reasoning>"], [], [("<reasoning>", "</reasoning>")]),
        (
            ["<|START_THINKING|>"],
            ["<|END_THINKING|>"],
            [("<|START_THINKING|>", "<|END_THINKING|>")],
        ),
        (
            ["<|begin_of_thought|>", "<|end_of_thought|>"],
            [],
            [("<|begin_of_thought|>", "<|end_of_thought|>")],
        ),
        (
            [],
            ["<|inner_prefix|>", "<|inner_suffix|>"],
            [("<|inner_prefix|>", "<|inner_suffix|>")],
        ),
        (
            [],
            ["<|reasoning_thinking_end|>", "<|reasoning_thinking_start|>"],
            [("<|reasoning_thinking_start|>", "<|reasoning_thinking_end|>")],
        ),
        (
            ["Begin with\nHere are my reasoning steps:\n", "then [BEGIN FINAL RESPONSE]."],
            [],
            [("Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]")],
        ),
        (
            ["<think>", "<seed:think>", "<seed:cot_budget_reflect>", "<thinking_mode>"],
            [],
            [("<seed:think>", "</seed:think>"), ("<think>", "</think>")],
        ),
    ],
)
def test_marks_are_found_by_their_names(
    texts: list[str], vocabulary: list[str], pairs: list[tuple[str, str]]
) -> None:
    assert list(find_marks(texts, vocabulary, ()).pairs) == pairs


@pytest.mark.parametrize(
    "text",
    [
        "<|im_start|>assistant",
        "Think step by step before you answer.",
        "<tool_response>",
        "<|channel|>analysis<|message|>",
        "[INST] [/INST]",
        "<scotland>",
        "<answer>",
        "a < b > c",
    ],
)
def test_other_markup_is_no_mark(text: str) -> None:
    assert find_marks([text], [text], ["messages", "tools"]) == FoundThoughtMarks((), (), ())


def test_what_cannot_be_placed_is_named() -> None:
    names = ["reasoning_content", "enable_thinking", "finish_reason", "treason", "x"]
    found = find_marks(["<|think|>", "<|end|>"], ["<thinking_mode>"], names)
    assert found.pairs == ()
    assert found.unplaced == ("<thinking_mode>", "<|think|>")
    assert found.names == ("enable_thinking", "reasoning_content")


def test_a_tag_with_more_than_a_name_is_named_where_a_prompt_has_it() -> None:
    assert find_marks([], [], [], ['<think type="deep">']).unplaced == ('<think type="deep">',)


def test_marks_of_which_names_only_speak_of_thoughts_come_in_twos() -> None:
    both = ["<think_fast>", "</think_fast>", "<think>"]
    assert find_marks([], both, []).pairs == (
        ("<think>", "</think>"),
        ("<think_fast>", "</think_fast>"),
    )
    assert find_marks([], both[1:], []).unplaced == ("</think_fast>",)


def test_prose_about_reasons_names_no_marks() -> None:
    prose = "Refuse with <refusal><reason>…</reason></refusal>, or write [REASON]."
    assert find_marks([prose], [], []) == FoundThoughtMarks((), (), ())
    assert find_marks([prose], ["<reason>"], []).pairs == (("<reason>", "</reason>"),)
    assert find_marks([], [], [], ["assistant: <reason>"]).pairs == (("<reason>", "</reason>"),)


@pytest.mark.parametrize(
    ("tail", "opens"),
    [
        ("<|im_end|>\n<|im_start|>assistant\n", None),
        ("<|im_start|>assistant\n<think>\n", 0),
        ("<|im_start|>assistant\n<think>\n\n</think>\n\n", None),
        ("assistant\n</think>", None),
        ("<think>a</think><think>", 0),
        ("[THINK]", 1),
        ("<think>[/THINK]", 0),
    ],
)
def test_a_prompt_may_end_inside_a_thought(tail: str, opens: int | None) -> None:
    marks = placed([PAIRS["tags"], PAIRS["brackets"]], {"<think>": 7})
    assert opened_by(tail, marks) == opens
