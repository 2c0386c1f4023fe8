"""What passes between the runner and a child of its nursery: errands one way, answers the other.

JSON lines over a socket of their own. A child serves one target only, one errand after another.
Nothing here imports Twisted: the nursery's processes are without it.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from aptask.model.description import Target
from aptask.model.hiding import outline
from aptask.model.orders import NOTHING_RETURNED, Spawn


class What(StrEnum):
    """What a child is asked for."""

    PERFORM = "perform"
    """run the task, or call the callable: its result"""
    LAUNCH = "launch"
    """ask the driver for its command: the program to spawn"""
    JUDGE = "judge"
    """ask the driver what its program's exit code means"""


class Errand(msgspec.Struct, omit_defaults=True):
    """One thing to do.

    Attributes:
        values: the task's arguments by name.
        environment: what the job's environment has beside the clean one.
        code: the exit code to judge.
        secrets: texts that the driver's command must not hold.
    """

    what: What
    target: Target
    values: msgspec.Raw
    environment: dict[str, str]
    code: int = 0
    secrets: list[str] = []

    def __repr__(self) -> str:
        """Without the values: it may get into a log."""
        return outline(self, "values", "secrets")


class Answer(msgspec.Struct, omit_defaults=True):
    """What came of an errand.

    Attributes:
        well: whether it did, or the driver says that its program did.
        result: what a task returned.
        message: for people: why not.
        stopped: whether it ended because it was asked to.
        stale: nothing was done, since the source has changed: another child has to.
        retire: the child must not be used again.
        spawn: the program to spawn.
    """

    well: bool
    result: msgspec.Raw = NOTHING_RETURNED
    message: str | None = None
    stopped: bool = False
    stale: bool = False
    retire: bool = False
    spawn: Spawn | None = None


encode = msgspec.json.Encoder().encode
decode_errand = msgspec.json.Decoder(Errand).decode
decode_answer = msgspec.json.Decoder(Answer).decode
