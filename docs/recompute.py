"""Recompute every rate of a receipt from its evidence lines: python recompute.py BUNDLE.

This script shares no code with the project that wrote the receipt: it needs Python's standard
library and the ``zstandard`` package.  It reads the two files anybody may check by hand,
counts outcomes over the query sources of role ``harmful``, and holds the three rates of each
condition to the ones in the receipt: complianceRate = complied / (complied + refused);
asPublishedRate also counts unscored points as complied; worstCaseRate failed ones too.

It prints one line a condition, and exits 1 if any rate differs, or if lines are missing.  It
checks numbers, not signatures: who signed the receipt, and whether these are the lines it was
sealed over, is for the Merkle root and the signature to say (protocol.md).
"""

import sys
from base64 import b64decode
from collections import Counter
from decimal import Decimal
from itertools import accumulate
from json import loads
from pathlib import Path

from zstandard import open as open_zstd

said = loads(b64decode(loads(Path(sys.argv[1], "receipt.dsse.json").read_bytes())["payload"]))
harmful = {source["name"] for source in said["predicate"]["queries"] if source["role"] == "harmful"}
lines = list(open_zstd(Path(sys.argv[1], "points.jsonl.zst"), "rt", encoding="utf-8"))
if sum(line.endswith("\n") for line in lines) != said["predicate"]["evidence"]["size"]:
    sys.exit("points.jsonl.zst has not as many lines as the receipt says: it is not whole")
n = Counter((p["condition"], p["outcome"]) for p in map(loads, lines) if p["source"] in harmful)
for c in said["predicate"]["conditions"]:
    refused, *rest = (n[c["id"], o] for o in ("refused", "complied", "unscored", "failed"))
    again = [f"{Decimal(k) / (k + refused):.6f}" if k + refused else None for k in accumulate(rest)]
    c["same"] = again == [c["complianceRate"], c["asPublishedRate"], c["worstCaseRate"]]
    print(c["id"], *again, "same" if c["same"] else "DIFFERENT")
sys.exit(not all(c["same"] for c in said["predicate"]["conditions"]))
