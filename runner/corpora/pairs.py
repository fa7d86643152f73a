"""Corpora with responses: conversations, and a user's own files."""

from __future__ import annotations

from itertools import pairwise

from safety_receipts.runner.corpora.reader import ColumnShape, ParsedRow, Reader
from safety_receipts.runner.corpora.record import Record

_NO_PAIR = ("", None)


def _ultrachat(record: Record) -> ParsedRow:
    """Take the first two of alternating user and assistant texts."""
    opening = [
        record.checked(text, f"data[{place}]")
        for place, text in enumerate(record.items("data")[:2])
    ]
    return _conversation(record.scalar("id"), *(opening if len(opening) == 2 else _NO_PAIR))


def _ultrachat_200k(record: Record) -> ParsedRow:
    """Take the first user message that an assistant message follows."""
    messages = []
    for place, message in enumerate(record.items("messages")):
        if not isinstance(message, dict):
            raise record.error(f"messages[{place}]: not an object", "it has role and content")
        role, content = (
            record.checked(message.get(key), f"messages[{place}].{key}")
            for key in ("role", "content")
        )
        messages.append((role, content))
    opening = next(
        (
            (request, response)
            for (asker, request), (answerer, response) in pairwise(messages)
            if (asker, answerer) == ("user", "assistant")
        ),
        _NO_PAIR,
    )
    return _conversation(record.scalar("prompt_id"), *opening)


def _conversation(identity: str, request: str, response: str | None) -> ParsedRow:
    """Leave the request empty where the pair is not whole: half a pair shows nothing."""
    if response is None or not response.strip():
        return ParsedRow(identity, "", None)
    return ParsedRow(identity, request, response)


def _own(record: Record) -> ParsedRow:
    return ParsedRow(record.scalar("id"), record.text("request"), record.optional_text("response"))


def _pair(record: Record) -> ParsedRow:
    response = record.text("response")
    if not response.strip():
        raise record.error(
            "response: empty", "a demonstration needs one; for requests alone use `corpus: own`"
        )
    return ParsedRow(record.scalar("id"), record.text("request"), response)


ULTRACHAT = Reader(
    shapes=(
        ColumnShape(columns=("id", "data"), parse=_ultrachat, texts=("data",)),
        ColumnShape(
            columns=("prompt", "prompt_id", "messages"),
            parse=_ultrachat_200k,
            texts=("prompt", "messages"),
        ),
    ),
    licence="MIT",
    hub_files={
        "stingning/ultrachat": "train_0.jsonl",
        "HuggingFaceH4/ultrachat_200k": "data/train_sft-00000-of-00003-a3ecf92756993583.parquet",
    },
)

OWN = Reader(
    shapes=(
        ColumnShape(
            columns=("id", "request"),
            parse=_own,
            texts=("request", "response"),
            optional=("response", "source"),
        ),
    ),
)

PAIRS = Reader(
    shapes=(
        ColumnShape(
            columns=("id", "request", "response"), parse=_pair, texts=("request", "response")
        ),
    ),
)
