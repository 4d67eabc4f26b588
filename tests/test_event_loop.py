"""An event reaches the connection that it was meant for, or none (contract A5)."""

import os
import socket

from server.ftp.loop import Loop


class Watched:
    """A connection that counts what it is told, and replaces another one when it is told something."""

    def __init__(self, loop: Loop, connection: socket.socket) -> None:
        self.connection = connection
        self.told = 0
        self.replaces: Watched | None = None
        self.new: Watched | None = None
        self._loop = loop
        loop.register(connection.fileno(), self, loop.READ)

    def handle_read_event(self) -> None:
        self.told += 1
        if self.replaces is not None:
            self.new = self.replaces.replaced()

    handle_close = handle_read_event

    def readable(self) -> bool:
        return True

    def replaced(self) -> "Watched":
        """Close it, and open another one that has its number."""
        number = self.connection.fileno()
        self._loop.unregister(number)
        ours, theirs = socket.socketpair()
        os.dup2(ours.fileno(), number)
        ours.close()
        self.connection.detach()
        self.theirs = theirs
        return Watched(self._loop, socket.socket(fileno=number))


def test_the_end_of_a_connection_is_not_told_to_the_one_that_has_its_number_next() -> None:
    loop = Loop()
    pairs = [socket.socketpair() for _ in range(2)]
    one, other = (Watched(loop, ours) for ours, _ in pairs)
    one.replaces, other.replaces = other, one
    for _, theirs in pairs:
        theirs.close()
    loop.poll(0)
    first, gone = (one, other) if one.new else (other, one)
    assert (first.told, gone.told) == (1, 0), "both had ended, and the first has replaced the other"
    assert first.new is not None
    assert first.new.told == 0
    first.replaces = None
    gone.theirs.close()
    loop.poll(0)
    assert first.new.told == 1, "its own end is told"
    for watched in (first, first.new):
        loop.unregister(watched.connection.fileno())
        watched.connection.close()
    loop.close()
