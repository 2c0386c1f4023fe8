from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.fake_daemon import FakeDaemon


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the account's own daemon: the data folder is one of the test's."""
    for name in ("APTASK_SERVER", "APTASK_KEY", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("APTASK_DATA", str(tmp_path))


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeDaemon]:
    """A daemon that answers as the test says, with its socket in the data folder."""
    daemon = FakeDaemon(tmp_path)
    yield daemon
    daemon.close()


@pytest.fixture(params=["tcp", "unix"])
def server(request: pytest.FixtureRequest, fake: FakeDaemon) -> str:
    """Where the fake daemon listens: a TCP port, then its Unix socket."""
    return str(getattr(fake, request.param))
