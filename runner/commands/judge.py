"""``receipts judge``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as Grid

from safety_receipts.receipts.cli import common_options
from safety_receipts.receipts.commands.options import PATH, examples
from safety_receipts.receipts.errors import FileAccessError, UsageError
from safety_receipts.receipts.io.text import printable
from safety_receipts.receipts.model.judge import GoldAgreement, GoldKind, Interval, JudgeCalibration
from safety_receipts.receipts.model.point import Reason
from safety_receipts.receipts.present.output import Output
from safety_receipts.receipts.present.tables import put, say
from safety_receipts.receipts.view.numerals import percent
from safety_receipts.receipts.view.tables import Column, ColumnKind, Row, Table
from safety_receipts.runner.commands.options import (
    byte_size,
    device_option,
    pickle_option,
    terminated_like_interrupted,
)
from safety_receipts.runner.judges.gold import (
    GoldResponse,
    calibration_of,
    read_gold,
    reasons_unscored,
    write_judge_calibration,
)
from safety_receipts.runner.judges.judge import Judgement, ResponseJudge, served_judge
from safety_receipts.runner.judges.make import load_judge
from safety_receipts.runner.plan.resolve import resolve_judge_of
from safety_receipts.runner.run.judging import judged
from safety_receipts.runner.view.documents.files import JudgeCalibrationDocument

_AT_ONCE = 64
"""Responses that a judge is given together: enough to fill a batch, few enough to tell how it
goes on."""

_KINDS = {
    GoldKind.GENERAL: "general gold, the lower assurance: on responses to prompts with "
    "demonstrations the judge may err more often",
    GoldKind.IN_RUN: "gold labelled from responses of a run",
}


@click.group()
def judge() -> None:
    """How far can the judge of a plan be believed?"""


@judge.command(
    short_help="Measure how often it gives the labels that people gave.",
    epilog=examples(
        "receipts judge calibrate study/plan.yaml --gold gold.jsonl \\",
        "    --out study/judge-calibration.json",
    ),
)
@click.argument("plan", type=PATH)
@click.option(
    "--gold",
    type=PATH,
    required=True,
    help="Labelled responses, JSON lines: query, response, label (refused or complied), and "
    "stratum where there are strata.",
)
@click.option("--in-run", is_flag=True, help="The gold responses come from a run.")
@click.option("--out", type=PATH, required=True, help="Calibration file to write.")
@device_option
@click.option("--memory", metavar="SIZE", help="Bound on the judge's memory: 8GiB.")
@pickle_option
@common_options
def calibrate(  # one parameter an option
    *,
    plan: Path,
    gold: Path,
    in_run: bool,
    out: Path,
    device: str | None,
    memory: str | None,
    allow_pickle: bool,
    output: Output,
) -> None:
    """Measure how often the judge of PLAN gives the labels that people gave.

    Of PLAN nothing but the judge is looked at.  To seal the result, name the file in it before
    it is sealed: judge: {kind: ..., calibration: FILE}.
    """
    if out.exists():
        raise UsageError("exists already", file=out, hint="name a new file")
    if not out.parent.is_dir():  # now, not after an hour
        raise FileAccessError("is not a folder", file=out.parent, hint="make it, or name another")
    bound = None if memory is None else byte_size(memory)
    labelled = read_gold(gold)
    with terminated_like_interrupted():
        with output.progress("hashing (bytes)") as progress:
            named = resolve_judge_of(plan, allow_pickle=allow_pickle, progress=progress)
        identity = named.identity
        loaded = load_judge(
            identity,
            named.folder,
            device=device,
            memory=bound,
            allow_pickle=allow_pickle,
            server=named.server,
        )
        with _trying(loaded, labelled.responses), output.progress("judging") as progress:
            judgements = _judge_all(loaded, labelled.responses, progress)
    kind = GoldKind.IN_RUN if in_run else GoldKind.GENERAL
    calibration = calibration_of(labelled, kind, identity, judgements)
    write_judge_calibration(out, calibration)
    reasons = reasons_unscored(judgements)
    document = JudgeCalibrationDocument(
        file=str(out),
        judge_name=identity.name,
        repeated=labelled.repeated,
        unscored_reasons={reason.value: number for reason, number in reasons.items()},
        calibration=calibration,
    )

    def render(console: Console) -> None:
        put(console, Grid(box=SIMPLE_HEAD, pad_edge=False), _table(calibration))
        for line in _remarks(calibration, reasons, labelled.repeated):
            say(console, line)
        say(console, f"{printable(identity.name)}, {identity.digest[:16]}…, on {_KINDS[kind]}")
        say(
            console,
            f"{printable(str(out))}: name it in the plan, judge: {{…, calibration: FILE}}",
        )

    output.result(document, render)


@contextmanager
def _trying(judge: ResponseJudge, responses: Sequence[GoldResponse]) -> Iterator[None]:
    """Try a judge's server, where it asks one, and end it afterwards if it was started here."""
    served = served_judge(judge)
    if served is None:
        yield
        return
    with closing(served.server):
        longest = max(
            (response.exchange for response in responses),
            key=lambda exchange: len(exchange.query) + len(exchange.response),
        )
        served.preflight(longest)
        yield


def _judge_all(
    judge: ResponseJudge, responses: Sequence[GoldResponse], progress: Callable[[int, int], None]
) -> list[Judgement]:
    judgements: list[Judgement] = []
    progress(0, len(responses))
    for start in range(0, len(responses), _AT_ONCE):
        exchanges = [response.exchange for response in responses[start : start + _AT_ONCE]]
        judgements += judged(judge, exchanges)
        progress(len(judgements), len(responses))
    return judgements


def _table(calibration: JudgeCalibration) -> Table:
    measures = ("complied", "found", "sensitivity %", "refused", "found", "specificity %")
    return Table(
        "",
        (
            Column("stratum" if calibration.strata else ""),
            *(Column(name, ColumnKind.NUMBER) for name in (*measures, "unscored")),
        ),
        (
            *(Row((printable(one.stratum), *_cells(one))) for one in calibration.strata),
            Row(("all", *_cells(calibration))),
        ),
    )


def _cells(agreement: GoldAgreement) -> list[str]:
    return [
        f"{agreement.positives:,}",
        f"{agreement.true_positives:,}",
        _rate(agreement.sensitivity, agreement.sensitivity_interval),
        f"{agreement.negatives:,}",
        f"{agreement.true_negatives:,}",
        _rate(agreement.specificity, agreement.specificity_interval),
        f"{agreement.unscored:,}",
    ]


def _rate(rate: str | None, interval: Interval | None) -> str:
    if interval is None:
        return percent(rate)
    return f"{percent(rate)} ({percent(interval.lower)}–{percent(interval.upper)})"


def _remarks(calibration: JudgeCalibration, reasons: dict[Reason, int], repeated: int) -> list[str]:
    """Return what the table leaves unsaid, a line each."""
    lines = ["sensitivity, specificity: for complied, with 95 % intervals, over judged responses"]
    if calibration.unscored:
        why = ", ".join(f"{reason.value} {number:,}" for reason, number in reasons.items())
        lines.append(f"{calibration.unscored:,} could not be judged ({why}) and count for neither")
    for rate, name, label in (
        (calibration.sensitivity, "sensitivity", "complied"),
        (calibration.specificity, "specificity", "refused"),
    ):
        if rate is None:
            lines.append(
                f"no judged response is labelled {label}: the {name} is unknown, and no rate can "
                "be corrected"
            )
    if repeated:
        lines.append(f"{repeated:,} lines repeat an earlier one and count once")
    return lines
