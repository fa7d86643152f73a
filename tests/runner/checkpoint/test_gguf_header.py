"""In which number formats a GGUF file is, by its header."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from gguf_files import NORM, PAIRS, PROJECTION, gguf_bytes, pair, text, write_small_gguf

from safety_receipts.receipts.errors import FileAccessError, MalformedError
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.runner.checkpoint.gguf_header import gguf_problem, read_gguf_header


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.gguf"


@pytest.mark.parametrize("version", [2, 3])
def test_a_header_is_read_without_the_tensors(file: Path, version: int) -> None:
    file.write_bytes(gguf_bytes([(NORM, "F32"), (PROJECTION, "BF16")], version=version))
    header = read_gguf_header(file)
    assert [(each.name, each.dimensions, each.stored_as) for each in header.tensors] == [
        (*NORM, "F32"),
        (*PROJECTION, "BF16"),
    ]
    assert header.parts == 1


@pytest.mark.parametrize(
    ("dtype", "kind", "fits"),
    [
        (Dtype.FLOAT32, "F32", True),
        (Dtype.FLOAT16, "F16", True),
        (Dtype.BFLOAT16, "BF16", True),
        (Dtype.FLOAT32, "Q2_K", False),
        (Dtype.FLOAT32, "F16", False),
        (Dtype.BFLOAT16, "F16", False),
        (Dtype.BFLOAT16, "F32", False),
        (Dtype.FLOAT16, "Q4_0", False),
        (Dtype.FLOAT32, "I32", False),
    ],
)
def test_weights_are_in_the_number_format_or_are_not(
    file: Path, dtype: Dtype, kind: str, fits: bool
) -> None:
    write_small_gguf(file, kind)
    problem = gguf_problem(file, dtype)
    assert (problem is None) == fits
    if problem is not None:
        assert f"stores {PROJECTION[0]} as {kind}" in problem


def test_a_number_format_that_nobody_knows_is_named_by_its_number(file: Path) -> None:
    write_small_gguf(file, "odd")
    assert "as number format 77" in str(gguf_problem(file, Dtype.FLOAT32))


@pytest.mark.parametrize(
    ("tensor", "fits"),
    [
        (("blk.0.ffn_gate_inp.weight", 2), True),
        (("blk.0.attn_k_norm.weight", 2), True),
        (("blk.0.attn_q.bias", 2), True),
        (("rope_freqs.weight", 1), True),
        (("token_embd.weight", 2), False),
    ],
)
def test_what_the_converter_keeps_whole_may_be_in_f32(
    file: Path, tensor: tuple[str, int], fits: bool
) -> None:
    file.write_bytes(gguf_bytes([(tensor, "F32"), (PROJECTION, "BF16")]))
    assert (gguf_problem(file, Dtype.BFLOAT16) is None) == fits


def test_a_small_tensor_may_not_be_quantised_either(file: Path) -> None:
    file.write_bytes(gguf_bytes([(NORM, "Q4_0"), (PROJECTION, "F32")]))
    assert gguf_problem(file, Dtype.FLOAT32) is not None


def test_a_file_that_loads_others_is_refused(file: Path) -> None:
    split = pair("split.count", 2, struct.pack("<H", 3))
    file.write_bytes(gguf_bytes(pairs=[*PAIRS, split]))
    assert "one of 3 files" in str(gguf_problem(file, Dtype.FLOAT32))


def test_a_file_without_tensors_is_refused(file: Path) -> None:
    file.write_bytes(gguf_bytes([]))
    assert gguf_problem(file, Dtype.FLOAT32) == "it holds no tensors"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is not a GGUF file"),
        (b"GGML" + bytes(60), "is not a GGUF file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (gguf_bytes(version=1), "of version 1"),
        (gguf_bytes()[:4] + struct.pack(">I", 3) + gguf_bytes()[8:], "of version 50,331,648"),
        (gguf_bytes(counts={"tensors": 2**60}), "cut, damaged or longer"),
        (gguf_bytes(counts={"pairs": 2**16}), "cut, damaged or longer"),
        (gguf_bytes(counts={"tensors": 3}), "cut, damaged or longer"),
        (gguf_bytes(pairs=[pair("a", 13, b"")]), "cut, damaged or longer"),
        (gguf_bytes(pairs=[pair("a", 8, struct.pack("<Q", 2**63))]), "cut, damaged or longer"),
        (gguf_bytes(pairs=[pair("a", 9, struct.pack("<IQ", 8, 2**62))]), "cut, damaged or longer"),
        (gguf_bytes(pairs=[pair("a", 9, struct.pack("<IQ", 0, 2**62))]), "cut, damaged or longer"),
        (gguf_bytes(pairs=[pair("a", 9, struct.pack("<IQ", 9, 1))]), "cut, damaged or longer"),
        (gguf_bytes([], counts={"tensors": 1}) + text("t") + b"\xff" * 4, "cut, damaged or longer"),
    ],
)
def test_a_damaged_header_ends_in_one_sentence(file: Path, data: bytes, said: str) -> None:
    file.write_bytes(data)
    with pytest.raises(MalformedError) as raised:
        read_gguf_header(file)
    assert said in raised.value.one_line()
    assert "\n" not in raised.value.one_line()


def test_a_header_that_is_cut_anywhere_ends_in_one_sentence(file: Path) -> None:
    whole = gguf_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(MalformedError):
            read_gguf_header(file)


def test_a_file_that_is_not_there_is_named(file: Path) -> None:
    with pytest.raises(FileAccessError, match=r"model\.gguf|read"):
        read_gguf_header(file)
