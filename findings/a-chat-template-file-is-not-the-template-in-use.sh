#!/usr/bin/env bash
# transformers 5.24.0: a folder's chat_template.jinja is not what `AutoTokenizer` renders with where either of
# two other files is there.  `additional_chat_templates/default.jinja` takes its place; so does a key
# `chat_template` in special_tokens_map.json, if tokenizer_config.json has no `added_tokens_decoder`.  Whoever
# reads chat_template.jinja, as its name invites to, reads another template than the one that is used.
# Seen: "chat_template.jinja alone: file", "with additional_chat_templates/default.jinja: additional",
# "with special_tokens_map.json: map".
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check transformers==5.24.0 jinja2 2>"$work/pip.log" ||
    { cat "$work/pip.log"; exit 1; }
cat >"$work/try.py" <<'PY'
"""One tokenizer's folder, three ways; no model, no torch."""
import json
import shutil
import sys
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoTokenizer


def rendered(folder: Path, extra: dict[str, str]) -> str:
    folder.mkdir(parents=True)
    Tokenizer(WordLevel({"a": 0}, unk_token="a")).save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "a"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "chat_template.jinja").write_text("file")
    for name, text in extra.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = tokenizer.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False)
    shutil.rmtree(folder)
    return text


folder = Path(sys.argv[1])
alone = rendered(folder, {})
additional = rendered(folder, {"additional_chat_templates/default.jinja": "additional"})
mapped = rendered(folder, {"special_tokens_map.json": json.dumps({"chat_template": "map"})})
print(f"chat_template.jinja alone: {alone}")
print(f"with additional_chat_templates/default.jinja: {additional}")
print(f"with special_tokens_map.json: {mapped}")
sys.exit(0 if (alone, additional, mapped) == ("file", "additional", "map") else "the behaviour has changed")
PY
"$work/env/bin/python" "$work/try.py" "$work/folder" 2>"$work/log" || { tail -5 "$work/log"; exit 1; }
