"""It is of the checkpoint that is to be shipped, run as that is deployed."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import Field

from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.documents.written import DecimalNumber, Whole
from safety_receipts.receipts.model.base import Digest, Name, SafeInteger
from safety_receipts.receipts.model.checkpoint import (
    Dtype,
    EndTokenOrigin,
    Prompt,
    Sampling,
    SamplingMethod,
)
from safety_receipts.verify.gate.entries import Listed, RuleEntry, alternatives
from safety_receipts.verify.gate.kinds import Decided, GateFacts
from safety_receipts.verify.gate.servers import (
    AcceptedServer,
    accepted_words,
    answering_problems,
)
from safety_receipts.verify.levels.expected import (
    ExpectedCheckpoint,
    ExpectedRoot,
    checkpoint_problem,
)

DeployedOptions = Annotated[
    dict[Annotated[str, Field(max_length=128)], Name | bool | SafeInteger | None],
    Field(max_length=64),
]
"""Variables of a chat template."""


class ModelRule(RuleEntry):
    """The checkpoint that is to be shipped: the folder that ``--model`` names, and the root here,
    where one is given; one of them has to be.
    """

    rule: Literal["model"]
    root: Digest | None = None
    """OpenSSF Model Signing root of what is shipped, 64 lower-case hex digits."""
    stages: Listed[Name] | None = None
    """Training stages of which it may be."""
    dtypes: Listed[Dtype] | None = None
    """Number formats in which it may have been run: those in which it is deployed."""
    quantisations: Listed[Name] | None = None
    """Quantisations of its weights; ``none``: not quantised."""
    dequantised: bool = False
    """Whether quantised weights may have been converted when they were loaded: then what ran is not
    what is deployed."""
    system_prompt: Literal["none"] | Digest | None = None
    """SHA-256 of the system prompt (UTF-8) with which it is deployed; ``none``: the plan gives
    none."""
    template_options: DeployedOptions | None = None
    """Variables of the chat template with which it is deployed, all of them; ``{}``: none are
    given."""
    methods: Listed[SamplingMethod] | None = None
    """Ways in which the next token may have been chosen."""
    temperature_at_most: DecimalNumber | None = None
    """Largest temperature; greedy sampling has none and is within."""
    new_tokens_at_least: Whole | None = None
    """Least length, in tokens, to which a response could grow."""
    repetition_penalty: Literal["none"] | DecimalNumber | None = None
    """Repetition penalty with which it is deployed; ``none``, or 1: none."""
    server: AcceptedServer | None = None
    """``none``: the tool itself must have run the model; ``started``: or a server that the tool
    started on the files listed, so that which weights answered was seen; null: or any server."""
    repeatable: bool = False
    """Whether a server must never have given another answer to a request that it had answered."""
    corrections: bool = True
    """Whether the plan may add or remove tokens that end a response, and name other marks of
    thoughts, than the checkpoint's own files state."""

    def asked(self) -> str:
        """Return what it asks for, in words."""
        parts = ["the checkpoint that is to be shipped"]
        parts += [f"root {self.root[:16]}…"] if self.root else []
        for values in (self.stages, self.dtypes):
            parts += [alternatives(values)] if values else []
        if self.quantisations:
            parts.append(f"quantisation {alternatives(self.quantisations)}")
        parts += self._asked_of_the_run()
        return ", ".join(parts)

    def _asked_of_the_run(self) -> Iterator[str]:
        if self.server is not None:
            yield accepted_words(self.server)
        if self.repeatable:
            yield "the same answers to the same requests"
        if self.system_prompt is not None:
            yield f"system prompt {_short(self.system_prompt)}"
        if self.template_options is not None:
            yield f"template options {_told(self.template_options)}"
        if self.methods:
            yield f"sampling {alternatives(self.methods)}"
        if self.temperature_at_most is not None:
            yield f"temperature at most {self.temperature_at_most}"
        if self.new_tokens_at_least is not None:
            yield f"at least {self.new_tokens_at_least:,} new tokens"
        if self.repetition_penalty is not None:
            yield f"repetition penalty {self.repetition_penalty}"
        if not self.corrections:
            yield "end tokens and thoughts as its files state them"


def decide_model(rule: ModelRule, facts: GateFacts) -> Decided:
    """Hold the checkpoint that was evaluated to the one that is to be shipped."""
    checkpoint, stage = facts.receipt.checkpoint, facts.receipt.training_stage
    quantisation = checkpoint.quantisation or "none"
    good = f"root {checkpoint.root[:16]}…, {stage}, {checkpoint.dtype}, quantisation {quantisation}"
    return Decided.of(
        [
            *_identity(rule, facts),
            *_form(rule, facts),
            *answering_problems(
                facts.receipt.environment.server,
                accepted=rule.server,
                repeatable=rule.repeatable,
            ),
            *_prompt(rule, facts.receipt.prompt),
            *_sampling(rule, facts.receipt.sampling),
            *([] if rule.corrections else _corrected(facts.receipt.prompt, facts.receipt.sampling)),
        ],
        good,
        "receipt: checkpoint, trainingStage, prompt, sampling, environment",
    )


def _identity(rule: ModelRule, facts: GateFacts) -> Iterator[str]:
    wanted: list[ExpectedCheckpoint] = [] if facts.shipped is None else [facts.shipped]
    if rule.root is not None:
        wanted.append(ExpectedRoot(Sha256(rule.root)))
    if not wanted:
        yield "what is shipped is not known: give --model FOLDER, or name its root in the policy"
    if not facts.receipt.checkpoint.files:
        yield "it lists no files of its checkpoint: it is of a model behind an API"
        return
    for one in wanted:
        if (problem := checkpoint_problem(one, facts.receipt.checkpoint)) is not None:
            yield problem


def _form(rule: ModelRule, facts: GateFacts) -> Iterator[str]:
    checkpoint, stage = facts.receipt.checkpoint, facts.receipt.training_stage
    if rule.stages is not None and stage not in rule.stages:
        yield f"it says stage {stage}"
    if rule.dtypes is not None and checkpoint.dtype not in rule.dtypes:
        yield f"it was run in {checkpoint.dtype.value}"
    quantisation = checkpoint.quantisation or "none"
    if rule.quantisations is not None and quantisation not in rule.quantisations:
        yield f"its quantisation is {quantisation}"
    if checkpoint.dequantised and not rule.dequantised:
        yield f"its weights were converted from {quantisation} when they were loaded"


def _prompt(rule: ModelRule, prompt: Prompt) -> Iterator[str]:
    system = prompt.system_prompt
    if rule.system_prompt is not None and (system or "none") != rule.system_prompt:
        given = f"the system prompt {_short(system)}" if system else "no system prompt"
        yield f"its plan gives {given}"
    if rule.template_options is not None and _typed(prompt.template_options) != _typed(
        rule.template_options
    ):
        yield f"its template options are {_told(prompt.template_options)}"


def _sampling(rule: ModelRule, sampling: Sampling) -> Iterator[str]:
    if rule.methods is not None and sampling.method not in rule.methods:
        yield f"its sampling is {sampling.method.value}"
    most, temperature = rule.temperature_at_most, sampling.temperature
    if most is not None and temperature is not None and Fraction(temperature) > Fraction(most):
        yield f"its temperature is {temperature}"
    least = rule.new_tokens_at_least
    if least is not None and sampling.max_new_tokens < least:
        yield f"its responses end after {sampling.max_new_tokens:,} tokens"
    penalty = sampling.repetition_penalty or "none"
    if rule.repetition_penalty is not None and _factor(penalty) != _factor(rule.repetition_penalty):
        yield f"its repetition penalty is {penalty}"


def _corrected(prompt: Prompt, sampling: Sampling) -> Iterator[str]:
    """Yield what the plan corrects of what ends a response and of what of it is judged."""
    if sampling.end_token_origins is None:
        yield "it does not say where its end tokens are stated"
    for end in sampling.end_token_origins or ():
        if end.removed:
            yield f"its plan removes the end token {end.token:,}"
        elif end.origins == (EndTokenOrigin.PLAN,):
            yield f"its plan adds the end token {end.token:,}"
    if prompt.thoughts is not None and prompt.thoughts.given:
        yield "its plan says which marks enclose thoughts"


def _factor(penalty: str) -> Fraction:
    """Return a repetition penalty as a number: 1 is none."""
    return Fraction(1) if penalty == "none" else Fraction(penalty)


def _typed(options: DeployedOptions) -> dict[str, tuple[type, object]]:
    """Return template options such that true is not 1."""
    return {name: (type(value), value) for name, value in options.items()}


def _told(options: DeployedOptions) -> str:
    return ", ".join(f"{name} = {value}" for name, value in sorted(options.items())) or "none"


def _short(digest: str) -> str:
    return digest if digest == "none" else f"{digest[:16]}…"
