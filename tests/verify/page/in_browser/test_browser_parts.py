"""Parts of the script, each against what the project's own Python says."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from safety_receipts.receipts.documents.strict_json import parse_json
from safety_receipts.receipts.errors import MalformedError
from safety_receipts.receipts.keys import KeyType, generate_key
from safety_receipts.receipts.merkle import merkle_root
from safety_receipts.verify.page.script import csp_hash, script

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of the curve P-256."""

TRY = "(() => { try { return [%s]; } catch (e) { if (!(e instanceof Refused)) throw e; } })()"


def test_the_script_stands_in_a_page_as_it_is() -> None:
    text = script()
    assert text == script()
    assert "</script" not in text.lower()
    assert "<!--" not in text
    assert "\r" not in text
    for never in ("eval(", "innerHTML", "fetch(", "XMLHttpRequest", "localStorage", "import("):
        assert never not in text
    assert "MIT License" in text  # of the vendored libraries


def test_the_hash_that_a_policy_names_a_script_by() -> None:
    # As MDN's page on script-src shows it.
    known = "sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng="
    assert csp_hash("alert('Hello, world.');") == known


def test_merkle_roots(calculate: Callable[..., Any]) -> None:
    sizes = [*range(70), 100, 127, 128, 129, 1000, 1023]
    lines = [f"line {i}".encode() for i in range(max(sizes))]
    roots = calculate(
        "sizes.map((size) => { const tree = new MerkleRoot();"
        " for (let i = 0; i < size; i++) tree.append(utf8(`line ${i}`));"
        " return hex(tree.root()); })",
        sizes=sizes,
    )
    assert roots == [merkle_root(lines[:size]).hex() for size in sizes]


JSON_TEXTS = [
    *('{"a":1}', '{"a":1,"a":2}', '{"a":{"b":[1,2,{"b":1,"b":1}]}}', '{"\\u0061":1,"a":1}'),
    *('{"__proto__":1}', '{"__proto__":{},"__proto__":{}}', '{"constructor":1}'),
    *("9007199254740991", "9007199254740992", "-9007199254740991", "-9007199254740993"),
    *("1e3", "1.0", "-0", "0", "-1", "01", "+1", "1.", ".5", "NaN", "Infinity", "--1", "1 2"),
    *('"\\ud800"', '"\\ud83d\\ude00"', '"a\\"b\\\\"', '"\\\\\\""', '"\n"', '"\\x"', '"', '"\\"'),
    *("[1,]", "[,1]", "{}", "[]", '{"a":}', '{"a" 1}', "{a:1}", "[1 2]", "nul", "true", "null x"),
    *("", " ", "{", "[", " [ 1 , 2 ] ", "\ufeff{}", "\u00a01", "'a'", '{"a":1,}', "truefalse"),
    *("[" * 32 + "]" * 32, "[" * 33 + "]" * 33, '{"a":' * 32 + "1" + "}" * 32),
]


def test_json_is_read_as_strictly_as_python_reads_it(calculate: Callable[..., Any]) -> None:
    expression = "texts.map((text) => %s ?? null)" % (
        TRY % "JSON.parse(JSON.stringify(parseJson(text, 'It')))"
    )
    for text, read in zip(JSON_TEXTS, calculate(expression, texts=JSON_TEXTS), strict=True):
        try:
            wanted = [parse_json(text.encode())]
        except MalformedError:
            wanted = None
        if wanted == [{"__proto__": 1}]:
            wanted = [{}] if read == [{}] else wanted  # as it is copied here, not as it is read
        assert read == wanted, text


def test_a_key_named_like_an_object_s_own_is_a_key(calculate: Callable[..., Any]) -> None:
    keys = calculate("""Object.keys(parseJson('{"__proto__":1,"toString":2}', 'It'))""")
    assert keys == ["__proto__", "toString"]


def test_base64_has_one_form(calculate: Callable[..., Any]) -> None:
    texts = ["", "QQ==", "QR==", "QQ=", "QQ", "Q Q==", "QUI=", "QUJD", "QUJD\n", "-_-_", "+/+/"]
    texts += ["+_+/", "QQ==QQ==", "====", "é", "QUJ="]
    expression = "texts.map((text) => %s ?? null)"
    read = calculate(expression % (TRY % "hex(decodeBase64(text, 'It', true))"), texts=texts)
    found = {text: one[0] for text, one in zip(texts, read, strict=True) if one is not None}
    assert found == {
        "": "",
        "QQ==": "41",
        "QUI=": "4142",
        "QUJD": "414243",
        "-_-_": base64.urlsafe_b64decode("-_-_").hex(),
        "+/+/": base64.b64decode("+/+/").hex(),
    }
    plain = calculate(expression % (TRY % "decodeBase64(text, 'It')"), texts=["-_-_"])
    assert plain == [None]


@pytest.mark.parametrize("data", [b"\xff", b"\xef\xbb\xbf{}", b"\xc0\x80", b"\xed\xa0\x80"])
def test_bytes_that_are_no_text_are_refused(calculate: Callable[..., Any], data: bytes) -> None:
    expression = TRY % "parseJson(decodeUtf8(Uint8Array.from(data), 'It'), 'It')"
    assert calculate(expression, data=list(data)) is None


@pytest.mark.parametrize("kind", list(KeyType))
def test_a_key_has_the_id_that_the_tool_gives_it(
    calculate: Callable[..., Any], kind: KeyType
) -> None:
    keys = [generate_key(kind).public for _ in range(5)]
    pems = [key.pem().decode() for key in keys]
    found = calculate("pems.map((pem) => readPem(pem)[0].keyid)", pems=pems)
    assert found == [key.keyid for key in keys]


def ed25519_pem(raw: bytes) -> str:
    """Return a public key of these 32 bytes."""
    body = base64.b64encode(bytes.fromhex("302a300506032b6570032100") + raw).decode()
    return f"-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n"


FIELD = 2**255 - 19
EIGHTH = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
WEAK = [
    (y | sign << 255).to_bytes(32, "little")
    for y in (0, 1, FIELD - 1, EIGHTH, FIELD - EIGHTH, FIELD, FIELD + 1, 2**255 - 1)
    for sign in (0, 1)
]


def test_weak_keys_are_refused(calculate: Callable[..., Any]) -> None:
    pems = [ed25519_pem(raw) for raw in WEAK]
    expression = "pems.map((pem) => %s ?? null)" % (TRY % "readPem(pem)[0].keyid")
    assert calculate(expression, pems=pems) == [None] * len(pems)


def test_a_private_key_is_refused(calculate: Callable[..., Any]) -> None:
    pem = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
    assert calculate(TRY % "readPem(pem)", pem=pem) is None


def der(r: int, s: int) -> bytes:
    return encode_dss_signature(r, s)


def test_only_strict_der_is_a_signature(calculate: Callable[..., Any]) -> None:
    signer = generate_key(KeyType.P256)
    good = [signer.sign(b"%d" % i) for i in range(40)]  # with and without a padding zero
    r, _ = decode_dss_signature(good[0])
    short = [der(1, 1), der(127, 128), der(r, 1), der(ORDER - 1, ORDER - 1)]
    padded = b"\x30%c\x02\x02\x00\x01\x02\x01\x01" % 7
    negative = b"\x30\x06\x02\x01\x81\x02\x01\x01"
    long_form = b"\x30\x81" + good[0][1:]
    bad = [padded, negative, long_form, good[0] + b"\x00", good[0][:-1], b"", b"\x30\x00"]
    bad += [der(2**256, 1), b"\x31" + good[0][1:], b"\x30\x04\x02\x00\x02\x00"]
    bad += [b"\x30\x08\x02\x01\x01\x02\x01\x01\x05\x00", b"\x30\x06\x02\x81\x01\x01\x02\x01"]
    expression = (
        "all.map((one) => { const raw = fromDer(Uint8Array.from(one)); return raw && hex(raw); })"
    )
    found = calculate(expression, all=[list(one) for one in (*good, *short, *bad)])
    wanted = ["".join(f"{n:064x}" for n in decode_dss_signature(one)) for one in (*good, *short)]
    assert found == wanted + [None] * len(bad)


def test_gzip_is_bounded_and_whole(calculate: Callable[..., Any]) -> None:
    data = bytes(range(256)) * 50
    packed = gzip.compress(data, mtime=0)
    broken = bytearray(packed)
    broken[-6] ^= 1  # the checksum
    bomb = gzip.compress(bytes(50_000_000), mtime=0)
    cases = [packed, packed[:-1], packed[:20], bytes(broken), packed + b"\0", packed + packed, bomb]
    expression = """(async () => {
      const found = [];
      for (const one of cases) {
        try { found.push((await gunzip(decodeBase64(one, 'It'), 20000, 'It')).length); }
        catch (e) { if (!(e instanceof Refused)) throw e; found.push(null); }
      }
      return found; })()"""
    found = calculate(expression, cases=[base64.b64encode(one).decode() for one in cases])
    assert found == [len(data), None, None, None, None, None, None]


def test_a_decimal_of_the_lines_is_rounded_half_to_even(calculate: Callable[..., Any]) -> None:
    found = calculate(
        "[ratio(1, 3), ratio(1, 2), ratio(0, 5), ratio(5, 5), ratio(0, 0), ratio(1, 8, 2),"
        " ratio(3, 8, 2), ratio(2000001, 8, 2)]"
    )
    assert found == [
        "0.333333",
        "0.500000",
        "0.000000",
        "1.000000",
        None,
        "0.12",
        "0.38",
        "250000.12",
    ]
    assert json.loads(json.dumps(found)) == found


def test_lines_end_in_a_line_break_and_are_bounded(calculate: Callable[..., Any]) -> None:
    longest = "{" * 16_384
    texts = ["{a\n{b\n", "{a\n{b", "{\n\n", longest + "\n", longest + "{\n", f"{{\n{longest}{{\n"]
    expression = """(async () => {
      const found = [];
      for (const text of texts) {
        const lines = [];
        try { await readLines(utf8(text), (line) => lines.push(line.length)); found.push(lines); }
        catch (e) { if (!(e instanceof Refused)) throw e; found.push(null); }
      }
      return found; })()"""
    found = calculate(expression, texts=texts)
    assert found == [[2, 2], None, [1, 0], [16_384], None, None]
