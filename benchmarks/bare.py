"""What Twisted allows at most: a LineReceiver that queues requests in memory, and nothing else.

    python bare.py PORT

It reads one JSON object a line with msgspec and answers `start` and `active` in one line each.
"""

import sys
from collections import deque
from typing import Any

import msgspec
from twisted.internet import reactor
from twisted.internet.protocol import Factory
from twisted.protocols.basic import LineReceiver


class Request(msgspec.Struct):
    """What it understands of a request."""

    key: str
    request: str
    name: str = ""
    arguments: list[Any] | dict[str, Any] = []


decode = msgspec.json.Decoder(Request).decode
encode = msgspec.json.Encoder().encode
queue: deque[Request] = deque()
running = [Request("", "start", "sleep", {"seconds": 3600.0})]


class Bare(LineReceiver):
    """A client's connection."""

    delimiter = b"\n"

    def connectionMade(self) -> None:
        """Send answers at once."""
        self.transport.setTcpNoDelay(True)

    def lineReceived(self, line: bytes) -> None:
        """Answer a request."""
        request = decode(line)
        if request.request == "start":
            queue.append(request)
            answer = {"status": "ok", "response": "start", "taskid": str(len(queue))}
        else:
            answer = {"status": "ok", "response": "active", "active": running, "total": 1}
        self.sendLine(encode(answer))


if __name__ == "__main__":
    factory = Factory.forProtocol(Bare)
    factory.noisy = False
    reactor.listenTCP(int(sys.argv[1]), factory, backlog=1024, interface="127.0.0.1")
    reactor.run()
