"""How long an answer to a bad key is held back, so that trying keys takes time.

Its rules:

- What is counted is by host, and is forgotten a minute after the last bad key from there.
- The first few are answered at once: somebody has mistyped a key. Then it takes longer each time,
  up to a second.
- A good key is never asked about here, so it never waits for others' bad ones.
"""

from __future__ import annotations

from collections.abc import Callable

from aptask.serving.sockets import host_of

FREE = 3
"""How many bad keys of a host are answered at once."""

DELAYS = (0.1, 0.2, 0.4, 0.8, 1.0)
"""Seconds for which those that follow are held back, and all others for the last."""

FORGOTTEN_SECONDS = 60.0
"""How long after its last bad key a host begins anew."""

MOST_HOSTS = 10_000
"""How many hosts are remembered: those whose last bad key is the newest."""


class Patience:
    """Counts bad keys.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._hosts: dict[str, tuple[float, int]] = {}
        """when the last bad key of each came, in that order, and how many there were"""

    def __len__(self) -> int:
        """How many hosts are remembered."""
        return len(self._hosts)

    def delay(self, peer: str) -> float:
        """Count one more bad key.

        Args:
            peer: where it came from, as `sockets.name_peer` writes it.

        Returns:
            the seconds to hold its answer back.
        """
        now = self._clock()
        host = host_of(peer)
        last, count = self._hosts.pop(host, (now, 0))
        if now - last >= FORGOTTEN_SECONDS:
            count = 0
        self._hosts[host] = now, count + 1
        if len(self._hosts) > MOST_HOSTS:
            del self._hosts[next(iter(self._hosts))]
        if count < FREE:
            return 0.0
        return DELAYS[min(count - FREE, len(DELAYS) - 1)]
