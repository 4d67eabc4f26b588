"""Whatever a row says, it is loaded with exactly the values sent or refused at the right field (contract L3).

What a text means is worked out here a second time, in another way, and compared with what both databases hold
in the end. The verdicts of a load and of an examination without a database are compared as well.
"""

import io
import math
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from loaders.catalog import read_catalog
from loaders.checking import Examination, Quarantine
from loaders.options import SourceOptions
from tests.loaders.store import Store

Result = TypeVar("Result")

HEAD = """
api = "EVERYTHING"
purpose = "a field of every type"
level = 1
full_absent = "keep"
origin = "assumed"
[[table]]
name = "everything"
key = ["Code"]
"""
FIELDS = {
    "Code": 'type = "string"\nlength = 12\nrequired = true',
    "Text": 'type = "string"\nlength = 20',
    "Flag": 'type = "string"\nlength = 1\ncodes = { Y = "yes", N = "no" }',
    "Small": 'type = "integer"\nlength = 2',
    "Whole": 'type = "integer"\nlength = 4',
    "Big": 'type = "integer"\nlength = 8',
    "Amount": 'type = "money"',
    "Precise": 'type = "decimal"\nprecision = 14\nscale = 4',
    "Count": 'type = "decimal"\nprecision = 5\nscale = 0',
    "Share": 'type = "decimal"\nprecision = 4\nscale = 4',
    "Floating": 'type = "float"',
    "Day": 'type = "date"',
    "Moment": 'type = "datetime"',
    # A CR in a row's last cell would be part of the line's end.
    "Last": 'type = "string"\nlength = 1\nrequired = true',
}


@pytest.fixture
def store(database_url: str, tmp_path: Path) -> Iterator[Store]:
    """A store whose only API has a field of every type."""
    fields = [
        f'[[field]]\nordinal = {ordinal}\nname = "{name}"\n{described}\n'
        for ordinal, (name, described) in enumerate(FIELDS.items(), 1)
    ]
    (tmp_path / "everything.toml").write_text(HEAD + "".join(fields), encoding="utf-8")
    made = Store.at(database_url, read_catalog(tmp_path))
    yield made
    made.database.close()


# --- what a text means ---


class Wrong(Exception):
    """The text is no value of its field."""


def is_digits(text: str) -> bool:
    return set(text) <= set("0123456789")


def number(text: str, options: SourceOptions) -> str:
    """A number without exponent, as every language writes it."""
    sign = text[:1] if text[:1] in ("+", "-") else ""
    whole, _, decimals = text.removeprefix(sign).partition("," if options.decimal_comma else ".")
    groups = whole.split(options.thousands) if options.thousands else [whole]
    first, *others = groups
    if others and (not 1 <= len(first) <= 3 or first[0] == "0" or any(len(group) != 3 for group in others)):
        raise Wrong
    digits = "".join(groups)
    if not is_digits(digits + decimals) or not digits + decimals:
        raise Wrong
    return f"{sign}{digits or 0}.{decimals or 0}"


def integer(length: int, text: str, options: SourceOptions) -> int:
    value = Fraction(number(text, options))
    if value % 1 or not -(2 ** (8 * length - 1)) <= value < 2 ** (8 * length - 1):
        raise Wrong
    return int(value)


def decimal(precision: int, scale: int, text: str, options: SourceOptions) -> str:
    shifted = Fraction(number(text, options)) * 10**scale
    if shifted % 1 or abs(shifted) >= 10**precision:
        raise Wrong
    whole, decimals = divmod(abs(int(shifted)), 10**scale)
    sign = "-" if shifted < 0 else ""
    return f"{sign}{whole}.{decimals:0{scale}}" if scale else f"{sign}{whole}"


def floating(text: str, options: SourceOptions) -> float:
    mantissa, mark, exponent = text.replace("E", "e").partition("e")
    digits = exponent[1:] if exponent[:1] in ("+", "-") else exponent
    if mark and not (digits and is_digits(digits)):
        raise Wrong
    value = float(f"{number(mantissa, options)}e{exponent or 0}")
    if math.isinf(value) or (Fraction(number(mantissa, options)) and abs(value) < 2.0**-1022):
        raise Wrong
    return value or 0.0


def day(text: str) -> str:
    digits = "".join(character for character in text if is_digits(character))
    for year, month, of_month in (
        (digits[:4], digits[4:6], digits[6:]),
        (digits[4:], digits[:2], digits[2:4]),
    ):
        try:
            found = date(int(year), int(month), int(of_month))
        except (ValueError, OverflowError):
            continue
        y, m, d = f"{found.year:04}", f"{found.month:02}", f"{found.day:02}"
        if text in {f"{y}-{m}-{d}", f"{m}-{d}-{y}", f"{m}/{d}/{y}", f"{y}{m}{d}"}:
            return f"{y}-{m}-{d}"
    raise Wrong


def moment(text: str) -> str:
    for mark in " T":
        head, found, clock = text.rpartition(mark)
        seconds, _, fraction = clock.partition(".")
        parts = seconds.split(":")
        if (
            found
            and len(parts) in {2, 3}
            and all(len(part) == 2 and is_digits(part) for part in parts)
            and (int(parts[0]) < 24 and all(int(part) < 60 for part in parts[1:]))
            and ("." not in clock or (len(parts) == 3 and set(fraction) == {"0"}))
        ):
            return f"{day(head)} {':'.join([*parts, '00'][:3])}"
    return f"{day(text)} 00:00:00"


def string(length: int, text: str) -> str:
    if len(text) > length:
        raise Wrong
    return text


def flag(text: str) -> str:
    if text not in {"Y", "N"}:
        raise Wrong
    return text


def meaning(name: str, sent: str, options: SourceOptions) -> object:
    """The value that is to be in the database."""
    text = sent.strip(" ") if options.trim else sent
    if name in {"Code", "Last"} and not text.strip(" "):
        raise Wrong
    if not text:
        return None
    return MEANINGS[name](text, options)


MEANINGS: dict[str, Callable[[str, SourceOptions], object]] = {
    "Code": lambda text, _: string(12, text),
    "Text": lambda text, _: string(20, text),
    "Flag": lambda text, _: flag(text),
    "Small": lambda text, options: integer(2, text, options),
    "Whole": lambda text, options: integer(4, text, options),
    "Big": lambda text, options: integer(8, text, options),
    "Amount": lambda text, options: decimal(19, 4, text, options),
    "Precise": lambda text, options: decimal(14, 4, text, options),
    "Count": lambda text, options: decimal(5, 0, text, options),
    "Share": lambda text, options: decimal(4, 4, text, options),
    "Floating": floating,
    "Day": lambda text, _: day(text),
    "Moment": lambda text, _: moment(text),
    "Last": lambda text, _: string(1, text),
}

# --- rows ---

# Anything but what ends a cell or a line, and NUL; what has meaning elsewhere more often.
anything = st.text(
    st.one_of(
        st.sampled_from("\"'\\N%`;{}$ \r\v\x01\x1a\x7f\x85\u00a0\u2028\ufeff\uffff\u0301é😀0٣１"),
        st.characters(exclude_categories=["Cs"], exclude_characters="\t\n\0"),
    ),
    max_size=22,
)
NOTATIONS = [
    SourceOptions(),
    SourceOptions(trim=True),
    SourceOptions(thousands=","),
    SourceOptions(decimal_comma=True),
    SourceOptions(decimal_comma=True, thousands="."),
    SourceOptions(thousands=" ", trim=True),
]


@st.composite
def numbers(draw: st.DrawFn, options: SourceOptions, digits: int, decimals: int) -> str:
    """A number as a person or a program might write it, rightly or nearly so."""
    whole = str(draw(st.integers(0, 10**digits)))
    if options.thousands and draw(st.booleans()):
        whole = f"{int(whole):,}".replace(",", options.thousands)
    after = draw(st.text("0123456789", max_size=decimals)) + draw(st.sampled_from(["", "0", "000"]))
    mark = draw(st.sampled_from([",", ".", "", "," if options.decimal_comma else "."]))
    sign = draw(st.sampled_from(["", "", "-", "+"]))
    return sign + draw(st.sampled_from(["", "", "0", "000"])) + whole + (mark + after if mark else "")


# fmt: off
ODD_NUMBERS = st.sampled_from([
    "-0", "+0", "-0.000", "0,00", ".", ",", "-", "+", ".5", ",5", "5.", "5,", "1e3", "1E-3", "1,5e2",
    "1e400", "1e-400", "0e999", "4.9e-324", "2.2250738585072014e-308", "nan", "inf", "-inf", "0x10",
    "1_000", "1-2", "--1", "１２", "٣", "1,234", "1.234", "12,34", "1,2345", "1,234,567.50", "1.234.567,50",
    "1,,234", ",123", "0,123", "1.2.3", "32767", "32768", "-32768", "-32769", "2147483647", "2147483648",
    "-2147483648", "9223372036854775807", "9223372036854775808", "-9223372036854775808", "99999", "100000",
    "0.9999", "1.0000", "9999999999.9999", "999999999999999.9999", "1000000000000000", "0.00005", "0.1",
    "123456789012345678901234567890",
    "9" * 400, "0" * 400, "0." + "0" * 400, "1" + "0" * 22, "1 234", " 7", "7 ",
])
ODD_DAYS = st.sampled_from([
    "0001-01-01", "9999-12-31", "0000-01-01", "01-01-0001", "12/31/9999", "00010101", "99991231",
    "2024-02-29", "2023-02-29", "19000229", "20000229", "31-12-2024", "12-31-24", "2024-1-1", "2024/01/01",
    "２０２４-01-01", "2024-01-00", "2024-13-01", "20241301", "1312024", "2024-01-01x",
])
# fmt: on
floats = st.floats(allow_nan=False, allow_infinity=False).map(repr)
ODD_CLOCKS = st.sampled_from(
    [
        "00:00",
        "23:59:59",
        "24:00:00",
        "23:59:60",
        "12:60",
        "1:00",
        "12:00:00.000",
        "12:00:00.5",
        "12:00.0",
        "12",
        "",
    ]
)
PATTERNS = ("{y:04}-{m:02}-{d:02}", "{m:02}-{d:02}-{y:04}", "{m:02}/{d:02}/{y:04}", "{y:04}{m:02}{d:02}")


def days() -> st.SearchStrategy[str]:
    written = st.builds(
        lambda day, pattern: pattern.format(y=day.year, m=day.month, d=day.day),
        st.dates(),
        st.sampled_from(PATTERNS),
    )
    return st.one_of(written, written, ODD_DAYS)


def moments() -> st.SearchStrategy[str]:
    clocks = st.one_of(st.times().map(lambda time: time.strftime("%H:%M:%S")), ODD_CLOCKS)
    both = st.builds(lambda day, mark, clock: day + mark + clock, days(), st.sampled_from(" T"), clocks)
    return st.one_of(both, both, days())


def cells(options: SourceOptions) -> dict[str, st.SearchStrategy[str]]:
    """By field, texts that mean something in it or nearly do."""

    def some(digits: int, decimals: int) -> st.SearchStrategy[str]:
        usual = numbers(options, digits, decimals)
        return st.one_of(st.just(""), usual, usual, ODD_NUMBERS)

    return {
        "Text": st.one_of(anything, st.text(max_size=20).filter(lambda text: not set(text) & set("\t\n\0"))),
        "Flag": st.sampled_from(["", "Y", "N", "Y", "N", "y", " ", "Y ", "YN"]),
        "Small": some(4, 0),
        "Whole": some(9, 0),
        "Big": some(18, 0),
        "Amount": some(15, 4),
        "Precise": some(10, 4),
        "Count": some(5, 0),
        "Share": st.one_of(some(0, 4), st.integers(0, 9999).map(lambda share: f".{share:04}")),
        "Floating": st.one_of(floats, some(20, 20)),
        "Day": st.one_of(st.just(""), days()),
        "Moment": st.one_of(st.just(""), moments()),
        "Last": st.sampled_from(["x", "x", "x", "x", "é", "😀", " ", "", "xy"]),
    }


@st.composite
def files(draw: st.DrawFn) -> tuple[SourceOptions, list[list[str]]]:
    """A notation, and rows that have something to say in some of their cells."""
    options = draw(st.sampled_from(NOTATIONS))
    drawn = cells(options)
    rows = []
    for i in range(draw(st.integers(1, 6))):
        # A few cells each, or hardly any row would be loaded.
        filled = draw(st.sets(st.sampled_from([*drawn, "anything"]), max_size=4))
        row = {name: draw(drawn[name]) if name in filled else "" for name in drawn}
        row["Last"] = row["Last"] or "x"
        if "anything" in filled:
            row[draw(st.sampled_from([name for name in drawn if name != "Last"]))] = draw(anything)
        key = draw(
            st.sampled_from(
                ["{}", "{} ", " {}", "{}\u0301", "{}\r", "{}😀", "{}é", "{}É", "", "  ", "{}xxxxxxxxxxxx"]
            )
        )
        rows.append([key.format(f"K{i}"), *row.values()])
    return options, rows


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(files())
def test_a_row_is_loaded_with_exactly_the_values_sent_or_refused_at_its_first_wrong_field(
    store: Store, file: tuple[SourceOptions, list[list[str]]]
) -> None:
    options, rows = file
    wanted: dict[int, list[object]] = {}
    refused: dict[int, str | None] = {}
    for line, row in enumerate(rows, 1):
        if not "".join(row).strip(" "):
            refused[line] = None
            continue
        wanted[line] = []
        for name, text in zip(FIELDS, row, strict=True):
            try:
                wanted[line].append(meaning(name, text, options))
            except Wrong:
                refused[line] = name
                del wanted[line]
                break
        event("refused" if line in refused else "loaded")
    data = as_bytes(rows)
    with store.undone() as connection:
        outcome = store.load("EVERYTHING", data, connection=connection, **vars_of(options))
        columns = ", ".join(["line", *(name.lower() for name in FIELDS)])
        got = {
            int(str(row[0])): list(row[1:])
            for row in store.rows("everything", columns, connection=connection)
        }
        told = store.rows("inbox_rejected_row", "line, field, reason, raw", connection=connection)
    assert got == wanted
    assert {int(str(line)): field for line, field, *_ in told} == refused
    assert (outcome.rows_loaded, outcome.rows_rejected) == (len(wanted), len(refused))
    assert "-0.0" not in {str(values[10]) for values in got.values()}
    assert examined(store, options, data) == told


# Lines that are no rows, or odd ones, among rows.
lines = st.lists(
    st.one_of(
        st.sampled_from(
            [
                b"",
                b"\t" * 13,
                b" \t" * 13,
                b"K\0" + b"\t" * 13,
                b"K\xff" + b"\t" * 13,
                b"K",
                b"\r",
                b"\xef\xbb\xbfK" + b"\t" * 12 + b"\tx",
            ]
        ),
        st.sampled_from(
            ["\t".join(FIELDS).encode(), b"\t".join(name.upper().encode() for name in reversed(FIELDS))]
        ),
        st.integers(0, 9).map(lambda key: f"K{key}".encode() + b"\t" * 13 + b"x"),
        st.binary(max_size=30),
    ),
    max_size=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(lines, st.sampled_from([b"\n", b"\n", b"\r\n", b"\r"]), st.booleans(), st.sampled_from([0, 1, 1000]))
def test_an_examination_and_a_load_give_the_same_verdict_on_any_bytes(
    store: Store, rows: list[bytes], end: bytes, ragged: bool, max_rejected: int
) -> None:
    options = SourceOptions(ragged=ragged)
    data = end.join(rows)
    with store.undone() as connection:
        foreseen = verdict(lambda: examined(store, options, data, max_rejected))
        came = verdict(
            lambda: store.load(
                "EVERYTHING", data, connection=connection, max_rejected=max_rejected, ragged=ragged
            )
        )
        if isinstance(came, Quarantine):
            event("quarantined")
            assert isinstance(foreseen, Quarantine)
            assert vars(foreseen) == vars(came)
            return
        told = store.rows("inbox_rejected_row", "line, field, reason, raw", connection=connection)
        loaded = store.rows("everything", "line", connection=connection)
    event("loaded" if loaded else "nothing to load")
    assert foreseen == told
    assert came.rows_read == came.rows_loaded + len(told)


def verdict(judge: Callable[[], Result]) -> Result | Quarantine:
    try:
        return judge()
    except Quarantine as fault:
        return fault


def as_bytes(rows: Sequence[Sequence[str]]) -> bytes:
    return "".join("\t".join(row) + "\n" for row in rows).encode()


def vars_of(options: SourceOptions) -> dict[str, Any]:
    return {name: getattr(options, name) for name in ("trim", "ragged", "decimal_comma", "thousands")}


def examined(
    store: Store, options: SourceOptions, data: bytes, max_rejected: int = 1000
) -> list[tuple[object, ...]]:
    """The refused rows that are found without a database, as the ledger would have them."""
    examination = Examination(store.catalog["EVERYTHING"], options, max_rejected)
    found = [reject for batch in examination.batches(io.BytesIO(data)) for reject in batch.rejects]
    assert [reject.line for reject in found] == sorted(reject.line for reject in found)
    return sorted(((r.line, r.field, r.reason, r.raw) for r in found), key=repr)
