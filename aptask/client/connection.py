"""One connection to a daemon: a request's bytes out, its responses' lines in, one after the other.

Rules:

- A connection is used by one thread at a time; whoever takes it makes sure of that.
- After any failure, and after an answer that did not come in time, it is of no further use: what
  arrives later would be taken for the answer to another request.
- A failure says whether the daemon may have had the whole request, so that a request that must not
  be made twice is not.
"""

from __future__ import annotations

import select
import socket

from aptask.client.address import Address

LONGEST_LINE = 1 << 28
"""Bytes of a response beyond which whoever answers is taken for something else."""

KEEPALIVE_SECONDS = 60


class ConnectionFailed(ConnectionError):
    """There is no daemon there, or the connection to it broke.

    Attributes:
        received: whether the daemon may have received the whole request.
        timed_out: whether it was the time limit that ended it.
    """

    def __init__(self, message: str, *, received: bool = False, timed_out: bool = False) -> None:
        super().__init__(message)
        self.received = received
        self.timed_out = timed_out


class Connection:
    """A connection, open from its making on.

    Args:
        address: where to connect to.
        timeout: seconds that connecting may take.

    Raises:
        ConnectionFailed: nobody listens there, or it cannot be reached.
    """

    def __init__(self, address: Address, timeout: float) -> None:
        self._address = address
        try:
            self._socket = _open(address, timeout)
        except TimeoutError:
            raise ConnectionFailed(
                f"cannot reach {address}: no answer within {timeout:g} s", timed_out=True
            ) from None
        except (FileNotFoundError, ConnectionRefusedError):
            raise ConnectionFailed(
                f"no daemon at {address}: start one with `twistd -n aptask`"
            ) from None
        except (OSError, UnicodeError) as failure:
            reason = getattr(failure, "strerror", None) or failure
            raise ConnectionFailed(f"cannot reach {address}: {reason}") from failure
        self._answers = self._socket.makefile("rb", buffering=1 << 16)

    def exchange(self, request: bytes, timeout: float | None) -> bytes:
        """Send a request, and read its response, or the first of them.

        Args:
            request: one JSON object.
            timeout: seconds that the daemon may stay silent, or None for as long as it takes.

        Returns:
            The response's line as it came, its newline included.

        Raises:
            ConnectionFailed: the connection broke, or there was no answer in time.
        """
        received = False
        try:
            self._socket.settimeout(timeout)
            try:
                self._socket.sendall(request)
                received = True
            except (BrokenPipeError, ConnectionResetError):
                # Who refuses a request before its end, since it is too long, has said so.
                pass
        except OSError as failure:
            raise self._failed(failure, received) from failure
        return self._read(received)

    def read(self, timeout: float | None) -> bytes:
        """Read a further response to the request that was sent last, as `exchange` does."""
        self._socket.settimeout(timeout)
        return self._read(received=True)

    def _read(self, received: bool) -> bytes:
        try:
            line = self._answers.readline(LONGEST_LINE)
        except OSError as failure:
            raise self._failed(failure, received) from failure
        if not line.endswith(b"\n"):
            raise ConnectionFailed(self._broken("it was closed"), received=received)
        return line

    @property
    def stale(self) -> bool:
        """Whether, between two requests, it was closed or something came that nobody asked for."""
        readable = select.poll()
        readable.register(self._socket, select.POLLIN)
        return bool(readable.poll(0))

    def close(self) -> None:
        """Close it; it may be closed more than once."""
        self._answers.close()
        self._socket.close()

    def _failed(self, failure: OSError, received: bool) -> ConnectionFailed:
        if isinstance(failure, TimeoutError):
            silent = f"no answer from {self._address} within {self._socket.gettimeout():g} s"
            return ConnectionFailed(silent, received=received, timed_out=True)
        reason = self._broken(failure.strerror or str(failure))
        return ConnectionFailed(reason, received=received)

    def _broken(self, reason: str) -> str:
        return f"the connection to {self._address} broke before the answer came: {reason}"


def _open(address: Address, timeout: float) -> socket.socket:
    if address.kind == "unix":
        unix = socket.socket(socket.AF_UNIX)
        try:
            unix.settimeout(timeout)
            unix.connect(address.path)
        except BaseException:
            unix.close()
            raise
        return unix
    connected = socket.create_connection((address.host, address.port), timeout)
    try:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A daemon whose machine is gone never answers, and `wait` has no time limit of its own.
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_SECONDS)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
        if address.kind == "tls":
            # Slow to import, and most never need it.
            import ssl

            return ssl.create_default_context().wrap_socket(connected, server_hostname=address.host)
    except BaseException:
        connected.close()
        raise
    return connected
