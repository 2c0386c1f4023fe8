"""Nothing runs again by itself: whichever process dies, at whichever step of a job's life.

Every job notes in a file that it begins and that it ends. Whatever was killed, and then started
again: what was acknowledged has run once, or is `interrupted` and has run once at most; only what
asked for `rerun` has a second attempt, and never beside the first.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.promises import dying_daemon, witnessed
from tests.runner import dying_runner

SLOTS = 6
STEADY_SECONDS = 60


class Job(NamedTuple):
    """A job that is asked for.

    Attributes:
        label: by which the witness knows it.
        kind: `program` or `class`.
        is_long: whether it goes on until all are told to end.
        rerun: whether it asked for another attempt.
        once: whether it is asked for again where there was no answer.
    """

    label: str
    kind: str
    is_long: bool
    rerun: bool
    once: bool


JOBS = [
    Job(
        f"{kind}-{'long' if is_long else 'short'}-{'rerun' if rerun else 'plain'}",
        kind,
        is_long,
        rerun,
        once=rerun != (kind == "class"),
    )
    for is_long, kind, rerun in product((True, False), ("program", "class"), (False, True))
]
"""The long ones first: of the short ones, some wait until others have ended."""


class Story:
    """Jobs of one daemon, and what was said of them."""

    def __init__(self, daemon: Any, tools: Any) -> None:
        self.daemon = daemon
        self._tools = tools
        self.taskids: dict[str, str] = {}
        self.unanswered: set[str] = set()

    @property
    def folder(self) -> Path:
        folder: Path = self.daemon.folder
        return folder

    def submit(self, jobs: Iterable[Job] = JOBS) -> None:
        """Ask for jobs; those that are not answered are remembered."""
        for job in jobs:
            fields = witnessed.request(job.label, self.folder, kind=job.kind, is_long=job.is_long)
            fields["rerun"] = job.rerun
            if job.once:
                fields["once"] = job.label
            answer = witnessed.ask(self.daemon, request="start", **fields)
            if answer is None:
                self.unanswered.add(job.label)
            else:
                assert answer["status"] == "ok", answer
                self.taskids[job.label] = answer["taskid"]
                self.unanswered.discard(job.label)

    def submit_again(self) -> None:
        """Ask again for what was not answered and may be asked for again."""
        self.submit([job for job in JOBS if job.once and job.label in self.unanswered])

    def wait_until_long_ones_run(self) -> None:
        for job in JOBS:
            if job.is_long:
                self._tools.wait_until(
                    lambda job=job: witnessed.begun(self.folder, job.label), f"{job.label} runs"
                )

    def arm(self, step: str, count: int = 1) -> None:
        """Have the daemon die at a step."""
        new = self.folder / "new"
        new.write_text(f"{step} {count}")
        new.rename(self.folder / "die")

    def go(self) -> None:
        """Let the long ones end."""
        (self.folder / "go").touch()

    def go_but_one(self) -> None:
        """Let the long ones end but for one: a runner without jobs ends with its daemon."""
        for job in JOBS[1:]:
            (self.folder / f"{job.label}.go").touch()

    def wait_for_death(self) -> None:
        assert self.daemon.process.wait(STEADY_SECONDS) == -9
        assert (self.folder / "died").exists()

    def start_to_die(self) -> None:
        """Start a daemon that dies, maybe before it is ready."""
        try:
            self.daemon.start()
        except AssertionError:
            assert self.daemon.process.poll() is not None
        self.wait_for_death()

    def check(self, *, runner_died: bool, deaths: int = 1) -> None:
        """See that everything ends, and how."""
        self.go()
        waited = self.daemon.ask("wait", taskids=list(self.taskids.values()), timeout=30)
        assert waited["ended"], waited
        tasks = dict(zip(self.taskids, waited["tasks"], strict=True))
        assert not self.daemon.ask("active", owner="*")["active"], "something else runs"
        noted = witnessed.read(self.folder)
        assert not set(noted) - {job.label for job in JOBS}
        for job in JOBS:
            begun = [attempt for _, attempt, what in noted[job.label] if what == "began"]
            ended = [attempt for _, attempt, what in noted[job.label] if what == "ended"]
            taskids = {taskid for taskid, *_ in noted[job.label]}
            story = job, tasks.get(job.label), noted[job.label]
            assert all(what != "beside-another" for *_, what in noted[job.label]), story
            assert begun == sorted(set(begun)), story  # each attempt once
            assert set(ended) <= set(begun), story
            most = 1 + deaths if job.rerun and runner_died else 1
            assert len(begun) <= most, story
            assert not begun or max(begun) <= 1 + deaths * job.rerun, story
            if job.label not in tasks:
                assert len(taskids) <= 1, story
                continue
            task = tasks[job.label]
            assert taskids <= {task["taskid"]}, story
            if task["status"] == "done":
                assert begun[-1:] == ended[-1:] == [task["attempt"]], story
                assert job.rerun or begun == [1], story
            else:
                assert task["status"] == "interrupted", story
                assert runner_died, story
                assert not job.rerun, story
                assert task["attempt"] == 1, story


@pytest.fixture(autouse=True)
def _dying(tools: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemons of this module are ones that die."""
    command = [sys.executable, "-P", str(Path(dying_daemon.__file__))]
    monkeypatch.setattr(tools, "twistd", lambda: command)


def together(tools: Any, *stories: Callable[[Story], None], **environment: str) -> None:
    """Have stories happen at the same time, each to a daemon of its own."""

    def happen(story: Callable[[Story], None]) -> None:
        with witnessed.home(tools, "--slots", str(SLOTS), environment=environment) as daemon:
            story(Story(daemon, tools))

    with ThreadPoolExecutor(len(stories)) as pool:
        happening = [pool.submit(happen, story) for story in stories]
    for one in happening:
        one.result()


@pytest.mark.parametrize("step", dying_daemon.SUBMISSION + dying_daemon.LIFE)
def test_a_daemon_that_dies_while_jobs_begin_starts_none_of_them_twice(
    tools: Any, step: str
) -> None:
    def alone(story: Story) -> None:
        story.arm(step, 1 if step == "launching" else 4)
        story.submit()
        story.wait_for_death()
        story.daemon.start()
        story.submit_again()
        story.check(runner_died=False)

    def with_its_runner(story: Story) -> None:
        story.arm(step, 1 if step == "launching" else 3)
        story.submit()
        story.go()
        story.wait_for_death()
        witnessed.kill_runner(story.daemon)
        story.daemon.start()
        story.submit_again()
        story.check(runner_died=True)

    together(tools, alone, with_its_runner)


@pytest.mark.parametrize("step", dying_daemon.END)
def test_a_daemon_that_dies_while_jobs_end_runs_none_of_them_again(tools: Any, step: str) -> None:
    def alone(story: Story) -> None:
        story.submit()
        story.arm(step, 2)
        story.go_but_one()
        story.wait_for_death()
        story.daemon.start()
        story.check(runner_died=False)

    def with_its_runner(story: Story) -> None:
        story.submit()
        story.arm(step, 2)
        story.go()
        story.wait_for_death()
        witnessed.kill_runner(story.daemon)
        story.daemon.start()
        story.check(runner_died=True)

    together(tools, alone, with_its_runner)


@pytest.mark.parametrize("step", dying_daemon.RETURN)
def test_a_daemon_that_dies_while_it_adopts_a_runner_is_followed_by_one_that_does(
    tools: Any, step: str
) -> None:
    def alone(story: Story) -> None:
        story.submit()
        story.wait_until_long_ones_run()
        story.daemon.kill()
        story.arm(step)
        story.start_to_die()
        story.daemon.start()
        story.check(runner_died=False)

    def with_its_runner(story: Story) -> None:
        story.submit()
        story.wait_until_long_ones_run()
        story.daemon.kill()
        story.arm(step)
        story.start_to_die()
        witnessed.kill_runner(story.daemon)
        story.daemon.start()
        story.check(runner_died=True)

    together(tools, alone, with_its_runner)


@pytest.mark.parametrize("step", dying_daemon.LOSS)
def test_a_daemon_that_dies_while_it_sees_that_the_runner_is_gone_is_followed_by_one_that_does(
    tools: Any, step: str
) -> None:
    def after_both(story: Story) -> None:
        story.submit()
        story.wait_until_long_ones_run()
        story.daemon.kill()
        witnessed.kill_runner(story.daemon)
        story.arm(step)
        story.start_to_die()
        story.daemon.start()
        story.check(runner_died=True, deaths=2)

    def after_the_runner(story: Story) -> None:
        story.submit()
        story.wait_until_long_ones_run()
        story.arm(step)
        witnessed.kill_runner(story.daemon)
        story.wait_for_death()
        story.daemon.start()
        story.check(runner_died=True, deaths=2)

    together(tools, after_both, after_the_runner)


@pytest.mark.parametrize("step", dying_runner.STEPS)
def test_a_runner_that_dies_takes_its_jobs_with_it_and_only_those_that_ask_run_again(
    tools: Any, step: str
) -> None:
    def alone(story: Story) -> None:
        story.submit()
        story.go()
        tools.wait_until((story.daemon.data / "died").exists, "the runner has died")
        story.check(runner_died=True)

    def with_its_daemon(story: Story) -> None:
        story.submit()
        story.go()
        tools.wait_until((story.daemon.data / "died").exists, "the runner has died")
        story.daemon.kill()
        story.daemon.start()
        story.check(runner_died=True)

    def without_its_daemon(story: Story) -> None:
        # Nothing ends before: the step is not to be reached while there is a daemon.
        story.submit([job for job in JOBS if job.is_long])
        story.wait_until_long_ones_run()
        story.daemon.kill()
        story.go()
        tools.wait_until(lambda: not witnessed.runners(story.daemon), "the runner has ended")
        story.daemon.start()
        story.check(runner_died=True)

    # The spool is synced only where the daemon does not say at once that it has the end.
    stories = [] if step == "synced" else [alone, with_its_daemon]
    if step in ("exited", "ended", "spooled", "synced"):
        stories.append(without_its_daemon)
    together(tools, *stories, APTASK_DIE_AT=step, APTASK_DIE_COUNT="3")
