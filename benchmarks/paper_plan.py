"""The plan that the preset ``paper`` comes to, of a checkpoint and of queries that do not exist."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def paper_plan() -> Any:
    """Return a plan of all conditions of the preset, 1,404 queries and 250 controls, two draws.

    What it needs is imported when it is called: who measures a process decides what it imports.
    """
    from safety_receipts.receipts.events.grid import distinct_lists
    from safety_receipts.receipts.events.synthetic import Mixture, synthetic_plan
    from safety_receipts.receipts.model.demonstrations import DemonstrationKind
    from safety_receipts.receipts.model.plan import EvidenceAccess
    from safety_receipts.runner.plan.conditions import expand
    from safety_receipts.runner.plan.file import load_plan_file

    root = Path(__file__).parents[1]
    preset, _ = load_plan_file(root / "runner" / "presets" / "paper.yaml")
    grid = expand(preset)
    base = synthetic_plan(
        [Mixture(0, 0, None)],
        {"harmbench": 200, "sorry-bench": 450, "wildguardtest": 754},
        controls={"xstest": 250},
        evidence_access=EvidenceAccess.AUDITORS,
    )
    pool = base.demonstrations.benign[0]
    refusals = {"name": "refusals", "kind": DemonstrationKind.REFUSAL}
    demonstrations = base.demonstrations.model_copy(
        update={
            "benign": tuple(
                pool.model_copy(update={"name": name}) for name in preset.demonstrations.benign
            ),
            "refusal": pool.model_copy(update=refusals),
        }
    )
    plan = base.model_copy(
        update={
            "conditions": grid.conditions,
            "experiments": grid.experiments,
            "contexts": grid.contexts,
            "response_prefixes": grid.response_prefixes,
            "demonstrations": demonstrations,
            "points": len(grid.conditions) * len(base.query_ids) * base.demonstrations.draws,
        }
    )
    lists = demonstrations.model_copy(update={"distinct_lists": distinct_lists(plan)})
    return plan.model_copy(update={"demonstrations": lists})
