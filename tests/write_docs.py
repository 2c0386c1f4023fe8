"""Writes the tables of docs/ from the one place where each truth is written: `make docs`.

`tests/test_docs.py` fails where a page differs from what this would write.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import msgspec

from aptask.errors import BY_CODE, HTTP_STATUS
from aptask.model.job import TRANSITIONS
from aptask.model.limits import Limits
from aptask.model.messages import REQUESTS, fields

DOCS = Path(__file__).parents[1] / "docs"


def requests() -> str:
    """The requests and their fields."""
    rows = ["| request | field | type | default | |", "|---|---|---|---|---|"]
    for name, request in REQUESTS.items():
        whose = "For admins. " if request.for_admins else ""
        rows.append(f"| `{name}` | | | | {whose}{_sentence(request.__doc__)} |")
        for field, described in fields(request).items():
            default = "required" if "required" in described else f"`{_json(described['default'])}`"
            bounds = [
                f"{word} {described[bound]:,}"
                for bound, word in (("minimum", "from"), ("maximum", "to"))
                if bound in described
            ]
            kind = described["type"]
            if "choices" in described:
                kind = " or ".join(f"`{choice}`" for choice in described["choices"])
            words = ", ".join([kind, *bounds])
            rows.append(f"| | `{field}` | {words} | {default} | {described['help']} |")
    return "\n".join(rows)


def codes() -> str:
    """The error codes."""
    rows = ["| code | when | HTTP |", "|---|---|---|"]
    rows += [
        f"| `{code}` | {_sentence(cls.__doc__)} | {HTTP_STATUS[code]} |"
        for code, cls in BY_CODE.items()
    ]
    return "\n".join(rows)


def limits() -> str:
    """The limits and their defaults."""
    told = dict(
        re.findall(r"^        ([\w, ]+): (.+?)(?=^        \w|\Z)", _attributes(), re.M | re.S)
    )
    rows = ["| limit | default | |", "|---|---|---|"]
    for field in msgspec.structs.fields(Limits):
        text = next((text for names, text in told.items() if field.name in names.split(", ")), "")
        rows.append(
            f"| `{field.name}` | {field.default:,} | {' '.join(text.split()).rstrip('.')} |"
        )
    return "\n".join(rows)


def transitions() -> str:
    """The table of transitions."""
    rows = ["| state | change | becomes | status |", "|---|---|---|---|"]
    rows += [
        f"| {before} | {change} | {after} | {status or 'the outcome'} |"
        for (before, change), (after, status) in TRANSITIONS.items()
    ]
    return "\n".join(rows)


TABLES = {
    "requests": requests,
    "codes": codes,
    "limits": limits,
    "transitions": transitions,
}


def rendered(text: str) -> str:
    """A page with its tables made anew."""

    def replace(match: re.Match[str]) -> str:
        return f"<!-- {match[1]} -->\n{TABLES[match[1]]()}\n<!-- end -->"

    return re.sub(r"<!-- (\w+) -->\n.*?<!-- end -->", replace, text, flags=re.S)


def _attributes() -> str:
    return (Limits.__doc__ or "").partition("Attributes:\n")[2]


def _sentence(text: str | None) -> str:
    return " ".join((text or "").split("\n\n")[0].split()).rstrip(".")


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


if __name__ == "__main__":
    for page in sorted(DOCS.glob("*.md")):
        page.write_text(rendered(page.read_text()))
    sys.exit(0)
