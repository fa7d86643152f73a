#!/usr/bin/env bash
# torch 2.13.0, CPU build: `Generator.manual_seed` takes a seed of 64 bits, and `initial_seed` gives all of it back,
# but on a CPU 32 bits of it make the numbers: two seeds that are equal modulo 2^32 draw the same.  So do servers that hand
# a request's seed on to torch: of the 63 bits that vLLM 0.32.0 accepts its CPU build uses 32.  Seeds that are
# counted from 0 in steps of 2^32, or that carry what tells them apart in the upper half, are one seed.
# Seen: "seeds 1 and 1 + 2^32: 64 of 64 numbers the same; 1 and 2: 0 of 64".
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy 2>"$work/pip.log" ||
    { cat "$work/pip.log"; exit 1; }
cat >"$work/try.py" <<'PY'
"""Draw with seeds that differ in their upper half, and in their lower one."""
import sys

import torch


def drawn(seed):
    generator = torch.Generator("cpu").manual_seed(seed)
    assert generator.initial_seed() == seed
    return torch.rand(64, generator=generator, dtype=torch.float64)


upper = int((drawn(1) == drawn(1 + 2**32)).sum())
lower = int((drawn(1) == drawn(2)).sum())
print(f"seeds 1 and 1 + 2^32: {upper} of 64 numbers the same; 1 and 2: {lower} of 64")
sys.exit(0 if (upper, lower) == (64, 0) else "the behaviour has changed")
PY
"$work/env/bin/python" "$work/try.py"
