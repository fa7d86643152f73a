"""A plan's worth of experiments, one of each kind, and a law to answer them."""

from __future__ import annotations

from functools import partial

import numpy as np
from observing import Asked, Cell, logistic

from safety_receipts.receipts.model.demonstrations import ContextForm, ExperimentKind, Ordering

chores = partial(Cell, source="chores")
EXPERIMENTS = [
    (ExperimentKind.SWEEP, [chores(8 * k // 4, 8 - 8 * k // 4) for k in range(5)]),
    (
        ExperimentKind.FIXED_HARMFUL,
        [
            chores(h, b, o)
            for o in (Ordering.SUFFIX, Ordering.PREFIX)
            for h in (4, 16)
            for b in (0, 16)
        ],
    ),
    (ExperimentKind.ORDERINGS, [chores(8, 8, order) for order in Ordering]),
    (ExperimentKind.RESPONSE_PREFIX, [chores(4, 16, prefix="Answer:")]),
    (
        ExperimentKind.BENIGN_SOURCES,
        [Cell(4, b, source=s) for s in ("chores", "filler") for b in (8, 16)],
    ),
    (ExperimentKind.CONTEXTS, [chores(4, 16), chores(4, 16, form=ContextForm.TOOL)]),
]


def diluting(where: Asked) -> np.ndarray:
    """A law with dilution by chores, recency, and nothing else."""
    shown = where.condition
    diluted = shown.n_benign if shown.benign_source == "chores" else 0
    recent = 1.5 if shown.ordering is Ordering.SUFFIX else 0.0
    own = np.sin(1.7 * where.query)
    return logistic(
        -1.0 + 0.4 * np.log(shown.n_harmful + 1) - 0.5 * np.log(diluted + 1) + recent + own
    )
