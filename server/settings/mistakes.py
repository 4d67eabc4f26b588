"""What is wrong with settings, in the words of whoever wrote them; what pydantic says is for programmers."""

from collections.abc import Mapping

from pydantic import ValidationError

from server.settings.environment import DELIMITER, PREFIX

# By pydantic's kind of error, those that a person can make; `{}` is filled in by what follows.
_SAYINGS = {
    "extra_forbidden": "there is no such setting",
    "missing": "it is missing",
    "tuple_type": "write a list, such as {list}",
    "dict_type": "write a table, such as {table}",
    "model_type": "write a table, such as {table}",
    "string_type": "write a text in quotation marks",
    "bool_type": "write true or false",
    "bool_parsing": "write true or false",
    "int_type": "write a whole number",
    "int_parsing": "write a whole number",
    "int_from_float": "write a whole number",
    "float_type": "write a number",
    "float_parsing": "write a number",
    "byte_size": "write a size, such as 500 MB or 4 GB",
    "byte_size_unit": "write a size, such as 500 MB or 4 GB",
}
_IN_A_FILE = {"{list}": '["one", "two"]', "{table}": '{ key = "value" }'}
_IN_A_VARIABLE = {"{list}": 'one,two or ["one", "two"]', "{table}": '{"key": "value"} (JSON)'}


def tell(error: ValidationError, variables: Mapping[str, str]) -> list[str]:
    """What is wrong, and where: a key of `inbox.toml`, or the variable that has its place.

    Args:
        error: with all that is wrong.
        variables: those that are set, see `environment.names`.
    """
    found = error.errors()
    told = []
    for part in found:
        place = tuple(map(str, part["loc"]))
        inside = any(other["loc"][:-1] == part["loc"] for other in found)
        if part["type"] == "too_short" and inside:
            # What is wrong in a list was not counted.
            continue
        variable, key = _variable(place, variables)
        says = _SAYINGS.get(part["type"], part["msg"].removeprefix("Value error, "))
        for blank, example in (_IN_A_VARIABLE if variable else _IN_A_FILE).items():
            says = says.replace(blank, example)
        says = says.replace("Input should be", "it must be")
        told.append(f"{'.'.join((*variable, *key))}: {says}")
    return told


def _variable(
    place: tuple[str, ...], variables: Mapping[str, str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The variable that says what is in a place, if one does, and what of the place is left within it."""
    for depth in range(len(place), 0, -1):
        name = PREFIX + DELIMITER.join(place[:depth]).upper()
        if name in variables:
            return (variables[name],), place[depth:]
    return (), place
