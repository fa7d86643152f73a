#!/usr/bin/env bash
# securesystemslib 1.6.0: a DSSE envelope says "sign PAE(type, payload)", and its Ed25519 and ECDSA keys do just
# that.  Its ML-DSA keys sign something else: "tuf" || 0x01 || SHA-512(PAE) (TAP 21 of the Update Framework).  An
# ML-DSA signature over the PAE itself, as FIPS 204 and the DSSE specification read together, is refused by
# Envelope.verify; nothing in the envelope says which of the two was signed.
# Seen: "ed25519 over the PAE: accepted; ml-dsa-65 over the PAE: refused; over tuf/1 and its SHA-512: accepted".
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check securesystemslib==1.6.0 cryptography==50.0.2 \
    2>"$work/pip.log" || { cat "$work/pip.log"; exit 1; }
cat >"$work/try.py" <<'PY'
"""Sign one envelope in three ways, and ask the library's own verifier."""
import hashlib
import sys

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import Signature, SSlibKey


def ending(private, message):
    key = SSlibKey.from_crypto(private.public_key())
    envelope = Envelope(b"{}", "application/json", {})
    envelope.signatures = {key.keyid: Signature(key.keyid, private.sign(message(envelope.pae())).hex())}
    try:
        envelope.verify([key], 1)
    except VerificationError:
        return "refused"
    return "accepted"


seen = (
    ending(Ed25519PrivateKey.generate(), lambda pae: pae),
    ending(MLDSA65PrivateKey.generate(), lambda pae: pae),
    ending(MLDSA65PrivateKey.generate(), lambda pae: b"tuf\x01" + hashlib.sha512(pae).digest()),
)
print("ed25519 over the PAE: {}; ml-dsa-65 over the PAE: {}; over tuf/1 and its SHA-512: {}".format(*seen))
sys.exit(0 if seen == ("accepted", "refused", "accepted") else "the behaviour has changed")
PY
"$work/env/bin/python" "$work/try.py"
