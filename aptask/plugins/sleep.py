"""The task `sleep`: does nothing, and tells about it, for trying out."""

import time

from aptask.tasks.task import Task, argument

_STEP = 0.1


class Sleep(Task):
    """Waits, and reports how far it is."""

    seconds = argument(float, default=1.0, minimum=0, maximum=31_536_000, help="how long")

    def run(self) -> None:
        start = time.monotonic()
        while (passed := time.monotonic() - start) < self.seconds:
            self.report(passed / self.seconds, f"{passed:.1f} of {self.seconds:g} s")
            time.sleep(min(_STEP, self.seconds - passed))
        self.report(1.0, f"{self.seconds:g} of {self.seconds:g} s")
