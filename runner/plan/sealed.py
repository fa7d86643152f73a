"""Signing a resolved plan into a bundle, or finding it there."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from safety_receipts.receipts.beacon.chains import refuse_settled_round
from safety_receipts.receipts.bundle import (
    MAX_PLAN_BYTES,
    PLAN,
    BundleWriter,
    parse_signed,
    read_envelope,
)
from safety_receipts.receipts.canonical import Sha256, canonical_bytes, event_seed, sha256_hex
from safety_receipts.receipts.dsse import Envelope
from safety_receipts.receipts.errors import UsageError
from safety_receipts.receipts.keys import Signer
from safety_receipts.receipts.model.plan import PlanPredicate
from safety_receipts.receipts.model.statement import PlanStatement
from safety_receipts.receipts.seal import plan_statement, seal_plan
from safety_receipts.runner.plan.resolved import ResolvedPlan
from safety_receipts.runner.prompts.rendering import Renderer


def digest_of(plan: PlanPredicate) -> Sha256:
    """Return the digest that a plan has once it is sealed: signing does not change it."""
    return sha256_hex(canonical_bytes(plan_statement(plan).to_wire()))


def renderer_of(resolved: ResolvedPlan, beacon_value: str | None) -> Renderer:
    """Return the renderer of a plan's prompts."""
    seed = event_seed(digest_of(resolved.predicate), beacon_value)
    return Renderer(resolved.predicate, resolved.artifacts.texts, seed)


def write_plan(resolved: ResolvedPlan, folder: Path, signer: Signer) -> Envelope:
    """Seal a plan into a bundle, or return the one that is there.

    Raises:
        UsageError: As :func:`find_plan`, or :func:`refuse_chosen_round` where none is there.
        FileAccessError: The folder cannot be written.
    """
    envelope = find_plan(resolved, folder, signer)
    if envelope is None:
        refuse_chosen_round(resolved.predicate)
        envelope = seal_plan(resolved.predicate, signer)
        BundleWriter(folder).write_plan(envelope)
    return envelope


def refuse_chosen_round(plan: PlanPredicate) -> None:
    """Refuse to seal a plan whose beacon's round is out, or whose beacon nobody knows.

    A plan that has responses judged again keeps the round of the event that generated them.

    Raises:
        UsageError: It is.
    """
    if plan.beacon is not None and plan.rejudges is None:
        refuse_settled_round(plan.beacon.chain, plan.beacon.round, datetime.now(UTC))


def find_plan(resolved: ResolvedPlan, folder: Path, signer: Signer) -> Envelope | None:
    """Return the plan that is sealed in a bundle, or None; nothing is written.

    Raises:
        UsageError: The bundle holds another plan, or one that another key signed.
    """
    path = folder / PLAN
    if not path.exists():
        return None
    envelope = read_envelope(path, MAX_PLAN_BYTES)
    if envelope.digest != digest_of(resolved.predicate):
        sealed = parse_signed(envelope, PlanStatement, file=path)
        before, now = sealed.statement.predicate, resolved.predicate
        place = first_difference(before.to_wire(), now.to_wire())
        known, found = set(before.checkpoint.files), set(now.checkpoint.files)
        added = sorted(file.path for file in found - known)
        put_back = f"restore what {resolved.file} resolved to then"
        if _by_another_version(before, now):
            put_back = "another version of this program sealed it: go on with that one"
        elif added and known < found:
            put_back = f"take {added[0]} out of the model's folder, where it was not then"
        raise UsageError(
            f"the plan sealed here is another: {place or 'its form'} differs",
            file=path,
            hint=f"{put_back}, or name a new folder",
        )
    signatures, keys = len(envelope.signatures), len(signer.each)
    if not envelope.signed_by_all(signer):
        raise UsageError(
            "was signed with another key", file=path, hint="give --key the key that signed it"
        )
    if signatures > keys:
        raise UsageError(
            f"has {signatures} signatures, and the receipt would have {keys}",
            file=path,
            hint="give --key each of the keys that signed it",
        )
    return envelope


def _by_another_version(before: PlanPredicate, now: PlanPredicate) -> bool:
    """Say whether two plans state what every plan of a version states, and differ in that."""
    judges = ((before.judge, now.judge), (before.judge.second, now.judge.second))
    unstated = before.prompt.template_words is None and now.prompt.template_words is not None
    return (
        unstated
        or before.request_rule != now.request_rule
        or any(
            one is not None
            and other is not None
            and one.weights == other.weights
            and (one.folder_files is None) != (other.folder_files is None)
            for one, other in judges
        )
    )


def first_difference(before: Any, after: Any, place: str = "") -> str | None:
    """Return the path of the first value in which two JSON documents differ, or None."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted({*before, *after}):
            step = f"{place}.{key}" if place else key
            if (key in before) != (key in after):
                return step
            if (found := first_difference(before[key], after[key], step)) is not None:
                return found
        return None
    if isinstance(before, list) and isinstance(after, list):
        for i, (old, new) in enumerate(zip(before, after, strict=False)):
            if (found := first_difference(old, new, f"{place}[{i}]")) is not None:
                return found
        return None if len(before) == len(after) else f"the length of {place}"
    return None if before == after and type(before) is type(after) else place
