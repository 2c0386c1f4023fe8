"""The pages say what the program does."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from aptask import config
from aptask.model.limits import Limits
from aptask.model.messages import REQUESTS
from aptask.parsers import NAMES

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def writer() -> Any:
    spec = importlib.util.spec_from_file_location("write_docs", ROOT / "tests" / "write_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_the_tables_of_a_page_are_what_the_code_says(page: Path) -> None:
    text = page.read_text()
    assert writer().rendered(text) == text, "run `make docs`"


def test_every_request_has_its_chapter_in_the_protocol() -> None:
    chapters = " ".join(re.findall(r"^### (.+)$", (DOCS / "protocol.md").read_text(), re.M))
    for name in REQUESTS:
        assert re.search(rf"\b{name}\b", chapters), name


def test_every_parser_is_in_the_table_of_parsers() -> None:
    rows = re.findall(r"^\| (`.+?) \|", (DOCS / "tasks.md").read_text(), re.M)
    listed = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    assert set(NAMES) <= listed


def test_the_configuration_of_the_page_is_accepted(tmp_path: Path) -> None:
    (example,) = re.findall(
        r"Everything is optional.\n\n```toml\n(.+?)```", (DOCS / "running.md").read_text(), re.S
    )
    tomllib.loads(example)
    (tmp_path / "tasks").mkdir()
    (tmp_path / "aptask.toml").write_text(example)
    settings = config.load({"config": str(tmp_path / "aptask.toml")}, {})
    assert settings.limits == type(settings.limits)()
    assert {key.name for key in settings.keys} == {"alice", "ops"}


def test_everything_that_can_be_configured_is_on_the_page() -> None:
    (example,) = re.findall(
        r"Everything is optional.\n\n```toml\n(.+?)```", (DOCS / "running.md").read_text(), re.S
    )
    shown = tomllib.loads(example)
    assert set(config._File.__struct_fields__) - {"web"} == set(shown)
    assert set(Limits.__struct_fields__) == set(shown["limits"])


def test_no_page_says_that_the_queue_is_in_memory() -> None:
    for page in [*DOCS.glob("*.md"), ROOT / "README.md", ROOT / "CHANGELOG.md"]:
        assert not re.search(r"(queue|history)\b[^.:|]{0,40}\bin memory", page.read_text()), page


def test_the_sentences_of_damage_on_the_page_are_those_that_are_said() -> None:
    code = (ROOT / "aptask" / "storage" / "examine.py").read_text()
    said = re.sub(r"\{.+?\}|f?\"\s*\n\s*f?\"", "", code)
    table = (DOCS / "running.md").read_text().partition("| the sentence says |")[2]
    rows = re.findall(r"^\| (`.+?) \|", table.partition("\n\n")[0], re.M)
    assert len(rows) == 7
    for quoted in re.findall(r"`([^`]+)`", "".join(rows)):
        for part in re.split(r" ?\.\.\. ?|\(\.\.\.\)|8 of 9|its aptask\.db|-mark", quoted):
            assert part.strip() in said, part


def test_the_project_speaks_of_itself_alone() -> None:
    for page in [*DOCS.glob("*.md"), ROOT / "README.md", ROOT / "CHANGELOG.md"]:
        assert "shared/" not in page.read_text(), page


def test_links_between_pages_lead_somewhere() -> None:
    for page in [*DOCS.glob("*.md"), ROOT / "README.md"]:
        for target in re.findall(r"\]\(([^)#:]+\.\w+)[^)]*\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
