"""Replies of timestamp authorities: which hold, under which roots, for which bytes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from timestamp_authority import Party, certificates, needs_openssl, party, stamped

pytest.importorskip("rfc3161_client")

from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

from safety_receipts.receipts.dsse import sign
from safety_receipts.receipts.errors import IntegrityError, KeyFileError
from safety_receipts.receipts.keys import generate_key, sign_together
from safety_receipts.receipts.timestamps.certificates import chain_to, parse_certificates
from safety_receipts.receipts.timestamps.replies import (
    check_answer,
    check_reply,
    new_request,
    stamped_bytes,
    stamps,
)

pytestmark = needs_openssl

MESSAGE = b"what is stamped"
Stamp = Callable[..., bytes]


@pytest.fixture(scope="module")
def root() -> Party:
    """The root that the reader trusts."""
    return party("root", signs_certificates=True)


@pytest.fixture(scope="module")
def between(root: Party) -> Party:
    """An authority that the root lets give certificates."""
    return party("between", root, signs_certificates=True)


@pytest.fixture
def stamp(tmp_path: Path) -> Stamp:
    """Have a party stamp the message, or what else is asked."""

    def stamp(authority: Party, *, embedded: bool = True, message: bytes = MESSAGE) -> bytes:
        made = TimestampRequestBuilder().data(message).hash_algorithm(HashAlgorithm.SHA256)
        query = made.cert_request(cert_request=embedded).build().as_bytes()
        return stamped(tmp_path / "tsa", authority, query)

    return stamp


@pytest.fixture
def a_reply(stamp: Stamp, root: Party) -> bytes:
    """A reply that holds."""
    return stamp(party("tsa", root))


def test_a_stamp_below_the_root_says_when(stamp: Stamp, root: Party) -> None:
    before = datetime.now(UTC)
    found = check_reply(stamp(party("tsa", root)), MESSAGE, certificates([root]))
    assert before - timedelta(seconds=1) <= found.time <= datetime.now(UTC)


@pytest.mark.parametrize("embedded", [True, False])
def test_certificates_beside_the_reply_lead_to_the_root(
    stamp: Stamp, root: Party, between: Party, embedded: bool
) -> None:
    authority = party("tsa", between)
    reply, roots = stamp(authority, embedded=embedded), certificates([root])
    with pytest.raises(IntegrityError):
        check_reply(reply, MESSAGE, roots)
    beside = [between] if embedded else [authority, between]
    check_reply(reply, MESSAGE, roots, certificates(beside))
    check_reply(reply, MESSAGE, roots, certificates([party("another"), *reversed(beside)]))


def test_what_names_no_certificate_says_so(stamp: Stamp, root: Party) -> None:
    reply = stamp(party("tsa", root), embedded=False)
    with pytest.raises(IntegrityError, match="names no certificate, and none lies beside"):
        check_reply(reply, MESSAGE, certificates([root]))


def test_another_root_is_none(stamp: Stamp, root: Party) -> None:
    other = party("root", signs_certificates=True)
    with pytest.raises(IntegrityError, match="no authority below a root that you gave") as caught:
        check_reply(stamp(party("tsa", root)), MESSAGE, certificates([other]))
    assert "ErrorStack" not in caught.value.message


@pytest.mark.parametrize("embedded", [True, False])
def test_nobody_vouches_for_a_root_of_their_own(stamp: Stamp, root: Party, embedded: bool) -> None:
    """The package would trust it: it lies beside the reply, and is signed with its own key."""
    own = party("own root", signs_certificates=True)
    alone = party("alone")
    for authority in (party("tsa", own), alone):
        reply = stamp(authority, embedded=embedded)
        with pytest.raises(IntegrityError):
            check_reply(reply, MESSAGE, certificates([root]), certificates([own, authority]))


def test_who_gives_no_certificates_vouches_for_nobody(stamp: Stamp, root: Party) -> None:
    tsa = party("tsa", root)
    below = party("below", tsa)
    assert chain_to(certificates([root]), certificates([below, tsa])).leaves == (tsa.certificate,)
    with pytest.raises(IntegrityError):
        check_reply(stamp(below), MESSAGE, certificates([root]), certificates([tsa]))


def test_a_chain_of_own_signatures_is_left_out(root: Party, between: Party) -> None:
    own = party("own", signs_certificates=True)
    chain = chain_to(certificates([root]), certificates([own, between, party("x", own), root]))
    assert chain.intermediates == (between.certificate,)
    assert chain.leaves == ()


@pytest.mark.parametrize("days", [(-20, -10), (10, 20)], ids=["expired", "not yet valid"])
def test_a_certificate_must_be_valid_at_the_time_of_the_stamp(
    stamp: Stamp, root: Party, days: tuple[int, int]
) -> None:
    with pytest.raises(IntegrityError, match=r"expired|not yet valid"):
        check_reply(stamp(party("tsa", root, days=days)), MESSAGE, certificates([root]))


def test_other_bytes_are_not_stamped(stamp: Stamp, root: Party) -> None:
    reply = stamp(party("tsa", root), message=b"other bytes")
    assert not stamps(reply, MESSAGE)
    assert stamps(reply, b"other bytes")
    with pytest.raises(IntegrityError, match="is of other bytes"):
        check_reply(reply, MESSAGE, certificates([root]))


def test_a_refusal_is_no_stamp(tmp_path: Path, root: Party) -> None:
    request = new_request(MESSAGE)
    reply = stamped(tmp_path / "tsa", party("tsa", root), request.query, digests="sha512")
    for check in (
        lambda: check_answer(reply, request),
        lambda: check_reply(reply, MESSAGE, certificates([root])),
        lambda: stamps(reply, MESSAGE),
    ):
        with pytest.raises(IntegrityError, match="the authority refused: rejection"):
            check()


def test_an_answer_is_to_the_question(tmp_path: Path, root: Party) -> None:
    authority, request = party("tsa", root), new_request(MESSAGE)
    reply = stamped(tmp_path / "tsa", authority, request.query)
    assert check_answer(reply, request) == check_reply(reply, MESSAGE, certificates([root]))
    with pytest.raises(IntegrityError, match="nonce"):
        check_answer(reply, new_request(MESSAGE))
    with pytest.raises(IntegrityError, match="other bytes"):
        check_answer(reply, new_request(b"other"))


def test_no_flipped_byte_passes(stamp: Stamp, root: Party) -> None:
    """Of the whole reply, but for the words of its status, and attributes that nobody signs."""
    reply, roots = stamp(party("tsa", root)), certificates([root])
    held = 0
    for place in range(len(reply)):
        changed = bytearray(reply)
        changed[place] ^= 0x55
        try:
            found = check_reply(bytes(changed), MESSAGE, roots)
        except IntegrityError:
            held += 1
        else:
            assert found == check_reply(reply, MESSAGE, roots)
    assert held > 0.9 * len(reply)


@given(data=st.data())
@settings(
    deadline=None,
    max_examples=200,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # read only
)
def test_a_damaged_reply_ends_in_a_named_error(
    data: st.DataObject, a_reply: bytes, root: Party
) -> None:
    damaged = bytearray(a_reply)
    start = data.draw(st.integers(0, len(damaged) - 1))
    damaged[start : start + data.draw(st.integers(0, 20))] = data.draw(st.binary(max_size=20))
    with suppress(IntegrityError):
        check_reply(bytes(damaged), MESSAGE, certificates([root]))


@pytest.mark.parametrize("junk", [b"", b"\x30\x03\x02\x01\x00", b"\x30\x80" + bytes(60), b"text"])
def test_junk_is_no_reply(junk: bytes, root: Party) -> None:
    with pytest.raises(IntegrityError, match="is no reply"):
        check_reply(junk, MESSAGE, certificates([root]))


def test_what_is_stamped_are_the_signatures() -> None:
    one, other = generate_key(), generate_key()
    first, again = sign({"a": 1}, one), sign({"a": 1}, one)
    both = sign({"a": 1}, sign_together([one, other]))
    assert stamped_bytes(first) == stamped_bytes(again)
    messages = [stamped_bytes(e) for e in (first, both, sign({"a": 1}, other), sign({"a": 2}, one))]
    assert len(set(messages)) == 4
    expected = (
        f'["safety-receipts/timestamp/1","{first.digest}",["{first.signatures[0].sig.hex()}"]]'
    )
    assert stamped_bytes(first) == expected.encode()


def test_files_of_certificates(root: Party, between: Party) -> None:
    both: Any = parse_certificates(root.pem + between.pem, Path("x"))
    assert list(both) == certificates([root, between])
    for junk in (b"", b"text", root.pem[:200]):
        with pytest.raises(KeyFileError, match="not a certificate"):
            parse_certificates(junk, Path("x"))
    with pytest.raises(KeyFileError, match="more than 32"):
        parse_certificates(root.pem * 33, Path("x"))
