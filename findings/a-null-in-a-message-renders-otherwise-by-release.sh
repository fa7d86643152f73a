#!/usr/bin/env bash
# transformers 5.22.2 and 5.23.0: `apply_chat_template` of one template and one conversation gives two
# prompts.  A message with `"content": null`, as the OpenAI API writes an assistant's tool call, reached
# templates as it was until 5.22; 5.23 takes keys that are null out of messages first.  A template that
# prints the content writes `None` under the one and nothing under the other, and a prompt recorded under
# one release is not reproduced under the next.
# Seen: "5.22.2: 'assistant:None;'", "5.23.0: 'assistant:;'".
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/try.py" <<'PY'
"""One conversation through one template; no model, no torch."""
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"a": 0}, unk_token="a")))
template = "{% for m in messages %}{{ m.role ~ ':' ~ m['content'] ~ ';' }}{% endfor %}"
call = {"type": "function", "function": {"name": "look_up", "arguments": {"topic": "tea"}}}
messages = [{"role": "assistant", "content": None, "tool_calls": [call]}]
print(repr(tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False)))
PY
for version in 5.22.2 5.23.0; do
    "${PYTHON:-python3}" -m venv "$work/$version"
    "$work/$version/bin/pip" install --quiet --disable-pip-version-check \
        "transformers==$version" jinja2 2>"$work/pip.log" || { cat "$work/pip.log"; exit 1; }
    "$work/$version/bin/python" "$work/try.py" >"$work/$version.out" 2>"$work/log" || { tail -5 "$work/log"; exit 1; }
    echo "$version: $(cat "$work/$version.out")"
done
[ "$(cat "$work/5.22.2.out")" = "'assistant:None;'" ] && [ "$(cat "$work/5.23.0.out")" = "'assistant:;'" ] ||
    { echo "the behaviour has changed"; exit 1; }
