"""The tasks that ship: their command lines, what they refuse, what they give."""

import json
import shutil
import subprocess
import time

import pytest

from aptask.model.description import Kind, Target
from aptask.model.orders import Spawn
from aptask.plugins.primes import Primes
from aptask.plugins.sleep import Sleep
from aptask.tasks.describe import describe_class
from aptask.tasks.perform import launch, load, perform
from aptask.tasks.reporting import Reporter

SHIPPED = {
    "program": "AnyProgram",
    "copy": "Copy",
    "transcode": "Transcode",
    "download": "Download",
    "clone": "Clone",
    "primes": "Primes",
    "sleep": "Sleep",
}


def target(name):
    return Target(Kind.PROGRAM, f"aptask.plugins.{name}", SHIPPED[name])


def described(name):
    return describe_class(load(target(name)), target(name), "aptask")


def command(name, **values):
    return launch(target(name), values).command


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        (
            "program",
            [
                ("command", "list", ...),
                ("cwd", "str", None),
                ("env", "dict", {}),
                ("stdin", "str", None),
                ("progress", "str", "auto"),
                ("nice", "int", None),
                ("memory_limit", "int", None),
            ],
        ),
        ("copy", [("source", "str", ...), ("target", "str", ...), ("delete", "bool", False)]),
        ("transcode", [("source", "str", ...), ("target", "str", ...), ("quality", "int", 23)]),
        ("download", [("url", "str", ...), ("target", "str", ...)]),
        ("clone", [("url", "str", ...), ("target", "str", ...)]),
        ("primes", [("below", "int", 1_000_000)]),
        ("sleep", [("seconds", "float", 1.0)]),
    ],
)
def test_each_has_the_documented_name_and_arguments(name, arguments):
    made = described(name)
    assert made.name == name
    assert made.help
    assert all(argument.help for argument in made.arguments)
    assert [
        (each.name, each.type, ... if each.required else each.default) for each in made.arguments
    ] == arguments


def test_those_that_reach_the_accounts_files_are_privileged_and_say_what_they_need():
    made = {name: described(name) for name in SHIPPED}
    assert {name for name in SHIPPED if not made[name].privileged} == {"primes", "sleep"}
    assert {name: made[name].requires for name in SHIPPED if made[name].requires} == {
        "copy": ("rsync",),
        "transcode": ("ffmpeg",),
        "download": ("curl",),
        "clone": ("git",),
    }


def test_program_is_pure_data_and_hides_the_values_of_its_environment():
    made = described("program")
    assert made.target is None
    assert made.template.command == ("{command}",)
    assert {each.name: each.secret for each in made.arguments}["env"] == "values"


def test_copy_is_rsync():
    assert command("copy", source="-a", target="b") == [
        *("rsync", "-a", "--human-readable", "--info=progress2", "--", "-a", "b")
    ]
    assert "--delete" in command("copy", source="a", target="b", delete=True)
    assert command("copy", source="host:a", target="b")[-2] == "host:a"


def test_transcode_is_ffmpeg_on_files_only():
    assert command("transcode", source="-a", target="http://b", quality=30) == [
        *("ffmpeg", "-nostdin", "-y", "-hide_banner", "-i", "file:-a", "-crf", "30"),
        "file:http://b",
    ]


def test_download_is_curl_with_three_protocols():
    assert command("download", url="HTTP://x/{1,2}", target="-o") == [
        *("curl", "--fail", "--location", "--globoff"),
        *("--proto", "=http,https,ftp", "--proto-redir", "=http,https,ftp"),
        *("--output", "./-o", "--url", "HTTP://x/{1,2}"),
    ]


def test_clone_is_git_and_never_asks():
    spawn = launch(target("clone"), {"url": "https://x/y.git", "target": "y"})
    assert spawn == Spawn(
        ["git", "clone", "--progress", "--", "https://x/y.git", "y"],
        env={"GIT_TERMINAL_PROMPT": "0"},
        progress="git",
    )


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("copy", {"source": "-oProxyCommand=x:y", "target": "b"}),
        ("download", {"url": "file:///etc/passwd", "target": "b"}),
        ("download", {"url": "scp://x/y", "target": "b"}),
        ("download", {"url": "-K/etc/passwd", "target": "b"}),
        ("download", {"url": "example.org", "target": "b"}),
        ("clone", {"url": "ext::sh -c x", "target": "b"}),
        ("clone", {"url": "EXT::sh -c x", "target": "b"}),
        ("clone", {"url": "fd::3", "target": "b"}),
        ("clone", {"url": "::x", "target": "b"}),
        ("clone", {"url": "--upload-pack=x", "target": "b"}),
        ("clone", {"url": "a", "target": "--template=x"}),
    ],
)
def test_what_would_be_an_option_or_run_a_command_is_refused(name, values):
    with pytest.raises(ValueError):
        launch(target(name), values)


@pytest.mark.parametrize("place", ["{data}", "{data}/jobs.db", "data/x", "link/x", "a/../data"])
def test_none_takes_a_path_inside_the_data_folder(tmp_path, monkeypatch, place):
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(data)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("APTASK_DATA", str(tmp_path / "link"))
    path = place.format(data=data)
    url = "https://x/y"
    for name, values in [
        ("copy", {"source": path, "target": "fine"}),
        ("copy", {"source": "fine", "target": path}),
        ("transcode", {"source": path, "target": "fine"}),
        ("transcode", {"source": "fine", "target": path}),
        ("download", {"url": url, "target": path}),
        ("clone", {"url": url, "target": path}),
        ("clone", {"url": path, "target": "fine"}),
        ("clone", {"url": f"file://{data}/repository", "target": "fine"}),
    ]:
        with pytest.raises(ValueError, match="data folder"):
            launch(target(name), values)
    launch(target("copy"), {"source": f"{data}base", "target": "fine"})


@pytest.mark.parametrize(
    ("below", "primes", "largest"),
    [
        (0, 0, None),
        (1, 0, None),
        (2, 0, None),
        (3, 1, 2),
        (4, 2, 3),
        (100, 25, 97),
        (1 << 20, 82025, 1048573),
        ((1 << 20) + 10, 82026, 1048583),
        (3_000_000, 216816, 2999999),
    ],
)
def test_primes_are_counted_over_the_seams_of_its_pieces(below, primes, largest):
    assert Primes(below=below).run() == {"primes": primes, "largest": largest}


def test_primes_reports_to_its_end():
    lines = []
    perform(target("primes"), {"below": 3_000_000}, Reporter(lines.append))
    assert json.loads(lines[-1]) == {"progress": 1.0}


def test_sleep_takes_its_time_and_reports_a_few_times():
    lines = []
    start = time.monotonic()
    perform(target("sleep"), {"seconds": 0.35}, Reporter(lines.append))
    assert 0.35 <= time.monotonic() - start < 2
    assert 1 <= len(lines) <= 4
    assert "of 0.35 s" in json.loads(lines[0])["message"]
    assert Sleep(seconds=0.0).run() is None


@pytest.mark.skipif(not shutil.which("rsync"), reason="rsync is not installed")
def test_copy_copies_what_begins_with_a_dash(tmp_path):
    (tmp_path / "-source").write_text("content")
    subprocess.run(
        command("copy", source="-source", target="-target"),
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    assert (tmp_path / "-target").read_text() == "content"


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
def test_clone_clones(tmp_path):
    subprocess.run(["git", "init", "-q", "source"], cwd=tmp_path, check=True)
    subprocess.run(
        command("clone", url="./source", target="target"),
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    assert (tmp_path / "target" / ".git").is_dir()


def test_copy_refuses_what_holds_the_data_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("APTASK_DATA", str(tmp_path / "state" / "aptask"))
    with pytest.raises(ValueError, match="holds aptask's own data folder"):
        command("copy", source=str(tmp_path), target="b")
    with pytest.raises(ValueError, match="holds aptask's own data folder"):
        command("copy", source="a", target=str(tmp_path / "state"))
