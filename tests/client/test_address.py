"""Where a client connects to, and which key it sends there."""

from __future__ import annotations

from pathlib import Path

import pytest

from aptask.client.address import Address, data_folder, find_key, find_server, parse


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:2142", Address("tcp", host="127.0.0.1", port=2142)),
        ("tasks.example.org:1", Address("tcp", host="tasks.example.org", port=1)),
        ("[::1]:65535", Address("tcp", host="::1", port=65535)),
        ("tls://tasks.example.org:443", Address("tls", host="tasks.example.org", port=443)),
        ("tls://[::1]:443", Address("tls", host="::1", port=443)),
        ("unix:/run/aptask.sock", Address("unix", path="/run/aptask.sock")),
        ("unix:a:1", Address("unix", path="a:1")),
    ],
)
def test_every_form_of_a_server_is_understood_and_written_as_it_was(
    text: str, address: Address
) -> None:
    assert parse(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    ["localhost", ":2142", "localhost:", "localhost:0", "localhost:65536", "localhost:x",
     "localhost:٣", "::1:2142", "http://localhost:80", "unix:", "tls://localhost", "a:-1"],
)  # fmt: skip
def test_what_is_no_server_is_refused_with_the_forms_that_are(text: str) -> None:
    with pytest.raises(ValueError, match="expected HOST:PORT, unix:PATH or tls://HOST:PORT") as no:
        parse(text)
    assert f"`{text}`" in str(no.value)


def test_a_server_comes_from_the_argument_then_the_environment_then_the_data_folder() -> None:
    environment = {"APTASK_SERVER": "two:2", "APTASK_DATA": "/data"}
    assert str(find_server("one:1", environment)) == "one:1"
    assert str(find_server(None, environment)) == "two:2"
    del environment["APTASK_SERVER"]
    assert str(find_server(None, environment)) == "unix:/data/aptask.sock"


def test_a_wrong_server_in_the_environment_is_named_as_such() -> None:
    with pytest.raises(ValueError, match=r"^\$APTASK_SERVER: "):
        find_server(None, {"APTASK_SERVER": "nowhere"})


def test_the_data_folder_is_named_or_lies_with_the_state_of_the_account() -> None:
    assert data_folder({"APTASK_DATA": "/d", "XDG_STATE_HOME": "/s"}) == Path("/d")
    assert data_folder({"XDG_STATE_HOME": "/s"}) == Path("/s/aptask")
    assert data_folder({}) == Path.home() / ".local/state/aptask"


def test_a_key_comes_from_the_argument_then_a_file_then_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("  from-file\n")
    environment = {"APTASK_KEY": "from-environment"}
    address = parse("localhost:1")
    assert find_key(address, "given", file, environment) == "given"
    assert find_key(address, None, file, environment) == "from-file"
    assert find_key(address, None, None, environment) == "from-environment"
    assert find_key(address, None, None, {}) == ""


def test_the_local_key_goes_over_the_data_folders_own_socket_alone(tmp_path: Path) -> None:
    (tmp_path / "local.key").write_text("secret\n")
    environment = {"APTASK_DATA": str(tmp_path)}
    link = tmp_path / "link.sock"
    link.symlink_to(tmp_path / "aptask.sock")
    assert find_key(find_server(None, environment), environment=environment) == "secret"
    assert find_key(parse(f"unix:{link}"), environment=environment) == "secret"
    for elsewhere in ("localhost:2142", "127.0.0.1:2142", "tls://localhost:2142", "unix:/tmp/x"):
        assert find_key(parse(elsewhere), environment=environment) == ""


def test_a_key_file_that_is_missing_empty_or_no_text_is_said_to_be(tmp_path: Path) -> None:
    file = tmp_path / "key"
    address = parse("localhost:1")
    with pytest.raises(FileNotFoundError):
        find_key(address, key_file=file)
    file.write_bytes(b" \n")
    with pytest.raises(ValueError, match="is empty"):
        find_key(address, key_file=file)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="is not text"):
        find_key(address, key_file=file)
