"""Values that several commands take as options."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from pydantic import TypeAdapter, ValidationError

from safety_receipts.receipts.canonical import MAX_SAFE_INTEGER, is_hex32
from safety_receipts.receipts.commands.options import PATH, beacon_said
from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.model.base import Name
from safety_receipts.receipts.trust.load import load_trust
from safety_receipts.receipts.trust.trust_set import KeyRole
from safety_receipts.verify.levels.times.terms import TrustTerms

if TYPE_CHECKING:
    from cryptography import x509

    from safety_receipts.verify.levels.times.logged import LogTerms

_RANGE: Final = click.IntRange(min=1, max=MAX_SAFE_INTEGER)


def number(value: Any) -> int:
    """Return a number above 0 that a document can hold; as a type of options."""
    return int(_RANGE.convert(value, None, None))


trust_option: Final = click.option(
    "--trust",
    type=PATH,
    multiple=True,
    metavar="KEY.pub",
    help="Public key of an evaluator you trust, or a trust file, .yaml (repeatable).",
)
trust_auditor_option: Final = click.option(
    "--trust-auditor",
    type=PATH,
    multiple=True,
    metavar="KEY.pub",
    help="Public key of an auditor you trust, or a trust file, .yaml (repeatable).",
)
require_option: Final = click.option(
    "--require",
    type=PATH,
    multiple=True,
    metavar="KEY.pub",
    help="Public key that must have signed plan and receipt, and is trusted so; of a trust file, "
    "each evaluator's (repeatable).",
)
tsa_root_option: Final = click.option(
    "--tsa-root",
    type=PATH,
    multiple=True,
    metavar="CERT",
    help="Root of a timestamp authority, PEM: hold timestamps in proofs to it (repeatable).",
)
artifacts_option: Final = click.option(
    "--artifacts",
    type=PATH,
    metavar="PLAN",
    help="A plan.yaml whose paths are yours: what the sealed plan names is compared with it.",
)

log_policy_option: Final = click.option(
    "--log-policy",
    type=PATH,
    metavar="FILE",
    help="Log policy that proofs of plan, receipt and audits are held to (C2SP tlog-policy).",
)
log_option: Final = click.option(
    "--log",
    metavar="FOLDER|URL",
    help="A copy of the log: what else was sealed, and which audits were announced.",
)


def log_terms(policy: Path | None, log: str | None) -> LogTerms | None:
    """Return what log proofs are held to; None: nobody asks for them.

    Raises:
        UsageError: A log is named without a policy.
        FileAccessError, MalformedError: The policy cannot be read, or there is no such folder.
    """
    if policy is None:
        if log is not None:
            raise UsageError("--log needs --log-policy FILE")
        return None
    # Few ask for it, and a gate starts in each step of a pipeline.
    from safety_receipts.receipts.log.formats.policy import load_log_policy  # noqa: PLC0415
    from safety_receipts.receipts.log.sources import log_source  # noqa: PLC0415
    from safety_receipts.verify.levels.times.logged import LogTerms  # noqa: PLC0415

    return LogTerms(load_log_policy(policy), None if log is None else log_source(log))


def tsa_roots(paths: Sequence[Path]) -> list[x509.Certificate]:
    """Return the roots of timestamp authorities that a reader names.

    Raises:
        FileAccessError, MalformedError: A file cannot be read, or holds no certificate.
    """
    if not paths:
        return []
    # Few ask for it, and x509 takes a while to load.
    from safety_receipts.receipts.timestamps.certificates import read_certificates  # noqa: PLC0415

    return [one for path in paths for one in read_certificates(path)]


def trust_terms(
    require: Sequence[Path], tsa_root: Sequence[Path], log_policy: Path | None
) -> TrustTerms:
    """Return what a reader asks of signatures besides whose they are.

    Raises:
        FileAccessError, KeyFileError, MalformedError: A file is not what it should be.
    """
    return TrustTerms(
        required=load_trust(require, KeyRole.EVALUATOR),
        tsa_roots=tsa_roots(tsa_root),
        log=log_terms(log_policy, None),
    )


_DECIMAL: Final = re.compile(r"0?\.[0-9]{1,6}")
_NAME: Final[TypeAdapter[str]] = TypeAdapter(Name)


def one_line_option(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Return the value of an option if it is a name as documents hold it.

    Raises:
        click.BadParameter: It is empty, too long, or more than one line.
    """
    try:
        return None if value is None else _NAME.validate_python(value)
    except ValidationError:
        raise click.BadParameter(
            "should be one line of 1 to 512 characters", ctx=ctx, param=param
        ) from None


def share_option(option: str, text: str) -> str:
    """Return a share between 0 and 1 as a document spells it.

    Raises:
        UsageError: It is none.
    """
    if _DECIMAL.fullmatch(text) is None or not 0 < Fraction(text) < 1:
        raise UsageError(
            f"{option} {text}: should be a decimal between 0 and 1", hint=f"{option} 0.05"
        )
    return f"0{text.lstrip('0').rstrip('0')}"


def hex64_option(option: str, text: str | None) -> str | None:
    """Return the value of an option if it is 64 hex digits, or None where there is none.

    Raises:
        UsageError: It is not.
    """
    if text is not None and not is_hex32(text):
        raise UsageError(f"{option} should be 64 lower-case hex digits")
    return text


def challenge_beacon(
    nonce: str | None, beacon_round: int | None, value: str | None, signature: str | None
) -> tuple[str | None, str | None]:
    """Return what the beacon said, if that is known, and the signature of its round.

    Raises:
        UsageError: It is no such value, or goes with none of the other options.
    """
    if nonce is not None and beacon_round is not None:
        raise UsageError("--nonce and --beacon-round exclude each other", hint="give one of them")
    value = hex64_option("--beacon-value", value)
    if value is not None and beacon_round is None:
        raise UsageError("--beacon-value needs --beacon-round", hint="name the round as well")
    if signature is None:
        return value, None
    if beacon_round is None:
        raise UsageError("--beacon-signature needs --beacon-round", hint="name the round as well")
    return beacon_said(value, signature)
