#!/usr/bin/env bash
# transformers 5.24.0, jinja2 3.1: a carriage return that stands in a chat template is a line feed in what it
# renders, inside string constants too, while those of messages stay.  So a template that compares a message with
# a constant of the same characters finds them different, files that differ in line ends alone have two digests
# and one rendering, and a model trained on "\r\n" is never shown one by its template, unless it is spelt \r\n.
# Seen: "text: 'x\ny'", "constant: 'x\ny'", "lone: 'x\ny'", "escape: 'x\r\ny'", "same as the message: 'False'".
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check transformers==5.24.0 jinja2 2>"$work/pip.log" ||
    { cat "$work/pip.log"; exit 1; }
cat >"$work/try.py" <<'PY'
"""One message, several templates; no model, no torch."""
import sys

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"a": 0}, unk_token="a")))
said = [{"role": "user", "content": "x\r\ny"}]
templates = {
    "text": "x\r\ny",
    "constant": "{{ 'x\r\ny' }}",
    "lone": "{{ 'x\ry' }}",
    "escape": "{{ 'x\\r\\ny' }}",
    "message": "{{ messages[0].content }}",
    "same as the message": "{{ 'x\r\ny' == messages[0].content }}",
}
seen = []
for name, template in templates.items():
    tokenizer.chat_template = template
    seen.append(tokenizer.apply_chat_template(said, tokenize=False))
    print(f"{name}: {seen[-1]!r}")
expected = ["x\ny", "x\ny", "x\ny", "x\r\ny", "x\r\ny", "False"]
sys.exit(0 if seen == expected else "the behaviour has changed")
PY
"$work/env/bin/python" "$work/try.py" 2>"$work/log" || { tail -5 "$work/log"; exit 1; }
