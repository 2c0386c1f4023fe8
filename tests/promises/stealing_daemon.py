"""`twistd`, for a daemon whose runner is `stealing_runner.py`."""

from __future__ import annotations

import sys
from pathlib import Path

from twisted.scripts import twistd

from aptask.execution import processes

if __name__ == "__main__":
    # Before the module is imported that starts it by default.
    runner = Path(__file__).with_name("stealing_runner.py")
    processes.COMMAND = (sys.executable, "-P", str(runner))
    sys.argv[0] = "twistd"
    twistd.run()
