"""What the benchmark compares audits with, and the benchmark itself."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import detection
import numpy as np
import pytest
from attacks import records, swaps
from attacks.audits import Terms, replay
from attacks.forgeries import FORGERIES
from attacks.peers import decoding_alarms, mean_margin_alarms, not_reproduced
from hypothesis import given
from hypothesis import strategies as st

from safety_receipts.verify.audit.statistics.model_identity import responses_of

Honest = Any


def test_what_decoding_again_would_give_is_read_off_the_replay(honest: Honest) -> None:
    subject = honest.subject
    where = records.target(subject, honest.entries, 0.1)
    again = [record.response_tokens for _, record in subject.generate(honest.engine)]
    for attack in (records.edited, records.stopped_early, records.emptied, records.flipped):
        entries = attack(subject, honest.entries, where)
        replayer = subject.replayer(honest.engine, Terms().limits)
        found = not_reproduced(replay(replayer, entries, honest.record), subject.plan)
        said = [record.response_tokens for _, record in entries]
        assert found.tolist() == [a != b for a, b in zip(said, again, strict=True)]
        assert found.any() == (attack is not records.flipped)  # which no decoding shows


@given(st.lists(st.booleans(), min_size=1, max_size=7), st.integers(0, 7))
def test_the_chance_that_a_sample_holds_one_is_that_of_counting_samples(
    differs: list[bool], size: int
) -> None:
    samples = list(combinations(differs, min(size, len(differs))))
    expected = sum(any(sample) for sample in samples) / len(samples)
    assert decoding_alarms(differs, size) == pytest.approx(expected)


def test_a_mean_margin_raises_an_alarm_over_another_model_and_seldom_over_the_same(
    honest: Honest,
) -> None:
    subject = honest.subject
    entries = subject.generate(subject.engine(swaps.rounded(subject, 2)))
    other = replay(subject.replayer(honest.engine, Terms().limits), entries)
    same = responses_of([one.statistics for one in honest.record.replayed.values()])
    assert mean_margin_alarms(other, same, 400, 200, seed=1) > 0.9
    assert mean_margin_alarms(honest.record, same, 400, 200, seed=1) <= 0.05


def test_the_benchmark_reports_every_forgery_and_every_record(
    capsys: pytest.CaptureFixture[str],
) -> None:
    detection.main(["--part", "records", "--tiny", "--repeats", "20"])
    out = capsys.readouterr().out
    rows = [[c.strip() for c in line.split("|")[1:-1]] for line in out.splitlines() if "|" in line]
    forged = {row[0]: row[1:3] for row in rows if len(row) == 4}
    assert forged["none: honest"][0] == "0"
    for forgery in FORGERIES:
        assert forged[forgery.name] == (["3", "3"] if forgery.caught_by else ["2", "2"])
    records_ = [row for row in rows if len(row) == len(detection.STATED)]
    assert len(records_) == 3 * 2 + 16 + 6 + 7  # two lines of each head
    for row in records_:
        if row[0].startswith(("called unscored, 2 ε", "called failed, 2 ε")):
            assert row[4].startswith("0.0 %")
    assert np.all([float(row[5].split()[0]) == 0 for row in records_[-7:]])  # honest ones
