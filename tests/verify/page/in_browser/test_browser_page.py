"""An honest page in a browser: what it says before and after the reader gives a key."""

from __future__ import annotations

import gzip
import os
import re
from pathlib import Path

import pytest
import zstandard
from browser import Page
from tampered_pages import (
    DONE,
    Published,
    Show,
    give_evidence,
    give_key,
    made_page,
    page_data,
    read,
    unpacked,
)

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.keys import generate_key, load_public_key

NAMES = {
    *("page-text", "documents", "receipt-signature", "plan-signature", "plan-named"),
    *("numbers", "charts", "audits", "evidence", "trust"),
}


def test_the_checks_are_those_of_the_documentation() -> None:
    text = (Path(__file__).parents[4] / "docs" / "page.md").read_text("utf-8")
    table = text.partition("## What its script checks")[2].partition("\n\nThe script")[0]
    first = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert set(re.findall(r"`([a-z-]+)`", " ".join(first))) == NAMES


@pytest.mark.parametrize("which", ["ed25519", "p256"])
def test_a_page_is_verified_once_the_reader_gives_the_key(
    which: str, request: pytest.FixtureRequest, show: Show
) -> None:
    made: Published = request.getfixturevalue(which)
    page = show(made.html)
    before = read(page)
    assert (before.verdict, before.bad) == ("incomplete", set())
    assert set(before.checks) == NAMES
    status, text = before.checks["trust"]
    keyid = load_public_key(made.key).keyid
    assert status == "open"
    assert keyid in text.replace(" ", "")
    after = give_key(page, made.pem)
    assert (after.verdict, after.bad) == ("passed", set())
    assert after.checks["trust"][0] == "ok"
    assert "test instrument" in after.detail
    assert page.complaints == []
    assert page.requests == [page.evaluate("location.href")]  # itself, and nothing else


def test_a_fingerprint_is_as_good_as_the_key(ed25519: Published, show: Show) -> None:
    page = show(ed25519.html)
    keyid = load_public_key(ed25519.key).keyid
    grouped = " ".join(keyid[i : i + 4] for i in range(0, 64, 4))
    assert give_key(page, f"  {grouped.upper()}\n").verdict == "passed"


def test_keys_are_forgotten(ed25519: Published, show: Show) -> None:
    page = show(ed25519.html)
    assert give_key(page, ed25519.pem).verdict == "passed"
    page.evaluate("document.getElementById('forget-button').click()")
    assert read(page).verdict == "incomplete"
    assert page.evaluate("document.getElementById('trust-text').value") == ""


def test_a_key_can_be_a_file(ed25519: Published, show: Show) -> None:
    page = show(ed25519.html)
    page.set_files("#trust-file", [ed25519.key])
    page.wait_for("document.documentElement.dataset.verification === 'passed'")
    assert read(page).bad == set()


def test_files_can_be_dropped(embedded: Published, show: Show) -> None:
    page = show(made_page(embedded.folder, embedded.key))
    read(page)
    page.drop(embedded.key)
    page.wait_for("document.documentElement.dataset.verification === 'passed'")
    page.drop(embedded.folder / "points.jsonl.zst")
    page.wait_for("document.querySelector('[data-check=evidence].ok')")
    assert read(page).verdict == "passed"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("no key at all", "neither a public key"),
        ("ab" * 31, "neither a public key"),
        ("-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----", "private key"),
        ("-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----", "neither an Ed25519"),
        ("-----BEGIN PUBLIC KEY-----\nAA\n", "damaged"),
    ],
)
def test_what_is_no_key_is_said(ed25519: Published, show: Show, text: str, why: str) -> None:
    said = give_key(show(ed25519.html), text)
    assert said.verdict == "incomplete"
    assert why in said.detail


def test_a_published_bundle(golden: Path, show: Show) -> None:
    folder, key = golden / "good" / "published", golden / "ed25519.pub"
    page = show(made_page(folder, key))
    said = give_key(page, key.read_text())
    assert (said.verdict, said.bad) == ("passed", set())
    assert said.checks["evidence"] == (
        "open",
        "Evidence Not settled. It is held by auditors, and not published.",
    )


def test_a_page_that_was_made_without_a_key(ed25519: Published, show: Show) -> None:
    page = show(made_page(ed25519.folder))
    said = read(page)
    assert (said.verdict, said.bad) == ("incomplete", set())
    assert said.checks["receipt-signature"][0] == "open"
    assert give_key(page, ed25519.pem).verdict == "passed"
    other = generate_key().public.pem().decode()
    page.evaluate("document.getElementById('forget-button').click()")
    assert give_key(page, other).bad == {"receipt-signature", "plan-signature"}
    page.evaluate("document.getElementById('forget-button').click()")
    said = give_key(page, load_public_key(ed25519.key).keyid)  # what to check with it, nobody has
    assert (said.verdict, said.bad) == ("incomplete", set())


def test_embedded_evidence(embedded: Published, show: Show) -> None:
    page = show(embedded.html)
    said = give_key(page, embedded.pem)
    assert (said.verdict, said.bad) == ("passed", set())
    assert said.checks["evidence"][0] == "ok"
    assert "400 lines" in said.checks["evidence"][1]
    assert "counted again" in said.sentence
    assert float(page.evaluate("document.documentElement.dataset.verifiedMs")) > 0


@pytest.mark.parametrize("form", ["zst", "small windows", "gz", "jsonl"])
def test_evidence_of_every_form(embedded: Published, show: Show, tmp_path: Path, form: str) -> None:
    lines = b"".join(line + b"\n" for line in Bundle(embedded.folder).lines(400))
    small = zstandard.ZstdCompressionParameters.from_level(19, window_log=10, write_checksum=True)
    file = tmp_path / "evidence"
    file.write_bytes(
        {
            "zst": (embedded.folder / "points.jsonl.zst").read_bytes(),
            "small windows": zstandard.ZstdCompressor(compression_params=small).compress(lines),
            "gz": gzip.compress(lines),
            "jsonl": lines,
        }[form]
    )
    page = show(made_page(embedded.folder, embedded.key))
    assert read(page).checks["evidence"][0] == "open"
    said = give_evidence(page, file)
    assert said.checks["evidence"][0] == "ok", said.checks["evidence"]
    assert page.requests == [page.evaluate("location.href")]


def test_a_file_that_no_page_can_read_is_refused_in_words(
    embedded: Published, show: Show, tmp_path: Path
) -> None:
    file = tmp_path / "huge.zst"
    file.touch()
    os.truncate(file, 10 * 2**30)  # a hole: it takes no room
    page = show(made_page(embedded.folder, embedded.key))
    give_key(page, embedded.pem)
    said = give_evidence(page, file)
    assert said.verdict == "incomplete"
    assert "larger than 256 MiB" in said.sentence


def test_without_scripts_all_numbers_are_there(ed25519: Published, page: Page, show: Show) -> None:
    numbers = "[...document.querySelectorAll('[data-at]')].map((e) => e.textContent)"
    with_script = show(ed25519.html)
    read(with_script)
    wanted = with_script.evaluate(numbers)
    page.disable_scripts()
    without = show(ed25519.html)
    assert without.evaluate(numbers) == wanted
    seen = without.evaluate("document.body.innerText")
    conditions = Bundle(ed25519.folder).receipt.statement.predicate.conditions
    for condition in conditions:
        assert condition.id in seen
        assert condition.compliance_rate is not None
        assert f"{float(condition.compliance_rate) * 100:.1f}" in seen
    assert "Scripts are off" in seen
    assert "Trust this key" not in seen
    state = "document.documentElement.dataset.verification"
    assert without.evaluate(state) == "incomplete"
    assert not without.evaluate(DONE)


def test_the_documents_are_embedded_byte_for_byte(ed25519: Published) -> None:
    data = page_data(ed25519.html)
    assert set(data) == {"page", "keys", "plan", "receipt", "audits", "evidence"}
    for name in ("plan", "receipt"):
        file = ed25519.folder / f"{name}.dsse.json"
        assert unpacked(data[name]) == file.read_bytes()


@pytest.mark.parametrize("width", [320, 1280])
def test_no_page_is_wider_than_its_window(ed25519: Published, show: Show, width: int) -> None:
    page = show(ed25519.html)
    page.resize(width, 900)
    read(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_browser_that_checks_no_signatures_says_so(
    ed25519: Published, show: Show, page: Page
) -> None:
    """As of a page that is served without encryption: WebCrypto is kept from it."""
    hide = "Object.defineProperty(Crypto.prototype, 'subtle', { value: undefined })"
    page.command("Page.addScriptToEvaluateOnNewDocument", source=hide)
    said = give_key(show(ed25519.html), ed25519.pem)
    assert (said.verdict, said.bad) == ("incomplete", set())
    assert "checks signatures only" in said.sentence
    assert said.checks["numbers"][0] == "ok"


def test_a_kind_of_key_that_a_browser_does_not_know(
    p256: Published, show: Show, page: Page
) -> None:
    unknown = """SubtleCrypto.prototype.importKey = async () => {
      throw new DOMException('', 'NotSupportedError'); }"""
    page.command("Page.addScriptToEvaluateOnNewDocument", source=unknown)
    said = give_key(show(p256.html), p256.pem)
    assert (said.verdict, said.bad) == ("incomplete", set())
    assert "does not know signatures of kind P-256" in said.sentence


def test_a_page_without_its_parts_is_red(ed25519: Published, show: Show) -> None:
    html = ed25519.html.replace('id="verdict"', 'id="other"')
    page = show(html)
    page.wait_for("document.documentElement.dataset.verification === 'failed'")


def test_a_marked_number_can_be_found(ed25519: Published, show: Show) -> None:
    page = show(ed25519.html.replace("<main>", "<main><p>Complied: 3 of 4.</p>"))
    assert read(page).verdict == "failed"
    address = page.evaluate("document.querySelector('[data-check=numbers] a').hash")
    marked = page.evaluate(f"document.querySelector({address!r}).outerHTML")
    assert "mismatch" in marked
    assert "3 of 4" in marked
    assert "bound to nothing" in marked
    assert page.evaluate("document.querySelector('#checks').closest('details').open")


@pytest.mark.parametrize("which", ["ed25519", "embedded"])
def test_what_is_given_twice_is_found_the_same_twice(
    which: str, request: pytest.FixtureRequest, show: Show
) -> None:
    """Marks and links of one run are gone before the next."""
    made: Published = request.getfixturevalue(which)
    page = show(made.html.replace("<main>", "<main><p>Complied: 3 of 4.</p>"))
    first = read(page)
    again = give_key(page, made.pem)
    assert again.bad == first.bad
    assert page.evaluate("document.querySelectorAll('.mismatch').length") == 1
