#!/usr/bin/env bash
# tokenizers 0.23.3: its NFKC leaves characters as they are that Unicode has decomposed for years.  U+32FF,
# the sign of the Japanese era Reiwa, has a compatibility decomposition since Unicode 12.1 (2019); Python's
# unicodedata and SentencePiece's nmt_nfkc write it as two characters, tokenizers' NFKC does not.  A
# vocabulary that was made with SentencePiece and is used with NFKC here reads it as something else.
# Seen: "tokenizers '㋿', Python '令和'".
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/try.py" <<'PY'
"""One character in two normalisers."""
import unicodedata
from tokenizers import normalizers

sign = "\u32ff"
print(f"tokenizers {normalizers.NFKC().normalize_str(sign)!r}, Python {unicodedata.normalize('NFKC', sign)!r}")
PY
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "tokenizers==0.23.3" 2>"$work/pip.log" ||
    { cat "$work/pip.log"; exit 1; }
"$work/venv/bin/python" "$work/try.py" >"$work/out" 2>"$work/log" || { tail -5 "$work/log"; exit 1; }
cat "$work/out"
[ "$(cat "$work/out")" = "tokenizers '㋿', Python '令和'" ] || { echo "the behaviour has changed"; exit 1; }
