"""Functions that are not to be trusted: each is worth one sentence."""

import os
import signal
import subprocess
import sys
import time

import pytest

from aptask.tasks import apart
from aptask.tasks.apart import AT_ONCE, Fault, run_apart


def hang():
    while True:
        pass


def crash():
    os.kill(os.getpid(), signal.SIGUSR1)


def fail():
    raise RuntimeError


def close_everything():
    os.closerange(0, 200)
    return b"unheard"


def fork_and_return():
    if os.fork() == 0:
        return b"child"
    time.sleep(0.1)
    return b"parent"


def times():
    start = time.monotonic()
    time.sleep(0.4)
    return f"{start} {time.monotonic()}".encode()


def write_to_outputs():
    for descriptor in (1, 2):
        os.write(descriptor, b"noise")
    assert os.read(0, 1) == b""
    return b"quiet"


def test_results_come_in_order_whatever_their_size():
    answers = [b"", b"x" * 1_000_000, b"last"]
    assert run_apart([lambda a=a: a for a in answers], 10) == answers


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: os._exit(3), "exit code 3"),
        (lambda: os._exit(0), "exit code 0"),
        (lambda: sys.exit(0), "exit code 70"),
        (fail, "exit code 70"),
        (crash, "SIGUSR1"),
        (close_everything, "exit code"),
        (hang, "has not ended within 1 s"),
        (lambda: time.sleep(60), "has not ended within 1 s"),
    ],
)
def test_every_end_without_an_answer_is_a_fault_and_the_others_are_well(function, message):
    before, fault, behind = run_apart([lambda: b"a", function, lambda: b"b"], 1)
    assert (before, behind) == (b"a", b"b")
    assert isinstance(fault, Fault)
    assert message in str(fault)


def test_only_the_process_that_was_asked_answers():
    assert run_apart([fork_and_return] * 4, 5) == [b"parent"] * 4


def test_what_is_written_to_the_outputs_is_dropped(capfd):
    assert run_apart([write_to_outputs], 5) == [b"quiet"]
    assert capfd.readouterr() == ("", "")


def test_few_quick_ones_run_at_once():
    spans = [tuple(map(float, result.split())) for result in run_apart([times] * 8, 10)]
    at_once = [sum(start <= moment < end for start, end in spans) for moment, _ in spans]
    assert 1 < max(at_once) <= AT_ONCE


def test_those_that_hang_do_not_add_up(monkeypatch):
    monkeypatch.setattr(apart, "SLOW_AFTER", 0.1)
    start = time.monotonic()
    results = run_apart([lambda: time.sleep(60)] * (4 * AT_ONCE) + [lambda: b"well"], 1.0)
    assert time.monotonic() - start < 3
    assert results[-1] == b"well"


def test_nothing_is_left_behind(tmp_path):
    def leave():
        left = subprocess.Popen(["sleep", "60"])
        (tmp_path / str(left.pid)).touch()
        return b"left"

    descriptors = os.listdir("/proc/self/fd")
    assert run_apart([leave], 5) == [b"left"]
    (pid,) = os.listdir(tmp_path)
    deadline = time.monotonic() + 5
    while _is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _is_alive(pid)
    assert len(os.listdir("/proc/self/fd")) == len(descriptors)


def _is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
