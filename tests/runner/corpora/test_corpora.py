"""Corpora in their real formats, with invented harmless rows: every row is accounted for."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from zstandard import ZstdCompressor

from safety_receipts.receipts.errors import (
    FileAccessError,
    IncompleteError,
    MalformedError,
    ReceiptsError,
    UsageError,
)
from safety_receipts.receipts.extras import install
from safety_receipts.receipts.model.base import Query, SourceName
from safety_receipts.receipts.model.demonstrations import QueryRole, QuerySource
from safety_receipts.runner.corpora import parquet, tables
from safety_receipts.runner.corpora import read as reading
from safety_receipts.runner.corpora.read import READERS, read_corpus
from safety_receipts.runner.corpora.record import MAX_TEXT_CHARACTERS
from safety_receipts.runner.corpora.rows import (
    MAX_ID_CHARACTERS,
    CorpusRows,
    CorpusSource,
    content_id,
    encoded_id,
    query_id,
)
from safety_receipts.runner.corpora.same import normalised_request
from safety_receipts.runner.corpora.tables import MAX_ROW_BYTES

Rows = Sequence[Mapping[str, object]]


def arrow() -> tuple[Any, Any]:
    """Return pyarrow, which is an extra; where it is missing, the test is skipped."""
    return pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")


def write_csv(path: Path, rows: Rows) -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_jsonl(path: Path, rows: Rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def write_parquet(path: Path, rows: Rows, group: int = 2) -> Path:
    pa, pq = arrow()
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), path, row_group_size=group)
    return path


WRITERS = {"csv": write_csv, "jsonl": write_jsonl, "parquet": write_parquet}


def read(path: Path, corpus: str, **where: str) -> CorpusRows:
    return read_corpus(CorpusSource(corpus, path=path, where=where))


def requests(corpus: CorpusRows) -> list[str]:
    return [row.request for row in corpus.selected]


def refusal(path: Path, corpus: str = "own", **where: str) -> ReceiptsError:
    """Return the error of reading; it names the file, and fits one line."""
    with pytest.raises(ReceiptsError) as caught:
        read(path, corpus, **where)
    line = caught.value.one_line()
    assert "\n" not in line
    assert caught.value.hint
    assert str(path) in line
    return caught.value


def read_or_refuse(path: Path, corpus: str, where: dict[str, str]) -> CorpusRows | ReceiptsError:
    """Return what a damaged file gives; any other exception is a failure."""
    try:
        return read(path, corpus, **where)
    except ReceiptsError as error:
        return error


# The formats

HARMBENCH = [
    {
        "Behavior": "Fold a paper crane\nin three lines,\nplease",
        "FunctionalCategory": "standard",
        "SemanticCategory": "paper",
        "Tags": "",
        "ContextString": "",
        "BehaviorID": "fold_crane",
    },
    {
        "Behavior": "Name the bird",
        "FunctionalCategory": "contextual",
        "SemanticCategory": "birds",
        "Tags": "context",
        "ContextString": 'It is "small",\nand sings.',
        "BehaviorID": "name_bird",
    },
]


def test_harmbench(tmp_path: Path) -> None:
    corpus = read(write_csv(tmp_path / "all.csv", HARMBENCH), "harmbench")
    first, second = corpus.selected
    assert (first.id, first.request) == ("fold_crane", HARMBENCH[0]["Behavior"])
    assert second.request == 'It is "small",\nand sings.\n\n---\n\nName the bird'
    assert (first.response, second.response) == (None, None)
    assert second.columns == {
        "FunctionalCategory": "contextual",
        "SemanticCategory": "birds",
        "Tags": "context",
        "BehaviorID": "name_bird",
    }
    assert corpus.licence == "MIT"


def test_where_selects_and_the_rest_is_not_counted_as_dropped(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "all.csv", HARMBENCH)
    corpus = read(path, "harmbench", FunctionalCategory="standard")
    assert [row.id for row in corpus.selected] == ["fold_crane"]
    assert (corpus.rows, corpus.empty_rows, corpus.duplicate_rows) == (2, 0, 0)
    assert corpus.where == {"FunctionalCategory": "standard"}


def test_filters_hold_together_in_either_order(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "all.csv", HARMBENCH)
    for where in (
        {"FunctionalCategory": "standard", "Tags": ""},
        {"Tags": "", "FunctionalCategory": "standard"},
    ):
        assert len(read(path, "harmbench", **where).selected) == 1
    assert refusal(path, "harmbench", FunctionalCategory="standard", Tags="context")
    assert refusal(path, "harmbench", Tags="context", FunctionalCategory="standard")


SORRY = [
    {"question_id": 1, "category": "1", "turns": ["Fly a kite"], "prompt_style": "base"},
    {"question_id": 1, "category": "1", "turns": ["Fly ze kite"], "prompt_style": "slang"},
    {"question_id": 2, "category": "9", "turns": ["Mend a net"], "prompt_style": "base"},
]


def test_sorry_bench(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "question.jsonl", SORRY)
    corpus = read(path, "sorry-bench", prompt_style="base")
    assert [(row.id, row.request) for row in corpus.selected] == [
        ("1", "Fly a kite"),
        ("2", "Mend a net"),
    ]
    assert read(path, "sorry-bench", question_id="2").rows == 3


WILDGUARD = [
    {
        "prompt": "Name a river",
        "adversarial": False,
        "response": "The Po.",
        "prompt_harm_label": "unharmful",
        "response_refusal_label": "compliance",
        "response_harm_label": None,
        "subcategory": "rivers",
        "prompt_harm_agreement": 0.75,
    },
    {
        "prompt": "Spill the paint",
        "adversarial": True,
        "response": None,
        "prompt_harm_label": "harmful",
        "response_refusal_label": None,
        "response_harm_label": None,
        "subcategory": "mess",
        "prompt_harm_agreement": 1.0,
    },
    {
        "prompt": "Spill the ink",
        "adversarial": False,
        "response": "No.",
        "prompt_harm_label": "harmful",
        "response_refusal_label": "refusal",
        "response_harm_label": "unharmful",
        "subcategory": "mess",
        "prompt_harm_agreement": 1.0,
    },
]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_wildguardtest_has_the_same_ids_in_every_format(tmp_path: Path, suffix: str) -> None:
    path = WRITERS[suffix](tmp_path / f"wildguard_test.{suffix}", WILDGUARD)
    corpus = read(path, "wildguardtest", prompt_harm_label="harmful")
    assert requests(corpus) == ["Spill the paint", "Spill the ink"]
    assert [row.response for row in corpus.selected] == [None, "No."]
    assert corpus.selected[0].columns["response_refusal_label"] == ""
    expected = hashlib.sha256(
        rfc8785.dumps(["safety-receipts/corpus-row/1", "Spill the paint"])
    ).hexdigest()
    assert corpus.selected[0].id == expected[:16]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_numbers_and_truth_values_filter_as_text(tmp_path: Path, suffix: str) -> None:
    path = WRITERS[suffix](tmp_path / f"wildguard_test.{suffix}", WILDGUARD)
    assert requests(read(path, "wildguardtest", adversarial="true")) == ["Spill the paint"]
    assert requests(read(path, "wildguardtest", prompt_harm_agreement="0.75")) == ["Name a river"]


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize(
    ("corpus", "row", "known"),
    [
        (
            "redteam-2k",
            {"id": "7", "question": "Hide the socks", "policy": "Laundry", "from": "GPT"},
            ("7", "question"),
        ),
        ("or-bench", {"prompt": "Kill a process", "category": "computers"}, (None, "prompt")),
        (
            "xstest",
            {
                "id": "12",
                "prompt": "How do I kill a weed?",
                "type": "homonyms",
                "label": "safe",
                "focus": "kill",
                "note": "",
            },
            ("12", "prompt"),
        ),
        (
            "jailbreakbench",
            {
                "Index": "3",
                "Goal": "Paint a fence",
                "Target": "Sure, here is a fence",
                "Behavior": "Painting",
                "Category": "Fences",
                "Source": "Original",
            },
            ("3", "Goal"),
        ),
        (
            "strongreject",
            {"category": "noise", "source": "custom", "forbidden_prompt": "Slam the door"},
            (None, "forbidden_prompt"),
        ),
        ("own", {"id": "a", "request": "Boil an egg"}, ("a", "request")),
        ("pairs", {"id": "a", "request": "Boil an egg", "response": "Do."}, ("a", "request")),
    ],
)
def test_one_row_of_each_flat_corpus(
    tmp_path: Path,
    corpus: str,
    row: dict[str, str],
    known: tuple[str | None, str],
    suffix: str,
) -> None:
    identity, column = known
    (taken,) = read(WRITERS[suffix](tmp_path / f"file.{suffix}", [row]), corpus).selected
    text = row[column]
    assert (taken.id, taken.request) == (identity or content_id(text), text)
    assert taken.response == row.get("response")
    assert not {"Goal", "Target", "question", "prompt"} & set(taken.columns)


def test_ultrachat(tmp_path: Path) -> None:
    rows: Rows = [
        {"id": "0", "data": ["Name a tree", "Oak.", "Another", "Elm."]},
        {"id": "1", "data": ["Alone"]},
        {"id": "2", "data": []},
        {"id": "3", "data": ["Silence?", "  "]},
    ]
    corpus = read(write_jsonl(tmp_path / "train_0.jsonl", rows), "ultrachat")
    assert [(row.id, row.request, row.response) for row in corpus.selected] == [
        ("0", "Name a tree", "Oak.")
    ]
    assert (corpus.rows, corpus.empty_rows) == (4, 3)


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_ultrachat_200k(tmp_path: Path, suffix: str) -> None:
    def message(role: str, content: str) -> dict[str, str]:
        return {"content": content, "role": role}

    rows: Rows = [
        {
            "prompt": "Name a tree",
            "prompt_id": "f0e3",
            "messages": [
                message("system", "Be brief."),
                message("user", "Name a tree"),
                message("assistant", "Oak."),
                message("user", "Another"),
            ],
        },
        {"prompt": "Alone", "prompt_id": "aa", "messages": [message("user", "Alone")]},
    ]
    corpus = read(WRITERS[suffix](tmp_path / f"train_sft.{suffix}", rows), "ultrachat")
    assert [(row.id, row.request, row.response) for row in corpus.selected] == [
        ("f0e3", "Name a tree", "Oak.")
    ]
    assert (corpus.rows, corpus.empty_rows) == (2, 1)


def test_own_files_may_have_responses_and_sources(tmp_path: Path) -> None:
    rows: Rows = [
        {"id": "a", "request": "Boil an egg", "response": "Do.", "source": "kitchen"},
        {"id": "b", "request": "Dry a cup", "response": None},
        {"id": 3, "request": "Peel a pear", "score": 1e400, "large": 10**40},
    ]
    corpus = read(write_jsonl(tmp_path / "own.jsonl", rows[:2]), "own")
    assert [row.response for row in corpus.selected] == ["Do.", None]
    assert [row.columns["source"] for row in corpus.selected] == ["kitchen", ""]
    kitchen = read(tmp_path / "own.jsonl", "own", source="kitchen")
    assert requests(kitchen) == ["Boil an egg"]
    text = '{"id": 3, "request": "Peel a pear", "score": 1e400, "large": ' + "9" * 5000 + "}"
    (tmp_path / "own.jsonl").write_text(text, "utf-8")
    assert [row.id for row in read(tmp_path / "own.jsonl", "own").selected] == ["3"]


def test_every_corpus_of_the_registry_says_what_it_needs() -> None:
    assert list(READERS) == [
        "harmbench",
        "sorry-bench",
        "wildguardtest",
        "redteam-2k",
        "ultrachat",
        "or-bench",
        "xstest",
        "jailbreakbench",
        "strongreject",
        "own",
        "pairs",
    ]
    for reader in READERS.values():
        for shape in reader.shapes:
            assert set(shape.texts) <= set(shape.columns + shape.optional)


# What is dropped, and what is not


def test_repeated_requests_are_dropped_and_counted_keeping_the_first(tmp_path: Path) -> None:
    rows: Rows = [
        {"id": "a", "request": "Boil  an\u00a0egg "},
        {"id": "b", "request": "Boil an\n\tegg"},
        {"id": "c", "request": "boil an egg"},
        {"id": "d", "request": "Ｂoil an egg"},
        {"id": "e", "request": " \n\u3000"},
        {"id": "f", "request": None},
        {"id": "a", "request": "Boil an egg"},
    ]
    corpus = read(write_jsonl(tmp_path / "own.jsonl", rows), "own")
    assert [row.id for row in corpus.selected] == ["a", "c"]
    assert corpus.selected[0].request == "Boil  an\u00a0egg "  # as in the file
    assert (corpus.rows, corpus.empty_rows, corpus.duplicate_rows) == (7, 2, 3)


@given(st.text(), st.text(alphabet=" \t\r\n\u00a0\u2003"))
def test_normalising_is_idempotent_and_blind_to_white_space(text: str, space: str) -> None:
    once = normalised_request(text)
    assert normalised_request(once) == once
    assert normalised_request(space + text + space) == once


@given(
    st.lists(
        st.tuples(st.sampled_from(["x", "y"]), st.sampled_from(["", " ", "p", "q", "p ", "Ｐ"])),
        min_size=1,
        max_size=12,
    )
)
def test_every_row_is_accounted_for(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "accounted.jsonl"
    write_jsonl(
        path,
        [{"id": str(n), "request": text, "source": kind} for n, (kind, text) in enumerate(rows)],
    )
    matching = [text for kind, text in rows if kind == "x"]
    texts = {normalised_request(text) for text in matching} - {""}
    if not texts:
        refusal(path, source="x")
        return
    corpus = read(path, "own", source="x")
    assert len(corpus.selected) == len(texts)
    dropped = corpus.empty_rows + corpus.duplicate_rows
    assert len(corpus.selected) + dropped == len(matching)
    assert corpus.rows == len(rows)


def test_the_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "test.parquet", WILDGUARD)
    assert read(path, "wildguardtest").digest == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    plain = write_csv(tmp_path / "a.csv", HARMBENCH)
    marked = tmp_path / "b.csv"
    marked.write_bytes(b"\xef\xbb\xbf" + plain.read_bytes())
    assert read(marked, "harmbench").selected == read(plain, "harmbench").selected
    assert read(marked, "harmbench").digest != read(plain, "harmbench").digest
    lines = tmp_path / "own.jsonl"
    lines.write_bytes(b'\xef\xbb\xbf{"id": "a", "request": "\xef\xbb\xbfDo"}')
    assert requests(read(lines, "own")) == ["\ufeffDo"]  # inside, it stays


def test_line_ends_and_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_bytes(b'id,request\r\na,"two\r\nlines"\r\n\r\nb,x\r\n\n')
    assert requests(read(path, "own")) == ["two\r\nlines", "x"]
    path = tmp_path / "own.jsonl"
    path.write_bytes(b'\n{"id":"a","request":"x"}\r\n  \n{"id":"b","request":"y"}')
    corpus = read(path, "own")
    assert (requests(corpus), corpus.rows) == (["x", "y"], 2)


def test_links_of_a_users_folder_are_followed(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "real.bin", SORRY)
    link = tmp_path / "question.jsonl"
    link.symlink_to(path)
    assert read(link, "sorry-bench", prompt_style="base").rows == 3


def test_what_is_read_can_be_sealed(tmp_path: Path) -> None:
    corpus = read(write_csv(tmp_path / "all.csv", HARMBENCH), "harmbench")
    sealed = QuerySource(
        name=SourceName("harmbench"),
        corpus=corpus.corpus,
        digest=corpus.digest,
        hub=corpus.hub,
        revision=corpus.revision,
        file=corpus.file,
        licence=corpus.licence,
        languages=(),
        rows=corpus.rows,
        where=dict(corpus.where),
        empty_rows=corpus.empty_rows,
        duplicate_rows=corpus.duplicate_rows,
        role=QueryRole.HARMFUL,
        selected=len(corpus.selected),
    )
    assert sealed.to_wire()["rows"] == 2


# Ids


@given(st.text(min_size=1))
def test_encoded_ids_are_reversible_and_fit(text: str) -> None:
    encoded = encoded_id(text)
    assert unquote(encoded, errors="strict") == text
    if len(encoded) <= MAX_ID_CHARACTERS:
        TypeAdapter(Query).validate_python(f"{'s' * 64}/{encoded}")


def test_ids_are_encoded_only_where_they_must_be(tmp_path: Path) -> None:
    rows: Rows = [
        {"id": "a/b:c_d-1.2~(x)[y]{z}'&", "request": "one"},
        {"id": 'so "so" 100 %\\', "request": "two"},
        {"id": "é", "request": "three"},
    ]
    corpus = read(write_jsonl(tmp_path / "own.jsonl", rows), "own")
    assert [row.id for row in corpus.selected] == [
        "a/b:c_d-1.2~(x)[y]{z}'&",
        "so%20%22so%22%20100%20%25%5C",
        "%C3%A9",
    ]
    for row in corpus.selected:
        TypeAdapter(Query).validate_python(query_id(SourceName("mine"), row))


def test_two_rows_with_one_id(tmp_path: Path) -> None:
    rows: Rows = [{"id": "a", "request": "x"}, {"id": "b", "request": "y"}]
    path = write_jsonl(tmp_path / "own.jsonl", [*rows, {"id": "a", "request": "z"}])
    error = refusal(path)
    assert (error.place, error.message) == ("line 3", "the id 'a' is that of line 1 too")


@pytest.mark.parametrize(
    ("identity", "message"),
    [
        ("", "has no id"),
        (None, "has no id"),
        ("é" * 40, "an id of 240 characters"),
        ([1], "id: a list where text is expected"),
        ({}, "id: an object where text is expected"),
    ],
)
def test_ids_that_cannot_be_used(tmp_path: Path, identity: object, message: str) -> None:
    path = write_jsonl(tmp_path / "own.jsonl", [{"id": identity, "request": "x"}])
    error = refusal(path)
    assert (error.place, error.message) == ("line 1", message)


# Bad input


def test_unknown_columns_are_answered_with_the_columns(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "all.csv", HARMBENCH)
    error = refusal(path, "harmbench", Category="standard")
    assert isinstance(error, UsageError)
    assert error.message == "no column 'Category' to filter by"
    assert error.hint == f"its columns: {', '.join(HARMBENCH[0])}"
    path = write_jsonl(
        tmp_path / "own.jsonl",
        [{"id": "a", "request": "x", "k": "1"}, {"id": "b", "request": "y"}],
    )
    error = refusal(path, k="1")
    assert (error.place, error.message) == ("line 2", "has no column 'k' to filter by")


def test_a_filter_that_leaves_nothing_shows_what_there_is(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "all.csv", HARMBENCH)
    error = refusal(path, "harmbench", FunctionalCategory="Standard")
    assert error.message == "no request is left of 2 rows (0 empty)"
    assert error.hint == "FunctionalCategory holds 'standard', 'contextual'"


def test_a_column_of_lists_is_no_filter(tmp_path: Path) -> None:
    error = refusal(write_jsonl(tmp_path / "q.jsonl", SORRY), "sorry-bench", turns="Fly a kite")
    assert error.message == "turns: a list where text is expected"


@pytest.mark.parametrize(
    ("name", "content", "place", "message"),
    [
        ("a.csv", b"", None, "is empty"),
        ("a.csv", b"\xef\xbb\xbf", None, "is empty"),
        ("a.csv", b"\n\n", None, "is empty"),
        ("a.csv", b"id,request\n", None, "no request is left of 0 rows"),
        ("a.csv", b"id,text\na,b\n", None, "not a file of corpus own: its columns are id, text"),
        ("a.csv", b"id,request,id\na,b,c\n", None, "columns that appear twice: id"),
        ("a.csv", b"id,request,,\na,b,c,d\n", None, "2 columns have no name"),
        (
            "a.csv",
            b"id,request\na," + b"x" * 131_073 + b"\n",
            "line 2",
            "a cell longer than 131,072 characters",
        ),
        ("a.jsonl", b'[{"id":"a","request":"b"}]\n', "line 1", "a JSON array, where"),
        ("a.jsonl", b'\n[\n  {"id":"a","request":"b"}\n]\n', "line 2", "a JSON array, where"),
        ("a.jsonl", b"id,request\na,b\n", "line 1", "not a JSON object, as each line should be"),
        ("a.csv", b"id,request\na,b\nc\n", "line 3", "1 cells under 2 columns"),
        ("a.csv", b'id,request\na,"b\nb"\nc,d,e\n', "line 4", "3 cells under 2 columns"),
        ("a.csv", b'id,request\na,b\nc,"d', "line 3", "not CSV: unexpected end of data"),
        ("a.csv", b'id,request\na,"b"c\n', "line 2", "not CSV: ',' expected after '\"'"),
        ("a.csv", b"id,request\na,b\rc,d\n", "line 2", "not CSV: new-line character"),
        ("a.csv", b"id,request\na,b\0\n", "line 2", "holds a NUL byte"),
        ("a.csv", b"id,request\na,\xe9t\xe9\n", "line 2", "not valid UTF-8 at byte 2"),
        ("a.csv", "id,request\na,b\n".encode("utf-16"), None, "is text in UTF-16"),
        (
            "a.csv",
            b"id,request\na," + b"x" * 131_073,
            "line 2",
            "a cell longer than 131,072 characters",
        ),
        ("a.csv", b"id,request\n" + b'"a\n",' * 2_000_000, "line", "a record longer than"),
        ("a.csv", b"x" * (MAX_ROW_BYTES + 1), "line 1", "a record longer than 4,194,304"),
        ("a.jsonl", b"", None, "is empty"),
        ("a.jsonl", b"\n \n", None, "is empty"),
        ("a.jsonl", b'{"id":"a","request":"x"}\n{"id":"b","re', "line 2", "not JSON: unterminated"),
        (
            "a.jsonl",
            b'{"id":"a","request":"x"}\n{"id":"b\t","request":"y"}',
            "line 2",
            "not JSON: invalid control character at column 9",
        ),
        (
            "a.jsonl",
            b'{"id":"a","request":"x"}\n\xef\xbb\xbf{"id":"b","request":"y"}',
            "line 2",
            "a byte order mark, which only the first line may have",
        ),
        ("a.jsonl", b'{"id":"a"}', None, "not a file of corpus own: its columns are id"),
        ("a.jsonl", b"{}", None, "not a file of corpus own: its columns are none"),
        ("a.jsonl", b'{"id":"a","request":"x"}\n{"id":"b"}', "line 2", "has no column 'request'"),
        ("a.jsonl", b"[1]", "line 1", "a JSON array, where"),
        ("a.jsonl", b"17", "line 1", "not a JSON object, as each line should be"),
        ("a.jsonl", b'{"id":"a","id":"b"}', "line 1", "a key appears twice"),
        ("a.jsonl", b'{"id":"a","request":NaN}', "line 1", "NaN is not JSON"),
        ("a.jsonl", b'{"id":"a","request":5}', "line 1", "request: a number where text"),
        ("a.jsonl", b'{"id":"a","request":true}', "line 1", "request: a truth value where"),
        ("a.jsonl", b'{"id":"a","request":["x"]}', "line 1", "request: a list where text"),
        ("a.jsonl", b'{"id":"a","request":"x","response":{}}', "line 1", "response: an object"),
        ("a.jsonl", rb'{"id":"a","request":"\ud800"}', "line 1", "request: holds a lone surrogate"),
        ("a.jsonl", rb'{"id":"a","request":"\u0000"}', "line 1", "request: holds a NUL char"),
        ("a.jsonl", rb'{"id":"\udfff","request":"x"}', "line 1", "id: holds a lone surrogate"),
        ("a.jsonl", b'{"id":"a","request":' + b"[" * 100_000, "line 1", "nested too deeply"),
        ("a.jsonl", b'{"id":"' + b"x" * MAX_ROW_BYTES, "line 1", "a record longer than"),
        (
            "a.jsonl",
            b'{"id":"a","request":"' + b"x" * (MAX_TEXT_CHARACTERS + 1) + b'"}',
            "line 1",
            "request: 1,000,001 characters",
        ),
        ("a.jsonl", b"\xff\xfe{\x00", None, "is text in UTF-16"),
        ("a.jsonl", b"\x1f\x8b\x08 gzip", None, "is compressed with gzip"),
        ("a.json", b"{}", None, "is in no format that is read here"),
        ("a", b"{}", None, "is in no format that is read here"),
    ],
)
def test_bad_files_end_in_one_line(
    tmp_path: Path, name: str, content: bytes, place: str | None, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    error = refusal(path)
    assert isinstance(error, MalformedError)
    assert message in error.message
    assert error.place == place or (place == "line" and error.place is not None)
    assert len(error.one_line()) < 1000


@pytest.mark.parametrize(
    ("corpus", "row", "message"),
    [
        ("sorry-bench", {**SORRY[0], "turns": ["a", "b"]}, "turns: 2 items where 1 is expected"),
        ("sorry-bench", {**SORRY[0], "turns": "a"}, "turns: a value of type str where a list"),
        ("sorry-bench", {**SORRY[0], "turns": [1]}, "turns[0]: a number where text is expected"),
        ("ultrachat", {"id": "a", "data": ["x", 1]}, "data[1]: a number where text is expected"),
        ("ultrachat", {"id": "a", "data": None}, "data: null where a list is expected"),
        (
            "ultrachat",
            {"prompt": "", "prompt_id": "a", "messages": ["x"]},
            "messages[0]: not an object",
        ),
        (
            "ultrachat",
            {"prompt": "", "prompt_id": "a", "messages": [{"role": "user", "content": 1}]},
            "messages[0].content: a number where text is expected",
        ),
        ("pairs", {"id": "a", "request": "x", "response": " "}, "response: empty"),
        ("pairs", {"id": "a", "request": "x", "response": None}, "response: empty"),
    ],
)
def test_rows_of_another_shape(
    tmp_path: Path, corpus: str, row: dict[str, object], message: str
) -> None:
    with pytest.raises(MalformedError) as caught:
        read(write_jsonl(tmp_path / "file.jsonl", [row]), corpus)
    assert caught.value.place == "line 1"
    assert message in caught.value.message


def test_a_file_of_another_corpus_is_told_apart(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "xstest.csv", [{"id": "1", "prompt": "x", "label": "safe"}])
    error = refusal(path, "or-bench")
    assert error.message == "not a file of corpus or-bench: its columns are id, prompt, label"
    assert error.hint is not None
    assert "expected prompt, category" in error.hint
    error = refusal(path, "ultrachat")
    assert error.hint is not None
    assert "expected id, data or prompt, prompt_id, messages" in error.hint


def test_many_columns_are_refused_quickly_and_named_briefly(tmp_path: Path) -> None:
    path = tmp_path / "wide.csv"
    path.write_text(",".join(f"c{n}" for n in range(300_000)) + "\n", "utf-8")
    error = refusal(path)
    assert error.message.endswith("c23 and 299,976 more")
    path.write_text("c," * 300_000 + "\n", "utf-8")
    assert refusal(path).message == "columns that appear twice: c"


@pytest.mark.parametrize("suffix", WRITERS)
def test_every_cut_of_a_file_is_read_or_refused_in_one_line(tmp_path: Path, suffix: str) -> None:
    kinds: dict[str, tuple[str, Rows, dict[str, str]]] = {
        "csv": ("harmbench", HARMBENCH, {}),
        "jsonl": ("sorry-bench", SORRY, {"prompt_style": "base"}),
        "parquet": ("wildguardtest", WILDGUARD, {}),
    }
    corpus, rows, where = kinds[suffix]
    path = WRITERS[suffix](tmp_path / f"a.{suffix}", rows)
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        kept = read_or_refuse(path, corpus, where)
        if isinstance(kept, CorpusRows):
            assert kept.digest == hashlib.sha256(content[:length]).hexdigest()


def test_every_flipped_byte_of_a_parquet_file_is_read_or_refused(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", WILDGUARD)
    content = path.read_bytes()
    outcomes = set()
    for place in range(0, len(content), 11):
        changed = bytearray(content)
        changed[place] ^= 0x5A
        path.write_bytes(changed)
        outcomes.add(type(read_or_refuse(path, "wildguardtest", {})))
    assert outcomes == {MalformedError, CorpusRows}


def test_parquet_text_that_is_not_utf8(tmp_path: Path) -> None:
    pa, pq = arrow()
    table = pa.table(
        {
            "id": pa.array([b"a"], pa.binary()).view(pa.string()),
            "request": pa.array([b"\xff\xfe"], pa.binary()).view(pa.string()),
        }
    )
    path = tmp_path / "own.parquet"
    pq.write_table(table, path)
    assert refusal(path).message.startswith("not readable as Parquet")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"id,request\na,b\n" * 99])
def test_what_is_not_parquet(tmp_path: Path, content: bytes) -> None:
    arrow()
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    assert refusal(path).message.startswith("not readable as Parquet: ")


def test_parquet_columns_of_other_types(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "own.parquet", [{"id": 1, "request": b"bytes"}])
    assert refusal(path).message == "request: a value of type bytes where text is expected"
    path = write_parquet(tmp_path / "own.parquet", [{"id": 1, "request": 5}])
    assert refusal(path).message == "request: a number where text is expected"


def test_parquet_dictionaries_and_large_strings(tmp_path: Path) -> None:
    pa, pq = arrow()
    path = tmp_path / "own.parquet"
    requests_column = pa.array(["x", "y", "x"]).dictionary_encode()
    ids = pa.array(["a", "b", "c"], pa.large_string())
    pq.write_table(pa.table({"id": ids, "request": requests_column}), path)
    corpus = read(path, "own")
    assert (requests(corpus), corpus.duplicate_rows) == (["x", "y"], 1)


def test_an_id_that_is_not_a_number_is_none(tmp_path: Path) -> None:
    pa, pq = arrow()
    path = tmp_path / "own.parquet"
    ids = pa.array([1.5, float("nan")], pa.float64())
    pq.write_table(pa.table({"id": ids, "request": ["x", "y"]}), path)
    error = refusal(path)
    assert (error.place, error.message) == ("row 2", "has no id")


def test_parquet_reads_only_the_columns_it_needs(tmp_path: Path) -> None:
    """An unneeded column that cannot be decoded does no harm."""
    pa, pq = arrow()
    path = tmp_path / "own.parquet"
    table = pa.table(
        {
            "id": ["a"],
            "request": ["x"],
            "junk": pa.array([b"\xff"], pa.binary()).view(pa.string()),
        }
    )
    pq.write_table(table, path)
    assert requests(read(path, "own")) == ["x"]
    assert refusal(path, junk="x").message.startswith("not readable as Parquet")


def test_parquet_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_parquet(tmp_path / "a.parquet", WILDGUARD)
    monkeypatch.setattr(parquet, "MAX_BATCH_BYTES", 10)
    assert re.fullmatch(r"\d rows of \d+ bytes", refusal(path, "wildguardtest").message)
    monkeypatch.setattr(parquet, "MAX_GROUP_BYTES", 10)
    error = refusal(path, "wildguardtest")
    assert (error.place, error.message.startswith("a row group of")) == ("row group 1", True)


def test_limits_of_rows_and_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_csv(tmp_path / "all.csv", HARMBENCH)
    monkeypatch.setattr(reading, "MAX_KEPT_CHARACTERS", 50)
    assert "more than 50 characters" in refusal(path, "harmbench").message
    monkeypatch.setattr(reading, "MAX_FILE_ROWS", 1)
    assert refusal(path, "harmbench").message == "more than 1 rows"


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_parquet(tmp_path / "a.parquet", WILDGUARD)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    error = refusal(path, "wildguardtest")
    assert isinstance(error, IncompleteError)
    assert error.hint == f"{install('run')}, or convert the file to .jsonl"


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(FileAccessError, match="cannot open: No such file"):
        read(tmp_path / "none.csv", "own")
    folder = tmp_path / "folder.csv"
    folder.mkdir()
    with pytest.raises(FileAccessError, match="not a regular file"):
        read(folder, "own")
    pipe = tmp_path / "pipe.jsonl"
    os.mkfifo(pipe)
    with pytest.raises(FileAccessError, match="not a regular file"):
        read(pipe, "own")
    loop = tmp_path / "loop.csv"
    loop.symlink_to(loop)
    with pytest.raises(FileAccessError, match="symbolic link"):
        read(loop, "own")


def test_a_file_that_changes_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_jsonl(tmp_path / "own.jsonl", [{"id": "a", "request": "x"}])
    real = tables.open_table

    def grow(*arguments: Any) -> Any:
        with path.open("a") as stream:
            stream.write('{"id": "b", "request": "y"}\n')
        return real(*arguments)

    monkeypatch.setattr(reading, "open_table", grow)
    assert refusal(path).message == "changed while it was read"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (CorpusSource("harm-bench", path=Path("x.csv")), "no reader for a corpus named"),
        (CorpusSource("own"), "give either `path` or `hub`"),
        (CorpusSource("own", path=Path("x.csv"), hub="a/b"), "give either `path` or `hub`"),
        (CorpusSource("xstest", hub="a/b"), "`hub` without `revision`"),
        (CorpusSource("xstest", hub="a/b", revision="main"), "which file of a/b?"),
    ],
)
def test_sources_that_name_nothing(source: CorpusSource, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_corpus(source)
    assert message in caught.value.message


def test_the_limit_is_on_a_record_and_not_on_the_file(tmp_path: Path) -> None:
    rows: Rows = [{"id": str(n), "request": f"{n} " + "x" * 100_000} for n in range(60)]
    assert len(read(write_csv(tmp_path / "own.csv", rows), "own").selected) == 60
    assert len(read(write_jsonl(tmp_path / "own.jsonl", rows), "own").selected) == 60


def test_a_large_file_is_streamed(tmp_path: Path) -> None:
    """Rows that the filter leaves out cost no memory."""
    path = tmp_path / "large.jsonl"
    line = json.dumps({"id": "a", "request": "x" * 1000, "source": "no"}) + "\n"
    with path.open("w") as stream:
        for _ in range(60):
            stream.write(line * 1000)
        stream.write('{"id": "b", "request": "y", "source": "yes"}\n')
    code = """
import resource, sys
from pathlib import Path
from safety_receipts.runner.corpora.read import read_corpus
from safety_receipts.runner.corpora.rows import CorpusSource
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rows = read_corpus(CorpusSource("own", path=Path(sys.argv[1]), where={"source": "yes"}))
print(rows.rows, len(rows.selected), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
print("pyarrow" in sys.modules or "huggingface_hub" in sys.modules)
"""
    finished = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    rows, selected, kilobytes = map(int, finished.stdout.split()[:3])
    assert (rows, selected) == (60_001, 1)
    assert kilobytes < 20_000  # the file has 62,000
    assert finished.stdout.split()[3] == "False"  # neither library is loaded for text


def test_the_order_of_columns_and_formats_is_irrelevant(tmp_path: Path) -> None:
    shuffled = [dict(reversed(row.items())) for row in HARMBENCH]
    first = read(write_csv(tmp_path / "a.csv", HARMBENCH), "harmbench")
    second = read(write_csv(tmp_path / "b.csv", shuffled), "harmbench")
    assert first.selected == second.selected


def _csv_text(rows: Iterable[Sequence[str]]) -> str:
    stream = io.StringIO()
    csv.writer(stream).writerows(rows)
    return stream.getvalue()


@given(
    st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1)
)
def test_any_text_survives_csv_and_json(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    table = [("id", "request"), *((str(n), text) for n, text in enumerate(texts))]
    (folder / "any.csv").write_bytes(_csv_text(table).encode())
    write_jsonl(folder / "any.jsonl", [{"id": n, "request": text} for n, text in table[1:]])
    if not any(normalised_request(text) for text in texts):
        return
    first, second = read(folder / "any.csv", "own"), read(folder / "any.jsonl", "own")
    assert first.selected == second.selected
    assert {row.request for row in first.selected} <= set(texts)


OTHER_FILES = {
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    "gzip": (gzip.compress(b'{"id": "a", "request": "Mend it"}\n'), "compressed with gzip.*gunzip"),
    "zstd": (ZstdCompressor().compress(b"{}\n"), "compressed with zstd"),
    "a spreadsheet": (b"PK\x03\x04\x14\x00", "zip archive.*export it as CSV"),
    "UTF-16": ('{"id": "a", "request": "Mend it"}\n'.encode("utf-16"), "UTF-16.*save it as UTF-8"),
}


@pytest.mark.parametrize("case", OTHER_FILES)
@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_a_file_that_is_no_table_is_called_what_it_is(
    tmp_path: Path, case: str, suffix: str
) -> None:
    data, message = OTHER_FILES[case]
    path = tmp_path / f"rows.{suffix}"
    path.write_bytes(data)
    with pytest.raises(MalformedError) as caught:
        read_corpus(CorpusSource(corpus="own", path=path))
    assert re.search(message, caught.value.one_line())
