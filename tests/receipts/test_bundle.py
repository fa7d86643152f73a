"""Bundles: streaming, bounded reads; evidence that appears whole or not at all."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from safety_receipts.receipts import bundle as bundle_module
from safety_receipts.receipts.bundle import (
    AUDITS,
    PLAN,
    POINTS_FILE,
    RECEIPT,
    RESPONSES_FILE,
    Bundle,
    BundleWriter,
    parse_point,
    parse_signed,
    read_envelope,
)
from safety_receipts.receipts.canonical import canonical_bytes
from safety_receipts.receipts.dsse import Envelope, sign
from safety_receipts.receipts.errors import FileAccessError, MalformedError, UsageError
from safety_receipts.receipts.events.synthetic import synthetic_points
from safety_receipts.receipts.io.lines import read_lines
from safety_receipts.receipts.keys import Signer
from safety_receipts.receipts.model.statement import PlanStatement
from safety_receipts.verify.selfcheck.selftest import edit_lines

LINES = [b"first", b"", "zweite – ü".encode(), b"x" * 100]


MANY = 100_000


def compressed(data: bytes) -> bytes:
    """Return one zstd frame with a checksum, as bundles have."""
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


def stored(folder: Path, data: bytes) -> Path:
    """Write bytes as a file of lines."""
    path = folder / "lines.zst"
    path.write_bytes(data)
    return path


# Lines


@given(lines=st.lists(st.binary(max_size=50).filter(lambda line: b"\n" not in line)))
@settings(deadline=None)
def test_lines_come_back(lines: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    text = b"".join(line + b"\n" for line in lines)
    path = stored(tmp_path_factory.getbasetemp(), compressed(text))
    assert list(read_lines(path, max_line=50, max_lines=MANY)) == lines


def test_lines_come_back_over_the_borders_of_pieces(tmp_path: Path) -> None:
    lines = [b"%d " % i * (i % 7000) for i in range(300)]
    path = stored(tmp_path, compressed(b"\n".join(lines) + b"\n"))
    assert list(read_lines(path, max_line=40_000, max_lines=MANY)) == lines


def test_a_file_without_lines(tmp_path: Path) -> None:
    assert list(read_lines(stored(tmp_path, compressed(b"")), max_line=10, max_lines=MANY)) == []


def test_no_truncated_file_reads_to_its_end(tmp_path: Path) -> None:
    data = compressed(b"\n".join(LINES) + b"\n")
    for length in range(len(data)):
        path = stored(tmp_path, data[:length])
        with pytest.raises(MalformedError) as caught:
            list(read_lines(path, max_line=1000, max_lines=MANY))
        assert caught.value.file == str(path)
        assert caught.value.hint


def test_no_damaged_byte_changes_the_lines(tmp_path: Path) -> None:
    data = compressed(b"\n".join(LINES) + b"\n")
    refused = 0
    for place in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[place] ^= 1 << bit
            try:
                lines = list(
                    read_lines(stored(tmp_path, bytes(damaged)), max_line=1000, max_lines=MANY)
                )
            except MalformedError:
                refused += 1
                continue
            assert lines == LINES  # a few bits of a zstd header mean nothing
    assert refused > 0.9 * 8 * len(data)


@pytest.mark.parametrize(
    "extra", [b"\n", b"\0", compressed(b"another\n"), b"\x50\x2a\x4d\x18\x01\x00\x00\x00x"]
)
def test_nothing_may_follow_the_lines(tmp_path: Path, extra: bytes) -> None:
    """No byte, no second frame, no skippable frame: somebody could hide something in it."""
    path = stored(tmp_path, compressed(b"line\n") + extra)
    with pytest.raises(MalformedError, match=r"bytes after the end|more than one zstd frame"):
        list(read_lines(path, max_line=1000, max_lines=MANY))


@pytest.mark.parametrize("data", [b"", b"\n", b'{"index":0}\n', b"PK\x03\x04", b"\x28\xb5\x2f\xfd"])
def test_other_files_are_no_lines(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(MalformedError):
        list(read_lines(stored(tmp_path, data), max_line=1000, max_lines=MANY))


def test_the_last_line_needs_its_line_break(tmp_path: Path) -> None:
    lines = read_lines(stored(tmp_path, compressed(b"one\ntwo")), max_line=1000, max_lines=MANY)
    assert next(lines) == b"one"
    with pytest.raises(MalformedError, match="no line break"):
        next(lines)


@pytest.mark.parametrize("number", [1, 3])
def test_a_line_may_be_as_long_as_allowed_and_no_longer(tmp_path: Path, number: int) -> None:
    lines = [b"a" * 1000] * 3
    path = stored(tmp_path, compressed(b"\n".join(lines) + b"\n"))
    assert list(read_lines(path, max_line=1000, max_lines=MANY)) == lines
    lines[number - 1] += b"a"
    path = stored(tmp_path, compressed(b"\n".join(lines) + b"\n"))
    with pytest.raises(MalformedError, match="longer than the 1,000 bytes") as caught:
        list(read_lines(path, max_line=1000, max_lines=MANY))
    assert caught.value.place == f"line {number}"


def test_a_file_may_have_as_many_lines_as_allowed_and_no_more(tmp_path: Path) -> None:
    path = stored(tmp_path, compressed(b"line\n" * 10))
    assert len(list(read_lines(path, max_line=10, max_lines=10))) == 10
    lines = read_lines(path, max_line=10, max_lines=9)
    assert len(list(islice(lines, 9))) == 9
    with pytest.raises(MalformedError, match="has more than 9 lines"):
        next(lines)


def test_reading_is_lazy(tmp_path: Path) -> None:
    """The first lines are there before the damage far behind them is met."""
    text = b"".join(b"%064x\n" % (i * 0x9E3779B97F4A7C15) for i in range(50_000))
    path = stored(tmp_path, compressed(text)[:-1])
    lines = read_lines(path, max_line=1000, max_lines=MANY)
    assert list(islice(lines, 1000)) == text.split(b"\n")[:1000]
    with pytest.raises(MalformedError, match="truncated"):
        list(lines)


_MEASURED = """
import resource, sys
from pathlib import Path
from safety_receipts.receipts.bundle import Bundle, read_lines
from safety_receipts.receipts.errors import MalformedError
bundle = Bundle(Path(sys.argv[1]))
for read in (
    bundle.points,
    bundle.responses,
    lambda: read_lines(bundle.folder / "points.jsonl.zst", max_line=1 << 24, max_lines=1_000_000),
):
    try:
        print(sum(1 for _ in read()))
    except MalformedError as error:
        print(error.place, error.message)
if sys.platform == "darwin":
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 20)
else:  # there ru_maxrss begins with the size of whoever forked this process
    [peak] = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    print(int(peak.split()[1]) >> 10)
"""


def _streamed(byte: bytes) -> bytes:
    compressor = zstandard.ZstdCompressor(level=1).compressobj()
    pieces = [compressor.compress(byte * (1 << 24)) for _ in range(64)]
    return b"".join(pieces) + compressor.flush()


def _run_length(byte: bytes) -> bytes:
    """Return a frame of 8,192 blocks of four bytes, each of which stands for 128 KiB."""
    window = bytes([0x00, (27 - 10) << 3])  # no checksum, no size; a window of 128 MiB
    block = (131_072 << 3 | 1 << 1).to_bytes(3, "little") + byte
    last = (131_072 << 3 | 1 << 1 | 1).to_bytes(3, "little") + byte
    return b"\x28\xb5\x2f\xfd" + window + block * 8191 + last


@pytest.mark.parametrize("make", [_streamed, _run_length])
@pytest.mark.parametrize("byte", [b"\0", b"\n"])
def test_a_decompression_bomb_of_a_gibibyte_takes_little_memory(
    fresh: Bundle, make: Callable[[bytes], bytes], byte: bytes
) -> None:
    bomb = make(byte)
    assert len(bomb) < 200_000
    for name in (POINTS_FILE, RESPONSES_FILE):
        (fresh.folder / name).write_bytes(bomb)
    command = [sys.executable, "-c", _MEASURED, str(fresh.folder)]
    finished = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    points, responses, lines, megabytes = finished.stdout.splitlines()
    assert points.startswith("line 1")
    assert responses.startswith("line 1")
    assert lines == (
        "None has more than 1,000,000 lines"
        if byte == b"\n"
        else "line 1 longer than the 16,777,216 bytes allowed"
    )
    assert int(megabytes) < 300


# Bundles


def test_a_bundle_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name, message in (("missing", "no such folder"), ("file", "is not a folder")):
        with pytest.raises(FileAccessError, match=message) as caught:
            Bundle(tmp_path / name)
        assert caught.value.file == str(tmp_path / name)


def test_what_was_sealed_reads_back(sealed: Bundle) -> None:
    plan = sealed.plan.statement.predicate
    expected = list(synthetic_points(plan, sealed.plan.envelope.digest))
    assert list(sealed.points()) == [point for point, _ in expected]
    assert list(sealed.responses()) == [record for _, record in expected]
    assert sealed.receipt.statement.predicate.plan.digest == sealed.plan.envelope.digest
    assert sealed.plan.is_canonical
    assert sealed.receipt.is_canonical


@pytest.mark.parametrize("name", [PLAN, RECEIPT, POINTS_FILE, RESPONSES_FILE])
def test_a_missing_file_is_named(fresh: Bundle, name: str) -> None:
    (fresh.folder / name).unlink()
    assert not fresh.has(name)
    with pytest.raises(FileAccessError, match=r"No such file|is not in this folder") as caught:
        _read_all(fresh)
    assert caught.value.file == str(fresh.folder / name)


@pytest.mark.parametrize("name", [PLAN, RECEIPT, POINTS_FILE, RESPONSES_FILE])
def test_no_link_in_a_bundle_is_followed(fresh: Bundle, name: str) -> None:
    path = fresh.folder / name
    path.rename(fresh.folder / "elsewhere")
    path.symlink_to("elsewhere")
    assert fresh.has(name)
    with pytest.raises(FileAccessError, match="symbolic link"):
        _read_all(fresh)


def test_a_dangling_link_is_there(fresh: Bundle) -> None:
    """Else an unreadable file would be taken for one that was withheld."""
    (fresh.folder / POINTS_FILE).unlink()
    (fresh.folder / POINTS_FILE).symlink_to("nowhere")
    assert fresh.has(POINTS_FILE)


def _read_all(bundle: Bundle) -> None:
    assert bundle.plan
    assert bundle.receipt
    for _ in bundle.points():
        pass
    for _ in bundle.responses():
        pass


def test_a_broken_point_is_named_by_its_line(fresh: Bundle) -> None:
    def spoil(lines: list[bytes]) -> list[bytes]:
        lines[6] = lines[6].replace(b'"draw":0', b'"draw":"0"')
        return lines

    edit_lines(fresh.folder, spoil, POINTS_FILE)
    points = fresh.points()
    assert [point.index for point in islice(points, 6)] == list(range(6))
    with pytest.raises(MalformedError) as caught:
        next(points)
    assert caught.value.file == str(fresh.folder / POINTS_FILE)
    assert caught.value.place == "line 7: $.draw"


@pytest.mark.parametrize("name", [POINTS_FILE, RESPONSES_FILE])
def test_no_more_lines_are_read_than_the_receipt_says(fresh: Bundle, name: str) -> None:
    edit_lines(fresh.folder, lambda lines: [*lines, lines[-1]], name)
    read = fresh.points if name == POINTS_FILE else fresh.responses
    with pytest.raises(MalformedError, match="has more than 64 lines"):
        list(read())


def test_a_broken_record_is_named_by_its_line(fresh: Bundle) -> None:
    def spoil(lines: list[bytes]) -> list[bytes]:
        lines[2] = canonical_bytes(json.loads(lines[2]) | {"salt": "ff"})
        return lines

    edit_lines(fresh.folder, spoil, RESPONSES_FILE)
    records = fresh.responses()
    assert [record.index for record in islice(records, 2)] == [0, 1]
    with pytest.raises(MalformedError) as caught:
        next(records)
    assert caught.value.file == str(fresh.folder / RESPONSES_FILE)
    assert caught.value.place == "line 3: $.salt"


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line[:-1] + b',"text":"another"}',
        lambda line: b'{"text":"another",' + line[1:],
        lambda line: line.replace(b'","', b'", "', 1),
        lambda line: line.replace(b"alpha", b"\\u0061lpha"),
        lambda line: json.dumps(json.loads(line)).encode(),
    ],
)
def test_records_have_one_form(fresh: Bundle, change: Callable[[bytes], bytes]) -> None:
    """Of a key given twice, two readers would take two values."""
    edit_lines(fresh.folder, lambda lines: [change(lines[0]), *lines[1:]], RESPONSES_FILE)
    with pytest.raises(MalformedError, match="not in canonical form") as caught:
        next(fresh.responses())
    assert caught.value.place == "line 1"


@pytest.mark.parametrize("line", [b"", b"null", b"[]", b"{}", b"\xff", b"{" * 1000])
def test_lines_that_are_no_points(line: bytes, tmp_path: Path) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_point(line, 12, tmp_path)
    assert caught.value.place is not None
    assert caught.value.place.startswith("line 12")


@pytest.mark.parametrize("name", [PLAN, RECEIPT])
@pytest.mark.parametrize("data", [b"", b"{}", b"\xff\xfe", b"[" * 100_000])
def test_files_that_are_no_envelopes(fresh: Bundle, name: str, data: bytes) -> None:
    (fresh.folder / name).write_bytes(data)
    with pytest.raises(MalformedError) as caught:
        _read_all(fresh)
    assert caught.value.file == str(fresh.folder / name)


def test_a_statement_of_another_kind_is_refused(sealed: Bundle, tmp_path: Path) -> None:
    path = tmp_path / PLAN
    with pytest.raises(MalformedError) as caught:
        parse_signed(sealed.receipt_envelope, PlanStatement, file=path)
    assert caught.value.file == str(path)


def test_an_envelope_has_a_longest_length(sealed: Bundle) -> None:
    path = sealed.folder / RECEIPT
    size = path.stat().st_size
    assert read_envelope(path, size) == sealed.receipt_envelope
    with pytest.raises(MalformedError, match="longer than"):
        read_envelope(path, size - 1)


def test_a_payload_in_another_form_is_told_apart(sealed: Bundle, tmp_path: Path) -> None:
    payload = json.dumps(json.loads(sealed.plan_envelope.payload), indent=1).encode()
    envelope = Envelope(payload, sealed.plan_envelope.signatures)
    signed = parse_signed(envelope, PlanStatement, file=tmp_path / PLAN)
    assert signed.statement == sealed.plan.statement
    assert not signed.is_canonical


def test_audits_are_listed_by_name(fresh: Bundle) -> None:
    assert fresh.audit_files() == []
    folder = fresh.folder / AUDITS
    folder.mkdir()
    for name in ("b.dsse.json", "a.dsse.json", "notes.txt"):
        (folder / name).touch()
    assert [path.name for path in fresh.audit_files()] == ["a.dsse.json", "b.dsse.json"]
    folder.rename(fresh.folder / "elsewhere")
    folder.symlink_to("elsewhere")
    with pytest.raises(FileAccessError, match="symbolic link"):
        fresh.audit_files()
    folder.unlink()
    folder.touch()
    with pytest.raises(FileAccessError, match="cannot list"):
        fresh.audit_files()


# Writing


def test_the_writer_makes_its_folder(tmp_path: Path, signer: Signer) -> None:
    writer = BundleWriter(tmp_path / "a" / "b")
    envelope = sign({"plan": 1}, signer)
    writer.write_plan(envelope)
    assert read_envelope(tmp_path / "a" / "b" / PLAN, 10_000) == envelope


def test_a_folder_holds_one_plan_and_no_receipt_is_overwritten(
    tmp_path: Path, signer: Signer
) -> None:
    writer = BundleWriter(tmp_path)
    envelope, other = sign({"plan": 1}, signer), sign({"plan": 2}, signer)
    writer.write_plan(envelope)
    writer.write_plan(envelope)
    with pytest.raises(UsageError, match="holds another plan"):
        writer.write_plan(other)
    writer.write_receipt(other)
    with pytest.raises(UsageError, match="holds a receipt already"):
        writer.write_plan(envelope)
    assert read_envelope(tmp_path / PLAN, 10_000) == envelope


def test_the_writer_needs_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileAccessError, match="cannot create"):
        BundleWriter(tmp_path / "file")


def test_no_statement_is_written_that_readers_would_refuse(
    tmp_path: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    envelope = sign({"a": "x" * 1000}, signer)
    monkeypatch.setattr(bundle_module, "MAX_PLAN_BYTES", 1000)
    monkeypatch.setattr(bundle_module, "MAX_RECEIPT_BYTES", 1000)
    writer = BundleWriter(tmp_path)
    for write in (writer.write_plan, writer.write_receipt):
        with pytest.raises(UsageError, match="more than the 1,000 that readers accept"):
            write(envelope)
    assert not list(tmp_path.iterdir())


def test_audits_lie_under_their_digest(tmp_path: Path, signer: Signer) -> None:
    writer = BundleWriter(tmp_path)
    envelopes = [sign({"audit": number}, signer) for number in range(2)]
    written = [writer.write_audit(envelope) for envelope in envelopes]
    assert [path.name for path in written] == [f"{e.digest}.dsse.json" for e in envelopes]
    assert Bundle(tmp_path).audit_files() == sorted(written)
    assert read_envelope(written[0], 10_000) == envelopes[0]


@pytest.mark.parametrize("public", [True, False])
def test_evidence_lines_are_canonical_and_records_private(
    sealed: Bundle, tmp_path: Path, public: bool
) -> None:
    pairs = list(zip(sealed.points(), sealed.responses(), strict=True))
    writer = BundleWriter(tmp_path)
    with writer.evidence(public=public) as sink:
        leaves = [sink.append(point, record) for point, record in pairs]
    assert leaves == list(Bundle(tmp_path).lines(MANY))
    assert leaves == [canonical_bytes(point.to_wire()) for point, _ in pairs]
    records = list(read_lines(tmp_path / RESPONSES_FILE, max_line=100_000, max_lines=MANY))
    assert records == [canonical_bytes(record.to_wire()) for _, record in pairs]
    assert stat.S_IMODE((tmp_path / RESPONSES_FILE).stat().st_mode) == 0o600
    others = stat.S_IMODE((tmp_path / POINTS_FILE).stat().st_mode) & 0o077
    assert public or others == 0


def test_evidence_files_carry_a_checksum(sealed: Bundle) -> None:
    for name in (POINTS_FILE, RESPONSES_FILE):
        head = (sealed.folder / name).read_bytes()[:18]
        assert zstandard.get_frame_parameters(head).has_checksum


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError])
def test_an_interrupted_block_leaves_no_evidence(
    sealed: Bundle, tmp_path: Path, error: type[BaseException]
) -> None:
    pairs = list(zip(sealed.points(), sealed.responses(), strict=True))

    def write() -> None:
        with BundleWriter(tmp_path).evidence(public=True) as sink:
            for point, record in pairs:
                sink.append(point, record)
            raise error

    with pytest.raises((error, FileAccessError)):
        write()
    assert list(_all_files(tmp_path)) == []


def _all_files(folder: Path) -> Iterator[str]:
    return (path.name for path in folder.rglob("*"))
