"""Run the known-answer study: ``python examples/known-answer/study.py OUT [MEMBER …]``.

For each member of the organism: write the study into OUT/MEMBER, calibrate the judge, seal and run
the plan, verify the receipt, and hold the findings to the planted law.  With several members,
compare them at the end.  The law's own slopes are fitted to its probabilities at the very points
that were asked, since a logit over pooled queries is near the planted coefficient and not equal to
it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.findings.fits.covariates import joint_covariates
from safety_receipts.receipts.findings.fits.logit import newton
from safety_receipts.receipts.model.findings import Findings, JointFinding
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.runner.commands.init import write_preset
from safety_receipts.runner.organism import data_folder, members
from safety_receipts.runner.organism.truth import compare_with_law
from safety_receipts.runner.plan.resolve import resolve_plan

HERE = Path(__file__).parent


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study on the members named, or on all."""
    names = [member.name for member in members()]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="a folder for everything; run again to go on")
    parser.add_argument("member", nargs="*", help=f"of {', '.join(names)}; default: all")
    parsed = parser.parse_args(arguments)
    chosen = parsed.member or names
    if unknown := set(chosen) - set(names):
        parser.error(f"no such member: {', '.join(sorted(unknown))}")
    key = parsed.out / "evaluator"
    parsed.out.mkdir(parents=True, exist_ok=True)
    if not key.exists():
        _receipts("keygen", key)
    bundles = [_study(parsed.out / name, name, key) for name in chosen]
    for bundle, name in zip(bundles, chosen, strict=True):
        _hold_to_law(bundle, parsed.out / name / "plan.yaml", name)
    if len(bundles) > 1:
        _receipts("compare", *bundles, "--trust", f"{key}.pub")


def _study(folder: Path, name: str, key: Path) -> Path:
    """Run one member's study and return its bundle."""
    plan, bundle = folder / "plan.yaml", folder / "bundle"
    if not plan.exists():
        write_preset(folder, "demo", name)
        plan.write_text((HERE / "plan.yaml").read_text("utf-8").replace("MEMBER", name), "utf-8")
        _write_gold(folder / "gold.jsonl")
    if not (folder / "gold.json").exists():
        gold = ("--gold", folder / "gold.jsonl", "--out", folder / "gold.json")
        _receipts("judge", "calibrate", plan, *gold)
    if not (bundle / "receipt.dsse.json").exists():
        _receipts("run", plan, "--key", key, "--out", bundle, "--device", "cpu")
    _receipts("show", bundle, "--conditions", "h8-*")
    _receipts("verify", bundle, "--trust", f"{key}.pub", "--allow-instrument")
    return bundle


def _write_gold(path: Path) -> None:
    """Write labelled responses: the proxy corpora say which of theirs refuse."""
    with path.open("x", encoding="utf-8") as file:
        for corpus, label in (("harmful", "complied"), ("refusals", "refused")):
            for line in (data_folder() / f"{corpus}.jsonl").read_text("utf-8").splitlines():
                pair = json.loads(line)
                gold = {"query": pair["request"], "response": pair["response"], "label": label}
                file.write(json.dumps(gold) + "\n")


def _hold_to_law(bundle: Path, plan_file: Path, name: str) -> None:
    """Print found slopes beside those of the law."""
    opened = Bundle(bundle)
    plan = opened.plan.statement.predicate
    findings = opened.receipt.statement.predicate.findings
    if findings is None:
        sys.exit(f"{bundle}: no findings are sealed")
    truth = {
        one.condition: one for one in compare_with_law(resolve_plan(plan_file), opened.points())
    }
    rates = {id_: (one.points, one.planted) for id_, one in truth.items()}
    table = Table(title=f"{name}: found beside planted", title_justify="left")
    for column in ("slope on log(N_b + 1)", "planted", "found", "95 % interval", "says"):
        table.add_column(column, justify="left" if column.startswith("s") else "right")
    for label, ids, beta, interval, word in _slopes(findings):
        planted = _planted(plan, ids, rates)
        table.add_row(label, f"{planted:+.3f}", f"{float(beta):+.3f}", interval, word)
    Console().print(table)
    worst = max(truth.values(), key=lambda one: abs(one.deviation))
    print(
        f"{len(truth)} conditions; farthest from the law: {worst.condition}, recorded "
        f"{worst.recorded:.3f}, planted {worst.planted:.3f}, {worst.deviation:+.1f} standard errors"
    )


def _slopes(findings: Findings) -> list[tuple[str, tuple[str, ...], str, str, str]]:
    """Return label, conditions, slope, interval and word of every slope of the findings."""
    rows = []
    joints: list[JointFinding] = [
        *([findings.joint] if findings.joint else []),
        *(findings.joint_in_other_orders or ()),
    ]
    for joint in joints:
        if joint.clustered and joint.interval:
            span = f"{float(joint.interval.lower):+.3f} to {float(joint.interval.upper):+.3f}"
            order = f"joint, {joint.ordering or 'one kind only'}"
            rows.append((order, joint.conditions, joint.clustered.beta2, span, joint.effect.value))
    for slope in findings.sources.slopes if findings.sources else ():
        span = f"{float(slope.interval.lower):+.3f} to {float(slope.interval.upper):+.3f}"
        rows.append(
            (f"source {slope.source}", slope.conditions, slope.beta, span, slope.effect.value)
        )
    return rows


def _planted(
    plan: PlanPredicate, ids: tuple[str, ...], rates: dict[str, tuple[int, float]]
) -> float:
    """Return the slope of a logit fitted to the law's probabilities in some conditions."""
    shown = [condition for condition in plan.conditions if condition.id in ids]
    covariates = joint_covariates(
        np.array([float(condition.n_harmful) for condition in shown]),
        np.array([float(condition.n_benign) for condition in shown]),
    )
    points = np.array([rates[condition.id][0] for condition in shown], dtype=np.float64)
    complied = points * [rates[condition.id][1] for condition in shown]
    return float(newton(covariates, complied, points)[-1])


def _receipts(*words: str | Path) -> None:
    """Run a command as a user would."""
    line = [str(word) for word in words]
    print("\n$ receipts", *line, flush=True)
    done = subprocess.run([sys.executable, "-m", "safety_receipts", *line], check=False)
    if done.returncode:
        sys.exit(done.returncode)


if __name__ == "__main__":
    main()
