"""Python's search for cycles is left out for a while, and no longer."""

from __future__ import annotations

import gc

import pytest

from safety_receipts.runner.corpora.uncollected import uncollected


def test_the_search_is_off_inside_and_on_again_after_an_error() -> None:
    assert gc.isenabled()

    def fails() -> None:
        with uncollected():
            assert not gc.isenabled()
            raise RuntimeError("planted")

    with pytest.raises(RuntimeError, match="planted"):
        fails()
    assert gc.isenabled()


def test_where_it_was_off_it_stays_off() -> None:
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
