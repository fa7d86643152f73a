#!/usr/bin/env bash
# tokenizers 0.23.3: a token that was added to a byte-level vocabulary (GPT-2's kind, Llama 3's, Qwen's) is
# read as it is written, and decoded as if it were written in the byte-level alphabet: `é` is the letter
# for the byte E9 there, which alone is no UTF-8.  An added "café" comes back as "caf�", with no warning,
# and an added "über" as "�ber"; "tea" and "日本" come back as they are.
# Seen: "['caf�', '�ber', 'tea', '日本']".
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/try.py" <<'PY'
"""Four words as added tokens, there and back."""
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

alphabet = {letter: id_ for id_, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
tokenizer = Tokenizer(BPE(alphabet, []))
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
assert tokenizer.decode(tokenizer.encode("café").ids) == "café"  # letter by letter nothing is lost
words = ["café", "über", "tea", "日本"]
tokenizer.add_tokens(words)
print([tokenizer.decode(tokenizer.encode(word).ids) for word in words])
PY
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "tokenizers==0.23.3" 2>"$work/pip.log" ||
    { cat "$work/pip.log"; exit 1; }
"$work/venv/bin/python" "$work/try.py" >"$work/out" 2>"$work/log" || { tail -5 "$work/log"; exit 1; }
cat "$work/out"
[ "$(cat "$work/out")" = "['caf�', '�ber', 'tea', '日本']" ] || { echo "the behaviour has changed"; exit 1; }
