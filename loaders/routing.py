"""Which of several parents a row means: a value goes to the column of the parent whose condition holds (L5).

A contact's company is a customer or an end user, by its business type. Each of the two has a column with a
real foreign key, and in each row at most one of them says something.
"""

from collections.abc import Mapping, Sequence

from loaders.fields import Value
from loaders.shapes import Derived


def routed(derived: Sequence[Derived], columns: Mapping[str, Sequence[Value]]) -> dict[str, Sequence[Value]]:
    """The columns of some rows with the derived ones, which take the place of a column of their own name."""
    return {**columns, **{part.field.column: _routed(part, columns) for part in derived}}


def _routed(part: Derived, columns: Mapping[str, Sequence[Value]]) -> list[Value]:
    deciding, values = columns[part.when.column], columns[part.source]
    holds = part.when.values
    return [value if code in holds else None for code, value in zip(deciding, values, strict=True)]
