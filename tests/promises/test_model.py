"""Any course of events at all, held against a model so small that it is obviously right.

A state machine starts jobs, lets them end, stops them, kills whichever process, and restarts the
daemon in every way there is; after each step, what the daemon says and what the jobs noted has to
be what the model allows. Where it is not, the last course that was printed is the one that failed,
as a script of its steps.

`APTASK_EXAMPLES` says how many courses are tried.
"""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.promises import witnessed

EXAMPLES = int(os.environ.get("APTASK_EXAMPLES", "6"))
STEPS = 12
SLOTS = 2
MOST = 8
"""Jobs in one course."""
SECONDS = 20.0

labels = st.integers(0, MOST - 1)


@dataclass
class Expected:
    """What may be true of a job that was acknowledged.

    Attributes:
        label: by which the witness knows it.
        rerun: what it asked for.
        kind: whether it is a program or a class.
        losses: how often it may have been lost at most: how often it may run again.
        may_be: the statuses that it may end with.
        ended: how it has ended, once somebody was told.
    """

    label: str
    kind: str
    rerun: bool
    losses: int = 0
    may_be: set[str] = field(default_factory=lambda: {"done"})
    was_let_go: bool = False
    was_stopped: bool = False
    ended: tuple[Any, ...] | None = None


class Course(RuleBasedStateMachine):
    """A daemon, and what is done to it."""

    tools: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[str, Expected] = {}
        self.keys: dict[tuple[str, str], str] = {}
        self.asked = 0
        self._stack = ExitStack()

    @initialize(keep_running=st.booleans(), rerun=st.booleans())
    def begin(self, keep_running: bool, rerun: bool) -> None:
        self.keep_running = keep_running
        home = witnessed.home(
            self.tools,
            "--slots",
            str(SLOTS),
            config=f"keep_running = {str(keep_running).lower()}\nstop_deadline = 6",
        )
        self.daemon = self._stack.enter_context(home)
        self.start("program", rerun, None, True)
        self.start("class", not rerun, None, True)
        self.wait_until_slots_are_taken()

    def teardown(self) -> None:
        try:
            if hasattr(self, "daemon"):
                self._let_all_end()
        finally:
            self._stack.close()

    def _let_all_end(self) -> None:
        (self.daemon.folder / "go").touch()
        for job in self.model.values():
            job.was_let_go = True
        if self.model:
            answer = self.daemon.ask("wait", taskids=list(self.model), timeout=SECONDS)
            assert answer["ended"], answer
        self.what_is_shown_is_what_may_be()
        for taskid, job in self.model.items():
            assert job.ended is not None, job
            notes = witnessed.read(self.daemon.folder)[job.label]
            if job.ended[0] == "done":
                assert notes[-1][1:] == (job.ended[1], "ended"), (job, notes)
                text = self.daemon.ask("output", taskid=taskid)["text"]
                assert text.endswith("began\nended\n"), (job, text)
        assert not self.daemon.ask("active", owner="*")["active"]

    # What is done

    # What may come next must not depend on what the daemon says: it has to be the same again.
    @precondition(lambda self: self.asked < MOST)
    @rule(
        kind=st.sampled_from(("program", "class")),
        rerun=st.booleans(),
        key=st.sampled_from((None, None, ("once", "a"), ("once", "b"), ("unique", "a"))),
        is_long=st.sampled_from((True, True, False)),
    )
    def start(self, kind: str, rerun: bool, key: tuple[str, str] | None, is_long: bool) -> None:
        label = f"job{self.asked}"
        self.asked += 1
        fields = witnessed.request(label, self.daemon.folder, kind=kind, is_long=is_long)
        if key is not None:
            fields[key[0]] = key[1]
        answer = self.daemon.ask("start", rerun=rerun, **fields)
        assert answer["status"] == "ok", answer
        taskid = answer["taskid"]
        before = self.keys.get(key) if key is not None else None
        if answer.get("existing"):
            assert taskid == before, answer
            if key is not None and key[0] == "unique":
                # It has not ended as far as the daemon knew; a short one may have since.
                ended = self.model[taskid].ended
                assert ended is None, answer
            return
        assert taskid not in self.model
        assert key is None or key[0] == "unique" or before is None, answer
        if key is not None:
            if key[0] == "unique" and before is not None:
                self.look(before)
                assert self.model[before].ended is not None, "it has not ended"
            self.keys[key] = taskid
        self.model[taskid] = Expected(label, kind, rerun, was_let_go=not is_long)

    def _chosen(self, which: int) -> tuple[str, Expected]:
        jobs = list(self.model.items())
        return jobs[which % len(jobs)]

    @rule(which=labels)
    def let_end(self, which: int) -> None:
        taskid, job = self._chosen(which)
        (self.daemon.folder / f"{job.label}.go").touch()
        job.was_let_go = True
        task = self.daemon.ask("show", taskid=taskid)["task"]
        if task["state"] == "active" or job.was_stopped:
            assert self.daemon.ask("wait", taskid=taskid, timeout=SECONDS)["ended"]

    @rule(which=labels, wait=st.booleans())
    def stop(self, which: int, wait: bool) -> None:
        taskid, job = self._chosen(which)
        answer = self.daemon.ask("stop", taskid=taskid, grace=2)
        if answer["status"] != "ok":
            self.look(taskid)
            assert job.ended is not None, answer
            return
        assert job.ended is None
        job.was_stopped = True
        job.may_be.add("stopped")
        if wait:
            assert self.daemon.ask("wait", taskid=taskid, timeout=SECONDS)["ended"]

    @rule()
    def wait_until_slots_are_taken(self) -> None:
        def are_taken() -> bool:
            tasks = self.daemon.ask("active")["active"]
            running = [task for task in tasks if task["state"] != "queued"]
            notes = witnessed.read(self.daemon.folder)
            return len(running) == min(SLOTS, len(tasks)) and all(
                any(note[:2] == (t["taskid"], t["attempt"]) for note in self._notes(notes, t))
                for t in running
                if t["state"] == "active"
            )

        self.tools.wait_until(are_taken, "slots are taken")

    def _notes(self, notes: Any, task: Any) -> Any:
        return notes[self.model[task["taskid"]].label]

    @rule()
    def kill_daemon(self) -> None:
        self._runner_may_end()
        self.daemon.kill()
        self.daemon.start()

    @rule()
    def kill_runner(self) -> None:
        self._may_be_lost()
        witnessed.kill_runner(self.daemon)

    @rule(is_runner_first=st.booleans())
    def kill_both(self, is_runner_first: bool) -> None:
        self._may_be_lost()
        runner = self.daemon.runner
        if is_runner_first:
            witnessed.kill_runner(self.daemon, runner)
        self.daemon.kill()
        witnessed.kill_runner(self.daemon, runner)
        self.daemon.start()

    @rule()
    def restart(self) -> None:
        if self.keep_running:
            self._runner_may_end()
        else:
            self._may_be_lost()
        self.daemon.process.send_signal(signal.SIGTERM)
        self.daemon.process.wait(SECONDS)
        self.daemon.start()

    def _runner_may_end(self) -> None:
        """A runner without jobs ends with its daemon: what was not ordered yet is lost with it."""
        noted = witnessed.read(self.daemon.folder)
        held = [
            job
            for job in self.model.values()
            if not (job.ended or job.was_let_go or job.was_stopped or job.losses)
            and [what for *_, what in noted[job.label]] == ["began"]
        ]
        if not held:
            self._may_be_lost()

    def _may_be_lost(self) -> None:
        for job in self.model.values():
            if job.ended is None:
                job.losses += 1
                job.may_be.add("interrupted")

    # What has to be true

    def look(self, taskid: str) -> None:
        """See that a job is as it may be."""
        answer = self.daemon.ask("show", taskid=taskid)
        assert answer["status"] == "ok", (answer, self.model[taskid])
        task, job = answer["task"], self.model[taskid]
        if job.ended is not None:
            assert task["state"] == "ended", (task, job)
        if task["state"] == "ended":
            assert task["status"] in job.may_be, (task, job)
            if task["status"] == "interrupted":
                assert not job.rerun or job.was_stopped, (task, job)
            if task["status"] == "done":
                assert job.was_let_go, (task, job)
            ended = task["status"], task["attempt"], task["exit"], task["ended"], task["message"]
            assert job.ended in (None, ended), (task, job)
            job.ended = ended
        else:
            assert task["status"] == "initialized" or task["state"] in ("active", "stopping")
            assert task["state"] != "stopping" or job.was_stopped, (task, job)
        assert task["attempt"] <= 1 + job.losses * job.rerun, (task, job)

    @invariant()
    def what_is_shown_is_what_may_be(self) -> None:
        if not hasattr(self, "daemon"):
            return
        noted = witnessed.read(self.daemon.folder)
        for taskid, job in self.model.items():
            self.look(taskid)
            notes = noted[job.label]
            begun = [attempt for _, attempt, what in notes if what == "began"]
            assert all(what != "beside-another" for *_, what in notes), (job, notes)
            assert begun == sorted(set(begun)), (job, notes)
            assert {number for number, *_ in notes} <= {taskid}, (job, notes)
            assert all(attempt <= 1 + job.losses * job.rerun for attempt in begun), (job, notes)
        assert set(noted) <= {job.label for job in self.model.values()}
        running = self.daemon.ask("active", owner="*")["active"]
        assert {task["taskid"] for task in running} <= set(self.model)


def test_any_course_of_events_leaves_what_the_model_allows(tools: Any) -> None:
    class Tried(Course):
        pass

    Tried.tools = tools
    run_state_machine_as_test(
        Tried,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize="APTASK_EXAMPLES" not in os.environ,
            suppress_health_check=list(HealthCheck),
            database=None,
            # A course of real processes need not come out the same when it is tried again. So it
            # is not made shorter, and is written down the first time.
            phases=[Phase.generate],
            verbosity=Verbosity.debug,
        ),
    )
