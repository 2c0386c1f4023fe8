"""The task `primes`: counts prime numbers, for trying out what computes."""

from math import isqrt
from typing import Any

from aptask.tasks.task import Task, argument

_SPAN = 1 << 20


class Primes(Task):
    """Counts the prime numbers below a number."""

    below = argument(int, default=1_000_000, minimum=0, maximum=10**10, help="the number")

    def run(self) -> dict[str, Any]:
        primes = 0
        largest = None
        small = _small_primes(isqrt(max(self.below - 1, 0)) + 1)
        # A piece at a time: memory stays small, and there is progress to report.
        for start in self.track(range(0, self.below, _SPAN)):
            sieve = bytearray([1]) * min(_SPAN, self.below - start)
            if start == 0:
                sieve[:2] = bytes(len(sieve[:2]))
            for prime in small:
                first = max(prime * prime, -(-start // prime) * prime) - start
                if first < len(sieve):
                    sieve[first::prime] = bytes(len(range(first, len(sieve), prime)))
            primes += sieve.count(1)
            last = sieve.rfind(1)
            if last >= 0:
                largest = start + last
        return {"primes": primes, "largest": largest}


def _small_primes(most: int) -> list[int]:
    """The primes up to a number."""
    sieve = bytearray([1]) * (most + 1)
    for number in range(2, isqrt(most) + 1):
        if sieve[number]:
            square = number * number
            sieve[square::number] = bytes(len(range(square, most + 1, number)))
    return [number for number in range(2, most + 1) if sieve[number]]
