"""How a cell is filled: by the field's name where that says something (`vocabulary`), else by its type.

What tells rows apart and what refers to others is not made here but in `kinds`. Whatever is made fits the
field as the catalog has it: it is cut to its length, and is one of its codes.
"""

from datetime import date, time

from loaders.shapes import Field, FieldType
from server.simulator import words
from server.simulator.dice import pick
from server.simulator.keys import capacity
from server.simulator.vocabulary import DAYS, NUMBERS, TEXTS, Maker, Row, first

_OFTEN_BLANK = 6


def maker(of: Field) -> Maker:
    """How to fill a field; it is blank now and then, unless it is required."""
    made = _made(of)
    if of.required:
        some = "-" if of.type is FieldType.STRING else "1"
        return lambda row: made(row) or some
    return lambda row: "" if row.stable.getrandbits(16) % _OFTEN_BLANK == 0 else made(row)


def _made(of: Field) -> Maker:
    match of.type:
        case FieldType.STRING:
            named = first(TEXTS, of.name) or _plain_text
            if of.codes:
                codes = tuple(of.codes)

                def coded(row: Row) -> str:
                    text = named(row)
                    return text if text in of.codes else pick(codes, row.fresh.getrandbits(16))

                return coded
            if of.open_codes:
                some = (*of.open_codes, *of.open_codes, "?"[: of.length])
                return lambda row: pick(some, row.fresh.getrandbits(16))
            return lambda row: named(row)[: of.length]
        case FieldType.DATE | FieldType.DATETIME:
            dated = first(DAYS, of.name) or _own_day
            if of.type is FieldType.DATE:
                return lambda row: row.spelled(dated(row))
            return lambda row: row.spelled(dated(row), _clock(row))
        case _:
            drawn = first(NUMBERS, of.name) or _small_number
            return lambda row: _as_number(of, drawn(row))


def _as_number(of: Field, text: str) -> str:
    """A number as the field can hold it: not too large, and without decimals that it does not have."""
    if not text or of.type is FieldType.FLOAT:
        return text
    whole, _, decimals = text.partition(".")
    sign, digits = ("-", whole[1:]) if whole.startswith("-") else ("", whole)
    if of.type is FieldType.INTEGER:
        return str(max(min(int(sign + digits), capacity(of)), -capacity(of)))
    digits = digits[-max((of.precision or 1) - (of.scale or 0), 1) :]
    decimals = decimals[: of.scale]
    return f"{sign}{digits}.{decimals}" if decimals else sign + digits


def _plain_text(row: Row) -> str:
    return pick(words.COLOURS, row.stable.getrandbits(16))


def _own_day(row: Row) -> date:
    return row.day


def _clock(row: Row) -> time | None:
    minutes = row.stable.randrange(6 * 60, 19 * 60)
    # A time of day may lack (midnight), and seconds are mostly zero.
    return None if minutes % 7 == 0 else time(minutes // 60, minutes % 60, 30 * (minutes % 5 == 0))


def _small_number(row: Row) -> str:
    return str(row.fresh.randint(0, 99))
