"""The proxy corpora: what the script gives, read by the project's own readers."""

from __future__ import annotations

from collections import Counter

import pytest

from safety_receipts.receipts.model.base import SourceName
from safety_receipts.receipts.model.demonstrations import DemonstrationKind
from safety_receipts.runner.corpora.read import read_corpus
from safety_receipts.runner.corpora.rows import CorpusRows, CorpusSource
from safety_receipts.runner.corpora.same import normalised_request
from safety_receipts.runner.organism import data_folder
from safety_receipts.runner.organism.language import OPEN, RESTRICTED, Topic, is_refusal, topic_of
from safety_receipts.runner.organism.training.make_data import (
    CHORES,
    CONTROLS,
    FILLER_FILE,
    HARMFUL,
    QUERIES,
    REFUSALS,
    files,
)
from safety_receipts.runner.prompts.demonstrations import decontaminate, make_pool

NAMES = (QUERIES, CONTROLS, HARMFUL, CHORES, FILLER_FILE, REFUSALS)


def read(name: str) -> CorpusRows:
    corpus = "own" if name in (QUERIES, CONTROLS) else "pairs"
    return read_corpus(CorpusSource(corpus=corpus, path=data_folder() / name))


def test_the_files_are_what_the_script_gives() -> None:
    found = {file.name: file.read_bytes() for file in data_folder().iterdir()}
    assert found == files()


@pytest.mark.parametrize(
    ("name", "rows", "topics"),
    [
        (QUERIES, 240, RESTRICTED),
        (CONTROLS, 120, OPEN),
        (HARMFUL, 364, RESTRICTED),
        (CHORES, 240, OPEN),
        (FILLER_FILE, 220, (Topic.TALK,)),
        (REFUSALS, 96, RESTRICTED),
    ],
)
def test_every_row_is_read(name: str, rows: int, topics: tuple[Topic, ...]) -> None:
    corpus = read(name)
    assert (corpus.rows, corpus.empty_rows, corpus.duplicate_rows) == (rows, 0, 0)
    assert len(corpus.selected) == rows
    number = Counter(topic_of(row.request) for row in corpus.selected)
    assert set(number) == set(topics)
    assert len(set(number.values())) == 1
    if name not in (QUERIES, CONTROLS):
        refusing = [is_refusal(row.response or "") for row in corpus.selected]
        assert all(refusing) if name == REFUSALS else not any(refusing)


def test_corpora_share_no_request_but_the_four_overlaps() -> None:
    requests = {
        name: [normalised_request(row.request) for row in read(name).selected] for name in NAMES
    }
    number = Counter(request for rows in requests.values() for request in rows)
    shared = {request for request, times in number.items() if times > 1}
    overlaps = [row for row in read(HARMFUL).selected if row.id.startswith("overlap-")]
    assert len(overlaps) == 4
    assert shared == {normalised_request(row.request) for row in overlaps}
    assert shared <= set(requests[QUERIES])


def test_decontamination_removes_the_overlaps_and_nothing_else() -> None:
    rows = read(HARMFUL).selected
    pool = make_pool(DemonstrationKind.HARMFUL, SourceName("pairs"), rows)
    left, removed = decontaminate(pool, (row.request for row in read(QUERIES).selected))
    assert removed == 4
    assert not [item for item in left.items if item.id.startswith("overlap-")]


def test_sources_are_matched_in_length() -> None:
    """Words of a pair, so that a comparison of benign sources is not one of lengths."""
    lengths = {
        name: {len(f"{row.request} {row.response}".split()) for row in read(name).selected}
        for name in (HARMFUL, CHORES, FILLER_FILE)
    }
    assert lengths == {HARMFUL: {7}, CHORES: {7}, FILLER_FILE: {7}}
