"""All parts of a job, in order: as many at once as its workers take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from safety_receipts.runner.pool.messages import Job, Trouble
from safety_receipts.runner.pool.pool import AHEAD, WorkerPool


def answers(pool: WorkerPool, job: Job, parts: Iterable[Any]) -> Iterator[Any]:
    """Yield the answers to parts of a job, in the order of the parts.

    Args:
        pool: Answers them; it is told of the job where there is a part.
        job: The job.
        parts: Taken as workers come to them.

    Raises:
        ReceiptsError: That is a part's answer, or the pool can answer no more.
    """
    left, early = iter(parts), dict[int, Any]()
    submitted = 0

    def submit() -> None:
        nonlocal submitted
        while submitted - turn < AHEAD * pool.workers:
            try:
                part = next(left)
            except StopIteration:
                return
            if not submitted:
                pool.begin(job)
            pool.submit(submitted, part)
            submitted += 1

    turn = 0
    submit()
    try:
        while turn < submitted:
            while turn not in early:
                key, answer = pool.collect()
                early[key] = answer
            answer = early.pop(turn)
            if isinstance(answer, Trouble):
                raise answer.error()
            turn += 1
            submit()
            yield answer
    finally:
        pool.end()
