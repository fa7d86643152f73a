"""``receipts rejudge``."""

from __future__ import annotations

from pathlib import Path

import click

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
from safety_receipts.receipts.errors import ExitCode
from safety_receipts.receipts.model.receipt import Environment
from safety_receipts.receipts.present.output import Output
from safety_receipts.receipts.trust.load import load_trust
from safety_receipts.receipts.trust.trust_set import KeyRole
from safety_receipts.runner.commands.options import (
    byte_size,
    device_option,
    pickle_option,
    terminated_like_interrupted,
)
from safety_receipts.runner.commands.run import tell_sealed
from safety_receipts.runner.plan.resolve import resolve_against
from safety_receipts.runner.run.seal import TOOL, check_fitter
from safety_receipts.runner.run.stack import JudgeSettings, load_judges
from safety_receipts.verify.commands.options import (
    log_policy_option,
    trust_terms,
    tsa_root_option,
)
from safety_receipts.verify.rejudge import (
    RejudgeOptions,
    Rejudger,
    check_original,
    rejudged_plan,
)


@click.command(
    epilog=examples("receipts rejudge bundle other-judge.yaml --key evaluator --out judged-again")
)
@click.argument("bundle", type=PATH)
@click.argument("plan", type=PATH)
@key_option("--key", "Private key that signs the new plan and receipt.", required=True)
@passphrase_option
@log_settings_option
@click.option("--out", type=PATH, required=True, help="Folder of the new bundle.")
@click.option(
    "--trust",
    type=PATH,
    multiple=True,
    metavar="KEY.pub",
    help="Public key that signed BUNDLE, if it is not that of --key; or a trust file, .yaml "
    "(repeatable).",
)
@tsa_root_option
@log_policy_option
@device_option
@click.option(
    "--memory", metavar="SIZE", help="Bound on the judge's memory: 8GiB; default: the run's."
)
@click.option(
    "--accept-failed", is_flag=True, help="Seal although the judge failed on some responses."
)
@click.option("--accept-unscored", is_flag=True, help="Seal although nothing can be scored.")
@pickle_option
@common_options
def rejudge(  # one parameter an option
    *,
    bundle: Path,
    plan: Path,
    key: tuple[Path, ...],
    passphrase_env: tuple[str, ...],
    out: Path,
    trust: tuple[Path, ...],
    log_settings: Path | None,
    tsa_root: tuple[Path, ...],
    log_policy: Path | None,
    device: str | None,
    memory: str | None,
    accept_failed: bool,
    accept_unscored: bool,
    allow_pickle: bool,
    output: Output,
) -> ExitCode:
    """Have the recorded responses of BUNDLE judged by the judge of PLAN; nothing is generated.

    PLAN is the plan that was run, with another judge.  BUNDLE is verified first, its restricted
    records included.  The new receipt names the old one, and is the same bytes however often this
    is done.  Run again to go on where it stopped.  Exit code 5: as for run.
    """
    bound = None if memory is None else byte_size(memory)
    signer = read_signer(key, passphrase_env, output)
    log = statement_log(log_settings, output)
    trusted = load_trust(trust, KeyRole.EVALUATOR) if trust else signer.trust
    terms = trust_terms((), tsa_root, log_policy)
    original = Bundle(bundle)
    with terminated_like_interrupted():
        check_fitter()
        with output.progress("verifying") as progress:
            check_original(original, trusted, progress, terms)
        with output.progress("hashing (bytes)") as progress:
            named = resolve_against(
                plan,
                original.plan.statement.predicate,
                another_judge=True,
                allow_pickle=allow_pickle,
                progress=progress,
            )
        resolved = rejudged_plan(original, named)
        options = RejudgeOptions(accept_failed=accept_failed, accept_unscored=accept_unscored)
        rejudger = Rejudger(original, resolved, out, signer, options, log)
        sealed = rejudger.sealed_before()
        if sealed is None:
            environment = original.receipt.statement.predicate.environment
            bound = bound or _memory_of(environment)
            settings = JudgeSettings(device=device, memory=bound, allow_pickle=allow_pickle)
            with load_judges(resolved, settings) as judges:
                stack = {"tool": TOOL, "memory": str(bound), "device": str(device)}
                stack |= judges.bounds
                with output.progress("judging") as progress:
                    sealed = rejudger.run(judges, stack, progress)
    tell_sealed(sealed, resolved, out, output)
    return sealed.exit_code


def _memory_of(environment: Environment) -> int | None:
    """Return the run's bound: the same one cuts the same batches, whatever is free today."""
    stated = environment.memory_class
    return None if stated is None else int(stated.split()[0])
