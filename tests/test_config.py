"""Settings: what is taken from where, and every mistake with its sentence."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tomllib
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.endpoints import serverFromString
from twisted.internet.testing import MemoryReactor

from aptask.client.address import data_folder
from aptask.config import Key, Settings, load
from aptask.endpoints import (
    Endpoint,
    Reach,
    check_address,
    check_endpoint,
    is_local_address,
)
from aptask.errors import ConfigurationError
from aptask.model.limits import Limits


def judge(settings: Settings, endpoint: Endpoint, address: Any) -> None:
    check_address(
        endpoint,
        address,
        authentication=settings.authentication,
        insecure=settings.insecure,
    )


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that a test runs in, and that is its account's home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def settings_of(
    text: str = "", environment: dict[str, str] | None = None, **options: Any
) -> Settings:
    """The settings that a configuration file of this text comes to, beside options."""
    if text:
        Path("aptask.toml").write_text(text)
        Path("aptask.toml").chmod(0o600)
        options["config"] = "aptask.toml"
    return load(options, {"APTASK_DATA": "/d"} if environment is None else environment)


def descriptions(found: Settings) -> list[str]:
    return [endpoint.description for endpoint in found.listen]


LOCAL = "unix:/d/aptask.sock:mode=600:lockfile=0"


# What is taken from where


def test_without_anything_it_is_reached_on_loopback_and_on_its_own_socket_alone() -> None:
    found = settings_of()
    assert descriptions(found) == ["tcp:2142:interface=127.0.0.1", LOCAL]
    assert {endpoint.reach for endpoint in found.listen} == {Reach.LOCAL}
    assert found.slots == len(os.sched_getaffinity(0))
    assert found.limits == Limits()
    assert found.authentication
    assert not found.insecure
    assert (found.log, found.stop_deadline) == ("text", 20.0)
    assert (found.keep_running, found.orphan_timeout) == (False, 3600.0)
    assert (found.config, found.keys, found.tasks, found.warnings) == (None, (), {}, ())


def test_the_whole_file_is_taken(folder: Path) -> None:
    (folder / "tasks").mkdir()
    digest = hashlib.sha256(b"adminkey")
    found = settings_of(f"""
        listen = ["tcp:1:interface=127.0.0.1", "ssl:2:privateKey=server.pem"]
        data = "data"
        task_folders = ["./tasks"]
        slots = 4
        log = "json"
        authentication = true
        insecure = true
        keep_running = true
        stop_deadline = 5
        orphan_timeout = 60
        [web]
        listen = "off"
        [users.alice]
        key = "userkey"
        tasks = ["copy", "primes"]
        [users.bob]
        key = "another"
        [admins.ops]
        key_sha256 = "{digest.hexdigest().upper()}"
        [limits]
        connections = 7
        [tasks.nightly]
        python = "reports.nightly:build"
        """)
    assert found == Settings(
        config=folder / "aptask.toml",
        data=folder / "data",
        listen=(
            Endpoint("tcp:1:interface=127.0.0.1", Reach.LOCAL),
            Endpoint("ssl:2:privateKey=server.pem", Reach.ENCRYPTED),
            check_endpoint(f"unix:{folder}/data/aptask.sock:mode=600:lockfile=0"),
        ),
        task_folders=(folder / "tasks",),
        slots=4,
        log="json",
        authentication=True,
        insecure=True,
        keep_running=True,
        stop_deadline=5.0,
        orphan_timeout=60.0,
        keys=(
            Key("alice", "user", hashlib.sha256(b"userkey").digest(), ("copy", "primes")),
            Key("bob", "user", hashlib.sha256(b"another").digest()),
            Key("ops", "admin", digest.digest()),
        ),
        limits=Limits(connections=7),
        tasks={"nightly": {"python": "reports.nightly:build"}},
        warnings=(),
    )


def test_an_option_wins_over_the_file(folder: Path) -> None:
    for name in ("first", "second"):
        (folder / name).mkdir()
    found = settings_of(
        'slots = 4\ndata = "/file"\nlisten = ["tcp:1"]\ntask_folders = ["first"]',
        slots="3",
        data="/d",
        listen=["unix:/tmp/s"],
        tasks=["second"],
        web="off",
    )
    assert (found.slots, found.data) == (3, Path("/d"))
    assert descriptions(found) == ["unix:/tmp/s:mode=600", LOCAL]
    assert found.task_folders == (folder / "second",)


def test_the_file_wins_over_the_environment() -> None:
    assert settings_of('data = "/d"', {"APTASK_DATA": "/e"}).data == Path("/d")


@pytest.mark.parametrize("given", [None, "", []])
def test_an_option_that_was_not_given_leaves_the_file_as_it_is(given: Any) -> None:
    found = settings_of('slots = 4\nlisten = ["tcp:1:interface=localhost"]', slots=given or None)
    same = settings_of(
        'slots = 4\nlisten = ["tcp:1:interface=localhost"]',
        listen=given,
        data=given,
        tasks=given,
        web=given,
    )
    assert found == same


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"APTASK_DATA": "/d"}, "/d"),
        ({"APTASK_DATA": "~/d"}, "HOME/d"),
        ({"APTASK_DATA": "/d", "XDG_STATE_HOME": "/s"}, "/d"),
        ({"XDG_STATE_HOME": "/s"}, "/s/aptask"),
        ({"APTASK_DATA": "", "XDG_STATE_HOME": ""}, "HOME/.local/state/aptask"),
        ({}, "HOME/.local/state/aptask"),
    ],
)
def test_the_data_folder_is_the_one_where_clients_look(
    folder: Path, environment: dict[str, str], expected: str
) -> None:
    found = settings_of(environment=environment).data
    assert found == Path(expected.replace("HOME", str(folder)))
    assert found == data_folder(environment)


def test_paths_in_a_file_are_relative_to_it_and_those_in_options_to_the_current_folder(
    folder: Path,
) -> None:
    for name in ("etc/tasks", "tasks"):
        (folder / name).mkdir(parents=True)
    (folder / "etc/aptask.toml").write_text('data = "data"\ntask_folders = ["tasks", "./tasks"]')
    by_file = load({"config": "etc/aptask.toml"}, {})
    assert (by_file.data, by_file.task_folders) == (folder / "etc/data", (folder / "etc/tasks",))
    by_option = load({"config": "etc/aptask.toml", "data": "d", "tasks": ["tasks"]}, {})
    assert (by_option.data, by_option.task_folders) == (folder / "d", (folder / "tasks",))


def test_listening_nowhere_else_leaves_its_own_socket() -> None:
    assert descriptions(settings_of("listen = []")) == [LOCAL]


def test_its_own_socket_can_be_named_to_give_it_another_mode() -> None:
    found = settings_of(listen=["unix:/d/aptask.sock:mode=660"])
    assert descriptions(found) == ["unix:/d/aptask.sock:mode=660"]


def test_the_path_of_its_own_socket_is_quoted(folder: Path) -> None:
    found = settings_of(data="a=b:c\\d")
    reactor = MemoryReactor()
    serverFromString(reactor, found.listen[-1].description).listen(None)
    assert reactor.unixServers[0][0] == str(folder / "a=b:c\\d" / "aptask.sock")


# Endpoints


@pytest.mark.parametrize(
    ("description", "reach"),
    [
        ("tcp:2142", Reach.OPEN),
        ("tcp:2142:interface=", Reach.OPEN),
        ("tcp:2142:interface=0.0.0.0", Reach.OPEN),
        ("tcp:2142:interface=192.0.2.1", Reach.OPEN),
        ("tcp:2142:interface=example.org", Reach.OPEN),
        ("tcp:port=2142", Reach.OPEN),
        ("tcp:2142:interface=127.0.0.1", Reach.LOCAL),
        ("tcp:2142:127.0.0.2", Reach.LOCAL),
        ("tcp:2142:backlog=5:interface=localhost", Reach.LOCAL),
        (r"tcp:2142:interface=\:\:1", Reach.LOCAL),
        (r"tcp:2142:interface=\:\:ffff\:127.0.0.1", Reach.LOCAL),
        (r"tcp:2142:interface=\:\:", Reach.OPEN),
        ("tcp6:2142", Reach.OPEN),
        (r"tcp6:2142:interface=\:\:1", Reach.LOCAL),
        (r"tcp6:2142:50:\:\:1", Reach.LOCAL),
        ("ssl:2142:privateKey=key.pem:certKey=cert.pem", Reach.ENCRYPTED),
        ("systemd:domain=INET:index=0", Reach.INHERITED),
        ("systemd:UNIX:name=aptask.socket", Reach.INHERITED),
        ("stdio:", Reach.OPEN),
    ],
)
def test_whom_an_endpoint_lets_in_is_told_from_its_description(
    description: str, reach: Reach
) -> None:
    assert check_endpoint(description) == Endpoint(description, reach)
    wrapped = f"haproxy:{description}"
    assert check_endpoint(wrapped) == Endpoint(wrapped, reach, proxied=True)


@pytest.mark.parametrize(
    ("description", "full", "path"),
    [
        ("unix:/s", "unix:/s:mode=600", "/s"),
        (r"unix:/a\:b", r"unix:/a\:b:mode=600", "/a:b"),
        ("unix:address=/s", "unix:address=/s:mode=600", "/s"),
        ("unix:/s:mode=666", "unix:/s:mode=666", "/s"),
        ("unix:/s:660", "unix:/s:660", "/s"),
        ("unix:/s:lockfile=0", "unix:/s:lockfile=0:mode=600", "/s"),
    ],
)
def test_a_unix_socket_is_for_its_account_alone_unless_it_says_otherwise(
    description: str, full: str, path: str
) -> None:
    assert check_endpoint(description) == Endpoint(full, Reach.LOCAL, path=path)
    assert check_endpoint(f"haproxy:{description}") == Endpoint(
        f"haproxy:{full}", Reach.LOCAL, proxied=True, path=path
    )


@pytest.mark.parametrize(
    ("description", "sentence"),
    [
        ("", "is of no known kind, such as `tcp:2142:interface=127.0.0.1`"),
        ("2142", "is of no known kind, such as `tcp:2142:interface=127.0.0.1`"),
        ("tpc:2142", "is of no known kind; did you mean `tcp`?"),
        ("haproxy", "is of no known kind, such as `tcp:2142:interface=127.0.0.1`"),
        ("tcp", "names no port: `tcp:PORT`"),
        ("tcp:", "names no port: `tcp:PORT`"),
        ("unix:mode=600", "names no address: `unix:ADDRESS`"),
        ("tcp:http", "needs a number from 0 to 65535 as `port`"),
        ("tcp:65536", "needs a number from 0 to 65535 as `port`"),
        ("tcp:-1", "needs a number from 0 to 65535 as `port`"),
        ("tcp:²", "needs a number from 0 to 65535 as `port`"),
        ("tcp:1:backlog=many", "needs a number from 0 to 2147483647 as `backlog`"),
        ("tcp:1:intreface=::1", "has an unknown `intreface`; did you mean `interface`?"),
        ("tcp:1:127.0.0.1:5:6", "has more than `tcp:` takes: port, interface, backlog"),
        ("tcp:1:port=2", "has `port` twice"),
        ("tcp:1:backlog=2:backlog=2", "has `backlog` twice"),
        ("tcp:1\\", "ends in the middle of an escape, with a `\\`"),
        ("unix:/s:mode=rw", "needs an octal `mode`, such as 600"),
        ("unix:/s:mode=888", "needs an octal `mode`, such as 600"),
        ("unix:/s:lockfile=yes", "needs a number from 0 to 1 as `lockfile`"),
        ("systemd:INET", "needs either `index` or `name`"),
        ("systemd:INET:index=0:name=x", "needs either `index` or `name`"),
        ("systemd:INET:index=x", "needs a number from 0 to 65535 as `index`"),
        ("systemd:IPX:index=0", "needs a `domain` that is one of INET, INET6, UNIX"),
        ("unix:/" + "s" * 107, "has a path of 108 bytes, and a Unix socket's can have 107 at"),
        ("unix:/\0", "has a NUL character in its path"),
    ],
)
def test_a_bad_endpoint_is_refused_with_a_sentence(description: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        check_endpoint(description)
    shown = description.replace("\0", "?")
    shown = shown if len(shown) <= 100 else f"{shown[:100]}..."
    assert refused.value.message.startswith(f"the endpoint `{shown}` {sentence}")


@given(
    st.lists(
        st.sampled_from(
            ["tcp", "unix", "tcp6", "haproxy", "port", "address", "interface", "mode", "backlog"]
            + ["600", "0", "1", "/", "x", "é", "::1", ":", ":", ":", "=", "\\"]
        ),
        max_size=12,
    ).map("".join)
)
@settings(max_examples=300, deadline=None)
def test_what_passes_as_an_endpoint_is_one_to_twisted(description: str) -> None:
    try:
        endpoint = check_endpoint(description)
    except ConfigurationError:
        return
    serverFromString(MemoryReactor(), endpoint.description)


@pytest.mark.parametrize(
    ("address", "local"),
    [
        (IPv4Address("TCP", "127.0.0.1", 1), True),
        (IPv4Address("TCP", "0.0.0.0", 1), False),
        (IPv6Address("TCP", "::1", 1), True),
        (IPv6Address("TCP", "::", 1), False),
        (IPv6Address("TCP", "fe80::1%eth0", 1), False),
        (UNIXAddress(b"/s"), True),
        (HostnameAddress(b"localhost", 1), False),
    ],
)
def test_an_inherited_socket_is_judged_by_its_address(address: Any, local: bool) -> None:
    assert is_local_address(address) is local
    inherited = "systemd:INET:index=0"
    found = settings_of(listen=[inherited])
    insecure = settings_of("insecure = true", listen=[inherited])
    judge(insecure, insecure.listen[0], address)
    judge(found, found.listen[-1], address)
    if local:
        judge(found, found.listen[0], address)
    else:
        with pytest.raises(ConfigurationError, match="would listen beyond loopback without TLS"):
            judge(found, found.listen[0], address)


def test_without_authentication_an_inherited_socket_must_be_local_even_if_insecure() -> None:
    found = settings_of("authentication = false\ninsecure = true", listen=["systemd:INET:index=0"])
    judge(found, found.listen[0], IPv4Address("TCP", "127.0.0.1", 1))
    with pytest.raises(ConfigurationError, match="whoever reaches it is an admin"):
        judge(found, found.listen[0], IPv4Address("TCP", "192.0.2.1", 1))


# Mistakes

ADMIN = (
    "must be a Unix socket or on loopback, and not behind a proxy, since with `authentication ="
    " false` whoever reaches it is an admin"
)
BEYOND = (
    "would listen beyond loopback without TLS, and keys could be read on the way: use `ssl:`, or"
    " `interface=127.0.0.1`, or set `insecure = true`"
)

MISTAKES = [
    ("slotz = 1", "there is no field `slotz`; did you mean `slots`?"),
    ("colour = 1", "there is no field `colour`"),
    ('"a\\nb" = 1', "there is no field `a?b`"),
    ("[userz.alice]", "there is no table `userz`; did you mean `users`?"),
    *(
        (f"[{later}.x]", f"there is no table `{later}`")
        for later in ("groups", "executors", "schedules", "hooks")
    ),
    ("keep_running = 1", "`keep_running` must be true or false, not a whole number"),
    ("orphan_timeout = 0", "`orphan_timeout` must be a number > 0.0"),
    ("listen = 1", "`listen` must be a list, not a whole number"),
    ('listen = ["tcp:1:interface=::1", 1.5]', "`listen` (item 2) must be text, not a number"),
    ('listen = [""]', "`listen` (item 1) must be text that is not empty"),
    ('listen = ["tpc:1"]', "`listen`: the endpoint `tpc:1` is of no known kind; did you mean "),
    ('listen = ["tcp:1"]', f"`listen`: the endpoint `tcp:1` {BEYOND}"),
    ('listen = ["haproxy:tcp:1"]', f"`listen`: the endpoint `haproxy:tcp:1` {BEYOND}"),
    ('listen = ["unix:/s", "unix:/s"]', "`listen`: the endpoint `unix:/s` is there twice"),
    (
        'listen = ["unix:/d/runner.sock"]',
        "`listen`: the endpoint `unix:/d/runner.sock` is one that the daemon itself needs",
    ),
    (
        'listen = ["haproxy:unix:/d/aptask.sock"]',
        "`listen`: the endpoint `haproxy:unix:/d/aptask.sock` is one that the daemon itself needs",
    ),
    *(
        (
            f'authentication = false\ninsecure = true\nlisten = ["{endpoint}"]',
            f"`listen`: the endpoint `{endpoint}` {ADMIN}",
        )
        for endpoint in (
            "tcp:1",
            "ssl:1",
            "haproxy:unix:/s:mode=600",
            "haproxy:systemd:INET:index=0",
            "stdio:",
        )
    ),
    ("data = 1", "`data` must be text, not a whole number"),
    ('data = ""', "`data` must be text that is not empty"),
    ('data = "~nobody-of-that-name/d"', "`data`: there is no such home folder; name a data folder"),
    (
        'data = "/' + "d" * 96 + '"',
        "`data`: the socket in the data folder has a path of 109 bytes, and a Unix socket's can"
        " have 107 at most: choose a shorter one",
    ),
    ('data = "/\\u0000"', "`data`: the socket in the data folder has a NUL character in its path"),
    ('task_folders = "x"', "`task_folders` must be a list, not text"),
    ('task_folders = ["none"]', "`task_folders`: there is no folder `none`"),
    ('task_folders = ["aptask.toml"]', "`task_folders`: there is no folder `aptask.toml`"),
    ('task_folders = ["\\u0000"]', "`task_folders`: there is no folder `?`"),
    ('task_folders = ["~nobody-of-that-name/d"]', "`task_folders`: there is no folder `~nobody-"),
    ("slots = 0", "`slots` must be a whole number >= 1"),
    ("slots = true", "`slots` must be a whole number, not true or false"),
    ("slots = 1.0", "`slots` must be a whole number, not a number"),
    (f"slots = {2**63}", "`slots` is too large a number"),
    ('log = "xml"', "`log` must be `text` or `json`, not `xml`"),
    ("log = 1", "`log` must be text, not a whole number"),
    ("authentication = 1", "`authentication` must be true or false, not a whole number"),
    ('insecure = "yes"', "`insecure` must be true or false, not text"),
    ("stop_deadline = 0", "`stop_deadline` must be a number > 0.0"),
    ("stop_deadline = inf", "`stop_deadline` must be a finite number"),
    ("stop_deadline = nan", "`stop_deadline` must be a finite number"),
    ("stop_deadline = 2026-11-24", "`stop_deadline` must be a number, not a date"),
    ("web = 1", "`web` must be a table, not a whole number"),
    (
        '[web]\nlisten = "tcp:2143:interface=127.0.0.1"',
        "[web] `listen` can only be `off`: this version has no page",
    ),
    ('[web]\nhosts = ["h"]', "[web] has no field `hosts`"),
    ('[web]\nmetrics = "open"', "[web] has no field `metrics`"),
    ("users = []", "`users` must be a table, not a list"),
    ("[users]\nalice = 1", "[users] `alice` must be a table, as [users.alice]"),
    ("[users.alice]", "[users.alice] needs `key` or `key_sha256`"),
    (
        '[users.alice]\nkey = "k"\ntaks = ["copy"]',
        "[users.alice] has no field `taks`; did you mean `tasks`?",
    ),
    (
        '[users.alice]\nkey = "k"\nkey_sha256 = "k"',
        "[users.alice] has both `key` and `key_sha256`: leave one of them out",
    ),
    ('[users.alice]\nkey = ""', "[users.alice] has an empty key"),
    (
        f'[users.alice]\nkey_sha256 = "{hashlib.sha256(b"").hexdigest()}"',
        "[users.alice] has an empty key",
    ),
    ("[users.alice]\nkey = 1", "[users.alice] `key` must be text, not a whole number"),
    ("[users.alice]\nkey_sha256 = 1", "[users.alice] `key_sha256` must be text, not a whole"),
    *(
        (
            f'[admins.ops]\nkey_sha256 = "{wrong}"',
            "[admins.ops] `key_sha256` must be 64 hexadecimal digits",
        )
        for wrong in ("", "ab", "g" * 64, "a" * 65, "a" * 63 + "\\n")
    ),
    ('[admins.ops]\nkey = "k"\ntasks = []', "[admins.ops] has no field `tasks`"),
    ('[users.a]\nkey = "k"\nmax_active = 2', "[users.a] has no field `max_active`"),
    ('[users.a]\nkey = "k"\nmax_queued = 2', "[users.a] has no field `max_queued`"),
    ('[users.a]\nkey = "k"\nmax_priority = 2', "[users.a] has no field `max_priority`"),
    ('[users.a]\nkey = "k"\ntasks = "copy"', "[users.a] `tasks` must be a list, not text"),
    (
        '[users.local]\nkey = "k"',
        "[users.local] cannot have the name `local`: the daemon's own key has it",
    ),
    (
        '[admins.local]\nkey = "k"',
        "[admins.local] cannot have the name `local`: the daemon's own key has it",
    ),
    (
        '[users.a]\nkey = "k"\n[admins.a]\nkey = "l"',
        "[admins.a] is a user already: a name stands for one of the two",
    ),
    ('[users.a]\nkey = "k"\n[users.b]\nkey = "k"', "[users.b] has the same key as [users.a]"),
    (
        f'[users.a]\nkey = "k"\n[admins.b]\nkey_sha256 = "{hashlib.sha256(b"k").hexdigest()}"',
        "[admins.b] has the same key as [users.a]",
    ),
    *(
        (
            f'[users."{name}"]\nkey = "k"',
            f'[users."{name}"] needs a name of 1 to 64 letters, digits and characters of `._@+-`',
        )
        for name in ("", "*", "a b", " " * 2, "é" * 65)
    ),
    ("[limits]\nconnexions = 1", "[limits] has no field `connexions`; did you mean `connections`?"),
    ("[limits]\nrequest_bytes = 1", "[limits] `request_bytes` must be a whole number >= 1024"),
    ("[limits]\nidle_seconds = 0", "[limits] `idle_seconds` must be a number > 0.0"),
    ("[limits]\nqueued = 1.5", "[limits] `queued` must be a whole number, not a number"),
    ("[tasks]\nx = 1", "[tasks] `x` must be a table, as [tasks.x]"),
]


@pytest.mark.parametrize(("text", "sentence"), MISTAKES)
def test_a_mistake_in_the_file_is_refused_with_a_sentence_that_names_its_place(
    text: str, sentence: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        settings_of(text)
    assert refused.value.message.startswith(f"aptask.toml: {sentence}")
    assert len(refused.value.message.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"slots": "0"}, "--slots must be a whole number >= 1, not `0`"),
        ({"slots": "many"}, "--slots must be a whole number >= 1, not `many`"),
        ({"slots": -1}, "--slots must be a whole number >= 1, not `-1`"),
        ({"web": "tcp:2143"}, "--web can only be `off`: this version has no page"),
        ({"listen": ["tcp"]}, "--listen: the endpoint `tcp` names no port: `tcp:PORT`"),
        ({"listen": ["tcp:1"]}, f"--listen: the endpoint `tcp:1` {BEYOND}"),
        ({"tasks": ["none"]}, "--tasks: there is no folder `none`"),
        ({"data": "/" + "d" * 96}, "--data: the socket in the data folder has a path of 109"),
    ],
)
def test_a_wrong_option_is_refused_with_a_sentence_that_names_it(
    options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        settings_of(**options)
    assert refused.value.message.startswith(sentence)
    assert len(refused.value.message.splitlines()) == 1


def test_a_too_long_data_folder_of_the_environment_names_the_variable() -> None:
    with pytest.raises(ConfigurationError, match=r"^\$APTASK_DATA: the socket in the data folder"):
        settings_of(environment={"APTASK_DATA": "/" + "d" * 96})


def test_the_longest_data_folder_is_taken() -> None:
    assert settings_of(data="/" + "d" * 94).listen[-1].path == f"/{'d' * 94}/aptask.sock"


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as refused:
        settings_of("slotz = 1\nlog = 1\n[users.a]\n[limits]\nqueued = -1", slots="x")
    assert refused.value.message.splitlines() == [
        "aptask.toml: there is no field `slotz`; did you mean `slots`?",
        "aptask.toml: `log` must be text, not a whole number",
        "--slots must be a whole number >= 1, not `x`",
        "aptask.toml: [users.a] needs `key` or `key_sha256`",
        "aptask.toml: [limits] `queued` must be a whole number >= 0",
    ]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"a = ", "aptask.toml is not TOML: Invalid value (at end of document)"),
        (b"a = 1\na = 2", "aptask.toml is not TOML: Cannot overwrite a value"),
        (b"\xff", "aptask.toml is not UTF-8 text"),
        (b"a = " + b"[" * 10_000, "aptask.toml is nested too deeply"),
        (b"a = " + b"9" * 5_000, "aptask.toml is not TOML: Exceeds the limit"),
    ],
)
def test_a_file_that_is_not_toml_is_refused(folder: Path, content: bytes, sentence: str) -> None:
    (folder / "aptask.toml").write_bytes(content)
    with pytest.raises(ConfigurationError) as refused:
        load({"config": "aptask.toml"}, {})
    assert refused.value.message.startswith(sentence)


@pytest.mark.parametrize(
    ("name", "reason"), [("none.toml", "No such file or directory"), (".", "Is a directory")]
)
def test_a_file_that_cannot_be_read_is_refused(name: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=f"cannot be read: {reason}$"):
        load({"config": name}, {})


# Warnings


@pytest.mark.parametrize(
    ("mode", "text", "warned"),
    [
        (0o644, '[users.a]\nkey = "k"', True),
        (0o640, '[users.a]\nkey = "k"', False),
        (0o644, f'[users.a]\nkey_sha256 = "{"a" * 64}"', False),
        (0o644, "slots = 1", False),
    ],
)
def test_a_file_with_keys_that_others_can_read_is_warned_of(
    folder: Path, mode: int, text: str, warned: bool
) -> None:
    (folder / "aptask.toml").write_text(text)
    (folder / "aptask.toml").chmod(mode)
    warnings = load({"config": "aptask.toml"}, {}).warnings
    assert len(warnings) == warned
    assert all("others can read this file, and it holds keys" in warning for warning in warnings)


def test_listening_beyond_loopback_without_tls_is_warned_of() -> None:
    found = settings_of("insecure = true", listen=["tcp:1", "ssl:2", "unix:/s"])
    assert [warning.split(" listens")[0] for warning in found.warnings] == ["the endpoint `tcp:1`"]


# Junk

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
names = st.one_of(
    st.sampled_from(
        ["listen", "data", "task_folders", "slots", "log", "authentication", "insecure"]
        + ["stop_deadline", "web", "users", "admins", "limits", "tasks", "key", "key_sha256"]
        + ["alice", "local", "request_bytes", "idle_seconds"]
    ),
    words,
)
scalars = st.one_of(
    words,
    st.sampled_from(["tcp:1", "unix:/s", "text", "off", "a" * 64, "tcp:1:interface=127.0.0.1"]),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**63, -(2**63), 10**400]),
    st.floats(),
    st.datetimes(),
    st.dates(),
    st.times(),
)
junk = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)


def as_toml(value: Any) -> str:
    """A value as TOML writes it, tables inline."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{as_toml(k)} = {as_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)
    return str(value)


@given(st.dictionaries(names, junk, max_size=6))
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_toml_is_taken_or_refused_with_sentences(values: dict[str, Any]) -> None:
    text = "".join(f"{as_toml(name)} = {as_toml(value)}\n" for name, value in values.items())
    tomllib.loads(text)
    try:
        settings_of(text)
    except ConfigurationError as refused:
        lines = refused.message.splitlines()
        assert lines
        assert all(line.startswith("aptask.toml: ") and line.isprintable() for line in lines)


@given(st.binary(max_size=60) | words.map(str.encode))
@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_bytes_are_taken_or_refused(content: bytes) -> None:
    Path("aptask.toml").write_bytes(content)
    try:
        load({"config": "aptask.toml"}, {})
    except ConfigurationError as refused:
        assert refused.message.startswith("aptask.toml")


@given(
    st.dictionaries(
        st.sampled_from(["slots", "data", "web"]), words | st.none() | st.integers(), max_size=3
    ),
    st.lists(words, max_size=3),
    st.lists(words, max_size=3),
)
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_options_are_taken_or_refused(
    options: dict[str, Any], listen: list[str], tasks: list[str]
) -> None:
    options = {name: value if name == "slots" else str(value) for name, value in options.items()}
    try:
        load({**options, "listen": listen, "tasks": tasks}, {})
    except ConfigurationError as refused:
        assert refused.message
