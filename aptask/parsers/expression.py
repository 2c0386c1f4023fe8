"""Any program whose lines a regular expression of the configuration understands."""

from __future__ import annotations

import re

from aptask.errors import InvalidArguments
from aptask.model.progress import Progress
from aptask.parsers.base import LineParser
from aptask.parsers.lines import LINE_LENGTH
from aptask.parsers.units import share, size

_SEEN = 1024


class ExpressionParser(LineParser):
    """Searches lines with an expression.

    The expression sees at most the last 1,024 characters of a line and at most 8 lines of one piece
    of output, so that a slow one stays bearable.

    Args:
        expression: with the groups `percent`, or `current` and `total`, and optionally `message`.

    Raises:
        InvalidArguments: it is not a regular expression, or lacks these groups.
    """

    longest = LINE_LENGTH

    def __init__(self, expression: str) -> None:
        super().__init__()
        try:
            self._expression = re.compile(expression)
        except (re.error, OverflowError, RecursionError) as error:
            raise InvalidArguments(f"progress is not a regular expression: {error}") from None
        groups = self._expression.groupindex.keys()
        if "percent" not in groups and not {"current", "total"} <= groups:
            raise InvalidArguments(
                "progress needs the group (?P<percent>...), or both (?P<current>...) and"
                " (?P<total>...), in its regular expression"
            )

    def read(self, line: str) -> Progress | None:
        found = self._expression.search(line[-_SEEN:])
        if found is None:
            return None
        groups = found.groupdict()
        fraction = None
        if groups.get("percent") is not None:
            fraction = share(size(groups["percent"].rstrip(" %")), 100)
        if fraction is None and groups.get("current") and groups.get("total"):
            fraction = share(size(groups["current"]), size(groups["total"]))
        message = groups.get("message") or None
        return None if fraction is None and message is None else Progress(fraction, message)
