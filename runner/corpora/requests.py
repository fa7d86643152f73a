"""Corpora of requests: one row, one request (HarmBench, SORRY-Bench, XSTest, …)."""

from __future__ import annotations

from safety_receipts.runner.corpora.reader import ColumnShape, ParsedRow, Reader
from safety_receipts.runner.corpora.record import Record

HARMBENCH_CONTEXT = "{context}\n\n---\n\n{behavior}"
"""How a contextual behaviour is asked: the context comes first, as HarmBench's own
``DirectRequest`` baseline builds it (baselines/direct_request/direct_request.py)."""


def _harmbench(record: Record) -> ParsedRow:
    behavior, context = record.text("Behavior"), record.text("ContextString")
    if context.strip() and behavior.strip():
        behavior = HARMBENCH_CONTEXT.format(context=context, behavior=behavior)
    return ParsedRow(record.scalar("BehaviorID"), behavior, None)


def _sorry_bench(record: Record) -> ParsedRow:
    turns = record.items("turns")
    if len(turns) != 1:
        raise record.error(
            f"turns: {len(turns)} items where 1 is expected", "name a file of single turns"
        )
    return ParsedRow(record.scalar("question_id"), record.checked(turns[0], "turns[0]"), None)


def _wildguardtest(record: Record) -> ParsedRow:
    return ParsedRow(None, record.text("prompt"), record.optional_text("response"))


def _redteam_2k(record: Record) -> ParsedRow:
    return ParsedRow(record.scalar("id"), record.text("question"), None)


def _or_bench(record: Record) -> ParsedRow:
    return ParsedRow(None, record.text("prompt"), None)


def _xstest(record: Record) -> ParsedRow:
    return ParsedRow(record.scalar("id"), record.text("prompt"), None)


def _jailbreakbench(record: Record) -> ParsedRow:
    # ``Target`` is the first line an attack optimises towards, not an answer.
    return ParsedRow(record.scalar("Index"), record.text("Goal"), None)


def _strongreject(record: Record) -> ParsedRow:
    return ParsedRow(None, record.text("forbidden_prompt"), None)


HARMBENCH = Reader(
    shapes=(
        ColumnShape(
            columns=(
                "Behavior",
                "FunctionalCategory",
                "SemanticCategory",
                "Tags",
                "ContextString",
                "BehaviorID",
            ),
            parse=_harmbench,
            texts=("Behavior", "ContextString"),
        ),
    ),
    licence="MIT",
)

SORRY_BENCH = Reader(
    shapes=(
        ColumnShape(
            columns=("question_id", "category", "turns", "prompt_style"),
            parse=_sorry_bench,
            texts=("turns",),
        ),
    ),
    hub_files={
        "sorry-bench/sorry-bench-202406": "question.jsonl",
        "sorry-bench/sorry-bench-202503": "question.jsonl",
    },
)

WILDGUARDTEST = Reader(
    shapes=(
        ColumnShape(
            columns=(
                "prompt",
                "adversarial",
                "response",
                "prompt_harm_label",
                "response_refusal_label",
                "response_harm_label",
                "subcategory",
            ),
            parse=_wildguardtest,
            texts=("prompt", "response"),
        ),
    ),
    licence="ODC-BY-1.0",
    hub_files={"allenai/wildguardmix": "test/wildguard_test.parquet"},
)

REDTEAM_2K = Reader(
    shapes=(
        ColumnShape(
            columns=("id", "question", "policy", "from"), parse=_redteam_2k, texts=("question",)
        ),
    ),
    licence="MIT",
    hub_files={"JailbreakV-28K/JailBreakV-28k": "JailBreakV_28K/RedTeam_2K.csv"},
)

OR_BENCH = Reader(
    shapes=(ColumnShape(columns=("prompt", "category"), parse=_or_bench, texts=("prompt",)),),
    licence="CC-BY-4.0",
    hub_files={"bench-llm/or-bench": "or-bench-80k.csv"},
)

XSTEST = Reader(
    shapes=(
        ColumnShape(
            columns=("id", "prompt", "type", "label", "focus", "note"),
            parse=_xstest,
            texts=("prompt",),
        ),
    ),
    licence="CC-BY-4.0",
    hub_files={"Paul/XSTest": "xstest_prompts.csv"},
)

JAILBREAKBENCH = Reader(
    shapes=(
        ColumnShape(
            columns=("Index", "Goal", "Target", "Behavior", "Category", "Source"),
            parse=_jailbreakbench,
            texts=("Goal", "Target"),
        ),
    ),
    licence="MIT",
    hub_files={"JailbreakBench/JBB-Behaviors": "data/harmful-behaviors.csv"},
)

STRONGREJECT = Reader(
    shapes=(
        ColumnShape(
            columns=("category", "source", "forbidden_prompt"),
            parse=_strongreject,
            texts=("forbidden_prompt",),
        ),
    ),
)
