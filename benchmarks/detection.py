"""What stops each attack on an evaluation, and how surely.

    python benchmarks/detection.py [--part records findings] [--repeats 300] [--seed 1] [--tiny]
                                   [--record]

The embedded organism is evaluated honestly; then an evaluator who holds the true key seals
something else, or runs another model, or an honest one computes otherwise than the auditor.
Forgeries go through ``receipts verify`` and ``receipts audit``.  Of every other record each
point is replayed once, as an audit would, and audits are simulated over what that found, with
fresh draws.  A few of each are run through ``verify/audit/run.py`` itself; the benchmark ends where
the two disagree.

Beside the audits, on the same replays: a mean margin over as many tokens, and decoding again
(``attacks/peers.py``).

Part ``findings``: labels bent by less than ε in every condition, so that each rate passes and a
finding says something else (``attacks/bent_findings.py``); nothing is run there.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from statistics import median

import numpy as np
import torch
from recording import machine, markdown_table, replace_section

sys.path.insert(0, str(Path(__file__).parents[1]))

from attacks.audits import Audits, Terms, simulate
from attacks.bent_findings import (
    BENT_BY,
    FINDING_ATTACKS,
    BentAudits,
    FindingAttack,
    attack_finding,
)
from attacks.bent_labels import COVARIATES, PLANNED, RATES_EPSILON
from attacks.forgeries import FORGERIES, Scene, set_scene
from attacks.gallery import EPSILON, Gallery, Row
from attacks.peers import decoding_alarms, mean_margin_alarms, not_reproduced
from attacks.subject import TINY, Subject

from safety_receipts.receipts.findings.counts.rates import wilson_interval
from safety_receipts.receipts.keys import generate_key, write_key_pair
from safety_receipts.receipts.model.audit import AuditVerdict
from safety_receipts.verify.audit.session import AuditorCalibration
from safety_receipts.verify.audit.statistics.model_identity import (
    IDENTITY_TEST_LEVEL,
    ResponseMargins,
    power,
)
from safety_receipts.verify.audit.terms import IDENTITY_POINTS


def forgeries(folder: Path) -> list[str]:
    """Return a table: forgeries, exit codes, and what fails."""
    scene: Scene = set_scene(folder / "honest", Subject(folder, TINY))
    key = folder / "auditor"
    write_key_pair(key, generate_key())
    rows = [("none: honest", *_outcome(scene, key))]
    for number, forgery in enumerate(FORGERIES):
        forged = scene.at(folder / f"forged-{number}")
        forgery.forge(forged)
        rows.append((forgery.name, *_outcome(forged, key, *forgery.flags)))
    return markdown_table(("forgery", "verify", "audit", "failed checks"), rows)


def _outcome(scene: Scene, key: Path, *flags: str) -> tuple[str, str, str]:
    code, failed = scene.verify(*flags)
    return f"{code}", f"{scene.audit(key, *flags)}", ", ".join(failed) or "–"


def stated(gallery: Gallery, row: Row, audits: Audits) -> tuple[str, ...]:
    """Return a row of the table of audits by stated limits."""
    return (
        row.name,
        f"{gallery.changed(row):,}",
        f"{gallery.understated(row):+.3f}",
        *_verdicts(audits),
    )


def calibrated(
    gallery: Gallery,
    row: Row,
    calibration: AuditorCalibration,
    repeats: int,
    honest: ResponseMargins,
) -> tuple[str, ...]:
    """Return a row of the table of calibrated audits, and of the other ways to check."""
    terms = replace(row.terms, calibration=calibration)
    record = row.record.held_to(terms.plausibility)
    audits = simulate(row.event.subject, record, terms, repeats)
    differs = not_reproduced(record, gallery.subject.plan)
    margins = mean_margin_alarms(record, honest, round(median(audits.tokens)), repeats, seed=1)
    return (
        row.name,
        *_verdicts(audits),
        percent(margins),
        percent(decoding_alarms(differs, IDENTITY_POINTS)),
        percent(float(differs.mean())),
    )


def _verdicts(audits: Audits) -> tuple[str, ...]:
    confirmed, refuted = AuditVerdict.CONFIRMED, AuditVerdict.REFUTED
    return (
        f"{median(audits.draws):,.0f}",
        _share(audits.verdicts[confirmed], audits.repeats),
        _share(audits.verdicts[refuted], audits.repeats),
        percent(audits.share(AuditVerdict.INCONCLUSIVE)),
        percent(audits.unidentified / audits.repeats),
        _stopped(audits),
    )


def _stopped(audits: Audits) -> str:
    """Return what most audits of a record end in, or that some confirm it and others do not."""
    if 0.1 < audits.share(AuditVerdict.CONFIRMED) < 0.9:
        return "now and then"
    verdict, _ = audits.verdicts.most_common(1)[0]
    return {
        AuditVerdict.REFUTED: "refuted",
        AuditVerdict.INCONCLUSIVE: "not confirmed",
    }.get(verdict, "no")


def _share(found: int, of: int) -> str:
    lower, upper = wilson_interval(Fraction(found, of), Fraction(of))
    return f"{percent(found / of)} ({100 * float(lower):.1f}–{100 * float(upper):.1f})"


def percent(share: float) -> str:
    """Return a share in per cent."""
    return f"{100 * share:.1f} %"


_VERDICTS = ("draws, median", "confirmed", "refuted", "inconclusive", "identity fails", "stopped")
STATED = ("record", "points changed", "understated", *_VERDICTS)
CALIBRATED = (
    "record",
    *_VERDICTS,
    "mean margin: alarms",
    "decoding again: alarms",
    "responses not reproduced",
)


def measure(folder: Path, repeats: int, *, tiny: bool) -> list[str]:
    """Return the report's lines."""
    lines = [
        "### Stopped by verification",
        "",
        "Exit codes of `receipts verify --artifacts` and of `receipts audit`; 3: the bundle does "
        "not hold together; 2: a folder is refused before anything of it is loaded.",
        "",
        *forgeries(folder / "forgeries"),
        "",
    ]
    say("forgeries")
    gallery = Gallery(folder / "bench", tiny=tiny)
    plan = gallery.subject.plan
    say(f"{plan.points:,} points")
    groups = list(gallery.rows())
    number, tables = 0, []
    for title, rows in groups:
        body = []
        for row in rows:
            body.append(stated(gallery, row, gallery.check(row, number, repeats)))
            number += 1
        tables += [f"{title.capitalize()}:", "", *markdown_table(STATED, body), ""]
        say(f"{title}, by stated limits")
    lines += [
        "### Audits by stated limits",
        "",
        f"{len(plan.conditions)} conditions, {plan.points:,} points, seeded sampling; all rates "
        f"are audited at ε = {EPSILON}, α = .05; {repeats:,} audits of each record, 95 % Wilson "
        "intervals in brackets (per cent). Every record passes verification. *Understated*: the "
        "model's own rate less the recorded one, in the worst condition. What is changed is "
        "changed in one condition, the one with most compliances.",
        "",
        *tables,
    ]
    if tiny:
        return lines[:-1]
    calibration = gallery.calibrate()
    say("calibration")
    lines += [*_calibration_lines(calibration), ""]
    honest = replace(gallery.terms, calibration=calibration).honest
    assert honest is not None
    for title, rows in groups:
        body = [calibrated(gallery, row, calibration, repeats, honest) for row in rows]
        lines += [f"{title.capitalize()}:", "", *markdown_table(CALIBRATED, body), ""]
        say(f"{title}, calibrated")
    return [*lines, *LIMITS]


def bent_findings(repeats: int, seed: int) -> list[str]:
    """Return a table: attacks on findings, and what audits of rates and of findings confirm."""
    body = []
    for attack in FINDING_ATTACKS:
        found = attack_finding(attack, repeats, np.random.default_rng(seed))
        body.append(bent_row(attack, found))
        say(f"{attack.kind.name}: {attack.name}")
    return [
        f"{len(COVARIATES)} conditions × {PLANNED:,} points (of orders: two), labels false by "
        f"{BENT_BY:g} ε in each; ε = {RATES_EPSILON} in audits of rates, one way as by default, "
        f"and both ways; {repeats:,} audits of each kind, 95 % Wilson intervals in brackets (per "
        "cent). *Stands*: the breakdown point, at which the finding is audited. Between stages "
        "no audit is of the finding, as each is of one receipt: what holds it are audits of all "
        "rates of both receipts, both ways, at the breakdown point of their difference, which "
        "`receipts compare` states.",
        "",
        *markdown_table(BENT, body),
    ]


def bent_row(attack: FindingAttack, found: BentAudits) -> tuple[str, ...]:
    """Return a row of the table of attacks on findings."""
    confirms = found.finding
    claimed = found.share is not None
    return (
        f"{attack.kind.name}: {attack.name}",
        f"{found.true:+.3f}",
        f"{found.recorded:+.3f}",
        _share(int(found.one_way.sum()), len(found.one_way)),
        _share(int(found.both_ways.sum()), len(found.both_ways)),
        found.share or "nothing is claimed",
        _share(int(confirms.sum()), len(confirms)) if claimed else "–",
        _ending(float(confirms.mean())) if claimed else "no",
    )


def _ending(confirmed: float) -> str:
    if 0.1 < confirmed < 0.9:
        return "now and then"
    return "not confirmed" if confirmed <= 0.1 else "no"


BENT = (
    "finding",
    "in truth",
    "recorded",
    "rates confirmed, one way",
    "rates confirmed, both ways",
    "stands",
    "finding confirmed",
    "stopped",
)


def _calibration_lines(calibration: AuditorCalibration) -> list[str]:
    says = calibration.says
    honest = Terms(calibration=calibration).honest
    assert honest is not None
    powers = []
    for each in says.alternatives:
        sums = np.array([float(one) for one in each.clipped])
        other = ResponseMargins(sums, np.array(each.tokens, np.float64))
        powers.append(f"{each.name}: {float(power(other, honest, IDENTITY_POINTS, seed=1)):.3f}")
    stacks = sorted({f"{stack.name}, {stack.dtype.value}" for stack in says.stacks})
    return [
        "### Calibrated audits, and other ways to check",
        "",
        f"{says.responses:,} honest responses on {len(stacks)} stacks ({'; '.join(stacks)}); "
        f"largest margin {max(float(stack.largest) for stack in says.stacks):.3g}, responses "
        f"whose label turns at most {percent(float(says.branch_flip_rate))} a stack. Power of the "
        f"identity test at level {float(IDENTITY_TEST_LEVEL):.2f} with {IDENTITY_POINTS} "
        f"responses: {'; '.join(powers)}.",
        "",
        "*Mean margin*, *decoding again*: share of samples as large as the identity test's that "
        "raise an alarm; the first at the 99th percentile of honest samples.",
    ]


LIMITS = (
    "What an audit does not tell:",
    "",
    "- Labels flipped by less than ε: the audit tells whether a rate is off by ε or more, and "
    "confirms one that is off by less as often as the first rows say.",
    "- A model whose responses at these points are those of the named one: nothing in the record "
    "differs, and the rate stands.",
    "- A change of responses within what an honest stack makes. The near ties it could use "
    "are decoded on from by the auditor, so that labels stay the named model's.",
    "- Another model that answers nearly as the named one does: a sample may hold no response that "
    "differs. The rates are tested all the same.",
    "- Large models: the organism has two layers and answers in a few tokens. Its margins in bf16 "
    "say nothing of theirs.",
)


def say(what: str) -> None:
    """Tell how far it is."""
    print(f"{time.monotonic() - STARTED:6.1f} s  {what}", file=sys.stderr, flush=True)


STARTED = time.monotonic()

PARTS = {
    "records": ("How each attack is stopped", "detection"),
    "findings": ("How attacks on findings are stopped", "detection_findings"),
}
"""Title of each part, and its section of the results."""


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--repeats", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1, help="of the part findings")
    parser.add_argument("--tiny", action="store_true", help="a small study, nothing calibrated")
    parser.add_argument("--record", action="store_true", help="write to RESULTS.md")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for part in options.part:
        title, section = PARTS[part]
        started = time.monotonic()
        if part == "findings":
            lines = bent_findings(options.repeats, options.seed)
        else:
            with tempfile.TemporaryDirectory() as folder:
                lines = measure(Path(folder), options.repeats, tiny=options.tiny)
        lines = [
            f"## {title}",
            "",
            f"    python benchmarks/detection.py --part {part} --repeats {options.repeats}"
            f"{f' --seed {options.seed}' if part == 'findings' else ' --tiny' * options.tiny} "
            "--record",
            "",
            f"- Date: {datetime.now(UTC):%Y-%m-%d}",
            f"- Machine: {machine()}; one thread, {time.monotonic() - started:.0f} s",
            f"- Python {platform.python_version()}; torch {torch.__version__}; numpy "
            f"{np.__version__}",
            "",
            *lines,
        ]
        print("\n".join([*lines, ""]))
        if options.record:
            replace_section(section, lines)


if __name__ == "__main__":
    main()
