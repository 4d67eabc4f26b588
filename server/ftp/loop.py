"""The receiver's event loop: no event reaches a connection that it was not meant for.

pyftpdlib looks up who has a descriptor when an event's turn has come. If the event before it has closed that
descriptor and opened another one, which has the same number then, the new connection is told of the old one's
end: a client whose data connection was just taken would be asked for one (`425`).
"""

import select
from collections.abc import Iterator

from pyftpdlib.ioloop import IOLoop


class _Poller:
    """An `epoll` that forgets the events of descriptors that have been registered since they were collected.

    They are level-triggered: what is still so is told again.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._registered: set[int] = set()
        self.fileno = self._epoll.fileno
        self.modify = self._epoll.modify
        self.unregister = self._epoll.unregister
        self.close = self._epoll.close

    def register(self, fd: int, events: int) -> None:
        self._epoll.register(fd, events)
        self._registered.add(fd)

    def poll(self, timeout: float) -> Iterator[tuple[int, int]]:
        events = self._epoll.poll(timeout)
        self._registered.clear()
        return ((fd, event) for fd, event in events if fd not in self._registered)


class Loop(IOLoop):  # type: ignore[misc] # pyftpdlib is untyped
    """One thread's loop over all connections."""

    _poller = _Poller
