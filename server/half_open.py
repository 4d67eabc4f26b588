"""A database server that has gone without a word: a machine that lost its power, a network that lost its way.

Nothing says so to a connection. As a load may take as long as it likes, there is no end to waiting for an
answer; the system asks the other machine instead whether it is still there, which it says while the server is
at work too, and ends the connection when no sign of life has come. To the loader the database is away then,
as after any other end (contract L9).

PyMySQL's socket and its time-outs are its private matter: tests/faults/test_half_open.py fails where they
change.
"""

import socket
from typing import Any

# After so long without a word the other machine is asked, and then again and again (TCP keep-alive).
IDLE_SECONDS = 30
AGAIN_SECONDS = 10
# After so long without any sign of it the connection ends: while an answer is waited for as well as while
# something that was sent is not acknowledged, which Linux would give up after a quarter of an hour.
SILENCE_SECONDS = 90
# Where only the network was cut, the server has not heard of that end either, and keeps what the transaction
# has locked, by default for two hours. A load says nothing for minutes at most: while it reads a huge file of
# which nothing goes in any more. MySQL has no such limit.
TRANSACTION_IDLE_SECONDS = 1800


def notice_silence(connection: Any) -> None:
    """Let a new connection to MariaDB end when the other machine has gone; a Unix socket knows by itself."""
    sock = connection._sock
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, IDLE_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, AGAIN_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, (SILENCE_SECONDS - IDLE_SECONDS) // AGAIN_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENCE_SECONDS * 1000)


def wait_for_answers(connection: Any) -> None:
    """Let a connection that was made in time wait for answers for as long as a load takes."""
    connection._read_timeout = connection._write_timeout = None
