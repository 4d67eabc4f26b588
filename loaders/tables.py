"""The target tables, made from the catalog: typed columns, business keys, real foreign keys (contract L5).

They live in a metadata of their own, apart from the ledger's, and nothing in them refers to it: whoever reads
the store's data needs to know nothing of the inbox. Every row says who wrote it (`stream`, `version`, `line`,
`file_id`; contract L7.1, L8) and whether it counts (`active`; contract L6).
"""

from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    DateTime,
    Double,
    ForeignKeyConstraint,
    Integer,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    text,
)
from sqlalchemy.types import TypeEngine, UserDefinedType

from loaders import shapes
from loaders.records import INNODB, Exact, LongText
from loaders.shapes import ACTIVE, EXTRA, Catalog, Field, FieldType

_INTEGERS: dict[int, type[TypeEngine[int]]] = {1: SmallInteger, 2: SmallInteger, 4: Integer, 8: BigInteger}


class ExactNumber(UserDefinedType[str]):
    """A decimal number as text; its name says so to people, and to SQLite by the word TEXT in it."""

    cache_ok = True

    def __init__(self, precision: int, scale: int) -> None:
        self.precision = precision
        self.scale = scale

    def get_col_spec(self, **_options: Any) -> str:
        return f"DECIMAL_TEXT({self.precision}, {self.scale})"


@lru_cache(maxsize=8)
def target(catalog: Catalog) -> MetaData:
    """All tables of the catalog as SQLAlchemy knows them, by their names in `.tables`."""
    metadata = MetaData()
    most_specific = {api.most_specific.name for api in catalog.values()}
    for table in catalog.tables.values():
        _add(metadata, table, with_extra=table.name in most_specific)
    return metadata


def _add(metadata: MetaData, table: shapes.Table, *, with_extra: bool) -> None:
    Table(
        table.name,
        metadata,
        *(
            Column(name, _type(field), nullable=name not in table.key, autoincrement=False)
            for name, field in table.columns.items()
        ),
        Column("stream", Integer, nullable=False),
        Column("version", BigInteger, nullable=False),
        Column("line", Integer, nullable=False),
        Column("file_id", BigInteger, nullable=False),
        Column(ACTIVE, SmallInteger, nullable=False, server_default=text("1")),
        *([Column(EXTRA, LongText)] if with_extra else []),
        PrimaryKeyConstraint(*table.key),
        *(
            ForeignKeyConstraint(key.columns, [f"{key.parent}.{column}" for column in key.parent_key])
            for key in table.foreign_keys
        ),
        **INNODB,
    )


def _type(field: Field) -> TypeEngine[Any]:
    match field.type:
        case FieldType.STRING:
            return Exact(field.length or 1)
        case FieldType.INTEGER:
            return _INTEGERS[field.length or 4]()
        case FieldType.DECIMAL | FieldType.MONEY:
            precision = field.precision or 1
            # SQLite would keep a decimal as a float: money would not add up.
            return Numeric(precision, field.scale).with_variant(
                ExactNumber(precision, field.scale or 0), "sqlite"
            )
        case FieldType.FLOAT:
            return Double()
        case FieldType.DATE:
            return Date()
        case FieldType.DATETIME:
            return DateTime()
