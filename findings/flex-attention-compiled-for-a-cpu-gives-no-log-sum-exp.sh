#!/usr/bin/env bash
# torch 2.13.0, flex_attention on a CPU: called as it is, it gives the log-sum-exp that is asked for; compiled
# by torch.compile, which is the fast way that the documentation tells, the same call raises: "torch.compile
# on CPU only supports inference and `return_lse` is not supported yet".  Without the log-sum-exp the compiled
# call runs.  So an engine that joins parts of a context by log-sum-exp has no compiled kernel on a CPU, and
# sees so only once a call is compiled: the wrapper accepts the argument.
# Needs a C++ compiler, as torch.compile does.
# Seen: "as it is: (1, 2, 8); compiled without: True; compiled with: NotImplementedError".
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy 2>"$work/pip.log" ||
    { cat "$work/pip.log"; exit 1; }
cat >"$work/try.py" <<'PY'
"""One small call, three ways."""
import sys
import warnings

import torch
from torch.nn.attention.flex_attention import flex_attention

warnings.simplefilter("ignore")
torch.manual_seed(0)
query, key, value = (torch.randn(1, 2, length, 16) for length in (8, 24, 24))
compiled = torch.compile(flex_attention, dynamic=False)
with torch.inference_mode():
    out, lse = flex_attention(query, key, value, return_lse=True)
    same = torch.allclose(compiled(query, key, value), out, atol=1e-5)
    try:
        compiled(query, key, value, return_lse=True)
        raised = "nothing"
    except Exception as error:
        raised = "NotImplementedError" if "`return_lse` is not supported" in str(error) else repr(error)
print(f"as it is: {tuple(lse.shape)}; compiled without: {same}; compiled with: {raised}")
sys.exit(0 if (tuple(lse.shape), same, raised) == ((1, 2, 8), True, "NotImplementedError") else "the behaviour has changed")
PY
"$work/env/bin/python" "$work/try.py" 2>"$work/log" || { tail -5 "$work/log"; exit 1; }
