"""A timestamp authority on this machine: keys and certificates made here, replies by OpenSSL."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl")

_CONFIGURATION: Final = """\
[tsa]
default_tsa = local
[local]
serial = {folder}/serial
crypto_device = builtin
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = {digests}
ess_cert_id_alg = sha256
"""


@dataclass(frozen=True)
class Party:
    """A key and the certificate that somebody gave it."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> bytes:
        """The certificate, PEM."""
        return self.certificate.public_bytes(Encoding.PEM)


def party(
    name: str,
    issuer: Party | None = None,
    *,
    signs_certificates: bool = False,
    days: tuple[int, int] = (-1, 30),
) -> Party:
    """Make a party.

    Args:
        name: Its common name.
        issuer: Who gives its certificate; None: itself.
        signs_certificates: Whether it may give certificates; else it may stamp.
        days: From when to when it is valid, counted from now.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = key if issuer is None else issuer.key
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(signs_certificates, None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    if not signs_certificates:
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
        made = made.add_extension(usage, critical=True)
    return Party(key, made.sign(signer, hashes.SHA256()))


def stamped(
    folder: Path, authority: Party, query: bytes, *, digests: str = "sha256, sha384, sha512"
) -> bytes:
    """Return OpenSSL's reply to a query, signed by an authority; a refusal is a reply too."""
    folder.mkdir(exist_ok=True)
    key = authority.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    files = {"key": key, "certificate": authority.pem, "query": query, "serial": b"01\n"}
    configuration = _CONFIGURATION.format(folder=folder, digests=digests)
    for name, data in (files | {"configuration": configuration.encode()}).items():
        (folder / name).write_bytes(data)
    options = {"config": "configuration", "queryfile": "query", "signer": "certificate"}
    options |= {"inkey": "key", "out": "reply"}
    words = [part for name, file in options.items() for part in (f"-{name}", str(folder / file))]
    subprocess.run(["openssl", "ts", "-reply", *words], check=True, capture_output=True)
    return (folder / "reply").read_bytes()


@contextmanager
def served(folder: Path, authority: Party, **options: str) -> Iterator[str]:
    """Serve an authority over HTTP for as long as the block lasts; give its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.headers["Content-Type"] == "application/timestamp-query"
            reply = stamped(folder, authority, query, **options)
            self.send_response(200)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *words: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def certificates(parties: Sequence[Party]) -> list[x509.Certificate]:
    """Return the certificates of some parties."""
    return [one.certificate for one in parties]
