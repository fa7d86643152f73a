"""The hub's own library reads from a card what the receipt says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from carding import SHAPES

from safety_receipts.receipts.errors import IntegrityError, ReceiptsError
from safety_receipts.verify.card.attach import card_parts, check_card, new_card, write_card
from safety_receipts.verify.card.eval_results import Benchmark, results_path
from safety_receipts.verify.card.reading import check_by_hub
from safety_receipts.verify.card.splice import CardParts, attached
from safety_receipts.verify.verified import VerifiedReceipt

hub = pytest.importorskip("huggingface_hub")

UNREADABLE = {"YAML 1.1 truth values as keys", "numbers and versions"}
"""Cards that the library cannot read, whatever is put in."""


@pytest.mark.parametrize("name", SHAPES)
def test_it_reads_every_card_that_it_could_read_before(
    name: str, tmp_path: Path, parts: CardParts
) -> None:
    old = SHAPES[name].decode()
    saved = tmp_path / "README.md"
    saved.write_bytes(attached(old, parts).encode())
    unread = check_by_hub(saved, old, parts)
    if unread is not None:
        assert "could not read it before either" in unread
        with pytest.raises((TypeError, ValueError)):
            hub.ModelCard(old.removeprefix("\ufeff"))
    card = hub.ModelCard.load(saved) if unread is None else None
    assert card is None or "## Safety receipt" in card.text


def test_its_numbers_are_the_receipts(
    readme: Path, receipts_of: dict[str, VerifiedReceipt], attach: Any
) -> None:
    """Of two receipts in one card, each condition: rate, worst case, over-refusal, interval."""
    for name in ("first", "stage"):
        attach(readme, receipts_of[name])
    results = hub.ModelCard.load(readme).data.eval_results
    read = {(one.dataset_revision, one.dataset_config, one.metric_type): one for one in results}
    assert len(read) == len(results), "no two results are one to the hub"
    assert len({one.unique_identifier for one in results}) * 3 == len(results)
    for name in ("first", "stage"):
        receipt = receipts_of[name]
        digest = receipt.signed.envelope.digest
        for condition in receipt.predicate.conditions:
            assert condition.control is not None
            assert condition.interval is not None
            wanted = {
                "compliance_rate": condition.compliance_rate,
                "worst_case_compliance_rate": condition.worst_case_rate,
                "over_refusal_rate": condition.control.refusal_rate,
            }
            for metric, rate in wanted.items():
                one = read.pop((digest, condition.id, metric))
                assert f"{one.metric_value:.6f}" == rate
                assert isinstance(one.metric_value, float)
                assert one.verified is None
                assert one.verify_token is None
            lower = one_of(results, digest, condition.id).metric_args["interval_lower"]
            assert f"{lower:.6f}" == condition.interval.lower
    assert read == {}


def one_of(results: Any, digest: str, config: str) -> Any:
    return next(
        one
        for one in results
        if (one.dataset_revision, one.dataset_config, one.metric_type)
        == (digest, config, "compliance_rate")
    )


def test_what_it_writes_anew_has_the_same_numbers(
    readme: Path, receipts_of: dict[str, VerifiedReceipt], attach: Any
) -> None:
    """Nothing of ours is merged with anything when the library saves a card; its comments go,
    and this program says so instead of putting everything in a second time.
    """
    for name in ("first", "stage"):
        attach(readme, receipts_of[name])
    card = hub.ModelCard.load(readme)
    before = [vars(one) for one in card.data.eval_results]
    card.save(readme)
    again = [vars(one) for one in hub.ModelCard.load(readme).data.eval_results]
    assert sorted(map(repr, again)) == sorted(map(repr, before))
    with pytest.raises(ReceiptsError, match="without the comments around them"):
        attach(readme, receipts_of["first"])
    parts = card_parts(receipts_of["first"], None, instrument=False)
    with pytest.raises(IntegrityError, match="holds no entry of model-index"):
        check_card(readme, parts)


def test_other_numbers_are_refused(readme: Path, tmp_path: Path, parts: CardParts) -> None:
    old = readme.read_text("utf-8")
    saved = tmp_path / "saved.md"
    saved.write_text(attached(old, parts).replace("value: 0.0", "value: 0.1", 1), "utf-8")
    with pytest.raises(ReceiptsError, match="reads other numbers"):
        check_by_hub(saved, old, parts)


def test_the_file_of_results_is_one_of_its(readme: Path, first: VerifiedReceipt) -> None:
    url = "https://example.org/r"
    parts = card_parts(first, url, instrument=False)
    write_card(new_card(readme, first, parts, benchmark=Benchmark("a/b", "t"), url=url))
    path = results_path(readme, parts.mark.digest)
    (entry,) = hub.parse_eval_result_entries(yaml.safe_load(path.read_text("utf-8")))
    assert (entry.dataset_id, entry.task_id, entry.source_url) == ("a/b", "t", url)
    assert entry.date == first.predicate.event.finished_at
    highest = max(float(one.compliance_rate or 0) for one in first.predicate.conditions)
    assert entry.value == highest
    assert entry.verify_token is None
    (written,) = hub.eval_result_entries_to_yaml([entry])
    assert written == yaml.safe_load(path.read_text("utf-8"))[0]
