#!/usr/bin/env bash
# cryptography 47.0.0: `from cryptography.hazmat.primitives.asymmetric import mldsa` succeeds, and so a program
# that asks "is there ML-DSA?" by importing it is told yes; but the wheels' backend, OpenSSL 4.0.0, makes no key
# (UnsupportedAlgorithm).  In 48.0.0, with the same OpenSSL, it does.  Ask by making a key, or by the version.
# Seen: "47.0.0, OpenSSL 4.0.0: imported, UnsupportedAlgorithm" and "48.0.0, OpenSSL 4.0.0: imported, a key".
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/try.py" <<'PY'
"""Import the module of ML-DSA, then make a key."""
from importlib.metadata import version

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.backends.openssl import backend
from cryptography.hazmat.primitives.asymmetric import mldsa

try:
    mldsa.MLDSA65PrivateKey.generate()
    made = "a key"
except UnsupportedAlgorithm as error:
    made = type(error).__name__
openssl = " ".join(backend.openssl_version_text().split()[:2])
print(f"{version('cryptography')}, {openssl}: imported, {made}")
PY
seen=
for release in 47.0.0 48.0.0; do
    "${PYTHON:-python3}" -m venv "$work/$release"
    "$work/$release/bin/pip" install --quiet --disable-pip-version-check "cryptography==$release" \
        2>"$work/pip.log" || { cat "$work/pip.log"; exit 1; }
    line=$("$work/$release/bin/python" "$work/try.py")
    echo "$line"
    seen="$seen${line##*imported, };"
done
test "$seen" = "UnsupportedAlgorithm;a key;" || { echo "the behaviour has changed"; exit 1; }
