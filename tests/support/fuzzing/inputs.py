"""Inputs of the fuzzer: each is made from a seed and a number, and given to some commands."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import yaml
from audit_statements import announce, report
from carding import SHAPES

from fuzzing.logs import changed_log, write_log
from fuzzing.mutations import apply, mutate_bytes, mutate_json
from safety_receipts.receipts.audit_forms import parse_audit, sign_public_form
from safety_receipts.receipts.bundle import (
    AUDITS,
    PLAN,
    POINTS_FILE,
    RECEIPT,
    RESPONSES_FILE,
    Bundle,
    BundleWriter,
)
from safety_receipts.receipts.canonical import Sha256, canonical_bytes
from safety_receipts.receipts.dsse import Envelope, Signature, pae, sign
from safety_receipts.receipts.keys import Signer, TrustSet, write_key_pair
from safety_receipts.receipts.merkle import RootAccumulator
from safety_receipts.receipts.model.audit import AuditPredicate
from safety_receipts.receipts.proof import make_proof
from safety_receipts.runner import presets
from safety_receipts.verify.card.attach import card_parts
from safety_receipts.verify.card.splice import attached
from safety_receipts.verify.selfcheck.selftest import edit_lines
from safety_receipts.verify.verified import verified_receipt

TESTS = Path(__file__).parents[2]
GOLDEN = TESTS / "golden"
FOLDER_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "tokenizer.json",
    "chat_template.jinja",
    "model.safetensors",
)
CARDS = ("plain", "unusual order", "anchors and aliases", "CRLF and an index", "no front matter")
"""Model cards that are changed."""


@dataclass
class Input:
    """One input: a folder, and what is asked of it."""

    kind: str
    commands: list[list[str]]
    original: Any = None
    """Receipt that the mutant was made from; None where no verdict is held to anything."""
    mutant: Path | None = None
    """Bundle of the mutant, where a verdict is."""
    notes: list[str] = field(default_factory=list)
    """What was changed, for whoever looks into it."""


@dataclass(frozen=True)
class Base:
    """Good inputs, which all others are made from."""

    folder: Path

    @property
    def evaluator(self) -> Signer:
        """The golden bundles' key, which protects nothing."""
        key: Signer = _golden_script().EVALUATOR
        return key

    @property
    def auditor(self) -> Signer:
        """Another one."""
        key: Signer = _golden_script().EVALUATOR_P256
        return key

    def bundle(self, random: Random) -> Path:
        """Return one of the good bundles: small with everything, or published with findings."""
        return self.folder / random.choice(("rich", "rich", "rich", "published"))


_SCRIPTS: dict[str, ModuleType] = {}


def _golden_script() -> ModuleType:
    if "make" not in _SCRIPTS:
        spec = importlib.util.spec_from_file_location("make_golden", GOLDEN / "make.py")
        assert spec is not None
        assert spec.loader is not None
        _SCRIPTS["make"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(_SCRIPTS["make"])
    return _SCRIPTS["make"]


def make_base(folder: Path, *, models: bool) -> Base:
    """Write the good inputs.

    Args:
        folder: An empty folder.
        models: Whether a study with a model folder is among them; that takes the extra ``run``.
    """
    base = Base(folder)
    shutil.copytree(GOLDEN / "0.1" / "good" / "ed25519", folder / "rich")
    shutil.copytree(GOLDEN / "known-answer" / "diluting", folder / "published")
    (folder / "published" / POINTS_FILE).unlink(missing_ok=True)
    write_key_pair(folder / "evaluator", base.evaluator)
    write_key_pair(folder / "auditor", base.auditor)
    rich = Bundle(folder / "rich")
    for envelope in audit_of(rich, base.auditor):
        BundleWriter(rich.folder).write_audit(envelope)
    proof = json.dumps(make_proof(rich, "40").to_wire())
    (folder / "proof.json").write_text(proof, "utf-8")
    shutil.copy(Path(presets.__file__).parent / "gate-strict.yaml", folder / "gate.yaml")
    receipt = verified_receipt(rich, TrustSet([base.evaluator.public]))
    parts = card_parts(receipt, None, instrument=True)
    for name in CARDS:
        (folder / f"{name}.md").write_text(attached(SHAPES[name].decode(), parts), "utf-8")
    write_log(folder, folder / "rich", base.evaluator)
    if models:
        _write_study(folder / "study")
    return base


def _write_study(folder: Path) -> None:
    """Write a small study of the organism."""
    from safety_receipts.runner.commands.init import write_preset

    write_preset(folder, "demo")
    for name in ("queries", "controls"):
        path = folder / "data" / f"{name}.jsonl"
        path.write_text("".join(path.read_text("utf-8").splitlines(keepends=True)[:3]), "utf-8")


def audit_of(bundle: Bundle, signer: Signer) -> tuple[Envelope, Envelope, Envelope]:
    """Return an announcement and a confirmation of the baseline's rate, in full and in public form,
    as they should be.
    """
    digest = bundle.receipt_envelope.digest
    start = announce(digest, signer)
    full = report(digest, start.digest, signer=signer, changes={"blinding": "b1" * 32})
    said = parse_audit(full, Path("audit")).predicate
    assert isinstance(said, AuditPredicate)
    return start, full, sign_public_form(said, full.digest, signer)


def make_input(base: Base, seed: int, number: int, folder: Path, kinds: Sequence[str]) -> Input:
    """Make one input in an empty folder; seed and number give the same one at any time.

    Args:
        base: The good inputs.
        seed: The fuzzer's.
        number: The input's.
        folder: Where to.
        kinds: Names among :data:`KINDS`.
    """
    random = Random(f"{seed}/{number}")
    kind = random.choices(kinds, [KINDS[name][1] for name in kinds])[0]
    return KINDS[kind][0](base, random, folder)


def _read(bundle: Path, name: str) -> Any:
    return json.loads(Envelope.from_json((bundle / name).read_bytes()).payload)


def _write(bundle: Path, name: str, document: Any, signer: Signer) -> Sha256:
    """Sign a document and return its digest; one that cannot be canonical is signed as it is."""
    try:
        envelope = sign(document, signer)
    except (TypeError, ValueError, OverflowError):
        body = json.dumps(document).encode()
        signature = signer.sign(pae("application/vnd.in-toto+json", body))
        envelope = Envelope(body, (Signature(signer.public.keyid, signature),))
    (bundle / name).write_bytes(envelope.to_json())
    return envelope.digest


def _commands(base: Base, random: Random, bundle: Path) -> list[list[str]]:
    """Return a verification and two other commands."""
    trust = ["--trust", str(base.folder / "evaluator.pub")]
    auditors = ["--trust-auditor", str(base.folder / "auditor.pub")]
    verify = ["verify", str(bundle), *trust, *auditors, "--allow-instrument", "--json"]
    gate = str(base.folder / "gate.yaml")
    others = [
        ["verify", str(bundle)],
        ["verify", str(bundle), *trust, "--level", "bound", "--quiet"],
        ["show", str(bundle)],
        ["show", str(bundle), "--json"],
        ["show", str(bundle), "--conditions", "h*"],
        ["prove", str(bundle), str(random.choice((0, 40, 10**6)))],
        ["publish", str(bundle), "--out", str(bundle.parent / "published")],
        ["compare", str(bundle), str(base.folder / "rich"), "--json"],
        ["compare", str(bundle), str(base.folder / "published"), "--force"],
        ["verify", str(bundle), *trust, "--proof", str(base.folder / "proof.json")],
        ["gate", str(bundle), "--policy", gate, *trust, *auditors, "--json"],
        ["attach", str(bundle), *_card(base, random, bundle.parent), *trust, "--json"],
    ]
    return [verify, *random.sample(others, 2)]


def _card(base: Base, random: Random, folder: Path) -> list[str]:
    """Copy a model card, and return it with what attaching to it takes."""
    card = folder / "README.md"
    shutil.copy(base.folder / f"{random.choice(CARDS)}.md", card)
    return [str(card), "--instrument", *random.choice(([], ["--replace"], ["--check"]))]


def _fresh(base: Base, random: Random, folder: Path) -> tuple[Path, Any]:
    source = base.bundle(random)
    bundle = Path(shutil.copytree(source, folder / "bundle"))
    return bundle, _read(bundle, RECEIPT)


def _of_bytes(base: Base, random: Random, folder: Path) -> Input:
    bundle, original = _fresh(base, random, folder)
    proof = Path(shutil.copy(base.folder / "proof.json", folder / "proof.json"))
    key = Path(shutil.copy(base.folder / "evaluator.pub", folder / "evaluator.pub"))
    files = [*sorted(path for path in bundle.rglob("*") if path.is_file()), proof, key]
    file = random.choice(files)
    file.write_bytes(mutate_bytes(file.read_bytes(), random))
    commands = _commands(base, random, bundle)
    if file in (proof, key):
        commands.append(["verify", str(bundle), "--trust", str(key), "--proof", str(proof)])
    return Input("bytes", commands, original, bundle, [file.name])


def _of_receipt(base: Base, random: Random, folder: Path) -> Input:
    bundle, original = _fresh(base, random, folder)
    changed = json.loads(json.dumps(original))
    where = mutate_json(changed["predicate"] if random.random() < 0.95 else changed, random)
    _write(bundle, RECEIPT, changed, base.evaluator)
    return Input("receipt", _commands(base, random, bundle), original, bundle, _named(where))


def _of_plan(base: Base, random: Random, folder: Path) -> Input:
    """Change a plan, and the receipt with it, so that they still name and repeat each other."""
    bundle, original = _fresh(base, random, folder)
    plan, receipt = _read(bundle, PLAN), json.loads(json.dumps(original))
    where = mutate_json(plan["predicate"], random)
    digest = _write(bundle, PLAN, plan, base.evaluator)
    for path in where:
        apply(receipt["predicate"], plan["predicate"], path)
        if path[0] == "conditions":
            _merge(receipt["predicate"], plan["predicate"])
    receipt["predicate"]["plan"]["digest"] = digest
    _write(bundle, RECEIPT, receipt, base.evaluator)
    return Input("plan", _commands(base, random, bundle), original, bundle, _named(where))


def _merge(receipt: Any, plan: Any) -> None:
    """Give the receipt's conditions the fields that the plan's have."""
    stated, planned = receipt.get("conditions"), plan.get("conditions")
    if isinstance(stated, list) and isinstance(planned, list):
        for one, other in zip(stated, planned, strict=False):
            if isinstance(one, dict) and isinstance(other, dict):
                one.update(other)


def _of_evidence(base: Base, random: Random, folder: Path) -> Input:
    """Change lines, recompute the root, and sign a receipt that names it."""
    bundle = Path(shutil.copytree(base.folder / "rich", folder / "bundle"))
    receipt = _read(bundle, RECEIPT)
    notes: list[str] = []
    file = random.choice((POINTS_FILE, POINTS_FILE, RESPONSES_FILE))

    def change(lines: list[bytes]) -> list[bytes]:
        at = random.randrange(len(lines))
        match random.randrange(8):
            case 0:
                return lines[:at] + lines[at + 1 :]
            case 1:
                return [*lines[:at], lines[at], *lines[at:]]
            case 2:
                lines[at] = mutate_bytes(lines[at], random).replace(b"\n", b"")
            case _:
                point = json.loads(lines[at])
                notes.extend(_named(mutate_json(point, random)))
                try:
                    lines[at] = canonical_bytes(point)
                except (TypeError, ValueError, OverflowError):
                    lines[at] = json.dumps(point).encode()
        return lines

    edit_lines(bundle, change, file)
    if file == POINTS_FILE:
        root = RootAccumulator()
        size = 0
        for line in Bundle(bundle).lines(10_000):
            root.append(line)
            size += 1
        receipt["predicate"]["evidence"] |= {"root": root.root().hex(), "size": size}
        _write(bundle, RECEIPT, receipt, base.evaluator)
    return Input("evidence", _commands(base, random, bundle), receipt, bundle, [file, *notes])


def _of_audit(base: Base, random: Random, folder: Path) -> Input:
    bundle = Path(shutil.copytree(base.folder / "rich", folder / "bundle"))
    envelopes = {path: Envelope.from_json(path.read_bytes()) for path in _audits(bundle)}
    documents = {path: json.loads(envelope.payload) for path, envelope in envelopes.items()}
    start = next(p for p, d in documents.items() if "audit-start" in d["predicateType"])
    # Each form of the result by itself: beside the other one, one of them is known to be right.
    results = [path for path in documents if path != start]
    result, other = random.sample(results, 2)
    other.unlink()
    notes = []
    for path in random.choice(((start,), (result,), (start, result), (start, result))):
        notes += _named(where := mutate_json(documents[path]["predicate"], random))
        if path == start:
            for one in where:
                apply(documents[result]["predicate"], documents[start]["predicate"], one)
    for path in (start, result):
        path.unlink()
        digest = _write(bundle, str(path.relative_to(bundle)), documents[path], base.auditor)
        path.rename(path.with_name(f"{digest}.dsse.json"))
        if path == start and isinstance(documents[result]["predicate"].get("start"), dict):
            documents[result]["predicate"]["start"]["digest"] = digest
    return Input("audit", _commands(base, random, bundle), None, None, notes)


def _audits(bundle: Path) -> list[Path]:
    return sorted((bundle / AUDITS).iterdir())


def _of_proof(base: Base, random: Random, folder: Path) -> Input:
    proof = json.loads((base.folder / "proof.json").read_text("utf-8"))
    where = mutate_json(proof, random)
    (folder / "proof.json").write_text(json.dumps(proof), "utf-8")
    trust = ["--trust", str(base.folder / "evaluator.pub")]
    given = [*trust, "--allow-instrument", "--proof", str(folder / "proof.json")]
    words = ["verify", str(base.folder / "rich"), *given]
    return Input("proof", [[*words, "--json"], words], None, None, _named(where))


def _of_card(base: Base, random: Random, folder: Path) -> Input:
    """Change a model card that a receipt is attached to."""
    given = _card(base, random, folder)
    card = folder / "README.md"
    data = card.read_bytes()
    if random.random() < 0.3:  # in what others wrote, before the first mark
        at = data.index(b"# safety-receipts")
        data = mutate_bytes(data[:at], random) + data[at:]
    else:
        data = mutate_bytes(data, random)
    card.write_bytes(data)
    trust = ["--trust", str(base.folder / "evaluator.pub")]
    words = ["attach", str(base.folder / "rich"), *given, *trust]
    return Input("card", [[*words, "--json"], words], None, None, given[2:])


def _of_log(base: Base, random: Random, folder: Path) -> Input:
    """Change a log, proofs of it, or the policy by which it is read."""
    commands, notes = changed_log(base.folder, random, folder)
    return Input("log", commands, None, None, notes)


def _study(base: Base, folder: Path) -> Path:
    """Copy the study; its weights, which are most of it, are linked where they are not changed."""
    study = folder / "study"
    shutil.copytree(base.folder / "study", study)
    return study


def _plan_commands(random: Random, study: Path) -> list[list[str]]:
    plan = str(study / "plan.yaml")
    return random.choice(
        ([["plan", plan, "--json"]], [["plan", plan]], [["plan", plan, "--show-prompt", "h0-b0"]])
    )


def _of_plan_file(base: Base, random: Random, folder: Path) -> Input:
    study = _study(base, folder)
    path = study / "plan.yaml"
    notes = ["bytes"]
    if random.random() < 0.25:
        path.write_bytes(mutate_bytes(path.read_bytes(), random))
    else:
        document = yaml.safe_load(path.read_text("utf-8"))
        notes = _named(mutate_json(document, random))
        path.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), "utf-8")
    return Input("plan-file", _plan_commands(random, study), None, None, notes)


def _of_rows(base: Base, random: Random, folder: Path) -> Input:
    """Change the rows of a corpus."""
    study = _study(base, folder)
    path = random.choice(sorted((study / "data").iterdir()))
    if random.random() < 0.5:
        path.write_bytes(mutate_bytes(path.read_bytes(), random))
    else:
        lines = path.read_text("utf-8").splitlines()
        at = random.randrange(len(lines))
        row = json.loads(lines[at])
        mutate_json(row, random)
        lines[at] = json.dumps(row)
        path.write_text("\n".join(lines) + "\n", "utf-8")
    return Input("rows", _plan_commands(random, study), None, None, [path.name])


def _of_folder(base: Base, random: Random, folder: Path) -> Input:
    study = _study(base, folder)
    name = random.choice(FOLDER_FILES)
    path = study / "checkpoint" / name
    notes = [name]
    data = path.read_bytes()
    if name == "model.safetensors":
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        if random.random() < 0.3:
            data = mutate_bytes(data[: 8 + size], random) + data[8 + size :]
        else:
            notes += _named(mutate_json(header, random))
            text = json.dumps(header).encode()
            data = len(text).to_bytes(8, "little") + text + data[8 + size :]
        path.write_bytes(data)
    elif name.endswith(".jinja"):
        path.write_text(_template(data.decode(), random), "utf-8")
    elif random.random() < 0.25:
        path.write_bytes(mutate_bytes(data, random))
    else:
        document = json.loads(data)
        notes += _named(mutate_json(document, random))
        path.write_text(json.dumps(document), "utf-8")
    return Input("folder", _plan_commands(random, study), None, None, notes)


_TEMPLATE_PIECES = (
    "{{ 1 / 0 }}",
    "{{ messages[99].content }}",
    "{{ raise_exception('no') }}",
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{{ 'x' * 100000000 }}",
    "{% set x = namespace(a='x') %}{% for i in range(40) %}{% set x.a = x.a ~ x.a %}{% endfor %}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{{ messages | tojson }}",
    "{{ ''.__class__.__mro__ }}",
    "{{ strftime_now('%Y') }}",
    "{% if",
    "{{ messages[0].content | upper }}",
    "{{ '%d' % 'x' }}",
    "{{ 10 ** 10 ** 8 }}",
)


def _template(text: str, random: Random) -> str:
    at = random.randrange(len(text) + 1)
    if random.random() < 0.4:
        return mutate_bytes(text.encode(), random).decode("utf-8", "replace")
    return text[:at] + random.choice(_TEMPLATE_PIECES) + text[at:]


def _named(paths: Sequence[tuple[str | int, ...]]) -> list[str]:
    return [".".join(map(str, path)) for path in paths]


KINDS: dict[str, tuple[Callable[[Base, Random, Path], Input], float]] = {
    "bytes": (_of_bytes, 14),
    "receipt": (_of_receipt, 20),
    "plan": (_of_plan, 18),
    "evidence": (_of_evidence, 12),
    "audit": (_of_audit, 12),
    "proof": (_of_proof, 3),
    "card": (_of_card, 3),
    "log": (_of_log, 3),
    "plan-file": (_of_plan_file, 6),
    "rows": (_of_rows, 3),
    "folder": (_of_folder, 6),
}
"""Name → what makes such an input, and how many of a hundred inputs are of it."""

DOCUMENTS = ("bytes", "receipt", "plan", "evidence", "audit", "proof", "card", "log")
"""Kinds that need no model and no tokenizer."""
