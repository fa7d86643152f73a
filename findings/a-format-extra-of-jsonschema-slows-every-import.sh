#!/usr/bin/env bash
# jsonschema 4.26.0 with rfc3987-syntax 1.1.0 (its extra `format-nongpl`): `import jsonschema` builds the
# parsers of IRIs, with the library lark, although no format is asked to be checked, and none is by default.
# A program that only imports jsonschema takes many times as long to start wherever something else in the
# environment brought the extra along (jupyter-events does).
# Seen: "plain: 0.046 CPU s, lark False; with the extra: 0.690 CPU s, lark True" (15 times).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/env"
install() {
    "$work/env/bin/pip" install --quiet --disable-pip-version-check "$@" 2>"$work/pip.log" ||
        { cat "$work/pip.log"; exit 1; }
}
cat >"$work/try.py" <<'PY'
"""The median of five fresh processes; one before them writes the bytecode."""
import statistics
import subprocess
import sys

code = (
    "import sys, time; start = time.process_time(); import jsonschema; "
    "print(time.process_time() - start, 'lark' in sys.modules)"
)
rows = [subprocess.check_output([sys.executable, "-c", code], text=True).split() for _ in range(6)]
print(statistics.median(float(seconds) for seconds, _ in rows[1:]), rows[0][1])
PY
install jsonschema==4.26.0
read -r plain lark < <("$work/env/bin/python" "$work/try.py")
install 'jsonschema[format-nongpl]==4.26.0' rfc3987-syntax==1.1.0 lark==1.3.1
read -r slow lark_then < <("$work/env/bin/python" "$work/try.py")
printf 'plain: %.3f CPU s, lark %s; with the extra: %.3f CPU s, lark %s\n' "$plain" "$lark" "$slow" "$lark_then"
"$work/env/bin/python" - "$plain" "$lark" "$slow" "$lark_then" <<'PY'
import sys

plain, lark, slow, lark_then = sys.argv[1:]
same = (lark, lark_then) == ("False", "True") and float(slow) > 4 * float(plain)
sys.exit(0 if same else "the behaviour has changed")
PY
