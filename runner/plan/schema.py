"""What validators of the plan file say across keys, as JSON Schema.

An editor that completes and checks a plan knows nothing of Python.  A key that is null counts
as one that is not given, as it does for the models.
"""

from __future__ import annotations

from typing import Any

from safety_receipts.receipts.model.checkpoint import SamplingMethod
from safety_receipts.receipts.model.judge import JudgeKind, traits_of
from safety_receipts.receipts.model.plan import EngineKind, asks_server, is_served

Schema = dict[str, Any]


def given(*keys: str) -> Schema:
    """Match a mapping in which all of these keys have values."""
    return {"required": list(keys), "properties": {key: {"not": {"type": "null"}} for key in keys}}


def absent(*keys: str) -> Schema:
    """Match a mapping in which none of these keys has a value."""
    return {"properties": {key: {"type": "null"} for key in keys}}


def _is(key: str, *values: str, default: bool = False) -> Schema:
    """Match a mapping in which ``key`` has one of these values, or by default has none."""
    one = {"const": values[0]} if len(values) == 1 else {"enum": list(values)}
    return {"properties": {key: one}} | ({} if default else {"required": [key]})


ONE_PLACE: list[Any] = [
    {"allOf": [given("path"), absent("hub", "revision")]},
    {"allOf": [given("hub", "revision"), absent("path")]},
]
"""A path, or a repository with its commit."""

SERVER: Schema = {
    "allOf": [
        given("dialect"),
        {
            "anyOf": [
                {"allOf": [given("url"), absent("serve")]},
                {"allOf": [given("serve"), absent("url", "model")]},
            ]
        },
    ]
}
"""A server has an address or is started."""

ENGINE_RULE: Schema = {
    "if": _is("kind", *(kind.value for kind in EngineKind if asks_server(kind))),
    "then": {"allOf": [absent("base_url"), SERVER]},
    "else": {
        "allOf": [
            absent("dialect", "url", "serve", "model"),
            {
                "if": _is("kind", *(kind.value for kind in EngineKind if is_served(kind))),
                "then": given("base_url"),
                "else": absent("base_url"),
            },
        ]
    },
}
"""A server has an address or is started, and nothing else is."""

SAMPLING: Schema = {
    "allOf": [
        {
            "properties": {
                "repetition_penalty": {"exclusiveMinimum": 0, "pattern": "[1-9]|^checkpoint$"}
            }
        }
    ],
    "if": _is("method", SamplingMethod.GREEDY.value, default=True),
    "then": absent("temperature", "top_p", "top_k"),
    "else": {
        "required": ["temperature"],
        "properties": {
            # Of these keywords some speak of numbers and some of text.
            "temperature": {"not": {"type": "null"}, "exclusiveMinimum": 0, "pattern": "[1-9]"},
            "top_p": {
                "exclusiveMinimum": 0,
                "maximum": 1,
                "pattern": r"^(0\.[0-9]*[1-9][0-9]*|1(\.0+)?)$",
            },
        },
    },
}
"""Greedy sampling takes no temperature, seeded sampling needs one; no penalty is 0."""

JUDGE: Schema = {
    "if": _is("kind", *(kind.value for kind in JudgeKind if traits_of(kind).is_rule)),
    "then": absent("path", "hub", "revision", "base_url", "threshold", "server"),
    "else": {
        "if": given("base_url"),
        "then": {
            "allOf": [
                _is("kind", *(kind.value for kind in JudgeKind if traits_of(kind).may_be_remote)),
                given("name"),
                absent("path", "hub", "revision", "server"),
            ]
        },
        "else": {
            "anyOf": ONE_PLACE,
            "if": given("server"),
            "then": _is("kind", *(kind.value for kind in JudgeKind if traits_of(kind).generates)),
        },
    },
}
"""Rules have no place, a chat model behind an API has an address and a name instead; a server
generates, and so is for judges that do."""


def exactly_one(keys: list[str]) -> Schema:
    """Match a mapping in which one of these keys has a value, and no other."""
    return {"oneOf": [given(key) for key in keys]}
