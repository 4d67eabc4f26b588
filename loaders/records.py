"""What the database keeps beside the rows themselves: refused and parked rows, mentions, FULLs.

The tables belong to `metadata`, to which the ledger adds its own, so that a load and its record are one
transaction (contract L1) and one migration makes them all. Their columns must not change without it.

Texts compare character by character everywhere: `abc`, `ABC` and `abc ` are three keys (contract L3).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    DateTime,
    Dialect,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    delete,
    insert,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeDecorator, TypeEngine

from loaders.assembly import LONGEST_PARENT_KEY, LONGEST_ROW_KEY
from loaders.rejects import Reject

# SQLite counts up only what it calls INTEGER; it holds 8 bytes there too.
BigId = BigInteger().with_variant(Integer, "sqlite")


def _is_mysql(dialect: Dialect) -> bool:
    return dialect.name in {"mysql", "mariadb"}


def _exact_collation(dialect: Dialect) -> dict[str, str]:
    """The collation in which only equal texts are equal: `utf8mb4_bin` takes `abc ` for `abc`."""
    is_mariadb = getattr(dialect, "is_mariadb", False)
    return {"charset": "utf8mb4", "collation": "utf8mb4_nopad_bin" if is_mariadb else "utf8mb4_0900_bin"}


class Exact(TypeDecorator[str]):
    """A text of at most `length` characters that equals only itself."""

    impl = String
    cache_ok = True

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self.length = length

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if not _is_mysql(dialect):
            return super().load_dialect_impl(dialect)
        return mysql.VARCHAR(self.length, **_exact_collation(dialect))


class LongText(TypeDecorator[str]):
    """A text of any length that equals only itself; MariaDB's TEXT would end at 64 KiB."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if not _is_mysql(dialect):
            return super().load_dialect_impl(dialect)
        return mysql.MEDIUMTEXT(**_exact_collation(dialect))


INNODB: dict[str, Any] = {
    f"{dialect}_{option}": value
    for dialect in ("mysql", "mariadb")
    for option, value in (("engine", "InnoDB"), ("charset", "utf8mb4"))
}

metadata = MetaData()

_LONGEST_REASON = 500

rejected_row = Table(
    "inbox_rejected_row",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("file_id", BigId, nullable=False),
    Column("line", Integer, nullable=False),
    # None where the row as a whole is at fault.
    Column("field", Exact(100)),
    Column("reason", Exact(_LONGEST_REASON), nullable=False),
    Column("raw", LongText, nullable=False),
    # The key of the API's most specific table, as a JSON list; None where it could not be read.
    Column("row_key", Exact(LONGEST_ROW_KEY)),
    # 1 once a later row has made it good, so that nobody has to look at it any more.
    Column("made_good", SmallInteger),
    Index("inbox_rejected_row_file", "file_id", "line"),
    Index("inbox_rejected_row_open", "made_good", "file_id"),
    **INNODB,
)

parked_row = Table(
    "inbox_parked_row",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("file_id", BigId, nullable=False),
    Column("api", Exact(40), nullable=False),
    Column("stream", Integer, nullable=False),
    Column("version", BigId, nullable=False),
    Column("line", Integer, nullable=False),
    # The key of the API's most specific table, as a JSON list.
    Column("row_key", Exact(LONGEST_ROW_KEY), nullable=False),
    # The first parent that is missing: its table, and its key there.
    Column("waits_table", Exact(64), nullable=False),
    Column("waits_key", Exact(LONGEST_PARENT_KEY), nullable=False),
    # All that is needed to put the row in: column and value, as a JSON object.
    Column("row_values", LongText, nullable=False),
    Column("raw", LongText, nullable=False),
    # UTC, without a zone, which neither database keeps.
    Column("parked_at", DateTime, nullable=False),
    Index("inbox_parked_row_file", "file_id", "line"),
    Index("inbox_parked_row_waits", "waits_table", "waits_key"),
    Index("inbox_parked_row_key", "api", "row_key"),
    **INNODB,
)

# The newest mention of a key by a stream, where the row in the table does not tell it: the mention was parked
# or refused, or it counts for a whole group of rows (contract L7.2, L7.5). Columns as in a target table, so
# that mentions are joined in as rows are.
mention = Table(
    "inbox_mention",
    metadata,
    Column("table_name", Exact(64), primary_key=True),
    Column("stream", Integer, primary_key=True, autoincrement=False),
    # All of the table's key, or its first parts, as a JSON list.
    Column("row_key", Exact(LONGEST_ROW_KEY), primary_key=True),
    Column("version", BigId, nullable=False),
    Column("line", Integer, nullable=False),
    Column("file_id", BigId, nullable=False),
    **INNODB,
)

# The FULLs of an API and stream: what was last mentioned before the newest of them is inactive (L6, L7.2).
barrier = Table(
    "inbox_barrier",
    metadata,
    Column("api", Exact(40), primary_key=True),
    Column("stream", Integer, primary_key=True, autoincrement=False),
    Column("version", BigId, primary_key=True, autoincrement=False),
    # 1 when an operator has undone it.
    Column("lifted", SmallInteger, nullable=False),
    **INNODB,
)


def reject_rows(
    connection: Connection, file_id: int, rejects: Sequence[Reject], keys: Mapping[int, str] | None = None
) -> None:
    """Record refused rows of a file (contract L4); `keys` has, by line, those that could be read."""
    if rejects:
        connection.execute(
            insert(rejected_row),
            [
                {
                    "file_id": file_id,
                    "line": r.line,
                    "field": r.field,
                    # It may list all the codes of a field.
                    "reason": r.reason[:_LONGEST_REASON],
                    "raw": r.raw,
                    "row_key": (keys or {}).get(r.line),
                }
                for r in rejects
            ],
        )


def forget_rows(connection: Connection, file_id: int) -> None:
    """Drop the records of a file's refused and parked rows: it is loaded anew, or it is gone."""
    for table in (rejected_row, parked_row):
        connection.execute(delete(table).where(table.c.file_id == file_id))
