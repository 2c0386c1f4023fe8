"""Tells twistd of the daemon: `twistd aptask`."""

from twisted.application.service import ServiceMaker

aptask = ServiceMaker(
    "aptask",
    "aptask.service",
    "asynchronous parallel task scheduling, execution and monitoring",
    "aptask",
)
