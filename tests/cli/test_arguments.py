"""What is typed behind `aptask start NAME`, as the arguments that are sent."""

from __future__ import annotations

from typing import Any

import pytest

from aptask.cli.arguments import from_typed
from aptask.cli.session import WrongUsage

TAKES = [
    {"name": "source", "type": "str", "required": True},
    {"name": "width", "type": "int", "default": 42},
    {"name": "tags", "type": "list", "default": []},
    {"name": "env", "type": "dict", "default": None},
]


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        ([], []),
        (["a"], ["a"]),
        (["a", "7", '["x"]', '{"k": 1}'], ["a", "7", ["x"], {"k": 1}]),
        (["source=a", "width=7"], {"source": "a", "width": "7"}),
        (["a", "env={}"], {"source": "a", "env": {}}),
        (["width=7", "a"], {"source": "a", "width": "7"}),
        (["a", "7", "env={}"], {"source": "a", "width": "7", "env": {}}),
        (["source="], {"source": ""}),
        (["source=a=b"], {"source": "a=b"}),
        # What is no argument of the task is a value with an equals sign in it.
        (["x=y"], ["x=y"]),
        (["=y"], ["=y"]),
        (["wide=7"], ["wide=7"]),
        (["source=widht=7"], {"source": "widht=7"}),
        (["-5"], ["-5"]),
        # The daemon says that there are too many, and which there are.
        (["a", "7", "[]", "{}", "e"], ["a", "7", [], {}, "e"]),
    ],
)
def test_values_go_by_name_where_the_task_has_that_argument(typed: list[str], sent: Any) -> None:
    assert from_typed(typed, TAKES) == sent


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        (["width=1", "width=2"], "argument `width` is given twice"),
        (["a", "source=b"], "argument `source` is given by its name and by its place"),
        (["a", "1", "[]", "{}", "e", "width=1"], "too many arguments: `e`"),
        (["tags=a,b"], 'argument `tags` must be a JSON list like ["a", "b"], not `a,b`'),
        (["tags={}"], "argument `tags` must be a JSON list"),
        (["env=[]"], 'argument `env` must be a JSON dict like {"a": "b"}, not `[]`'),
    ],
)
def test_what_cannot_be_meant_is_wrong_usage(typed: list[str], reason: str) -> None:
    with pytest.raises(WrongUsage) as no:
        from_typed(typed, TAKES)
    assert reason in str(no.value)


@pytest.mark.parametrize("typed", ["Width=7", "widht=7", "sorce=a", "tag=[]"])
def test_what_is_almost_a_name_is_a_mistake_and_no_value(typed: str) -> None:
    with pytest.raises(WrongUsage, match=r"no argument `.*`; did you mean `(width|source|tags)`\?"):
        from_typed(["a", typed], TAKES)
