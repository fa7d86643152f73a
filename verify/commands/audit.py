"""``receipts audit``: its options."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import click
from click.core import ParameterSource

from safety_receipts.receipts.beacon.chains import QUICKNET
from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.cli import common_options
from safety_receipts.receipts.commands.options import (
    PATH,
    examples,
    key_option,
    log_settings_option,
    passphrase_option,
    read_signer,
    statement_log,
)
from safety_receipts.receipts.errors import ExitCode, UsageError
from safety_receipts.receipts.model.audit import AuditMethod, Direction
from safety_receipts.receipts.model.checkpoint import Dtype
from safety_receipts.receipts.model.plan import BeaconRound
from safety_receipts.receipts.present.output import Output
from safety_receipts.runner.commands.options import (
    byte_size,
    device_option,
    pickle_option,
    worker_options,
    workers_asked,
)
from safety_receipts.verify.audit.conduct import refuse_false_round
from safety_receipts.verify.audit.terms import IDENTITY_POINTS, AuditOptions
from safety_receipts.verify.commands.auditing.asked import AuditAsked, AuditMachine
from safety_receipts.verify.commands.auditing.conducting import perform_audit
from safety_receipts.verify.commands.options import (
    challenge_beacon,
    hex64_option,
    log_policy_option,
    number,
    one_line_option,
    share_option,
    trust_terms,
    tsa_root_option,
)

_DIRECTIONS = {
    "understated": (Direction.NOT_UNDERSTATED,),
    "overstated": (Direction.NOT_OVERSTATED,),
    "both": tuple(Direction),
}
CHAIN = QUICKNET.name
"""The beacon whose rounds ``--beacon-round`` names."""


@click.command(
    epilog=examples(
        "receipts audit bundle --key auditor --artifacts study/plan.yaml --dry-run",
        "receipts audit bundle --key auditor --artifacts study/plan.yaml \\",
        "    --trust evaluator.pub --calibration calibration.json",
    )
)
@click.argument("bundle", type=PATH)
@key_option("--key", "Private key that signs the audit.", required=True)
@click.option(
    "--artifacts",
    type=PATH,
    required=True,
    metavar="PLAN",
    help="A plan.yaml whose paths are yours: checkpoint, corpora, judge.",
)
@click.option(
    "--trust",
    type=PATH,
    multiple=True,
    metavar="KEY.pub",
    help="Public key of an evaluator you trust, or a trust file, .yaml (repeatable).  [required, "
    "but for --dry-run]",
)
@click.option("--dry-run", is_flag=True, help="Show what the audit would take; announce nothing.")
@click.option("--calibration", type=PATH, metavar="FILE", help="File from receipts calibrate.")
@click.option(
    "--epsilon",
    metavar="SHARE",
    help="Tolerated error of a rate: 0.05 is five points.  [default: 0.05; of a --finding that is "
    "no slope, what it stands]",
)
@click.option(
    "--alpha",
    default="0.05",
    show_default=True,
    metavar="SHARE",
    help="Risk of confirming a rate that is off by epsilon or more.",
)
@click.option(
    "--conditions", multiple=True, metavar="GLOB", help="Conditions to audit; default: all."
)
@click.option(
    "--direction",
    type=click.Choice(list(_DIRECTIONS)),
    default="understated",
    show_default=True,
    help="The error of a recorded rate to test for.",
)
@click.option(
    "--rates",
    type=click.Choice(["all", "conditions"]),
    default="all",
    show_default=True,
    help="All recorded rates, or only those of conditions, without single sources and controls.",
)
@click.option(
    "--finding",
    "findings",
    multiple=True,
    metavar="NAME",
    help="Audit a finding, such as joint: a slope as a whole; others, and with --epsilon slopes as "
    "well, by the rates that they rest on, both ways, within the share of false labels that they "
    "stand (repeatable).",
)
@click.option("--max-points", type=number, metavar="N", help="Largest number of points to replay.")
@click.option(
    "--identity-points",
    type=number,
    metavar="N",
    default=IDENTITY_POINTS,
    show_default=True,
    help="Further points, of any outcome, for the model-identity test.",
)
@device_option
@click.option(
    "--dtype",
    type=click.Choice([each.value for each in Dtype]),
    help="Number format to replay in; default: the plan's.",
)
@click.option("--memory", metavar="SIZE", help="Bound on memory, of model and judge: 8GiB.")
@worker_options
@click.option("--out", type=PATH, help="Folder for audits/, where the bundle is read-only.")
@click.option(
    "--auditor", callback=one_line_option, metavar="NAME", help="Name of the auditor, as free text."
)
@passphrase_option
@tsa_root_option
@log_policy_option
@log_settings_option
@click.option("--nonce", metavar="HEX", help="Nonce chosen by hand, marked as such.")
@click.option("--beacon-round", type=number, metavar="N", help=f"Future round of {CHAIN}.")
@click.option("--beacon-value", metavar="HEX", help="Published value of that round.")
@click.option(
    "--beacon-signature",
    metavar="HEX",
    help="Published signature of that round, from which the value follows.",
)
@click.option(
    "--regenerate",
    is_flag=True,
    help="Generate new responses and compare rates; the best verdict is consistent_with.",
)
@click.option(
    "--score-by-server",
    is_flag=True,
    help="Hold greedy responses against the log-probabilities of the server that your PLAN names; "
    "the best verdict is consistent_with.",
)
@click.option("--new", is_flag=True, help="Announce another audit although there is one.")
@pickle_option
@common_options
def audit(  # one parameter an option
    *,
    bundle: Path,
    key: tuple[Path, ...],
    passphrase_env: tuple[str, ...],
    artifacts: Path,
    trust: tuple[Path, ...],
    epsilon: str | None,
    alpha: str,
    conditions: tuple[str, ...],
    direction: str,
    rates: str,
    findings: tuple[str, ...],
    max_points: int | None,
    identity_points: int,
    device: str | None,
    dtype: str | None,
    memory: str | None,
    workers: int,
    ray: str | None,
    calibration: Path | None,
    out: Path | None,
    auditor: str | None,
    tsa_root: tuple[Path, ...],
    log_policy: Path | None,
    log_settings: Path | None,
    nonce: str | None,
    beacon_round: int | None,
    beacon_value: str | None,
    beacon_signature: str | None,
    regenerate: bool,
    score_by_server: bool,
    new: bool,
    dry_run: bool,
    allow_pickle: bool,
    output: Output,
) -> ExitCode:
    """Replay drawn points of BUNDLE and say, at a stated risk, whether its rates stand.

    An announcement is signed before the first draw; run again to go on where it stopped, or to see
    the result again.  Exit code 0: confirmed; 3: the bundle does not hold together, or nobody whom
    you trust signed it; 4: refuted; 5: inconclusive.
    """
    if not (trust or dry_run):
        raise UsageError(
            "no evaluator's key was given, so that anybody could have signed what is audited",
            hint="--trust KEY.pub",
        )
    if findings and conditions:
        raise UsageError(
            "--finding names what it rests on by itself, and takes no --conditions",
            hint="leave one out",
        )
    given = click.get_current_context().get_parameter_source
    for name in ("direction", "rates"):
        if findings and given(name) is ParameterSource.COMMANDLINE:
            raise UsageError(
                f"--finding tests what it rests on both ways, and takes no --{name}",
                hint="leave one out",
            )
    options = AuditOptions(
        epsilon="" if epsilon is None else share_option("--epsilon", epsilon),
        findings=findings,
        alpha=share_option("--alpha", alpha),
        conditions=conditions or ("*",),
        directions=_DIRECTIONS[direction],
        pooled=rates == "conditions",
        max_points=max_points,
        identity_points=identity_points,
        nonce=hex64_option("--nonce", nonce),
        beacon=None if beacon_round is None else BeaconRound(chain=CHAIN, round=beacon_round),
        auditor=auditor,
        method=_method(regenerate=regenerate, score_by_server=score_by_server),
        new=new,
    )
    value, signature = challenge_beacon(nonce, beacon_round, beacon_value, beacon_signature)
    refuse_false_round(options.beacon, value, signature)
    machine = AuditMachine(
        device,
        None if dtype is None else Dtype(dtype),
        None if memory is None else byte_size(memory),
        allow_pickle,
        workers_asked(workers, ray),
        ExitStack(),
    )
    signer = read_signer(key, passphrase_env, output)
    asked = AuditAsked(
        Bundle(bundle),
        artifacts,
        trust,
        calibration,
        out or bundle,
        value,
        signature,
        dry_run,
        log=None if dry_run else statement_log(log_settings, output),
        terms=trust_terms((), tsa_root, log_policy),
    )
    return perform_audit(asked, options, machine, signer, output)


def _method(*, regenerate: bool, score_by_server: bool) -> AuditMethod:
    """Return how drawn points are to be looked at.

    Raises:
        UsageError: Both ways are asked for.
    """
    if regenerate and score_by_server:
        raise UsageError(
            "--regenerate asks for new responses, and --score-by-server for the recorded ones: "
            "one audit does one of them",
            hint="leave one out; the other can be another audit (--new)",
        )
    if regenerate:
        return AuditMethod.REGENERATE
    return AuditMethod.SERVER_SCORES if score_by_server else AuditMethod.REPLAY
