"""What a daemon is to be, and what a running one can make of another plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from aptask.errors import ConfigurationError
from aptask.options import pin
from aptask.plan import FIXED, Plan, describe, make_plan, read_settings, summarise, take_over

HELLO = """
from aptask import Task, argument
class Hello(Task):
    name = "hello"
    def run(self):
        return 1
"""


def plan(folder: Path, config: str = "", **options: Any) -> Plan:
    (folder / "aptask.toml").write_text(config)
    given = {"config": str(folder / "aptask.toml"), "data": str(folder / "data"), **options}
    return make_plan(read_settings(given, {}))


def names(found: Plan) -> set[str]:
    return {task.name for task in found.tasks}


def test_what_came_went_and_changed_is_told_by_name(tmp_path: Path) -> None:
    (tmp_path / "hello.py").write_text(HELLO)
    folders = f"task_folders = ['{tmp_path}']\n"
    config = "[tasks.{}]\ncommand = ['echo', '{}']\n"
    before = plan(tmp_path, folders + config.format("old", 1) + config.format("same", 1))
    (tmp_path / "hello.py").write_text(HELLO.replace("return 1", "return 2"))
    after = plan(tmp_path, folders + config.format("new", 1) + config.format("same", 1))
    _, reloaded = take_over(before, after)
    assert (reloaded.added, reloaded.removed) == (["new"], ["old"])
    assert reloaded.changed == ["hello"]
    assert (reloaded.failed, reloaded.restart) == ([], [])
    again = plan(tmp_path, folders + config.format("new", 2) + config.format("same", 1))
    assert take_over(after, again)[1].changed == ["new"]


def test_a_module_that_a_task_imports_is_its_code_too_and_a_mere_touch_is_nothing(
    tmp_path: Path,
) -> None:
    (tmp_path / "_helper.py").write_text("ANSWER = 1\n")
    (tmp_path / "hello.py").write_text("import _helper\n" + HELLO)
    config = f"task_folders = ['{tmp_path}']\n"
    before = plan(tmp_path, config)
    (tmp_path / "hello.py").touch()
    same = plan(tmp_path, config)
    assert take_over(before, same)[1].changed == []
    (tmp_path / "_helper.py").write_text("ANSWER = 22\n")
    assert take_over(same, plan(tmp_path, config))[1].changed == ["hello"]


def test_a_task_that_cannot_be_used_any_more_is_removed_and_has_failed(tmp_path: Path) -> None:
    (tmp_path / "hello.py").write_text(HELLO)
    config = f"task_folders = ['{tmp_path}']\n"
    before = plan(tmp_path, config)
    (tmp_path / "hello.py").write_text("def")
    _, reloaded = take_over(before, plan(tmp_path, config))
    assert reloaded.removed == ["hello"]
    assert [one.plugin for one in reloaded.failed] == [str(tmp_path / "hello.py")]


def test_what_is_fixed_stays_and_is_named(tmp_path: Path) -> None:
    before = plan(tmp_path)
    after = plan(
        tmp_path,
        "log = 'json'\nslots = 77\nstop_deadline = 5.0\nlisten = ['tcp:2:interface=127.0.0.1']\n",
    )
    taken, reloaded = take_over(before, after)
    assert reloaded.restart == ["listen", "log"]
    for name in FIXED:
        assert getattr(taken.settings, name) == getattr(before.settings, name)
    assert (taken.settings.slots, taken.settings.stop_deadline) == (77, 5.0)
    # What is fixed is named until the restart, whatever else is reloaded.
    assert take_over(taken, after)[1].restart == ["listen", "log"]


def test_another_data_folder_alone_is_no_other_endpoint(tmp_path: Path) -> None:
    before = plan(tmp_path)
    after = plan(tmp_path, data=str(tmp_path / "other"))
    assert take_over(before, after)[1].restart == ["data"]


@pytest.mark.parametrize(
    "config",
    [
        "[tasks.a]\ncommand = ['{x}']\n[tasks.b]\n",
        "[tasks.a]\npython = 'nosuchmodule:f'\n[tasks.b]\npython = 'json:nothing'\n",
        "slots = 'a'\ncolour = 'b'\n",
    ],
)
def test_all_mistakes_are_told_at_once(tmp_path: Path, config: str) -> None:
    with pytest.raises(ConfigurationError) as wrong:
        plan(tmp_path, config)
    assert len(wrong.value.message.splitlines()) == 2
    assert str(tmp_path / "aptask.toml") in wrong.value.message


def test_a_file_that_has_vanished_is_a_mistake(tmp_path: Path) -> None:
    plan(tmp_path)
    (tmp_path / "aptask.toml").unlink()
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        read_settings({"config": str(tmp_path / "aptask.toml")}, {})


def test_a_user_that_may_start_what_there_is_not_is_a_warning(tmp_path: Path) -> None:
    found = plan(tmp_path, "[users.alice]\nkey = 'k'\ntasks = ['copy', 'cpoy']\n")
    assert any("[users.alice]" in warning and "`cpoy`" in warning for warning in found.warnings)
    assert not any("`copy`" in warning for warning in found.warnings)


def test_a_description_for_people_names_no_key(tmp_path: Path) -> None:
    found = plan(tmp_path, "[users.alice]\nkey = 'sesame'\n[admins.ops]\nkey = 'geheim'\n")
    told = describe(found)
    assert "keys: alice (user), ops (admin)" in told
    assert f"data: {tmp_path}/data" in told
    assert "primes" in told
    assert "sesame" not in told
    digests = [key.digest.hex() for key in found.settings.keys]
    assert not any(digest in told for digest in digests)


def test_differences_are_summarised_in_a_line(tmp_path: Path) -> None:
    before = plan(tmp_path)
    _, none = take_over(before, before)
    assert "\n" not in summarise(none)
    some = msgspec.structs.replace(none, added=["a", "b"], restart=["log"])
    assert summarise(some) == "added: a, b; takes a restart: log"


def test_pinned_options_mean_the_same_in_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tasks").mkdir()
    (tmp_path / "aptask.toml").write_text("slots = 3\n")
    options = {"config": "aptask.toml", "data": None, "tasks": ["tasks"], "listen": []}
    pinned = pin(options, {"APTASK_DATA": "data"})
    here = read_settings(options, {"APTASK_DATA": "data"})
    monkeypatch.chdir("/")
    assert read_settings(*pinned) == here


@pytest.mark.parametrize(
    ("options", "environment"),
    [({"data": "~nobody-is-called-this/x"}, {}), ({}, {"APTASK_DATA": "~nobody-is-called-this/x"})],
)
def test_a_home_folder_that_there_is_not_is_refused(
    options: dict[str, str], environment: dict[str, str]
) -> None:
    with pytest.raises(ConfigurationError, match="no such home folder"):
        read_settings(*pin(options, environment))


def test_a_state_folder_is_the_same_in_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pinned = pin({}, {"XDG_STATE_HOME": "state"})
    monkeypatch.chdir("/")
    assert read_settings(*pinned).data == tmp_path / "state" / "aptask"
