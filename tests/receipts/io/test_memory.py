"""How much memory there is."""

from __future__ import annotations

from safety_receipts.receipts.io.memory import available_memory


def test_some_memory_is_available() -> None:
    assert available_memory() > 2**20
