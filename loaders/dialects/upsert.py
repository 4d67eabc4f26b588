"""What is to be done with rows and a table, whatever the database (contract L7.1, L7.3)."""

from dataclasses import dataclass
from enum import Enum


class Winner(Enum):
    """Which of two rows with one key stays, by (rank of stream, version, line); of equals, the newcomer."""

    HIGHEST = "highest"
    LOWEST = "lowest"


class UnsafeSettings(RuntimeError):
    """The connection is set so that the database would alter values instead of refusing them."""


class ValuesAltered(RuntimeError):
    """The database has not kept the values that it was given; the load fails."""


@dataclass(frozen=True, slots=True)
class Upsert:
    """Rows of the stream `stream` for one table; `columns` end with stream, version, line, file_id.

    `beaten` are the streams whose rows give way to these, whatever their version. A row of any other stream
    than these stays.
    """

    table: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    winner: Winner
    beaten: tuple[int, ...]

    @property
    def data(self) -> tuple[str, ...]:
        """The columns that an update may change, but for those that decide who wins."""
        deciding = {*self.key, "line", "version", "stream"}
        return tuple(column for column in self.columns if column not in deciding)
