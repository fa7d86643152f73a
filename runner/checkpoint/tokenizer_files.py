"""The files that make prompts of conversations: digests and template, read and not run.

What is asked here needs no tokenizer and renders nothing, so that a folder can be held against a
sealed plan before anything in it is run.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

from safety_receipts.receipts.canonical import Sha256, canonical_bytes, sha256_hex
from safety_receipts.receipts.errors import FileAccessError, MalformedError, UsageError
from safety_receipts.runner.checkpoint.model_files import read_json_object
from safety_receipts.runner.hub.lfs import refuse_pointers

TOKENIZER_TAG = "safety-receipts/tokenizer/1"

TOKENIZER_FILE: Final = "tokenizer.json"
TOKENIZER_CONFIG: Final = "tokenizer_config.json"

TOKENIZER_FILES = (
    "added_tokens.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "tekken.json",
    "tiktoken.model",
    TOKENIZER_FILE,
    "tokenizer.model",
    TOKENIZER_CONFIG,
    "vocab.json",
    "vocab.txt",
)
"""Files that can make a tokenizer, sorted; those that a folder has are digested."""

TEMPLATE_FILE: Final = "chat_template.jinja"
"""File with a chat template, which rules over the one in ``tokenizer_config.json``."""

TEMPLATE_FOLDER: Final = "additional_chat_templates"
"""Folder of further chat templates, by name."""

_NO_VOCABULARY = {"added_tokens.json", "special_tokens_map.json", TOKENIZER_CONFIG}
_CONVERTED = (
    "sentencepiece.bpe.model",
    "spiece.model",
    "tekken.json",
    "tiktoken.model",
    "tokenizer.model",
)
"""Files that a tokenizer is made of by packages that may be installed or not."""
_MAX_TEMPLATE = 4 * 2**20


def tokenizer_digest(folder: Path) -> Sha256:
    """Return the digest of a folder's tokenizer.

    SHA-256 over the RFC 8785 bytes of ``["safety-receipts/tokenizer/1", [[name, SHA-256 of the
    file], …]]``, of all :data:`TOKENIZER_FILES` in the folder, sorted by name.

    Raises:
        FileAccessError: A file cannot be read.
    """
    files = []
    for name in TOKENIZER_FILES:
        path = folder / name
        if path.is_file():
            try:
                with path.open("rb") as stream:
                    files.append([name, hashlib.file_digest(stream, "sha256").hexdigest()])
            except OSError as error:
                raise FileAccessError.from_os(error, "read", path) from None
    return sha256_hex(canonical_bytes([TOKENIZER_TAG, files]))


def chat_template_digest(source: str) -> Sha256:
    """Return SHA-256 of a chat template's text in UTF-8."""
    return sha256_hex(source.encode("utf-8"))


def refuse_open_tokenizer(folder: Path) -> None:
    """Refuse a folder of which it is open what tokenizer it gives, or that has none.

    A tokenizer that is made of another format than ``tokenizer.json`` is made by whichever
    package is installed, and one of several files is chosen by the version of transformers: the
    bytes of the folder then do not say what it does.

    Raises:
        FileAccessError: There is no tokenizer, or its configuration cannot be read.
        MalformedError: A file is a Git LFS pointer, or the configuration no JSON object.
        UsageError: It is open which it is.
    """
    refuse_pointers(folder / name for name in (*TOKENIZER_FILES, TEMPLATE_FILE))
    found = [name for name in TOKENIZER_FILES if (folder / name).is_file()]
    if _NO_VOCABULARY.issuperset(found):
        raise FileAccessError(
            "has no tokenizer",
            file=folder,
            hint="name the folder that holds tokenizer.json beside the weights",
        )
    converted = [name for name in _CONVERTED if name in found]
    if converted and TOKENIZER_FILE not in found:
        raise UsageError(
            f"the tokenizer is made of {converted[0]}, by whichever package for it is installed",
            file=folder,
            hint="convert it to tokenizer.json with transformers' save_pretrained",
        )
    if _config(folder).get("fast_tokenizer_files"):
        raise UsageError(
            "names several tokenizers, of which the version of transformers chooses one",
            file=folder / TOKENIZER_CONFIG,
            place="fast_tokenizer_files",
            hint="keep one, as tokenizer.json, and take the list out",
        )


def read_template(folder: Path) -> str:
    """Return the chat template of a folder, as transformers looks for it.

    ``additional_chat_templates/default.jinja`` rules, then ``chat_template.jinja``, then
    ``chat_template`` in ``tokenizer_config.json``; of several the one named ``default``.

    Raises:
        FileAccessError: A file cannot be read.
        MalformedError: A file is damaged or too long.
        UsageError: There is no template, or several and none named ``default``.
    """
    files = {path.stem: path for path in sorted((folder / TEMPLATE_FOLDER).glob("*.jinja"))}
    if (folder / TEMPLATE_FILE).is_file():
        files.setdefault("default", folder / TEMPLATE_FILE)
    if files:
        given: Any = dict.fromkeys(files, "")
        if "default" in files:
            given["default"] = _text(files["default"])
        if len(files) == 1:
            given = given.get("default", given)
    else:
        given = _config(folder).get("chat_template")
    if isinstance(given, list):
        given = {one.get("name"): one.get("template") for one in given if isinstance(one, dict)}
    source = given.get("default") if isinstance(given, dict) else given
    if isinstance(source, str) and source:
        return source
    if given:
        names = ", ".join(map(str, given)) if isinstance(given, dict) else "of no known form"
        raise UsageError(
            f"has several chat templates ({names}) and none named default", file=folder
        )
    raise UsageError(
        "has no chat template, as base models have none",
        file=folder,
        hint="evaluate an instruct or chat checkpoint, or put chat_template.jinja in its folder",
    )


def _config(folder: Path) -> dict[str, Any]:
    path = folder / TOKENIZER_CONFIG
    return read_json_object(path) if path.is_file() else {}


def _text(path: Path) -> str:
    """Return a template's text, its line ends as Python reads them."""
    try:
        with path.open(encoding="utf-8") as stream:
            text = stream.read(_MAX_TEMPLATE + 1)
    except OSError as error:
        raise FileAccessError.from_os(error, "read", path) from None
    except UnicodeDecodeError:
        raise MalformedError(
            "is not UTF-8", file=path, hint="get it again from its source"
        ) from None
    if len(text) > _MAX_TEMPLATE:
        raise MalformedError(f"longer than {_MAX_TEMPLATE:,} characters", file=path)
    return text
