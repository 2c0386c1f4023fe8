"""Finds tasks without letting their authors' code into the daemon.

`discover` starts a child process (this module's `main`), which lists what may hold tasks, has each
looked at in a forked process of its own (`apart`, `examine`), and hands back plain descriptions.

Rules:

- A mistake costs the tasks of the module that it is in, at most, and is reported as a `Failure`
  with its file and reason.
- Where two tasks have one name, configuration wins over task folders, these over installed
  packages, those over what ships. Among equals it is a mistake: the first stays.
- Nothing is cached: what was installed is found, what was uninstalled is gone.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import msgspec

from aptask.errors import AptaskError
from aptask.model.description import Description, Failure
from aptask.tasks.describe import Configured

MODULE_TIMEOUT = 10.0
"""Seconds that a module has to be imported."""

_BEGIN = """\
import sys
if sys.argv[1] not in sys.path:
    sys.path.append(sys.argv[1])
from aptask.tasks.apart import end_with_parent
from aptask.tasks.discover import main
end_with_parent(int(sys.argv[2]))
main()
"""


class Request(msgspec.Struct, frozen=True):
    """What the child is asked."""

    folders: tuple[str, ...] = ()
    configured: tuple[Configured, ...] = ()
    path: tuple[str, ...] = ()
    timeout: float = MODULE_TIMEOUT


class Discovered(msgspec.Struct, frozen=True):
    """What was found, by name, and what could not be described.

    Attributes:
        code: for each task with code of its author's, by name, a text that is another one where
            the files are that it is written in.
    """

    descriptions: tuple[Description, ...] = ()
    failures: tuple[Failure, ...] = ()
    code: dict[str, str] = {}


def discover(
    folders: Iterable[str] = (),
    configured: Iterable[Configured] = (),
    known: Iterable[Description] = (),
    path: Iterable[str] = (),
    timeout: float = MODULE_TIMEOUT,
) -> Discovered:
    """Find all tasks. Blocks for some tenths of a second, or as long as what hangs may.

    Args:
        folders: of private task files.
        configured: callables that the configuration makes tasks of.
        known: descriptions from the configuration: they win over all others.
        path: folders to put before `sys.path` for the configured callables.
        timeout: seconds that each module has to be imported.

    Raises:
        AptaskError: the child process itself came to grief.
    """
    request = Request(
        folders=tuple(os.path.realpath(folder) for folder in folders),
        configured=tuple(configured),
        path=tuple(os.path.realpath(folder) for folder in path),
        timeout=timeout,
    )
    found = _ask(request)
    first = {description.name: description for description in known}
    descriptions = {description.name: description for description in found.descriptions} | first
    code = {name: text for name, text in found.code.items() if name not in first}
    listed = tuple(descriptions[name] for name in sorted(descriptions))
    return Discovered(listed, found.failures, code)


def _ask(request: Request) -> Discovered:
    limit = 30.0 + 6 * request.timeout
    root = str(Path(__file__).parents[2])
    # A file for what it says last: a process that an author's module has left behind may hold a
    # pipe open for ever. It is in memory: there may be no folder that can be written to.
    with open(os.memfd_create("errors"), "w+b") as errors:
        try:
            ended = subprocess.run(
                # -P: what lies in the current folder must not be imported by accident.
                [sys.executable, "-P", "-c", _BEGIN, root, str(os.getpid())],
                input=msgspec.json.encode(request),
                stdout=subprocess.PIPE,
                stderr=errors,
                timeout=limit,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise AptaskError(f"looking for tasks has not ended within {limit:g} s") from None
        except OSError as error:
            raise AptaskError(f"cannot look for tasks: {error}") from None
        try:
            return msgspec.json.decode(ended.stdout, type=Discovered)
        except msgspec.DecodeError:
            errors.seek(max(errors.seek(0, os.SEEK_END) - 4096, 0))
            lines = errors.read().decode("utf-8", "replace").split("\n")
            last = next((line for line in reversed(lines) if line.strip()), "it said nothing")
            raise AptaskError(
                f"looking for tasks failed, with exit code {ended.returncode}: {last}"
            ) from None


def main() -> None:
    """The child: a `Request` on its input, a `Discovered` on its output, both JSON."""
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=Request)
    # Authors' code, which may print, runs in processes that have neither of the two.
    sys.stdout.buffer.write(msgspec.json.encode(_look(request)))


def _look(request: Request) -> Discovered:
    from aptask.tasks.apart import Fault, run_apart
    from aptask.tasks.candidates import list_candidates
    from aptask.tasks.examine import Examined, examine

    candidates, failures = list_candidates(request.folders, request.configured, request.path)
    results = run_apart([partial(examine, candidate) for candidate in candidates], request.timeout)
    found: list[Found] = []
    for candidate, result in zip(candidates, results, strict=True):
        if isinstance(result, Fault):
            failures.append(Failure(candidate.plugin, f"{candidate.location}: {result}"))
            continue
        examined = msgspec.json.decode(result, type=Examined)
        failures.extend(examined.failures)
        found.extend(
            Found(candidate.level, candidate.plugin, identity, description, examined.code)
            for identity, description in examined.described
        )
    return choose(found, failures)


class Found(msgspec.Struct, frozen=True):
    """A task that was found.

    Attributes:
        level: of `aptask.tasks.candidates.Level`; the lower one wins.
        plugin: where, for people.
        identity: the same for what is found in two ways.
        code: another text where the code is another.
    """

    level: int
    plugin: str
    identity: str
    description: Description
    code: str = ""


def choose(found: Sequence[Found], failures: Iterable[Failure] = ()) -> Discovered:
    """One task for each name, and a failure for each mistake."""
    chosen: dict[str, Found] = {}
    mistakes = list(failures)
    for one in sorted(found, key=lambda one: one.level):
        first = chosen.setdefault(one.description.name, one)
        if first is one or first.level < one.level or first.identity == one.identity:
            continue
        mistakes.append(
            Failure(
                one.plugin,
                f"there is a task `{one.description.name}` already, from {first.plugin}: "
                "give one of the two another name",
            )
        )
    descriptions = tuple(one.description for one in chosen.values())
    code = {name: one.code for name, one in chosen.items() if one.code}
    return Discovered(descriptions, tuple(mistakes), code)


if __name__ == "__main__":
    main()
