"""``receipts verify``."""

from __future__ import annotations

from pathlib import Path

import click

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.cli import common_options
from safety_receipts.receipts.commands.options import PATH, audits_option, examples
from safety_receipts.receipts.errors import ExitCode, UsageError
from safety_receipts.receipts.model.check import CheckLevel
from safety_receipts.receipts.present.output import Output
from safety_receipts.receipts.trust.load import load_trust
from safety_receipts.receipts.trust.trust_set import KeyRole
from safety_receipts.verify.commands.options import (
    artifacts_option,
    log_option,
    log_policy_option,
    log_terms,
    require_option,
    trust_auditor_option,
    trust_option,
    tsa_root_option,
    tsa_roots,
)
from safety_receipts.verify.integrity import verify_bundle
from safety_receipts.verify.levels.expected import (
    Expectations,
    ExpectedCheckpoint,
    expected_checkpoint,
)
from safety_receipts.verify.present.verification import show_verification
from safety_receipts.verify.verification import LADDER
from safety_receipts.verify.view.documents.verify import verify_document


@click.command(
    epilog=examples(
        "receipts verify bundle --trust evaluator.pub",
        "receipts verify bundle --trust evaluator.pub --checkpoint model --stage dpo",
        "receipts verify bundle --trust evaluator.pub --artifacts study/plan.yaml",
        "receipts verify bundle --require evaluator.pub --require second.pub",
    )
)
@click.argument("bundle", type=PATH)
@trust_option
@require_option
@trust_auditor_option
@click.option(
    "--checkpoint",
    metavar="DIGEST|FOLDER",
    help="What it must be of: the checkpoint's root, or its folder, which is hashed.",
)
@click.option("--stage", metavar="STAGE", help="The training stage that it must name.")
@click.option(
    "--allow-instrument",
    is_flag=True,
    help="Accept a receipt of a test instrument, which says nothing about any real model.",
)
@audits_option
@click.option(
    "--level",
    type=click.Choice([level.value for level in LADDER]),
    help="Level that must be reached; default: consistent, or bound with --artifacts.",
)
@click.option("--proof", type=PATH, metavar="FILE", help="Inclusion proof to check as well.")
@click.option(
    "--original",
    type=PATH,
    metavar="BUNDLE",
    help="Where responses were judged again: the bundle of the event that generated them.",
)
@tsa_root_option
@log_policy_option
@log_option
@artifacts_option
@click.option("--all-points", is_flag=True, help="Render and decode all points, not a sample.")
@click.option("--sample-nonce", metavar="HEX", help="Nonce whose sample is drawn again.")
@click.option(
    "--allow-pickle",
    is_flag=True,
    help="Accept weights that are pickles; here they are hashed only.",
)
@common_options
def verify(
    *,
    bundle: Path,
    trust: tuple[Path, ...],
    require: tuple[Path, ...],
    trust_auditor: tuple[Path, ...],
    checkpoint: str | None,
    stage: str | None,
    allow_instrument: bool,
    level: str | None,
    proof: Path | None,
    audits: tuple[Path, ...],
    original: Path | None,
    tsa_root: tuple[Path, ...],
    log_policy: Path | None,
    log: str | None,
    artifacts: Path | None,
    all_points: bool,
    sample_nonce: str | None,
    allow_pickle: bool,
    output: Output,
) -> ExitCode:
    """Check BUNDLE offline.

    authentic: keys you trust signed plan and receipt.  consistent: every rate, interval,
    count, label and hash follows from the evidence and the plan.  bound: the artifacts that
    --artifacts finds on this disk are the ones named, commitments open, and prompts and texts
    follow, of 1,000 points drawn at random or of --all-points.  With --proof and without
    the evidence, ask for --level authentic.  Exit code 0: nothing failed and the level was
    reached; 1: nothing failed, and it is not of what you asked for, or of a test instrument; 3:
    something failed; 5: the level could not be reached.
    """
    default = CheckLevel.CONSISTENT if artifacts is None else CheckLevel.BOUND
    wanted = default if level is None else CheckLevel(level)
    _check_options(artifacts, sample_nonce, all_points=all_points, allow_pickle=allow_pickle)
    evaluators = load_trust(trust, KeyRole.EVALUATOR)
    auditors = load_trust(trust_auditor, KeyRole.AUDITOR)
    required = load_trust(require, KeyRole.EVALUATOR)
    opened = Bundle(bundle, audits=audits)
    roots = tsa_roots(tsa_root)
    logs = log_terms(log_policy, log)
    expected = Expectations(
        checkpoint=None if checkpoint is None else _checkpoint(checkpoint, output),
        stage=stage,
        allow_instrument=allow_instrument,
    )
    held_artifacts = None
    if artifacts is not None:
        # Reading a receipt takes no tokenizer, and transformers takes seconds to load.
        from safety_receipts.verify.levels.bound import resolve_artifacts  # noqa: PLC0415

        with output.progress("hashing (bytes)") as progress:
            held_artifacts = resolve_artifacts(
                opened,
                artifacts,
                all_points=all_points,
                nonce=sample_nonce,
                allow_pickle=allow_pickle,
                progress=progress,
            )
    with output.progress("verifying") as progress:
        verification = verify_bundle(
            opened,
            evaluators=evaluators,
            auditors=auditors,
            required=required,
            wanted=wanted,
            proof=proof,
            held_artifacts=held_artifacts,
            original=None if original is None else Bundle(original),
            expected=expected,
            tsa_roots=roots,
            log=logs,
            progress=progress,
        )
    output.result(
        verify_document(verification),
        lambda console: show_verification(console, verification, quiet=output.quiet),
    )
    return verification.exit_code


def _checkpoint(wanted: str, output: Output) -> ExpectedCheckpoint:
    """Return the checkpoint that a receipt must be of, hashed where a folder is named."""
    with output.progress("hashing (bytes)") as progress:
        return expected_checkpoint(wanted, progress)


def _check_options(
    artifacts: Path | None, sample_nonce: str | None, *, all_points: bool, allow_pickle: bool
) -> None:
    """Refuse options that would be ignored.

    Raises:
        UsageError: With the first of them.
    """
    if artifacts is None:
        options = {
            "--all-points": all_points,
            "--sample-nonce": sample_nonce is not None,
            "--allow-pickle": allow_pickle,
        }
        if given := [name for name, value in options.items() if value]:
            raise UsageError(f"{given[0]} needs --artifacts PLAN")
    if all_points and sample_nonce is not None:
        raise UsageError("--all-points draws no sample", hint="leave out --sample-nonce")
