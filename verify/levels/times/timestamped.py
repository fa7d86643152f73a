"""Did an authority whose root the reader gives stamp plan and receipt, and the plan before the run?

A stamp shows that the signatures were there at a time.  That none was made earlier, of another
plan, it does not show.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cryptography import x509

from safety_receipts.receipts.beacon.chains import stated_moment
from safety_receipts.receipts.bundle import PLAN, PROOFS, Bundle
from safety_receipts.receipts.dsse import Envelope
from safety_receipts.receipts.errors import IntegrityError
from safety_receipts.receipts.extras import install
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.receipts.model.receipt import EvaluationPredicate
from safety_receipts.receipts.timestamps.files import stored_certificates, stored_replies
from safety_receipts.receipts.timestamps.replies import (
    check_reply,
    has_client,
    stamped_bytes,
    stamps,
)
from safety_receipts.verify.check_names import CheckName
from safety_receipts.verify.checks import CheckList
from safety_receipts.verify.levels.times.beacon import round_was_out


def check_timestamps(
    bundle: Bundle,
    plan: PlanPredicate | None,
    receipt: EvaluationPredicate | None,
    roots: Sequence[x509.Certificate],
    checks: CheckList,
) -> None:
    """Check the timestamps of plan and receipt.

    Args:
        bundle: The bundle.
        plan: What the plan says; None: it does not have its form.
        receipt: What the receipt says; None: it does not have its form.
        roots: Certificates of authorities that the reader trusts; at least one.
        checks: Receives the checks.

    Raises:
        FileAccessError: The folder of proofs cannot be listed.
    """
    names = (CheckName.PLAN_TIMESTAMP, CheckName.RECEIPT_TIMESTAMP)
    if not has_client():
        for name in names:
            checks.skip(name, f"checking timestamps needs rfc3161-client ({install('log')})")
        return
    if bundle.has(PLAN):
        _check_plan(bundle, plan, receipt, roots, checks)
    else:
        checks.skip(CheckName.PLAN_TIMESTAMP, f"{PLAN} is not in this bundle")
    first, problem = earliest_stamp(bundle, bundle.receipt_envelope, roots)
    if first is None and problem is None:
        checks.skip(CheckName.RECEIPT_TIMESTAMP, f"no timestamp of it is in {PROOFS}")
    else:
        good = "" if first is None else f"its signatures were there at {_spelt(first)}"
        checks.decide(CheckName.RECEIPT_TIMESTAMP, problem, good)


def _check_plan(
    bundle: Bundle,
    plan: PlanPredicate | None,
    receipt: EvaluationPredicate | None,
    roots: Sequence[x509.Certificate],
    checks: CheckList,
) -> None:
    name = CheckName.PLAN_TIMESTAMP
    first, problem = earliest_stamp(bundle, bundle.plan_envelope, roots)
    if first is None:
        if problem is None:
            checks.skip(name, f"no timestamp of it is in {PROOFS}")
        else:
            checks.decide(name, problem)
        return
    began = None if receipt is None else stated_moment(receipt.event.started_at)
    seen = f"its signatures were there at {_spelt(first)}"
    if began is None or plan is None:
        checks.skip(name, f"{seen}; when the run began is not known")
        return
    if plan.rejudges is not None:
        why = f"{seen}; the responses that are judged again were generated before"
        checks.skip(name, why)
        return
    late = None if first <= began else f"{seen}, and the run began at {_spelt(began)}"
    if late is None and (out := round_was_out(first.timestamp(), plan.beacon)) is not None:
        late = f"{seen}, when {out}"
    checks.decide(name, late, f"{seen}, before the run began")


def earliest_stamp(
    bundle: Bundle, envelope: Envelope, roots: Sequence[x509.Certificate]
) -> tuple[datetime | None, str | None]:
    """Return when a statement was stamped first; else what is wrong with the stamps of it.

    Both are None where there is no stamp of these signatures: what is of other bytes, or none at
    all, anybody can put into a bundle.

    Args:
        bundle: The bundle that holds the stamps.
        envelope: The statement with the signatures that were stamped.
        roots: Certificates of authorities that the reader trusts; at least one.

    Raises:
        FileAccessError: The folder of proofs cannot be listed.
        IncompleteError: The package that reads stamps is not installed.
    """
    message, beside = stamped_bytes(envelope), stored_certificates(bundle)
    times: list[datetime] = []
    problem: str | None = None
    for stored in stored_replies(bundle):
        if not _is_of(stored.reply, message):
            continue
        try:
            times.append(check_reply(stored.reply, message, roots, beside).time)
        except IntegrityError as error:
            problem = f"{stored.name}: {error.message}"
    return (min(times), None) if times else (None, problem)


def _is_of(reply: bytes, message: bytes) -> bool:
    try:
        return stamps(reply, message)
    except IntegrityError:
        return False


def _spelt(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
