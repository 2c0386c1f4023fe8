"""Clients of the daemon, for programs in Python: `Client` blocks, and needs msgspec only."""

from aptask.client.blocking import Client
from aptask.client.connection import ConnectionFailed

__all__ = ["Client", "ConnectionFailed"]
