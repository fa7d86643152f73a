"""The judge: what decides whether a response refuses, and how far it can be believed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal, assert_never

from pydantic import Field

from safety_receipts.receipts.canonical import Sha256, tagged_digest
from safety_receipts.receipts.model.base import (
    Count,
    Decimal,
    Digest,
    Name,
    Positive,
    Rate,
    WireModel,
)
from safety_receipts.receipts.model.checkpoint import CheckpointFile


class JudgeKind(StrEnum):
    """Kinds of judge."""

    REFUSAL_STRINGS = "refusal-strings"
    WILDGUARD = "wildguard"
    CLASSIFIER = "classifier"
    CHAT = "chat"


@dataclass(frozen=True)
class JudgeTraits:
    """What every judge of a kind has, as far as a sealed identity shows it."""

    is_rule: bool
    """It has no weights, and so no place and no threshold; whoever has a text gives its label
    again."""
    has_template: bool
    """It has a prompt template, or a rule's strings."""
    may_be_remote: bool
    """It may stand behind an API, asked for by its name."""
    generates: bool
    """It gives its verdict token by token, and so may ask a server of token ids."""


def traits_of(kind: JudgeKind) -> JudgeTraits:
    """Return what every judge of a kind has."""
    match kind:
        case JudgeKind.REFUSAL_STRINGS:
            return JudgeTraits(
                is_rule=True, has_template=True, may_be_remote=False, generates=False
            )
        case JudgeKind.WILDGUARD:
            return JudgeTraits(
                is_rule=False, has_template=True, may_be_remote=False, generates=True
            )
        case JudgeKind.CLASSIFIER:
            return JudgeTraits(
                is_rule=False, has_template=False, may_be_remote=False, generates=False
            )
        case JudgeKind.CHAT:
            return JudgeTraits(is_rule=False, has_template=True, may_be_remote=True, generates=True)
        case _:
            assert_never(kind)


class IntervalMethod(StrEnum):
    """Methods for computing an interval."""

    WILSON = "wilson"
    """Wilson's score interval; assumes independent observations."""
    WILSON_CLUSTERED = "wilson-clustered"
    """Wilson's score interval at the effective sample size of points clustered by query, with
    Student's t quantile."""
    WILSON_CLUSTERED_TWO_WAY = "wilson-clustered-two-way"
    """The same for points clustered by query and by shared demonstration list."""
    WILSON_CLUSTERED_GIVEN_LISTS = "wilson-clustered-given-lists"
    """The same, clustered by query alone: conditional on fewer than 20 shared lists."""
    MOVER_WILSON = "mover-wilson"
    """Difference of two rates, from their Wilson intervals and their correlation (MOVER)."""
    LANG_REICZIGEL = "lang-reiczigel"
    """A rate corrected for the judge's error (Lang and Reiczigel 2014)."""


class Interval(WireModel):
    """A confidence interval of a share."""

    method: IntervalMethod
    """Method with which the interval was computed."""
    level: Rate
    """Nominal coverage, from 0 to 1."""
    lower: Rate
    """Lower end, from 0 to 1."""
    upper: Rate
    """Upper end, from 0 to 1."""


class GoldKind(StrEnum):
    """Where the labelled responses came from, as the evaluator states it."""

    GENERAL = "general"
    """A general labelled set without demonstrations, which gives the lower assurance."""
    IN_RUN = "in_run"
    """Labelled responses of a run."""


class GoldAgreement(WireModel):
    """How often the judge agrees with people; the positive class is ``complied``.

    The rates are over the gold responses that the judge could judge, as a compliance rate is
    over judged points.  What it could not is neither right nor wrong and counted by itself.
    """

    positives: Count
    """Number of gold responses labelled ``complied`` that the judge could judge."""
    true_positives: Count
    """Number of these positives that the judge called ``complied``."""
    negatives: Count
    """Number of gold responses labelled ``refused`` that the judge could judge."""
    true_negatives: Count
    """Number of these negatives that the judge called ``refused``."""
    sensitivity: Rate | None
    """True positives / positives, from 0 to 1; null where there are no positives."""
    sensitivity_interval: Interval | None
    """Wilson interval of the sensitivity; null where there are no positives."""
    specificity: Rate | None
    """True negatives / negatives, from 0 to 1; null where there are no negatives."""
    specificity_interval: Interval | None
    """Wilson interval of the specificity; null where there are no negatives."""
    unscored: Count
    """Number of gold responses that the judge could not judge, whatever their label."""


class StratumCalibration(GoldAgreement):
    """How often the judge agrees with people in one stratum of the gold file."""

    stratum: Name
    """Name of the stratum, as in the gold file."""


MAX_STRATA = 256
"""Most strata of a gold file."""


class JudgeCalibration(GoldAgreement):
    """A judge held against labels that people gave.

    The rates of the whole weigh the strata as the gold file does.
    """

    judge: Digest
    """Digest of the identity of the judge that was calibrated."""
    gold: Digest
    """Digest of the gold file."""
    gold_kind: GoldKind
    """Where the labelled responses came from."""
    strata: Annotated[tuple[StratumCalibration, ...], Field(max_length=MAX_STRATA)]
    """The same numbers for each stratum; empty where the gold file has none."""


class CalibrationDocument(WireModel):
    """The file that holds a judge's calibration until a plan seals it."""

    version: Literal[1]
    """Version of the file's format."""
    calibration: JudgeCalibration
    """The judge's calibration."""


class JudgeIdentity(WireModel):
    """Everything that determines a label, besides the judged text."""

    kind: JudgeKind
    """Kind of the judge."""
    name: Name
    """Name of the judge, as people call it."""
    hub: Name | None
    """Repository on the Hugging Face hub from which the judge's weights came; null: none."""
    revision: Name | None
    """Commit of that repository; null where there is no repository."""
    digest: Digest
    """Digest of the judge's identity: SHA-256(JCS ["safety-receipts/judge/1", kind, weights,
    template, parser, threshold, maxNewTokens])."""
    weights: Digest | None
    """OpenSSF Model Signing root of the weights; null for a rule and for a judge behind an API."""
    template: Digest | None
    """Digest of the exact prompt template, or of a rule's strings; null where there is neither."""
    parser: Name
    """Name and version of the parser that turns the judge's raw output into an outcome."""
    threshold: Decimal | None
    """Decision threshold of the judge; null where it has none."""
    max_new_tokens: Positive | None
    """Largest length in tokens of the judge's output; null where the judge generates nothing."""
    remote: bool
    """True for a judge behind an API, whose weights nobody outside can verify."""
    folder_files: Annotated[tuple[CheckpointFile, ...], Field(max_length=10_000)] | None = None
    """Every file of the judge's folder: ``weights`` binds the digests but not the names, and the
    names decide which file is loaded.  Null for a rule, and where the files are not stated."""


def judge_digest(judge: JudgeIdentity) -> Sha256:
    """Return the identity: whatever the label of a given text depends on.

    SHA-256(JCS ["safety-receipts/judge/1", kind, weights, template, parser, threshold,
    maxNewTokens]); names and repositories are where it came from, not what it is.
    """
    digest = tagged_digest(
        "safety-receipts/judge/1",
        judge.kind.value,
        judge.weights,
        judge.template,
        judge.parser,
        judge.threshold,
        judge.max_new_tokens,
    )
    return Sha256(digest.hex())


class Judge(JudgeIdentity):
    """The judge of a plan, with its calibration and an optional second opinion."""

    calibration: JudgeCalibration | None
    """Agreement of the judge with labels that people gave; null: not calibrated."""
    second: JudgeIdentity | None
    """A second judge, whose agreement with the first is sealed; null: there is none."""


class JudgeAgreement(WireModel):
    """How often the second judge gave the same label as the first."""

    points: Count
    """Number of points that both judges called refused or complied."""
    agreed: Count
    """Number of these points to which both judges gave the same outcome."""
    second_unscored: Count
    """Number of points that the first judge judged and the second could not."""
