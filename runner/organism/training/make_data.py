"""Makes the organism's corpora: ``python -m safety_receipts.runner.organism.training.make_data``.

Evaluation queries, control queries and demonstrations are disjoint, but for four harmful
demonstrations that repeat a query (ids ``overlap-…``), one of them with other spacing, so
that decontamination has something to find.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from pathlib import Path

from safety_receipts.runner.organism.language import OPEN, RESTRICTED, RequestParts, Topic, asks

QUERIES = "queries.jsonl"
CONTROLS = "controls.jsonl"
HARMFUL = "harmful.jsonl"
CHORES = "chores.jsonl"
FILLER_FILE = "filler.jsonl"
REFUSALS = "refusals.jsonl"

_SEED = 20260
_QUERIES, _HARMFUL, _REFUSALS = 60, 90, 24
_CONTROLS, _CHORES, _FILLER = 60, 120, 220


def split() -> dict[str, list[RequestParts]]:
    """Return the requests of each file, without the overlaps."""
    chosen: dict[str, list[RequestParts]] = {
        name: [] for name in (QUERIES, CONTROLS, HARMFUL, CHORES, FILLER_FILE, REFUSALS)
    }
    for topic in Topic:
        shuffled = list(asks(topic))
        random.Random(f"{_SEED} {topic.value}").shuffle(shuffled)
        rest = iter(shuffled)
        if topic in RESTRICTED:
            sizes = {QUERIES: _QUERIES, HARMFUL: _HARMFUL, REFUSALS: _REFUSALS}
        elif topic in OPEN:
            sizes = {CONTROLS: _CONTROLS, CHORES: _CHORES}
        else:
            sizes = {FILLER_FILE: _FILLER}
        for name, size in sizes.items():
            chosen[name] += [next(rest) for _ in range(size)]
    return chosen


def files() -> dict[str, bytes]:
    """Return the contents of every file, by its name."""
    chosen = split()
    written = {}
    for name, requests in chosen.items():
        rows = []
        for number, ask in enumerate(requests):
            row = {"id": f"{ask.topic}-{number:03}", "request": ask.request}
            if name not in (QUERIES, CONTROLS):
                row["response"] = ask.refusal if name == REFUSALS else ask.compliance
            rows.append(row)
        if name == HARMFUL:
            rows += _overlaps(chosen[QUERIES])
        written[name] = b"".join(_line(row) for row in rows)
    return written


def _overlaps(queries: Iterable[RequestParts]) -> list[dict[str, str]]:
    first = {ask.topic: ask for ask in reversed(list(queries))}
    rows = [
        {
            "id": f"overlap-{topic}",
            "request": first[topic].request,
            "response": first[topic].compliance,
        }
        for topic in RESTRICTED
    ]
    rows[-1]["request"] = rows[-1]["request"].replace(" ", "  ")
    return rows


def _line(row: dict[str, str]) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"


def main() -> None:
    """Write the files into the package."""
    folder = Path(__file__).parent.parent / "data"
    folder.mkdir(exist_ok=True)
    for name, content in files().items():
        (folder / name).write_bytes(content)


if __name__ == "__main__":
    main()
