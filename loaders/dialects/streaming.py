"""Rows streamed to MariaDB as the answer to `LOAD DATA LOCAL`: from memory, never from a file.

In this protocol the server names the file that it wants, and nothing binds it to the name in the statement; a
client that opens what it is asked for gives any file away to a server that lies. So PyMySQL is never allowed
to (`local_infile` stays off, and it refuses whatever a server asks for). We announce only that we can
answer, and do so for our own statement alone, with the bytes that came with it, whatever name is asked for.

The packets are PyMySQL's private matter: tests/loaders/test_streaming.py fails where they change.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import NoneType
from typing import Any

from sqlalchemy import Connection, Engine, event

from loaders.keys import chunks

# How the values are written; in numbers, so that no sql_mode reads them in another way.
FORMAT = "CHARACTER SET utf8mb4 FIELDS TERMINATED BY 0x09 ESCAPED BY 0x5C LINES TERMINATED BY 0x0A"

_NULL = r"\N"
_ESCAPED = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r", "\0": r"\0"})
_SPECIAL = "\\\t\n\r\0"
# The execution option that carries the bytes.
_PACKETS = "inbox_packets"
# A packet of some 50 KB: the server reads the one while we write the next.
_ROWS_A_PACKET = 256
# Far below the least `max_allowed_packet` that a server is likely to have.
_PACKET_BYTES = 64 * 1024


def enable(engine: Engine) -> None:
    """Let `load` be used on an engine's connections; elsewhere the server refuses the statement."""
    event.listen(engine, "do_connect", _announce)
    event.listen(engine, "do_execute", _answer)


def load(connection: Connection, statement: str, rows: Sequence[Sequence[Any]]) -> int:
    """Run a `LOAD DATA LOCAL` statement with these rows; returns how many went in.

    The statement has FORMAT after the table's name. Values that do not fit are warnings to the server, not
    errors: the caller has to look for them.
    """
    options: Any = {_PACKETS: _packets(rows)}
    return connection.exec_driver_sql(statement, execution_options=options).rowcount


def _announce(dialect: Any, _record: Any, _arguments: Any, named: dict[str, Any]) -> None:
    able = dialect.loaded_dbapi.constants.CLIENT.LOCAL_FILES
    named["client_flag"] = named.get("client_flag", 0) | able


def _answer(cursor: Any, statement: str, _parameters: Any, context: Any) -> bool:
    """Run the statement if it is one of ours, within SQLAlchemy's care for errors; returns whether it was."""
    options: Mapping[str, Any] = context.execution_options
    if _PACKETS not in options:
        return False
    connection = cursor.connection
    connection._execute_command(context.dialect.loaded_dbapi.constants.COMMAND.COM_QUERY, statement)
    # Errors of the server are raised here: that it allows no such statement, say.
    connection._read_packet()
    try:
        for packet in options[_PACKETS]:
            connection.write_packet(packet)
    finally:
        # Without an end the connection could be used for nothing else, not even for going back. One that is
        # lost has none.
        if connection.open:
            connection.write_packet(b"")
            cursor.rowcount = connection._read_query_result()
    return True


def _packets(rows: Sequence[Sequence[Any]]) -> Iterator[bytes]:
    for chunk in chunks(rows, _ROWS_A_PACKET):
        columns = [_texts(values) for values in zip(*chunk, strict=True)]
        lines = map("\t".join, zip(*columns, strict=True))
        data = ("\n".join(lines) + "\n").encode()
        for start in range(0, len(data), _PACKET_BYTES):
            yield data[start : start + _PACKET_BYTES]


def _texts(values: Sequence[Any]) -> Iterable[str]:
    """A column's values as texts in which a backslash is the beginning of an escape, and nothing else."""
    kinds = set(map(type, values))
    if kinds == {int}:
        return map(str, values)
    if kinds <= {str, NoneType}:
        whole = "".join(filter(None, values))
        if not any(character in whole for character in _SPECIAL):
            return values if NoneType not in kinds else [_NULL if text is None else text for text in values]
    return [_NULL if value is None else str(value).translate(_ESCAPED) for value in values]
