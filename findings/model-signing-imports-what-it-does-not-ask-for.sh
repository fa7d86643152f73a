#!/usr/bin/env bash
# model-signing 1.1.1, the reference implementation of OpenSSF Model Signing, beside sigstore 4.5.1: installed
# alone it cannot be imported, and its command cannot be run.  It imports `OpenSSL` (pyOpenSSL) and does not
# declare it; earlier releases of sigstore brought it along.  With pyOpenSSL installed by hand it works.
# Seen: "alone: ModuleNotFoundError: No module named 'OpenSSL'", "with pyOpenSSL: imported".
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/env"
install() {
    "$work/env/bin/pip" install --quiet --disable-pip-version-check "$@" 2>"$work/pip.log" || { cat "$work/pip.log"; exit 1; }
}
imported() { "$work/env/bin/python" -c 'import model_signing.verifying; print("imported")' 2>&1 | tail -1 || true; }
install model-signing==1.1.1 sigstore==4.5.1
alone=$(imported)
install pyOpenSSL==26.4.0
with=$(imported)
echo "alone: $alone"
echo "with pyOpenSSL: $with"
[[ "$alone/$with" == "ModuleNotFoundError: No module named 'OpenSSL'/imported" ]] || { echo "the behaviour has changed"; exit 1; }
