"""Model cards in tests: odd ones, and what is left of one without what this program put in."""

from __future__ import annotations

import re
from pathlib import Path

from gating import keys
from releases import AUDITOR, OTHER_AUDITOR

from safety_receipts.receipts.bundle import Bundle
from safety_receipts.receipts.keys import TrustSet
from safety_receipts.verify.verified import VerifiedReceipt, verified_receipt


def verified(folder: Path) -> VerifiedReceipt:
    """Return the receipt of a bundle of the tests, verified."""
    auditors = TrustSet((AUDITOR.public, OTHER_AUDITOR.public))
    return verified_receipt(Bundle(folder), TrustSet(keys()), auditors)


_EOL = rb"(?:\r\n|\r|\n)"
_INDEX = re.compile(
    rb"[ ]*# safety-receipts:begin receipt=([0-9a-f]{64}) of=[0-9a-f]{16}" + _EOL + rb".*?"
    rb"# safety-receipts:end receipt=\1" + _EOL,
    re.DOTALL,
)
_SECTION = re.compile(
    rb"(\r\n|\n)\1<!-- safety-receipts:begin receipt=([0-9a-f]{64}) of=[0-9a-f]{16} -->.*?"
    rb"<!-- safety-receipts:end receipt=\2 -->",
    re.DOTALL,
)
_KEY = re.compile(rb"[ ]*model-index: # safety-receipts" + _EOL)
_FRONT = re.compile(
    rb"---" + _EOL + rb"# safety-receipts: this front matter[^\r\n]*" + _EOL + rb"---" + _EOL
)


def without(card: bytes) -> bytes:
    """Return a card without what this program put in, by marks alone.

    This is written apart from the program: it looks for marks in bytes, and parses nothing.
    """
    card = _SECTION.sub(b"", _INDEX.sub(b"", card))
    return _FRONT.sub(b"", _KEY.sub(b"", card))


def front_matter(card: bytes) -> str:
    """Return the YAML of a card, read as the hub reads it."""
    text = card.decode("utf-8-sig")
    found = re.match(r"\s*---(?:\r\n|\r|\n)([\S\s]*?)(?:\r\n|\r|\n)---[ \t]*(?:\r\n|\n|$)", text)
    assert found is not None
    return found[1]


_LICENSE = "license: mit\n"
_THEIRS = """\
model-index:
- name: theirs
  results:
  - task: {type: text-generation}
    dataset: {type: x/y, name: Why}
    metrics:
    - {type: accuracy, value: 0.5}
"""


def _card(yaml: str, body: str = "# Model\n\nText.\n") -> str:
    return f"---\n{yaml}---\n{body}"


_CLOSED_HTML = """\
<p align="center">
<img src="a.png" width=200>
</p>
<div align="center">
<h1>Model</h1>

<a href="https://example.org"><img alt="b" src="b.svg"></a> <br/> a < b

<details><summary>More</summary>

- Use `<details>` and <kbd>x</kbd>
  ```html
  <script>
  ```

</details>

<details>
<p>one
<details hidden><summary>two</summary></details>
</details>

<style>
h1 {}

h2 {}
</style>

<div style="display: flex">
<div>x</div>
</div>

<del>old</del> new, ~~old~~ <s>older</s>
<svg width="1"><g><rect style="fill: red"/></g></svg>

<pre><code>
x

y</code></pre>
<video controls src="x.mp4"></video>
<iframe src="x"></iframe>

<table><tr><td><details><summary>a</summary>b</details></td></tr></table>

| a | b |
|---|---|
| <details>x</details> | `<pre>` |

<!-- a -->
<!--
<style>
-->
```html
<textarea>
```
Unclosed, and hiding nothing: <p align="center"> <b>
"""


SHAPES: dict[str, bytes] = {
    name: text if isinstance(text, bytes) else text.encode()
    for name, text in {
        "plain": _card(_LICENSE),
        "empty file": "",
        "one line break": "\n",
        "no front matter": "# Model\n\nText.\n",
        "no front matter, no last line break": "# Model",
        "blank lines before the text": "\n\n# Model\n",
        "empty front matter": "---\n---\n# Model\n",
        "blank front matter": "---\n\n---\n# Model\n",
        "comments alone": "---\n# nothing yet\n---\n# Model\n",
        "front matter alone": "---\nlicense: mit\n---\n",
        "front matter alone, no last line break": "---\nlicense: mit\n---",
        "no last line break": _card(_LICENSE, "# Model"),
        "many last line breaks": _card(_LICENSE, "# Model\n\n\n\n"),
        "CRLF": _card(_LICENSE).replace("\n", "\r\n"),
        "CRLF and an index": _card(_LICENSE + _THEIRS).replace("\n", "\r\n"),
        "CRLF without front matter": "# Model\r\n\r\nText.\r\n",
        "CR alone": "# Model\r\rText.\r",
        "mixed ends of lines": "---\r\nlicense: mit\ntags:\r\n- x\n---\r\n# Model\nText\r\n\r",
        "BOM": "\ufeff" + _card(_LICENSE),
        "BOM without front matter": "\ufeff# Model\n",
        "BOM, CRLF and an index": "\ufeff" + _card(_THEIRS).replace("\n", "\r\n"),
        "leading blank lines": "\n\n  \n" + _card(_LICENSE),
        "blanks after the closing line": "---\nlicense: mit\n---  \t\n# Model\n",
        "comments": _card("# by hand: do not sort\nlicense: mit  # really\n# the end\n"),
        "unusual order": _card("zzz: 1\n" + _THEIRS + "aaa: 2\n# after\nlicense: mit\n"),
        "quoted keys": _card("'license': \"mit\"\n\"model-index\":\n- name: 'x'\n  results: []\n"),
        "an index by others": _card(_LICENSE + _THEIRS),
        "an index first": _card(_THEIRS + _LICENSE),
        "an indented index": _card(
            "model-index:\n    - name: a\n      results: []\n    # note\n    - name: b\n"
            "      results: []\nlicense: mit\n"
        ),
        "a comment before the first entry": _card(
            "model-index:  # results\n# the first, by hand\n- name: a\n  results: []\n"
        ),
        "an empty index": _card("model-index:\nlicense: mit\n"),
        "an empty index, last": _card("license: mit\nmodel-index:   # to come\n"),
        "anchors and aliases": _card(
            "base: &b {x: 1, y: [a, b]}\nother: *b\nmore:\n  <<: *b\n  z: 2\n" + _THEIRS
        ),
        "anchors in an entry of others": _card(
            "model-index:\n- name: &n a\n  results: []\n- name: *n\n  results: []\n"
        ),
        "YAML 1.1 truth values as keys": _card("yes: 1\non: 2\nlicense: no\n"),
        "numbers and versions": _card("version: 1.10\nold: 010\nsixty: 1:30\nbig: 1_000\n"),
        "dates": _card("released: 2026-01-31\nat: 2026-01-31T10:00:00Z\n"),
        "a block of text, last": _card("about: |\n  line one\n\n  line two\n"),
        "a kept block of text, last": _card("about: |+\n  line one\n\n\n"),
        "a folded block of text with our key": _card(
            "about: >-\n  model-index:\n  - name: no entry\nlicense: mit\n"
        ),
        "flow values": _card("tags: [a, b, {c: d}]\nextra: {model-index: [1]}\n"),
        "an indented mapping": _card("  license: mit\n  tags:\n  - x\n"),
        "an indented mapping with an index": _card(
            "  license: mit\n  model-index:\n  - name: a\n    results: []\n"
        ),
        "null and empty values": _card("a:\nb: ~\nc: null\nd: ''\n"),
        "many scripts": _card("title: 模型 – مدل – модель 🤖\n", "# 模型\n\nنص\u200f\n"),
        "line separators of Unicode": _card('title: "a\u2028b\u0085c"\n', "a\u2028b\n"),
        "tabs": _card("license: mit #\tyes\na: 'b\tc'\n", "\t# code\n"),
        "rules in the text": _card(_LICENSE, "# Model\n\n---\n\ntext\n---\n"),
        "YAML in the text": _card(_LICENSE, "```yaml\nmodel-index:\n- name: x\n```\n"),
        "fences of several kinds": _card(
            _LICENSE, "````\n```\n````\n\n~~~~ x\n```\n~~~~~\n   ```py\n```\n"
        ),
        "comments in the text": _card(_LICENSE, "<!-- one -->\n<!--\ntwo ```\n-->\nText `<!--`\n"),
        "marks of other programs": _card(_LICENSE, "<!-- other:begin -->\nx\n<!-- other:end -->\n"),
        "NUL in the text": _card(_LICENSE, "a\x00b\n"),
        "a long line": _card(_LICENSE, "x" * 100_000 + "\n"),
        "a duplicate key": _card("a: 1\na: 2\n"),
        "nested deeply": _card("a: " + "[" * 40 + "]" * 40 + "\n"),
        "the hub's own form": _card("language:\n- en\nlicense: apache-2.0\n" + _THEIRS),
        "escapes in quotes": _card("a: \"\\u00e9\\n# no comment\"\nb: 'it''s'\n"),
        "a key with a colon and a hash": _card('"a: b#c": 1\nurl: https://example.org/#x\n'),
        "a complex key": _card("? license\n: mit\n"),
        "HTML that is closed": _card(_LICENSE, _CLOSED_HTML),
        "CRLF and HTML that is closed": _card(_LICENSE, _CLOSED_HTML).replace("\n", "\r\n"),
    }.items()
}
"""Cards into which a receipt can be put."""

HIDDEN = [
    # Blocks of CommonMark that run to their end, 4.6, kinds 1 to 5.
    "<style>",
    "<SCRIPT>\nx\n\ny",
    "<pre>\n\n",
    "<textarea>",
    "<?x",
    "<!X",
    "<![CDATA[",
    "<!--\n\n->",
    # Elements that hide, strike or preform.
    "<div hidden>",
    "<div\nhidden>",
    "<div hidden><div></div>",
    "<div hidden>\n\n| </div> |\n|---|\n| a |",
    "<p style='color:white'>",
    "<details>",
    "<details/>",
    "<details>\n\n`</details>`",
    "<details>\n\n    </details>",
    "<details>\n\n- ```\n  </details>\n  ```",
    "<del>",
    "<del><div></del>",
    "<del>\n\nx </del>",
    "x <s>y",
    "~~<style>~~</style>",
    "x <strike>y",
    "<svg width=1>",
    "<svg></p><rect hidden/></svg>",
    "<svg>\n<![CDATA[\n\n</svg>",
    "<template>",
    "<template></div>",
    "<noscript>\n\n</noscript>",
    "> <details>",
    # Code or none?
    "[a](`) <details> `x`",
    "| ` | <details> ` |\n|---|---|\n| a | b |",
    # A tag, or a comment, without an end in its block.
    '<div title="\n\nx',
    "<div\n\nx",
    "<div><!--\n\nx\n\n-->",
    "<!-- --!> <style> -->",
]
"""Markdown behind which nothing is seen, or in which that is not certain."""

REFUSED: dict[str, tuple[bytes, str, int | None]] = {
    name: (text if isinstance(text, bytes) else text.encode(), said, line)
    for name, (text, said, line) in {
        "an index in brackets": (
            _card("model-index: [{name: a, results: []}]\n"),
            "in brackets",
            2,
        ),
        "an empty index in brackets": (_card("a: 1\nmodel-index: []\n"), "in brackets", 3),
        "an alias": (_card("x: &x []\nmodel-index: *x\n"), "is an alias", 3),
        "an anchor": (_card("model-index: &x\n- name: a\n"), "an anchor or a tag", 2),
        "a tag": (_card("model-index: !!seq\n- name: a\n"), "an anchor or a tag", 2),
        "an index that is text": (_card("model-index: none\n"), "is no list", 2),
        "an index that is a mapping": (_card("model-index:\n  name: a\n"), "is no list", 3),
        "an index in words": (_card("model-index: null\n"), "is no list", 2),
        "two indices": (_card(_THEIRS + "'model-index':\n- name: b\n"), "appears twice", 9),
        "a key twice in an entry": (_card(_THEIRS + "  name: b\n"), "a key appears twice", 9),
        "an index by an alias": (_card("x: &x model-index\n" + _THEIRS + "*x : []\n"), "twice", 2),
        "an index from a merge": (
            _card("base: &b\n  model-index: [1]\n<<: *b\n"),
            "comes from a merge",
            None,
        ),
        "a complex key": (_card("? model-index\n: - name: a\n"), "in an unusual way", 2),
        "all in braces": (_card("{license: mit}\n"), "in braces", 2),
        "what the hub writes for nothing": (_card("{}\n"), "in braces", 2),
        "no mapping": (_card("- a\n- b\n"), "no mapping", 2),
        "text for YAML": (_card("just text\n"), "no mapping", 2),
        "no YAML": (_card("a: b: c\n"), "not YAML", 2),
        "an open quote": (_card("a: 'b\nc: d\n"), "not YAML", 4),
        "a tab after a colon": (_card("a:\tb\n"), "not YAML", 2),
        "a tab": (_card("a:\n\tb: 1\n"), "not YAML", 3),
        "a control character": (_card("a: \x07\n"), "not allowed in YAML", 2),
        "a number out of range": (_card('a: "\\UFFFFFFFF"\n'), "not YAML", 2),
        "an unknown tag": (_card("a: !lambda x\n"), "cannot be read", 2),
        "no such date": (_card("a: 2026-13-45\n"), "cannot be read", None),
        "a list as a key": (_card("? [a]\n: b\n"), "cannot be read", 2),
        "not ended": ("---\nlicense: mit\n# Model\n", "is not ended by ---", 1),
        "blanks after the opening line": ("---  \nlicense: mit\n---\n", "blanks stand after", 1),
        "ended twice": (_card("a: 1\n...\n"), "nothing can follow", 3),
        "a whole with an anchor": (_card("&a\nb: 1\n"), "as a whole has an anchor", 2),
        "nested too deeply": (_card("a: " + "[" * 70 + "]" * 70 + "\n"), "nested deeper", 2),
        "no UTF-8": (b"---\na: 1\n---\n\xff\n", "not valid UTF-8", 4),
        "an open block of code": (_card(_LICENSE, "a\n```sh\nmake\n"), "block of code begins", 5),
        "an open comment": (_card(_LICENSE, "a\n<!-- b\nc\n"), "comment begins", 5),
        "nested too deeply to be read": (
            _card(_LICENSE, ">" * 50_000 + "\n"),
            "nested too deeply",
            None,
        ),
        **{
            f"hidden: {body}": (_card(_LICENSE, f"a\n\n{body}\n"), "would not be seen", 6)
            for body in HIDDEN
        },
    }.items()
}
"""Cards into which none can be put: what is said, and of which line."""
