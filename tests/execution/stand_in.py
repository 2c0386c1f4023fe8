"""A process in the place of a runner, that says what a test has it say.

    python -P stand_in.py DATA

holds the data folder as a runner does, and passes lines on: what comes on its standard input goes
to the daemon that has connected last, and what a daemon says goes to its standard output, where
`connected` is its own word. It ends with its standard input, or when a daemon says `quit`.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from pathlib import Path

from aptask.model.orders import RUNNER_SOCKET
from aptask.runner import lock


def say(line: bytes) -> None:
    os.write(1, line)


def serve(folder: Path) -> None:
    held = lock.take(folder, lambda: say(b"waits\n"))
    (folder / RUNNER_SOCKET).unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(folder / RUNNER_SOCKET))
    listening.listen()
    current: list[socket.socket] = []

    def accept() -> None:
        while True:
            connection, _ = listening.accept()
            current.append(connection)
            say(b"connected\n")
            with connection.makefile("rb") as orders:
                for line in orders:
                    say(line)
                    if b'"order":"quit"' in line:
                        os._exit(0)

    threading.Thread(target=accept, daemon=True).start()
    say(b"serves\n")
    for line in sys.stdin.buffer:
        current[-1].sendall(line)
    os.close(held)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
    os._exit(0)
