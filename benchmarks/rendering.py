"""What rendering the prompts of a plan costs, beside another checkout of this project.

    python benchmarks/rendering.py [--queries 40] [--blocks 1 20 all] [--against FOLDER] [--record]

The grid is the paper's main sweep, 31 conditions and two draws, after up to 128 demonstrations of
about 345 tokens; of its 1,404 queries only as many as are asked for, and as many benign rows of
200,000 in proportion, so that a row recurs as often as at full size.  Texts are made up of an
invented lexicon.  The tokenizer is a byte-level BPE of 127,000 tokens with the pre-tokenizer of
Llama 3, trained on them, and the chat template has that family's form.

Each measurement is a process of its own, which renders and counts every prompt as ``receipts run``
does before it loads a model.  CPU-seconds are those of the process and of all that it starts.  With
``--against`` the same process runs with the other checkout in its path, and the prompts' digests of
both have to be the same.
"""

from __future__ import annotations

import argparse
import bisect
import hashlib
import itertools
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from recording import machine, markdown_table, replace_section

ROOT = Path(__file__).parents[1]
QUERIES, BENIGN, HARMFUL = 1404, 200_000, 1492
"""The paper's queries and harmful rows, and benign rows to draw from."""
VOCABULARY = 127_000
LEXICON = 40_000
CHARACTERS = 2000
"""Most characters of a demonstration: the plan's length rule, which cuts nearly all of them."""
_SPECIAL = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eom_id|>",
    "<|eot_id|>",
    "<|python_tag|>",
    *(f"<|reserved_special_token_{number}|>" for number in range(249)),
)
_PRE_TOKENIZER = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_TEMPLATE = """\
{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set preface, turns = messages[0]['content'] | trim, messages[1:] %}
{%- else %}
    {%- set preface, turns = '', messages %}
{%- endif %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\nToday: ' + date_string + '\\n\\n' }}
{{- preface + '<|eot_id|>' }}
{%- for message in turns %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
    {{- message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""


@dataclass(frozen=True)
class Measured:
    """What one process took."""

    points: int
    cpu: float
    """CPU-seconds of rendering and counting, with all processes started for it."""
    wall: float
    tokens: int
    memory: float
    """Greatest resident memory of the process, GiB."""
    digest: str
    """SHA-256 over the digests of all prompts in plan order."""


def lexicon() -> tuple[list[str], list[float]]:
    """Return invented words, frequent ones first, and their cumulative weights (Zipf)."""
    draw = random.Random(1)
    starts = ["", *"bcdfghjklmnprstvwz", "ch", "st", "pr", "tr", "gl", "sh"]
    ends = ["", "", "n", "r", "s", "t", "l", "m", "nd"]
    syllables = ["".join(each) for each in itertools.product(starts, "aeiou", ends)]
    words: dict[str, None] = {}
    while len(words) < LEXICON:
        words["".join(draw.choices(syllables, k=draw.choice((2, 2, 2, 3))))] = None
    weights = itertools.accumulate(1 / (place + 20) for place in range(LEXICON))
    return list(words), list(weights)


class Writer:
    """Writes texts of a lexicon's words.

    Args:
        seed: Decides them.
    """

    def __init__(self, seed: int) -> None:
        self._words, self._weights = lexicon()
        self._draw = random.Random(seed)

    def text(self, characters: int) -> str:
        """Return sentences of about so many characters."""
        said: list[str] = []
        length = 0
        while length < characters:
            number = self._draw.randint(4, 18)
            total = self._weights[-1]
            places = (self._draw.random() * total for _ in range(number))
            words = [self._words[bisect.bisect(self._weights, place)] for place in places]
            ending = self._draw.choice((". ", ". ", ", ", ".\n", "?\n\n", ": "))
            said.append(" ".join(words).capitalize() + ending)
            length += len(said[-1])
        return "".join(said).strip()


def write_study(folder: Path, queries: int) -> None:
    """Write tokenizer, template, queries and demonstrations."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, pre_tokenizers, trainers
    from tokenizers.models import BPE

    writer = Writer(2)
    benign = max(256, BENIGN * queries // QUERIES)
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:
        for kind, number, size in (("q", queries, 0), ("h", HARMFUL, 1), ("b", benign, 1)):
            for place in range(number):
                row = [kind, f"{kind}{place:06d}", writer.text(90), size and writer.text(2100)]
                file.write(json.dumps(row) + "\n")
    tokenizer = Tokenizer(BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PRE_TOKENIZER), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    words, _ = lexicon()
    known = (f"{word} {word} {word.capitalize()}" for word in words)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(known, trainer)
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in _SPECIAL])
    model = folder / "model"
    model.mkdir()
    tokenizer.save(str(model / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|begin_of_text|>",
        "eos_token": "<|eot_id|>",
        "model_max_length": 131072,
    }
    (model / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    (model / "chat_template.jinja").write_text(_TEMPLATE, "utf-8")


def _renderer(folder: Path, block: int | str) -> Any:
    """Return the renderer of a study, of whichever checkout is in the path."""
    from safety_receipts.receipts.canonical import Sha256
    from safety_receipts.receipts.events.grid import distinct_lists
    from safety_receipts.receipts.events.synthetic import paper_sweep, synthetic_plan
    from safety_receipts.receipts.model.demonstrations import DemonstrationKind
    from safety_receipts.runner.prompts.chat_format import ChatFormat
    from safety_receipts.runner.prompts.demonstrations import Demonstration, Pool, Pools
    from safety_receipts.runner.prompts.rendering import Renderer, with_template_words
    from safety_receipts.runner.prompts.texts import PromptTexts

    rows: dict[str, list[list[str]]] = {"q": [], "h": [], "b": []}
    with (folder / "rows.jsonl").open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            rows[row[0]].append(row)

    def pool(name: str, kind: DemonstrationKind, letter: str) -> Pool:
        items = (Demonstration(row[1], kind, row[2], row[3]) for row in rows[letter])
        return Pool(kind, name, tuple(items))

    plan = synthetic_plan(paper_sweep(), {"queries": len(rows["q"])})
    demonstrations = plan.demonstrations.model_copy(update={"draw_block": block})
    plan = plan.model_copy(update={"demonstrations": demonstrations})
    lists = demonstrations.model_copy(update={"distinct_lists": distinct_lists(plan)})
    plan = plan.model_copy(update={"demonstrations": lists})
    pools = Pools(
        pool("harmful-proxy", DemonstrationKind.HARMFUL, "h"),
        {"benign-proxy": pool("benign-proxy", DemonstrationKind.BENIGN, "b")},
    )
    queries = tuple(row[2] for row in rows["q"])
    texts = PromptTexts(ChatFormat.load(folder / "model"), None, queries, pools)
    return Renderer(with_template_words(plan, texts), texts, Sha256("5" * 64))


def _spent() -> float:
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    usages = [resource.getrusage(kind) for kind in kinds]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def measure(folder: Path, block: int | str) -> Measured:
    """Render and count every prompt in this process."""
    from safety_receipts.runner.run.counting import render_plan

    renderer = _renderer(folder, block)
    cpu, wall = _spent(), time.perf_counter()
    rendered = render_plan(renderer, lambda _, __: None)
    cpu, wall = _spent() - cpu, time.perf_counter() - wall
    digest = hashlib.sha256("".join(point.prompt for point in rendered.points).encode())
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    counts = rendered.counts
    return Measured(counts.points, cpu, wall, counts.tokens, memory, digest.hexdigest())


def _in_process(checkout: Path, folder: Path, block: int | str) -> Measured:
    """Measure in a process of its own, with a checkout in its path."""
    command = [sys.executable, __file__, "--measure", str(folder), "--blocks", str(block)]
    environment = {**os.environ, "PYTHONPATH": str(checkout), "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
    return Measured(**json.loads(done.stdout))


def _block(text: str) -> int | str:
    return text if text == "all" else int(text)


def _rows(measured: dict[int | str, dict[str, Measured]]) -> list[list[str]]:
    rows = []
    for block, builds in measured.items():
        ours = builds["ours"]
        row = [str(block), f"{ours.points:,}", f"{ours.tokens / ours.points:,.0f}"]
        row += [_pace(each) for each in builds.values()]
        row += [f"{each.wall:.1f}" for each in builds.values()]
        row += [f"{each.memory:.2f}" for each in builds.values()]
        if "other" in builds:
            row.append(f"{ours.cpu / builds['other'].cpu:.3f}")
        rows.append(row)
    return rows


def _pace(one: Measured) -> str:
    return f"{1000 * one.cpu / one.points:.2f}"


def main() -> None:
    """Measure, compare, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--queries", type=int, default=40)
    parser.add_argument("--blocks", type=_block, nargs="+", default=[1, 20, "all"])
    parser.add_argument("--against", type=Path, help="another checkout, to compare with")
    parser.add_argument("--study", type=Path, help="keep the texts here, or take them from here")
    parser.add_argument("--record", action="store_true", help="write into RESULTS.md")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None:
        print(json.dumps(measure(options.measure, options.blocks[0]).__dict__))
        return
    checkouts = {"ours": ROOT}
    if options.against is not None:
        checkouts["other"] = options.against.absolute()
    with tempfile.TemporaryDirectory() as temporary:
        study = options.study or Path(temporary)
        study.mkdir(parents=True, exist_ok=True)
        if not (study / "rows.jsonl").exists():
            write_study(study, options.queries)
        measured: dict[int | str, dict[str, Measured]] = {}
        for block in options.blocks:
            measured[block] = {
                name: _in_process(checkout, study, block) for name, checkout in checkouts.items()
            }
            found = measured[block]
            print(block, {name: _pace(each) for name, each in found.items()}, file=sys.stderr)
            if len({each.digest for each in found.values()}) > 1:
                sys.exit(f"draw_block {block}: the two checkouts render other prompts")
    names = [("this", "ours"), ("other", "other")][: len(checkouts)]
    columns = ["draw_block", "points", "tokens a prompt"]
    for what in ("CPU-ms a point", "wall s", "GiB"):
        columns += [f"{what}, {name}" for name, _ in names]
    if len(names) > 1:
        columns.append("CPU, this / other")
    lines = [
        "## Rendering prompts (`benchmarks/rendering.py`)",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, {machine()}; {options.queries:,} of {QUERIES:,} queries.",
        "",
        *markdown_table(columns, _rows(measured)),
    ]
    print("\n".join(lines))
    if options.record:
        replace_section("rendering", lines)


if __name__ == "__main__":
    main()
