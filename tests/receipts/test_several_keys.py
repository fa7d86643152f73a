"""Several keys sign one statement: over the same bytes, each on its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.commands.options import read_signers
from safety_receipts.receipts.dsse import Envelope, sign
from safety_receipts.receipts.errors import IntegrityError, KeyFileError, UsageError
from safety_receipts.receipts.keys import (
    KeyType,
    Signer,
    TrustSet,
    generate_key,
    sign_together,
    supported_key_types,
    write_key_pair,
)
from safety_receipts.receipts.present.output import Output
from safety_receipts.receipts.seal import seal_event, seal_plan

STATEMENT = {"a": 1}


@pytest.fixture(scope="module")
def keys() -> list[Signer]:
    """A key of every kind."""
    return [generate_key(kind) for kind in supported_key_types()]


def test_each_key_signs_the_bytes_that_one_would_sign(keys: list[Signer]) -> None:
    together = sign(STATEMENT, sign_together(keys))
    assert together.payload == sign(STATEMENT, keys[0]).payload
    assert [s.keyid for s in together.signatures] == [key.public.keyid for key in keys]
    for key, signature in zip(keys, together.signatures, strict=True):
        alone = Envelope(together.payload, (signature,))
        assert alone.signed_by(TrustSet([key.public])) == (key.public,)


def test_it_reads_back(keys: list[Signer]) -> None:
    envelope = sign(STATEMENT, sign_together(keys))
    assert Envelope.from_json(envelope.to_json()) == envelope


def test_all_have_signed_only_if_each_has(keys: list[Signer]) -> None:
    both = sign_together(keys)
    envelope = sign(STATEMENT, both)
    assert envelope.signed_by_all(both)
    assert envelope.signed_by_all(sign_together(list(reversed(keys))))
    for left_out in range(len(keys)):
        kept = [s for i, s in enumerate(envelope.signatures) if i != left_out]
        assert not Envelope(envelope.payload, tuple(kept)).signed_by_all(both)
    twice = (envelope.signatures[0],) * len(keys)
    assert not Envelope(envelope.payload, twice).signed_by_all(both)


def test_signers_join_once(keys: list[Signer]) -> None:
    joined = sign_together([sign_together(keys[:1]), sign_together(keys[1:])])
    assert [one.public for one in joined.each] == [key.public for key in keys]
    assert list(joined.trust) == [key.public for key in keys]
    assert joined.public == keys[0].public
    assert all(one.also == () for one in joined.each)
    with pytest.raises(UsageError, match="given twice"):
        sign_together([joined, keys[0]])
    with pytest.raises(UsageError, match="0 keys"):
        sign_together([])
    with pytest.raises(UsageError, match="17 keys"):
        sign_together([generate_key() for _ in range(17)])


def test_a_receipt_is_sealed_with_all_keys_of_its_plan(sealed: Bundle, tmp_path: Path) -> None:
    plan = sealed.plan.statement.predicate
    first, second = generate_key(), generate_key(KeyType.P256)
    envelope = seal_plan(plan, first)
    with pytest.raises(IntegrityError, match="another key"):
        seal_event(
            tmp_path / "event",
            plan_envelope=envelope,
            points=[],
            event=sealed.receipt.statement.predicate.event,
            environment=sealed.receipt.statement.predicate.environment,
            signer=sign_together([first, second]),
        )


class TestReading:
    """What ``--key`` and ``--passphrase-env`` give."""

    @pytest.fixture
    def read(
        self, tmp_path: Path, keys: list[Signer], monkeypatch: pytest.MonkeyPatch
    ) -> Callable[..., Signer | None]:
        """Write two keys, each with a passphrase or without, and read them as a command does."""
        monkeypatch.setenv("ONE", "first passphrase")
        monkeypatch.setenv("TWO", "second passphrase")

        def read(passphrases: list[bytes | None], *variables: str) -> Signer | None:
            paths = []
            for number, (key, passphrase) in enumerate(zip(keys, passphrases, strict=False)):
                paths.append(tmp_path / f"key-{number}")
                write_key_pair(paths[-1], key, passphrase)
            return read_signers(paths, variables, Output())

        return read

    @pytest.mark.parametrize(
        ("passphrases", "variables"),
        [
            ([None, None], []),
            ([b"first passphrase", b"second passphrase"], ["ONE", "TWO"]),
            ([b"first passphrase", b"first passphrase"], ["ONE"]),
            ([b"first passphrase", None], ["ONE"]),
            ([None, b"second passphrase"], ["TWO"]),
        ],
    )
    def test_one_variable_each_or_one_for_all(
        self, read: Any, keys: list[Signer], passphrases: Any, variables: Any
    ) -> None:
        signer = read(passphrases, *variables)
        assert [one.public for one in signer.each] == [key.public for key in keys[:2]]

    def test_a_single_key_needs_no_needless_passphrase(self, read: Any) -> None:
        with pytest.raises(KeyFileError, match="not encrypted"):
            read([None], "ONE")

    def test_variables_go_in_the_order_of_keys(self, read: Any) -> None:
        with pytest.raises(KeyFileError, match="is wrong"):
            read([b"first passphrase", b"second passphrase"], "TWO", "ONE")

    def test_more_variables_than_keys_are_refused(self, read: Any) -> None:
        with pytest.raises(UsageError, match="2 times --passphrase-env for 1 keys"):
            read([b"first passphrase"], "ONE", "TWO")

    def test_no_file_is_no_signer(self, read: Any) -> None:
        assert read([]) is None
