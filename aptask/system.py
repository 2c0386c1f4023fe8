"""What the daemon asks of the system it runs on, and tells it."""

from __future__ import annotations

import gc
import os
import resource
import socket
from pathlib import Path

from twisted.logger import Logger


def raise_descriptors(wanted: int) -> int:
    """Let this process have enough descriptors for its clients, where the system allows it.

    Returns:
        how many it could have before.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = wanted
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    return soft


def calm_collector() -> None:
    """Keep the cyclic collector from walking over what stays: its pauses are clients' waiting."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def notify_systemd(state: str) -> None:
    """Tell systemd, where it started this process; see sd_notify(3)."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
            try:
                notify.connect(address.replace("@", "\0", 1) if address[0] == "@" else address)
                notify.sendall(state.encode())
            except OSError:
                Logger().failure("systemd could not be told {state}", state=state)


def remove_dead_socket(path: str) -> None:
    """Remove a Unix socket that nobody listens on any more."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink(missing_ok=True)
            # Twisted's lock of it names a process, whose number may be another's by now.
            Path(f"{path}.lock").unlink(missing_ok=True)
        except OSError:
            return
