"""What is asked of the system's sockets, beneath Twisted's transports.

Twisted notices that a peer has gone only while it reads or writes. A connection that does neither,
since its client has sent all it wants to and waits for an answer, is looked at with `is_gone`.
"""

from __future__ import annotations

import select
import socket
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Any

from twisted.protocols.policies import ProtocolWrapper

KEEPALIVE_IDLE_SECONDS = 30
KEEPALIVE_INTERVAL_SECONDS = 10
KEEPALIVE_PROBES = 3
"""A peer that answers nothing is given up 60 s after the last sign of it."""


def prepare(transport: Any) -> None:
    """Have the system send at once, and probe a silent peer, where the transport is TCP."""
    found = _socket(transport)
    if found is None or found.family not in (socket.AF_INET, socket.AF_INET6):
        return
    try:
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (
            ("TCP_KEEPIDLE", KEEPALIVE_IDLE_SECONDS),
            ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL_SECONDS),
            ("TCP_KEEPCNT", KEEPALIVE_PROBES),
        ):
            if hasattr(socket, name):
                found.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    except OSError:
        pass  # the peer has gone already: that is noticed where it matters


def is_gone(transport: Any) -> bool:
    """Whether the peer is known to have gone altogether: a reset, no answer to keepalive probes,
    or, on a Unix socket, closed. One that has only ended its sending side is still there."""
    found = _socket(transport)
    if found is None or found.fileno() < 0:
        return False
    poll = select.poll()
    poll.register(found, 0)  # no events: what is reported without asking is an error or hang-up
    return bool(poll.poll(0))


def name_peer(transport: Any) -> str:
    """Who is at the other end, for people: address and port, or `unix`."""
    address = transport.getPeer()
    host = getattr(address, "host", None)
    return "unix" if host is None else f"{host}:{address.port}"


def host_of(peer: str) -> str:
    """What counts as one host where clients are counted.

    Args:
        peer: as `name_peer` writes it.

    Returns:
        the address; for IPv6 its /64, which is what one machine has to choose from; for all Unix
        sockets together `unix`.
    """
    host = peer.rpartition(":")[0] or peer
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if not isinstance(address, IPv6Address):
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Network((int(address) >> 64 << 64, 64)))


def _socket(transport: Any) -> socket.socket | None:
    while isinstance(transport, ProtocolWrapper):  # TLS and the proxy protocol wrap the socket's
        transport = transport.transport
    get = getattr(transport, "getHandle", None)
    handle = get() if get is not None else None
    return handle if isinstance(handle, socket.socket) else None
