from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.fake_daemon import FakeDaemon

INDEX = [
    {
        "name": "primes",
        "help": "Finds primes.\nAll of them.",
        "arguments": [{"name": "below", "type": "int", "default": 1000, "minimum": 2}],
    },
    {
        "name": "copy",
        "help": "Copies.",
        "arguments": [
            {"name": "source", "type": "str", "required": True, "help": "a folder"},
            {"name": "target", "type": "str", "required": True},
            {"name": "mode", "type": "str", "default": "fast", "choices": ["fast", "small"]},
            {"name": "tags", "type": "list", "default": None},
        ],
        "unavailable": "rsync is not installed",
    },
]
"""What the fake daemon can run."""


@pytest.fixture
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the account's own daemon: the data folder is one of the test's."""
    for name in ("APTASK_SERVER", "APTASK_KEY", "XDG_STATE_HOME", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("APTASK_DATA", str(tmp_path))


@pytest.fixture
def fake(own_environment: None, tmp_path: Path) -> Iterator[FakeDaemon]:
    """A daemon that answers as the test says, with its socket in the data folder."""
    daemon = FakeDaemon(tmp_path)
    yield daemon
    daemon.close()


@pytest.fixture
def daemon_with_tasks(fake: FakeDaemon) -> FakeDaemon:
    """One that has an index, and starts anything."""
    fake.answers["index"] = lambda request: {"index": INDEX}
    fake.answers["start"] = lambda request: {"taskid": "17"}
    return fake
