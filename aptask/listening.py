"""Listening on an endpoint, and on none that lets in whom the settings do not."""

# mypy: disallow-untyped-calls=False
# (Failure has no types.)

from __future__ import annotations

import os
from typing import Any

from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.logger import Logger
from twisted.python.failure import Failure

from aptask.config import Settings
from aptask.endpoints import Endpoint, check_address
from aptask.errors import ConfigurationError
from aptask.storage.folder import private_files
from aptask.system import remove_dead_socket

_log = Logger()


def listen(
    reactor: Any, endpoint: Endpoint, factory: IProtocolFactory, settings: Settings
) -> IListeningPort:
    """Listen on an endpoint, and log where that is.

    Args:
        reactor: listens.
        endpoint: of the settings.
        factory: makes a connection for each client.
        settings: say whom it may let in.

    Raises:
        ConfigurationError: it cannot be listened on.
    """
    try:
        if endpoint.path is not None:
            remove_dead_socket(endpoint.path)
        parsed = serverFromString(reactor, endpoint.description)
        with private_files():
            listening = parsed.listen(factory)
    except Exception as error:  # of OpenSSL, of a socket that systemd did not hand over, ...
        raise ConfigurationError(_cannot_listen(endpoint, f"{error}" or repr(error))) from None
    result: Any = None

    def arrived(value: Any) -> None:
        nonlocal result
        result = value

    listening.addBoth(arrived)
    if isinstance(result, Failure):
        raise ConfigurationError(_cannot_listen(endpoint, result.getErrorMessage()))
    check_address(
        endpoint,
        result.getHost(),
        authentication=settings.authentication,
        insecure=settings.insecure,
    )
    _log.info("listening on {address}", address=_shown(result.getHost()))
    port: IListeningPort = result
    return port


def _cannot_listen(endpoint: Endpoint, why: str) -> str:
    return f"cannot listen on {endpoint.description}: {why.rstrip('.')}"


def _shown(address: Any) -> str:
    if hasattr(address, "port"):
        return f"{address.host}:{address.port}"
    name = getattr(address, "name", address)
    return os.fsdecode(name) if isinstance(name, bytes) else str(name)
