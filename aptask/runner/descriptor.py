"""Twisted's `FileDescriptor`, with the types that it lacks."""

from __future__ import annotations

from twisted.internet.abstract import FileDescriptor


class Descriptor(FileDescriptor):
    """What a reactor reads and writes."""

    def startReading(self) -> None:
        """Have `doRead` called whenever there is something to read."""
        FileDescriptor.startReading(self)

    def stopReading(self) -> None:
        """Undo `startReading`."""
        FileDescriptor.stopReading(self)

    def startWriting(self) -> None:
        """Have `doWrite` called whenever there is room to write."""
        FileDescriptor.startWriting(self)

    def stopWriting(self) -> None:
        """Undo `startWriting`."""
        FileDescriptor.stopWriting(self)
