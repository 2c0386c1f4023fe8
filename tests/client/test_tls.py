"""The blocking client over TLS: the certificate is checked, and then all is as without."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from aptask.client import Client, ConnectionFailed


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1, and its key, in one file; nobody vouches for it but itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a daemon")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "daemon.pem"
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + signed.public_bytes(Encoding.PEM)
    )
    return path


@pytest.fixture
def port(certificate: Path) -> Iterator[int]:
    """Where a TLS server answers each line as a `ping`."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connected, _ = listening.accept()
            except OSError:
                return
            try:
                with (
                    context.wrap_socket(connected, server_side=True) as secured,
                    secured.makefile("rb") as lines,
                ):
                    for _ in lines:
                        secured.sendall(b'{"status":"ok","response":"ping","protocol":1}\n')
            except OSError:
                connected.close()

    threading.Thread(target=serve, daemon=True).start()
    yield listening.getsockname()[1]
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()


def test_a_daemon_whose_certificate_is_trusted_is_talked_to_on_one_connection(
    port: int, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with Client(f"tls://127.0.0.1:{port}", "k") as client:
        assert client.ping().protocol == 1
        first = client._idle[0]
        assert client.ping().protocol == 1
        assert client._idle == [first]


def test_a_daemon_whose_certificate_nobody_vouches_for_is_not(port: int) -> None:
    with (
        Client(f"tls://127.0.0.1:{port}", "k") as client,
        pytest.raises(ConnectionFailed, match=r"cannot reach tls://.*certificate verify failed"),
    ):
        client.ping()


def test_a_daemon_whose_certificate_is_for_another_name_is_not(
    port: int, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with (
        Client(f"tls://localhost:{port}", "k") as client,
        pytest.raises(ConnectionFailed, match="certificate verify failed"),
    ):
        client.ping()
