"""What the tests of cards share: sealed and verified receipts, made once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from carding import verified
from releases import AUDITOR, EVALUATOR, SMALL, Audit, seal_release, write_audits

from safety_receipts.receipts.events.synthetic import EVENT
from safety_receipts.verify.card.attach import NewCard, card_parts, new_card, write_card
from safety_receipts.verify.card.splice import CardParts
from safety_receipts.verify.verified import VerifiedReceipt

LATER = EVENT.model_copy(
    update={"started_at": "2026-02-20T00:00:00Z", "finished_at": "2026-02-20T00:01:00Z"}
)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Bundles, read only: one, one of another stage, and one of a later month."""
    folder = tmp_path_factory.mktemp("card")
    made = {
        "first": SMALL,
        "stage": replace(SMALL, stage="dpo", weights="dpo", complied=200),
        "later": replace(SMALL, weights="later", event=LATER, complied=300),
        "audited": SMALL,
    }
    found = {name: seal_release(folder / name, release) for name, release in made.items()}
    write_audits(found["audited"], Audit())
    return found


@pytest.fixture(scope="session")
def receipts_of(folders: dict[str, Path]) -> dict[str, VerifiedReceipt]:
    """The same, verified."""
    return {name: verified(folder) for name, folder in folders.items()}


@pytest.fixture(scope="session")
def first(receipts_of: dict[str, VerifiedReceipt]) -> VerifiedReceipt:
    """A verified receipt."""
    return receipts_of["first"]


@pytest.fixture(scope="session")
def parts(first: VerifiedReceipt) -> CardParts:
    """What it gives a card."""
    return card_parts(first, None, instrument=False)


Attach = Callable[..., NewCard]


@pytest.fixture
def attach(first: VerifiedReceipt) -> Attach:
    """Attach a receipt to a file, as the command does."""

    def attach(readme: Path, receipt: VerifiedReceipt = first, *, replace: bool = False) -> NewCard:
        given = card_parts(receipt, None, instrument=True)
        card = new_card(readme, receipt, given, replace=replace)
        write_card(card)
        return card

    return attach


@pytest.fixture
def readme(tmp_path: Path) -> Path:
    """A model card."""
    path = tmp_path / "README.md"
    path.write_text("---\nlicense: mit\n---\n# Model\n\nText.\n", "utf-8")
    return path


@pytest.fixture
def trust(tmp_path: Path) -> list[str]:
    """Options that trust the evaluator and the auditor of the releases."""
    (tmp_path / "evaluator.pub").write_bytes(EVALUATOR.public.pem())
    (tmp_path / "auditor.pub").write_bytes(AUDITOR.public.pem())
    return [
        *("--trust", str(tmp_path / "evaluator.pub")),
        *("--trust-auditor", str(tmp_path / "auditor.pub")),
    ]
