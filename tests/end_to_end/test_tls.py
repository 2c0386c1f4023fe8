"""The protocol over TLS, with a certificate of the test's own."""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def certificate(folder: Path) -> Path:
    """A file with a key and a certificate for localhost."""
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", "server.pem", "-out", "certificate.pem"),
        ],
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=60,
    )
    with (folder / "server.pem").open("a") as file:
        file.write((folder / "certificate.pem").read_text())
    return folder / "server.pem"


@pytest.fixture(scope="module")
def encrypted(daemons: Callable[..., Any], certificate: Path) -> tuple[Any, int]:
    """A daemon that listens on TLS beyond loopback's own sockets, and its port."""
    daemon = daemons(
        *("--listen", f"ssl:0:interface=127.0.0.1:privateKey={certificate}:certKey={certificate}")
    )
    (port,) = re.findall(r"listening on 127\.0\.0\.1:(\d+)", daemon.log.read_text())
    return daemon, int(port)


def test_requests_are_answered_over_tls(encrypted: tuple[Any, int], certificate: Path) -> None:
    daemon, port = encrypted
    context = ssl.create_default_context(cafile=str(certificate.with_name("certificate.pem")))
    with (
        socket.create_connection(("127.0.0.1", port), timeout=30) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
        connection.makefile("rb") as answers,
    ):
        start = {"key": daemon.admin_key, "request": "start", "name": "sleep", "arguments": [0.1]}
        connection.sendall(json.dumps(start).encode())
        taskid = json.loads(answers.readline())["taskid"]
        wait = {"key": daemon.admin_key, "request": "wait", "taskid": taskid}
        connection.sendall(json.dumps(wait).encode() + b"\n")
        assert json.loads(answers.readline())["task"]["status"] == "done"
        connection.sendall(b"junk\n")
        assert json.loads(answers.readline())["code"] == "malformed"
        assert answers.readline() == b""


def test_output_is_followed_over_tls_by_one_who_reads_late(
    encrypted: tuple[Any, int], certificate: Path
) -> None:
    daemon, port = encrypted
    context = ssl.create_default_context(cafile=str(certificate.with_name("certificate.pem")))
    script = "yes 'a line of text' | head -c 10M"
    with (
        socket.create_connection(("127.0.0.1", port), timeout=30) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
        connection.makefile("rb") as answers,
    ):
        started = daemon.ask("start", name="program", arguments=[["sh", "-c", script]])
        follow = {"key": daemon.admin_key, "request": "output", "follow": True}
        connection.sendall(json.dumps({**follow, "taskid": started["taskid"]}).encode() + b"\n")
        assert daemon.ask("wait", taskid=started["taskid"])["task"]["status"] == "done"
        size, end = 0, False
        while not end:
            piece = json.loads(answers.readline())
            size, end = size + len(piece["text"]), piece["end"]
        assert size == piece["offset"] == 10 << 20


def test_the_command_talks_tls(encrypted: tuple[Any, int], certificate: Path) -> None:
    daemon, port = encrypted
    said = subprocess.run(
        [sys.executable, "-m", "aptask.cli.main", "--server", f"tls://localhost:{port}", "active"],
        env={
            **os.environ,
            "APTASK_KEY": daemon.admin_key,
            "SSL_CERT_FILE": str(certificate.with_name("certificate.pem")),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert said.returncode == 0, said.stderr


def test_a_certificate_that_is_missing_is_said_in_a_sentence(tools: Any, tmp_path: Path) -> None:
    listen = f"ssl:0:interface=127.0.0.1:privateKey={tmp_path}/no.pem"
    failed = subprocess.run(
        [*tools.twistd(), "-n", "--pidfile=", "aptask", "--data", str(tmp_path / "data")]
        + ["--listen", listen],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert failed.returncode == 1
    assert "no.pem" in failed.stderr
    assert "Traceback" not in failed.stderr + failed.stdout
