"""Reports: one JSON line each, ten a second at most, the newest wins."""

import json
import os

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aptask.tasks import reporting
from aptask.tasks.reporting import Reporter


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def lines():
    return []


@pytest.fixture
def reporter(clock, lines):
    return Reporter(lines.append, clock)


def read(lines):
    return [json.loads(line) for line in lines]


def test_a_report_is_one_line_with_what_was_said(reporter, lines, clock):
    reporter.report(0.4, "indexing")
    clock.now += 1
    reporter.report(0.5)
    clock.now += 1
    reporter.report(message="done\nnearly")
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in lines)
    assert read(lines) == [
        {"progress": 0.4, "message": "indexing"},
        {"progress": 0.5},
        {"message": "done nearly"},
    ]


def test_what_comes_too_fast_is_held_back_and_merged(reporter, lines, clock):
    reporter.report(0.1)
    reporter.report(0.2, "a")
    reporter.report(0.3)
    assert read(lines) == [{"progress": 0.1}]
    reporter.flush()
    assert read(lines)[1:] == [{"progress": 0.3, "message": "a"}]
    reporter.flush()
    assert len(lines) == 2


@given(st.lists(st.tuples(st.floats(0, 0.3), st.booleans()), max_size=200))
@example([(0.01, True)] * 300)
@example([(0.01, False)] * 300)
def test_never_more_than_ten_leave_within_a_second(steps):
    clock = Clock()
    sent = []
    reporter = Reporter(lambda line: sent.append(clock.now), clock)
    for pause, is_last_of_a_track in steps:
        clock.now += pause
        reporter.report(0.5)
        if is_last_of_a_track:
            reporter.catch_up()
    for first, eleventh in zip(sent, sent[10:], strict=False):
        assert eleventh - first >= 1.0 - 1e-9


def test_a_fraction_is_clamped_and_what_is_no_number_refused(reporter, lines, clock):
    for progress in (7, -1, float("nan")):
        reporter.report(progress)
        clock.now += 1
    assert read(lines) == [{"progress": 1.0}, {"progress": 0.0}]
    for wrong in ("0.5", b"1", True, [1]):
        with pytest.raises(TypeError):
            reporter.report(wrong)


@given(st.text(st.characters(exclude_categories=()), max_size=1500))
def test_any_message_fits_into_one_atomic_write(message):
    lines = []
    Reporter(lines.append).report(0.5, message)
    assert len(lines[0]) < 4096
    assert "progress" in json.loads(lines[0])


def test_without_a_descriptor_reports_go_nowhere(monkeypatch):
    monkeypatch.delenv("APTASK_REPORT_FD", raising=False)
    reporting.use(None)
    reporting.current().report(0.5)


def test_the_descriptor_of_the_environment_is_used_and_may_be_closed(monkeypatch):
    reading, writing = os.pipe()
    monkeypatch.setenv("APTASK_REPORT_FD", str(writing))
    reporting.use(None)
    reporting.current().report(0.5)
    assert os.read(reading, 100) == b'{"progress":0.5}\n'
    os.close(reading)
    os.close(writing)
    reporting.current().report(0.6)
    reporting.current().flush()
    reporting.use(None)
