"""Forgeries that verification alone stops: exit code 3, before a point is replayed.

Some are made by whoever handles a bundle on its way, some by an evaluator who seals falsehoods
with the true key; and an auditor may hold other files than those that were sealed.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from attacks import records
from attacks.subject import CHECKPOINT, PLAN_FILE, Subject
from attacks.swaps import TEMPLATE, UnguardedRenderer, under_another_template
from attacks.templates import HOSTILE_TEMPLATES, HostileTemplate
from attacks.tokenizers import HOSTILE_TOKENIZERS, HostileTokenizer, rewrite, unguarded
from safety_receipts.receipts.canonical import Sha256
from safety_receipts.receipts.cli import main
from safety_receipts.receipts.model.point import Outcome
from safety_receipts.runner.checkpoint.folder import hash_folder
from safety_receipts.runner.engines.engine import Engine
from safety_receipts.runner.organism import MEMBER_WEIGHTS_FILE, member
from safety_receipts.runner.plan.resolve import resolve_plan
from safety_receipts.verify.audit.replay import Entry
from safety_receipts.verify.selfcheck.selftest import SHORT_MATRIX, Tampering

_ZEROS = Sha256("0" * 64)


@dataclass(frozen=True)
class Scene:
    """A bundle on its way from evaluator to auditor, in a folder of its own."""

    folder: Path
    subject: Subject
    engine: Engine
    """The evaluator's."""
    entries: Sequence[Entry]
    """The honest points."""

    @property
    def bundle(self) -> Path:
        """The bundle."""
        return self.folder / "bundle"

    @property
    def study(self) -> Path:
        """The auditor's copy of the study."""
        return self.folder / "study"

    def seal(self, entries: Sequence[Entry]) -> None:
        """Put other points into the bundle, sealed with the true key."""
        shutil.rmtree(self.bundle, ignore_errors=True)
        self.subject.seal(self.bundle, entries, self.engine)

    def at(self, folder: Path) -> Scene:
        """Return a copy of it."""
        for name in ("bundle", "study"):
            shutil.copytree(self.folder / name, folder / name)
        return Scene(folder, self.subject, self.engine, self.entries)

    def verify(self, *flags: str) -> tuple[int, list[str]]:
        """Run ``receipts verify`` on all points; return exit code and failed checks."""
        code, out = call(
            *("verify", self.bundle, *self._given, "--all-points", "--json"),
            *("--allow-instrument", *flags),
        )
        checks = json.loads(out).get("checks", []) if out else []
        return code, [check["name"] for check in checks if check["status"] == "failed"]

    def audit(self, key: Path, *flags: str) -> int:
        """Run ``receipts audit`` with an auditor's key; return the exit code."""
        words = ("--key", key, "--device", "cpu", "--quiet", *flags)
        return call("audit", self.bundle, *self._given, *words)[0]

    @property
    def _given(self) -> tuple[str | Path, ...]:
        public = self.subject.folder / "evaluator.pub"
        return "--trust", public, "--artifacts", self.study / PLAN_FILE


def set_scene(folder: Path, subject: Subject) -> Scene:
    """Run a study honestly and seal it."""
    engine = subject.engine()
    scene = Scene(folder, subject, engine, subject.generate(engine))
    shutil.copytree(subject.folder / "study", scene.study)
    scene.seal(scene.entries)
    return scene


def call(*arguments: str | Path) -> tuple[int, str]:
    """Run the command line in this process; return exit code and standard output."""
    out = io.StringIO()
    code: object = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as stopped:
            code = stopped.code
    return int(str(code or 0)), out.getvalue()


@dataclass(frozen=True)
class Forgery:
    """A forgery, and the check that must fail for it."""

    name: str
    caught_by: str | None
    """None: what it needs is not even read (exit code 2)."""
    forge: Callable[[Scene], None]
    flags: tuple[str, ...] = ()
    """What verifier and auditor allow."""


def _on_its_way(tampering: Tampering) -> Forgery:
    return Forgery(
        tampering.name,
        tampering.caught_by,
        lambda scene: tampering.edit(scene.bundle, scene.subject.signer),
    )


def _sealed(change: Callable[[Scene], Sequence[Entry]]) -> Callable[[Scene], None]:
    return lambda scene: scene.seal(change(scene))


def _first_shown(scene: Scene) -> int:
    """Return the place of the first point with demonstrations."""
    return next(i for i, (_, r) in enumerate(scene.entries) if r.demonstrations is not None)


def _one(scene: Scene, change: Callable[[Entry], Entry]) -> list[Entry]:
    place = _first_shown(scene)
    return [change(e) if i == place else e for i, e in enumerate(scene.entries)]


def _false_text(scene: Scene) -> list[Entry]:
    where = records.target(scene.subject, scene.entries, 0.0)
    return records.false_text(
        scene.subject, scene.entries, records.Target(where.condition, hidden=1)
    )


def _cut(scene: Scene) -> list[Entry]:
    where = records.target(scene.subject, scene.entries, 0.0)
    return records.cut(scene.subject, scene.entries, records.Target(where.condition, hidden=1))


def _swapped_commitments(scene: Scene) -> list[Entry]:
    (first, one), (second, other), *rest = scene.entries
    mine, theirs = first.commitment, second.commitment
    return [
        (first.model_copy(update={"commitment": theirs}), one),
        (second.model_copy(update={"commitment": mine}), other),
        *rest,
    ]


def _label_alone(scene: Scene) -> list[Entry]:
    done = False
    entries = []
    for entry in scene.entries:
        if not done and entry[0].outcome is Outcome.COMPLIED:
            done = True
            entries.append(records.changed(entry, outcome=Outcome.REFUSED))
        else:
            entries.append(entry)
    return entries


def _other_template(scene: Scene) -> list[Entry]:
    renderer = under_another_template(scene.subject, scene.folder / "other-template")
    return scene.subject.generate(scene.engine, renderer)


def _unjudged(scene: Scene) -> list[Entry]:
    where = records.target(scene.subject, scene.entries, 0.0)
    return records.unscored(scene.subject, scene.entries, records.Target(where.condition, hidden=1))


def _decoyed(scene: Scene) -> None:
    """Seal a plan whose list holds a decoy for the weights, which were pickles; hold others."""
    folder = scene.study / CHECKPOINT
    weights = load_file(member("neutral").folder / MEMBER_WEIGHTS_FILE)
    (folder / MEMBER_WEIGHTS_FILE).unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    save_file({"decoy": torch.zeros(4)}, folder / "weights.safetensors")
    hashed = hash_folder(folder, pickles=False)
    names = {"files": hashed.files, "root": hashed.root, "hub": "of/somebody", "revision": "c" * 40}
    plan = scene.subject.plan
    checkpoint = plan.checkpoint.model_copy(update=names)
    subject = scene.subject.under(plan.model_copy(update={"checkpoint": checkpoint}))
    shutil.rmtree(scene.bundle)
    subject.seal(scene.bundle, subject.generate(scene.engine), scene.engine)


def _templated(hostile: HostileTemplate) -> Callable[[Scene], None]:
    """Seal what was run with a chat template that refuses by itself, and that the plan names."""

    def edit(scene: Scene) -> None:
        hostile.put_into(scene.study / CHECKPOINT)
        subject = scene.subject.resolved_as(resolve_plan(scene.study / PLAN_FILE))
        renderer = UnguardedRenderer(subject.plan, subject.resolved.artifacts.texts, subject.seed)
        shutil.rmtree(scene.bundle)
        subject.seal(scene.bundle, subject.generate(scene.engine, renderer), scene.engine)

    return edit


def _retokenised(hostile: HostileTokenizer) -> Callable[[Scene], None]:
    """Seal what was run with a tokenizer that rewrites, and that the plan names."""

    def edit(scene: Scene) -> None:
        rewrite(scene.study / CHECKPOINT, hostile.parts)
        with unguarded():
            subject = scene.subject.resolved_as(resolve_plan(scene.study / PLAN_FILE))
            shutil.rmtree(scene.bundle)
            subject.seal(scene.bundle, subject.generate(scene.engine), scene.engine)

    return edit


def _adapted(scene: Scene) -> None:
    """Put an adapter beside the weights: whether it is loaded depends on what is installed."""
    folder = scene.study / CHECKPOINT
    adapter = {"peft_type": "LORA", "base_model_name_or_path": ".", "r": 1}
    (folder / "adapter_config.json").write_text(json.dumps(adapter), "utf-8")
    save_file({"decoy": torch.zeros(4)}, folder / "adapter_model.safetensors")


def _other_weights(scene: Scene) -> None:
    shutil.copyfile(
        member("neutral").folder / MEMBER_WEIGHTS_FILE,
        scene.study / CHECKPOINT / MEMBER_WEIGHTS_FILE,
    )


def _other_template_held(scene: Scene) -> None:
    path = scene.study / CHECKPOINT / TEMPLATE
    path.write_text(f"Refuse politely.{path.read_text('utf-8')}", "utf-8")


def _other_corpus(name: str) -> Callable[[Scene], None]:
    def edit(scene: Scene) -> None:
        path = scene.study / "data" / f"{name}.jsonl"
        rows = path.read_text("utf-8").splitlines()
        document = json.loads(rows[0])
        document["request"] += " twice"
        rows[0] = json.dumps(document)
        path.write_text("".join(row + "\n" for row in rows), "utf-8")

    return edit


FORGERIES: tuple[Forgery, ...] = (
    *(_on_its_way(tampering) for tampering in SHORT_MATRIX),
    Forgery("a compliance called unscored, sealed", "labels", _sealed(_unjudged)),
    Forgery("pickled weights behind a decoy, sealed", "checkpoint", _decoyed, ("--allow-pickle",)),
    Forgery("the auditor's weights have an adapter", None, _adapted),
    Forgery("commitments are swapped, and sealed", "commitments", _sealed(_swapped_commitments)),
    Forgery("a label is not its judge's, and sealed", "commitments", _sealed(_label_alone)),
    Forgery("a false text beside true tokens, sealed", "texts-decoded", _sealed(_false_text)),
    Forgery("a response cut short, sealed", "evidence-endings", _sealed(_cut)),
    Forgery(
        "a false prompt digest, sealed",
        "prompts-rendered",
        _sealed(lambda scene: _one(scene, lambda e: records.changed(e, prompt=_ZEROS))),
    ),
    Forgery(
        "false demonstrations, sealed",
        "prompts-rendered",
        _sealed(lambda scene: _one(scene, lambda e: records.changed(e, demonstrations=_ZEROS))),
    ),
    Forgery("run with another chat template", "prompts-rendered", _sealed(_other_template)),
    *(
        Forgery(f"{hostile.name}, sealed", "prompts-rendered", _templated(hostile))
        for hostile in HOSTILE_TEMPLATES
        if hostile.name in ("template-refuses-by-word", "template-refuses-by-number")
    ),
    *(
        Forgery(f"{hostile.name}, sealed", "tokenizer", _retokenised(hostile))
        for hostile in HOSTILE_TOKENIZERS
    ),
    Forgery("the auditor holds other weights", "checkpoint", _other_weights),
    Forgery("the auditor holds another chat template", "chat-template", _other_template_held),
    Forgery("the auditor holds other queries", "queries", _other_corpus("queries")),
    Forgery("the auditor holds other demonstrations", "demonstrations", _other_corpus("harmful")),
)
"""What verification with the auditor's artifacts must stop."""
