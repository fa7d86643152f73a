#!/usr/bin/env bash
# zstandard 0.25.0: a .zst file cut in half is read to its "end" without an error, as text and as bytes, by
# `zstandard.open`; only `decompressobj` can be asked (`.eof`) whether the frame was complete.  A check that
# counts or hashes the lines of such a file finds a shorter file in perfect order.
# Seen: "whole: 20000 lines; cut: 8066 lines, no error; decompressobj.eof: False".
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check zstandard==0.25.0 2>"$work/pip.log" ||
    { cat "$work/pip.log"; exit 1; }
cat >"$work/try.py" <<'PY'
"""Lines that do not compress well, so that half a file is about half of them."""
import hashlib
import sys
from pathlib import Path

import zstandard

path = Path(sys.argv[1])
lines = "".join(hashlib.sha256(str(n).encode()).hexdigest() + "\n" for n in range(20_000))
data = zstandard.ZstdCompressor().compress(lines.encode())
path.write_bytes(data)
with zstandard.open(path, "rt") as stream:
    whole = sum(1 for _ in stream)
path.write_bytes(data[: len(data) // 2])
with zstandard.open(path, "rt") as stream:
    cut = sum(1 for _ in stream)
reader = zstandard.ZstdDecompressor().decompressobj()
reader.decompress(path.read_bytes())
print(f"whole: {whole} lines; cut: {cut} lines, no error; decompressobj.eof: {reader.eof}")
sys.exit(0 if 0 < cut < whole and not reader.eof else "the behaviour has changed")
PY
"$work/env/bin/python" "$work/try.py" "$work/lines.zst"
