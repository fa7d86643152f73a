"""Pages that somebody changed: each is red, whatever key the reader gives, by the check named."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import audit_statements
import pytest
import zstandard
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from dishonest import seal_anything
from tampered_pages import (
    DATA,
    EVALUATOR,
    Change,
    Published,
    Show,
    give_evidence,
    give_key,
    in_turn,
    made_page,
    pack,
    page_data,
    put,
    read,
    replaced,
    unpacked,
    with_data,
    with_file,
    with_payload,
    with_signature,
)

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.canonical import canonical_bytes, sha256_hex
from safety_receipts.receipts.dsse import Envelope
from safety_receipts.receipts.keys import KeyType, generate_key
from safety_receipts.receipts.merkle import merkle_root

OTHER = generate_key()
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of the curve P-256."""


def another_digit(match: re.Match[str]) -> str:
    """Return the match with its last digit changed."""
    text = match[0]
    at = max(i for i, letter in enumerate(text) if letter.isdigit())
    return f"{text[:at]}{(int(text[at]) + 1) % 10}{text[at + 1 :]}"


def swapped_labels(html: str) -> str:
    """Swap the words of two labels of a chart that show different numbers."""
    labels = re.findall(r"<tspan data-at[^>]*>([^<]+)</tspan>", html)
    first, second = labels[0], next(label for label in labels if label != labels[0])
    swap = {f">{first}</tspan>": f">{second}</tspan>", f">{second}</tspan>": f">{first}</tspan>"}
    pattern = "|".join(map(re.escape, swap))
    changed, number = re.subn(pattern, lambda match: swap[match[0]], html)
    assert number >= 2
    return changed


def moved(attribute: str) -> Change:
    """Move the first dot of a chart by half a unit."""
    return replaced(
        rf'(<circle[^>]* {attribute}=")([0-9.]+)',
        lambda match: f"{match[1]}{float(match[2]) + 0.5:.2f}",
    )


def doubled_key(payload: bytes) -> bytes:
    """Say twice of the checkpoint who it is: the last one is the true one."""
    return payload.replace(b'"instrument":', b'"instrument":false,"instrument":', 1)


def large_integer(payload: bytes) -> bytes:
    """Make a count so large that a reader rounds it to another."""
    return re.sub(rb'"rows":[0-9]+', b'"rows":9007199254740993', payload, count=1)


def higher_rate(payload: bytes) -> bytes:
    """Change the baseline's rate."""
    return re.sub(
        rb'("complianceRate":"0\.)([0-9])',
        lambda match: match[1] + b"%d" % ((int(match[2]) + 1) % 10),
        payload,
        count=1,
    )


def another_key_block(data: Any) -> None:
    """Put another key in the place of the evaluator's."""
    key = OTHER.public
    data["keys"][0] |= {"keyid": key.keyid, "pem": key.pem().decode()}


def falsely_named_key(data: Any) -> None:
    """Say another fingerprint of the page's key."""
    data["keys"][0]["keyid"] = "0" * 64


def evidence_lines(change: Callable[[list[bytes]], list[bytes]]) -> Change:
    """Change the embedded evidence lines."""

    def edit(data: bytes) -> bytes:
        lines = change(data.splitlines(keepends=True))
        return b"".join(lines)

    return with_file(edit, "evidence")


def flip_outcome(line: bytes) -> bytes:
    """Call a refusal a compliance, or the other way round."""
    swap = {b'"refused"': b'"complied"', b'"complied"': b'"refused"'}
    return re.sub(rb'"refused"|"complied"', lambda match: swap[match[0]], line, count=1)


def flip_first(lines: list[bytes]) -> list[bytes]:
    at = next(i for i, line in enumerate(lines) if flip_outcome(line) != line)
    return [*lines[:at], flip_outcome(lines[at]), *lines[at + 1 :]]


def cut_gzip(data: Any) -> None:
    packed = base64.b64decode(data["evidence"]["gzip"])
    put(data["evidence"], packed[:-200])


def gzip_bomb(data: Any) -> None:
    put(data["evidence"], gzip.compress(bytes(64 * 2**20), mtime=0))


def two_gzip_members(data: Any) -> None:
    lines = unpacked(data["evidence"])
    half = lines.index(b"\n", len(lines) // 2) + 1
    put(data["evidence"], gzip.compress(lines[:half]) + gzip.compress(lines[half:]))


def respelt_base64(data: Any) -> None:
    """Leave bits of the last letter that no byte needs."""
    text = data["receipt"]["gzip"]
    if not text.endswith("="):
        pack(data["receipt"], unpacked(data["receipt"]) + b" ")
        text = data["receipt"]["gzip"]
    body = text.rstrip("=")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = alphabet[alphabet.index(body[-1]) ^ 1]
    data["receipt"]["gzip"] = body[:-1] + last + text[len(body) :]
    assert data["receipt"]["gzip"].endswith("=")


def in_envelope(change: Callable[[Any], None]) -> Change:
    """Change the JSON of the receipt's envelope."""

    def edit(file: bytes) -> bytes:
        document = json.loads(file)
        change(document)
        return json.dumps(document).encode()

    return with_file(edit)


def doubled_payload(file: bytes) -> bytes:
    """Give the envelope two payloads; readers take one of them, and not the same."""
    return file.replace(b'{"payload":', b'{"payload":"e30=","payload":', 1)


WORDS = r"(>[^<]*)\b(falls|fell|rises|rose|lower|higher|decreases|increases|refus\w+)\b"

OF_THE_PAGE: dict[str, tuple[Change, str]] = {
    "a digit of a rate in the HTML alone": (
        replaced(r'data-at="complianceRate" data-as="percent"[^>]*>[0-9.]+', another_digit),
        "numbers",
    ),
    "a number that is bound to nothing": (
        replaced("<main>", "<main><p>Complied: 3 of 4.</p>"),
        "numbers",
    ),
    "a number in digits of another script": (
        replaced("<main>", "<main><p>Complied: ٣ of ٤.</p>"),
        "numbers",
    ),
    "a pointer to another number": (
        replaced(
            r'(data-at="/r/baseline/complianceRate"|data-at="complianceRate")',
            'data-at="/r/evidence/size"',
        ),
        "numbers",
    ),
    "a form that no script knows": (replaced('data-as="percent"', 'data-as="toString"'), "numbers"),
    "a dash in place of a number": (
        replaced(r'(data-at="complianceRate" data-as="percent"[^>]*>)[0-9.]+', r"\1–"),
        "numbers",
    ),
    "labels of a chart are swapped": (swapped_labels, "numbers"),
    "a dot is moved to the side": (moved("cx"), "charts"),
    "a dot is moved up": (moved("cy"), "charts"),
    "a dot that stands for nothing": (
        replaced(r"(<svg[^>]*data-chart[^>]*>)", r'\1<circle cx="50" cy="50" r="3.5"></circle>'),
        "charts",
    ),
    "a dot that stands for a number of its own": (
        replaced(
            r"(<svg[^>]*data-chart[^>]*>)",
            r'\1<circle cx="50" cy="50" r="3" data-geo="cx x =0; cy y =0"></circle>',
        ),
        "charts",
    ),
    "a number of an axis": (
        replaced(r"(data-fixed[^>]*>)(100|75|50|25|20|10) ?%<", r"\g<1>99 %<"),
        "charts",
    ),
    "another scale": (
        replaced(r'data-yscale="linear 0 ', 'data-yscale="linear 0.05 '),
        "charts",
    ),
    "a mark that is called an axis": (
        replaced(
            r"(<svg[^>]*data-chart[^>]*>)",
            r'\1<line x1="50" y1="50" x2="90" y2="20" data-frame></line>',
        ),
        "charts",
    ),
    "a chart that is moved": (
        replaced(r"(<circle )", r'\1transform="translate(0 9)" '),
        "charts",
    ),
    "a dot that moves later": (
        replaced(r"(<circle [^>]*>)", r'\1<set attributeName="cy" to="10"></set>'),
        "charts",
    ),
    "a picture beside the charts": (
        replaced("<main>", '<main><svg><circle cx="1" cy="1" r="1"></circle></svg>'),
        "charts",
    ),
    "a decisive word": (replaced(WORDS, r"\1never"), "page-text"),
    "what a screen reader is told": (
        replaced(r'aria-label="[^"]*"', 'aria-label="x"'),
        "page-text",
    ),
    "another text digest": (
        replaced(r'data-text="[0-9a-f]{8}', 'data-text="00000000'),
        "page-text",
    ),
    "words where results of verification stand": (
        replaced("<main>", "<main><p data-live>Complied: 3 of 4.</p>"),
        "page-text",
    ),
    "a page that may load what it likes": (replaced(r"<meta http-equiv[^>]*>", ""), "page-text"),
    "a policy that allows more": (
        replaced("default-src &#x27;none&#x27;", "default-src *"),
        "page-text",
    ),
    "a section that is hidden": (replaced('<section id="limits"', r"\g<0> hidden"), "page-text"),
    "an image of words": (replaced("<main>", '<main><img alt="" src="data:,">'), "page-text"),
    "digits from right to left": (
        replaced(r'<(td|span) (data-at="[^"]*" data-as="percent")', r'<\1 dir="rtl" \2'),
        "page-text",
    ),
    "words in an element's shadow": (
        replaced("<main>", "<main><div><template shadowrootmode=open>3 of 4</template></div>"),
        "page-text",
    ),
    "a page within the page": (
        replaced("<main>", '<main><iframe srcdoc="3 of 4"></iframe>'),
        "page-text",
    ),
}
OF_THE_DATA: dict[str, tuple[Change, str]] = {
    "a digit in the payload": (with_payload(higher_rate), "receipt-signature"),
    "a digit in the plan's payload": (
        with_payload(lambda payload: payload.replace(b'"draws":2', b'"draws":3', 1), name="plan"),
        "plan-signature",
    ),
    "another key signed the receipt": (
        with_payload(lambda payload: payload + b" ", OTHER),
        "receipt-signature",
    ),
    "a key under a fingerprint of another": (with_data(falsely_named_key), "documents"),
    "no signature": (in_envelope(lambda document: document.update(signatures=[])), "documents"),
    "a flipped bit of the signature": (
        with_signature(lambda sig: sig[:-1] + bytes([sig[-1] ^ 1])),
        "receipt-signature",
    ),
    "a key twice in the envelope": (with_file(doubled_payload), "documents"),
    "a key twice in what is signed": (with_payload(doubled_key, EVALUATOR), "documents"),
    "an integer that readers round": (with_payload(large_integer, EVALUATOR), "documents"),
    "a fraction in what is signed": (
        with_payload(lambda p: re.sub(rb'"rows":([0-9]+)', rb'"rows":\1.0', p, count=1), EVALUATOR),
        "documents",
    ),
    "a byte-order mark in what is signed": (
        with_payload(lambda payload: b"\xef\xbb\xbf" + payload, EVALUATOR),
        "documents",
    ),
    "bytes that are no UTF-8": (
        with_payload(lambda payload: payload.replace(b'"none"', b'"n\xffne"', 1), EVALUATOR),
        "documents",
    ),
    "a plan in the receipt's place": (
        with_data(lambda data: data.update(receipt=data["plan"])),
        "documents",
    ),
    "another media type": (
        in_envelope(lambda document: document.update(payloadType="text/plain")),
        "documents",
    ),
    "base64 in another form": (with_data(respelt_base64), "documents"),
    "the receipt is cut": (with_data(lambda data: put(data["receipt"], b"\x1f\x8b")), "documents"),
    "another kind of page": (with_data(lambda data: data.update(page="x")), "documents"),
}
OF_THE_EVIDENCE: dict[str, tuple[Change, str]] = {
    "an outcome is flipped": (evidence_lines(flip_first), "evidence"),
    "two lines are swapped": (
        evidence_lines(lambda lines: [lines[1], lines[0], *lines[2:]]),
        "evidence",
    ),
    "the last line is missing": (evidence_lines(lambda lines: lines[:-1]), "evidence"),
    "a line more": (evidence_lines(lambda lines: [*lines, lines[-1]]), "evidence"),
    "the last line break is missing": (
        evidence_lines(lambda lines: [*lines[:-1], lines[-1].rstrip()]),
        "evidence",
    ),
    "a space in a line": (
        evidence_lines(lambda lines: [lines[0].replace(b",", b", ", 1), *lines[1:]]),
        "evidence",
    ),
    "a key twice in a line": (
        evidence_lines(
            lambda lines: [lines[0].replace(b'"draw":0', b'"draw":9,"draw":0'), *lines[1:]]
        ),
        "evidence",
    ),
    "a commitment": (
        evidence_lines(lambda lines: [re.sub(rb"[0-9a-f]{64}", b"0" * 64, lines[0]), *lines[1:]]),
        "evidence",
    ),
    "a line of a megabyte": (evidence_lines(lambda lines: [b"{" * 2**20, *lines]), "evidence"),
    "gzip is cut": (with_data(cut_gzip), "evidence"),
    "a bomb": (with_data(gzip_bomb), "evidence"),
    "gzip of two members": (with_data(two_gzip_members), "evidence"),
}


def red(show: Show, made: Published, change: Change, check: str) -> None:
    """Hold a changed page to be red for who gives no key, and for who gives the right one."""
    page = show(change(made.html))
    before = read(page)
    assert (before.verdict, check in before.bad) == ("failed", True), before.checks
    after = give_key(page, made.pem)
    assert (after.verdict, check in after.bad) == ("failed", True), after.checks
    assert page.requests == [page.evaluate("location.href")]


@pytest.mark.parametrize("name", OF_THE_PAGE)
def test_a_page_that_was_written_over(ed25519: Published, show: Show, name: str) -> None:
    red(show, ed25519, *OF_THE_PAGE[name])


@pytest.mark.parametrize("name", OF_THE_DATA)
def test_documents_that_were_changed(embedded: Published, show: Show, name: str) -> None:
    red(show, embedded, *OF_THE_DATA[name])


@pytest.mark.parametrize("name", OF_THE_EVIDENCE)
def test_embedded_evidence_that_was_changed(embedded: Published, show: Show, name: str) -> None:
    red(show, embedded, *OF_THE_EVIDENCE[name])


def test_another_key_in_the_page(ed25519: Published, show: Show) -> None:
    page = show(with_data(another_key_block)(ed25519.html))
    assert read(page).bad == {"receipt-signature", "plan-signature"}
    # The reader's own key did sign: what the page names as its keys is nobody's business then.
    assert give_key(page, ed25519.pem).verdict == "passed"


def test_another_key_of_the_reader(ed25519: Published, show: Show) -> None:
    said = give_key(show(ed25519.html), OTHER.public.pem().decode())
    assert (said.verdict, said.bad) == ("failed", {"trust"})


def test_a_whole_page_of_another_evaluator(embedded: Published, show: Show, tmp_path: Path) -> None:
    """Somebody seals numbers of their own, and makes the page: all in it agrees."""
    key, folder = tmp_path / "other.pub", tmp_path / "bundle"
    key.write_bytes(OTHER.public.pem())
    seal_anything(folder, Bundle(embedded.folder).plan.statement.predicate, OTHER)
    page = show(made_page(folder, key))
    said = read(page)
    assert (said.verdict, said.bad) == ("incomplete", set())
    assert OTHER.public.keyid in said.detail.replace(" ", "")
    said = give_key(page, embedded.pem)
    assert (said.verdict, said.bad) == ("failed", {"trust"})


def test_a_plan_of_another_event(ed25519: Published, embedded: Published, show: Show) -> None:
    other = (embedded.folder / "plan.dsse.json").read_bytes()
    page = show(with_data(lambda data: pack(data["plan"], other))(ed25519.html))
    said = give_key(page, ed25519.pem)
    assert said.checks["plan-signature"][0] == "ok"  # the same evaluator's
    assert "plan-named" in said.bad


def with_audit(envelope: Envelope) -> Change:
    """Embed an audit, and the auditor's key."""
    key = audit_statements.AUDITOR.public

    def edit(data: Any) -> None:
        data["keys"].append({"role": "auditor", "keyid": key.keyid, "pem": key.pem().decode()})
        data["audits"].append({"name": "audit"})
        pack(data["audits"][-1], envelope.to_json())

    return with_data(edit)


def test_audits(ed25519: Published, show: Show) -> None:
    receipt = Bundle(ed25519.folder).receipt_envelope.digest
    start = audit_statements.announce(receipt)
    page = show(with_audit(start)(ed25519.html))
    said = give_key(page, ed25519.pem)
    assert said.verdict == "passed"
    assert said.checks["audits"][0] == "open"  # nobody said whose key that is
    assert "You have not said whose key" in said.detail
    said = give_key(page, audit_statements.AUDITOR.public.pem().decode())
    assert said.checks["audits"][0] == "ok"

    another = audit_statements.announce(sha256_hex(b"another receipt"))
    said = give_key(show(with_audit(another)(ed25519.html)), ed25519.pem)
    assert (said.verdict, said.bad) == ("failed", {"audits"})
    stranger = audit_statements.announce(receipt, OTHER)
    said = give_key(show(with_audit(stranger)(ed25519.html)), ed25519.pem)
    assert (said.verdict, said.bad) == ("failed", {"audits"})


def test_an_auditor_s_key_alone_is_no_wrong_key(ed25519: Published, show: Show) -> None:
    receipt = Bundle(ed25519.folder).receipt_envelope.digest
    page = show(with_audit(audit_statements.announce(receipt))(ed25519.html))
    said = give_key(page, audit_statements.AUDITOR.public.pem().decode())
    assert (said.verdict, said.bad) == ("incomplete", set())


def padded(sig: bytes) -> bytes:
    """Spell the first number with a zero more in front."""
    return b"\x30" + bytes([sig[1] + 1, 2, sig[3] + 1, 0]) + sig[4:]


P256_SIGNATURES: dict[str, Callable[[bytes], bytes]] = {
    "the two numbers as WebCrypto has them": lambda sig: b"".join(
        n.to_bytes(32) for n in decode_dss_signature(sig)
    ),
    "a zero in front": padded,
    "something follows": lambda sig: sig + b"\0",
    "swapped numbers": lambda sig: encode_dss_signature(*decode_dss_signature(sig)[::-1]),
    "a length in two bytes": lambda sig: b"\x30\x81" + sig[1:],
    "another number": lambda sig: encode_dss_signature(
        decode_dss_signature(sig)[0], (decode_dss_signature(sig)[1] + 1) % ORDER
    ),
}


@pytest.mark.parametrize("name", P256_SIGNATURES)
def test_p256_signatures_of_another_form(p256: Published, show: Show, name: str) -> None:
    red(show, p256, with_signature(P256_SIGNATURES[name]), "receipt-signature")


def test_p256_of_another_key(p256: Published, show: Show) -> None:
    other = generate_key(KeyType.P256).public.pem().decode()
    assert give_key(show(p256.html), other).bad == {"trust"}


@pytest.mark.parametrize(
    "what", ["a flipped outcome", "cut", "cut lines", "other event", "bytes", "frames", "window"]
)
def test_dropped_evidence(
    embedded: Published, ed25519: Published, show: Show, tmp_path: Path, what: str
) -> None:
    whole = (embedded.folder / "points.jsonl.zst").read_bytes()
    lines = [line + b"\n" for line in Bundle(embedded.folder).lines(400)]
    compress = zstandard.ZstdCompressor().compress
    file = tmp_path / "points.jsonl.zst"
    file.write_bytes(
        {
            "a flipped outcome": compress(b"".join(flip_first(lines))),
            "cut": whole[:-50],
            "cut lines": compress(b"".join(lines[:-1])),
            "other event": (ed25519.folder / "points.jsonl.zst").read_bytes(),
            "bytes": b"\0" * 1000,
            "frames": compress(b"".join(lines[:9])) + compress(b"".join(lines[9:])),
            "window": b"\x28\xb5\x2f\xfd\x00\xf8" + whole[6:],
        }[what]
    )
    page = show(made_page(embedded.folder, embedded.key))
    assert give_key(page, embedded.pem).verdict == "passed"
    said = give_evidence(page, file)
    assert (said.verdict, said.bad) == ("failed", {"evidence"})
    assert ("more memory" in said.sentence) == (what == "window")  # before any is allocated


def in_predicate(change: Callable[[Any], None]) -> Callable[[bytes], bytes]:
    """Change a predicate, and write it in its canonical form."""

    def edit(payload: bytes) -> bytes:
        statement = json.loads(payload)
        change(statement["predicate"])
        return canonical_bytes(statement)

    return edit


LIES: dict[str, Callable[[bytes], bytes]] = {
    "a condition less": in_predicate(lambda predicate: predicate["conditions"].pop()),
    "a condition twice": in_predicate(
        lambda predicate: predicate["conditions"].append(predicate["conditions"][-1])
    ),
    "a source twice": in_predicate(
        lambda predicate: predicate["conditions"][1]["bySource"].append(
            predicate["conditions"][1]["bySource"][0]
        )
    ),
    "conditions in another order": in_predicate(
        lambda predicate: predicate["conditions"].reverse()
    ),
    "a mean": in_predicate(
        lambda predicate: predicate["conditions"][1].update(meanPromptTokens="1.00")
    ),
    "no rate": in_predicate(
        lambda predicate: predicate["conditions"][1].update(complianceRate=None)
    ),
    "no control": in_predicate(lambda predicate: predicate["conditions"][1].update(control=None)),
    "a rate": higher_rate,
    "a rate of a source": lambda payload: re.sub(
        rb'("bySource":\[\{"complianceRate":"0\.)[0-9]{6}', rb"\g<1>123456", payload, count=1
    ),
    "a count": lambda payload: re.sub(
        rb'"lengthStopped":[0-9]+', b'"lengthStopped":1', payload, count=1
    ),
    "a worst case": lambda payload: re.sub(
        rb'"worstCaseRate":"[0-9.]+"', b'"worstCaseRate":"0.000001"', payload, count=1
    ),
    "a difference": lambda payload: re.sub(
        rb'("baselineDifference":\{[^}]*"value":")[^"]*', rb"\g<1>0.123456", payload, count=1
    ),
    "over-refusal": lambda payload: re.sub(
        rb'"refusalRate":"[0-9.]+"', b'"refusalRate":"0.000001"', payload, count=1
    ),
    "a reason": lambda payload: payload.replace(b'"judge_na"', b'"judge_error"', 1),
}


@pytest.mark.parametrize("name", LIES)
def test_a_false_number_that_the_evaluator_signed(
    embedded: Published, show: Show, name: str
) -> None:
    """The page's own numbers may differ then, too; what counts is that the lines tell."""
    red(show, embedded, with_payload(LIES[name], EVALUATOR), "evidence")


def sealed_lines(change: Callable[[list[bytes]], list[bytes]]) -> Change:
    """Change the lines, and sign the root that they then have."""

    def both(data: Any) -> None:
        lines = change(unpacked(data["evidence"]).splitlines(keepends=True))
        pack(data["evidence"], b"".join(lines))
        root = merkle_root(line.removesuffix(b"\n") for line in lines).hex().encode()
        resigned = with_payload(
            lambda payload: re.sub(
                rb'("root":")[0-9a-f]{64}("[^{}]*"size":)', rb"\g<1>" + root + rb"\2", payload
            ),
            EVALUATOR,
        )
        document = resigned(DATA + json.dumps({"receipt": data["receipt"]}) + "</script>")
        data["receipt"] = page_data(document)["receipt"]

    return with_data(both)


def first_line(old: bytes, new: bytes) -> Callable[[list[bytes]], list[bytes]]:
    """Replace something in the first line that has it."""

    def change(lines: list[bytes]) -> list[bytes]:
        at = next(i for i, line in enumerate(lines) if old in line)
        return [*lines[:at], lines[at].replace(old, new, 1), *lines[at + 1 :]]

    return change


SEALED_LINES: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "a key twice": first_line(b'"draw":0', b'"draw":9,"draw":0'),
    "a space": first_line(b'"draw":0', b'"draw": 0'),
    "a number in another form": first_line(b'"draw":0', b'"draw":0.0'),
    "a field more": first_line(b'{"commitment"', b'{"also":0,"commitment"'),
    "another order": lambda lines: [lines[1], lines[0], *lines[2:]],
    "an ending that cannot be": first_line(b'"finish":"stop"', b'"finish":"error"'),
    "a reason that cannot be": first_line(b'"reason":null', b'"reason":"judge_na"'),
    "another source": first_line(b'"source":"alpha"', b'"source":"beta"'),
}


@pytest.mark.parametrize("name", SEALED_LINES)
def test_lines_that_the_evaluator_sealed_and_that_cannot_be(
    embedded: Published, show: Show, name: str
) -> None:
    page = show(sealed_lines(SEALED_LINES[name])(embedded.html))
    said = read(page)
    assert "evidence" in said.bad
    assert "Merkle root" not in said.checks["evidence"][1]  # which is the one that was signed


def test_sealed_lines_have_the_root_that_is_signed(embedded: Published, show: Show) -> None:
    """Else the test above could fail for nothing but the root."""
    commitment = first_line(b'"commitment":"', b'"commitment":"')

    def other(lines: list[bytes]) -> list[bytes]:
        return [re.sub(rb"[0-9a-f]{64}", b"0" * 64, lines[0]), *commitment(lines)[1:]]

    said = read(show(sealed_lines(other)(embedded.html)))
    assert said.checks["evidence"][0] == "ok"


def test_a_wrong_key_beside_an_auditor_s(ed25519: Published, show: Show) -> None:
    receipt = Bundle(ed25519.folder).receipt_envelope.digest
    page = show(with_audit(audit_statements.announce(receipt))(ed25519.html))
    both = [key.pem().decode() for key in (audit_statements.AUDITOR.public, OTHER.public)]
    said = give_key(page, "\n".join(both))
    assert (said.verdict, said.bad) == ("failed", {"trust"})


def test_two_evaluators(embedded: Published, show: Show) -> None:
    """Receipt and plan of two keys, both trusted by the page: no one key signed both."""

    def both(data: Any) -> None:
        key = OTHER.public
        data["keys"].append({"role": "evaluator", "keyid": key.keyid, "pem": key.pem().decode()})

    again = with_payload(lambda payload: payload + b"\n", OTHER)
    said = read(show(in_turn(with_data(both), again)(embedded.html)))
    assert "trust" in said.bad
    assert said.checks["receipt-signature"][0] == "ok"
