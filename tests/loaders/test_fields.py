"""A text is exactly one value of its field, or is refused with a reason (contract L3)."""

import math
from decimal import Decimal, InvalidOperation
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loaders.dates import DateFormatRefused
from loaders.fields import Checker, Column
from loaders.numbers import NotationRefused
from loaders.options import DATE_FORMATS, SourceOptions
from loaders.rejects import Refused
from loaders.shapes import Field, FieldType, Origin


def field(kind: str, **more: Any) -> Field:
    known: dict[str, Any] = {
        "length": None,
        "precision": None,
        "scale": None,
        "required": False,
        "key": False,
    }
    known |= {"codes": {}, "ordinal": 1, "name": "Field", "column": "field"} | more
    return Field(type=FieldType(kind), origin=Origin.ASSUMED, assumed=(), note="", **known)


def value(kind: str, text: str, options: SourceOptions | None = None, **more: Any) -> Any:
    return Column(field(kind, **more), options or SourceOptions()).value(text)


MONEY: dict[str, Any] = {"precision": 19, "scale": 4}
FIELDS = [
    field("string", length=5),
    field("string", length=5, required=True),
    field("string", length=3, key=True),
    field("string", length=1, codes={"Y": "yes", "N": "no"}),
    field("string", length=1, codes={"Y": "yes", "N": "no"}, required=True),
    field("string", length=2, codes={"Y": "yes", " ": "blank"}, required=True),
    field("integer", length=4),
    field("integer", length=2, key=True),
    field("integer", length=4, required=True),
    field("money", **MONEY),
    field("decimal", precision=3, scale=1, required=True),
    field("decimal", precision=3, scale=0, key=True),
    field("float"),
    field("float", key=True),
    field("date"),
    field("date", key=True),
    field("datetime", required=True),
    field("datetime", key=True),
]
texts = st.one_of(
    st.sampled_from(
        [
            "",
            " ",
            "     ",
            "Y",
            "N",
            "Q",
            "1",
            "-0",
            "+7",
            "007",
            "1.50",
            ".5",
            "5.",
            "1e3",
            "1e999",
            "nan",
            "inf",
            "1_0",
            "32768",
            "-32768",
            "2147483648",
            "99.94",
            "99.95",
            "100",
            "٣",
            "12,5",
            "2024-02-29",
            "2023-02-29",
            "01-31-2024",
            "1/31/2024",
            "01/31/2024",
            "20240131",
            "2024-01-31 23:59",
            "2024-01-31T24:00",
            "abcdef",
        ]
    ),
    st.text(alphabet="0123456789.-+eE ", max_size=8),
    st.text(max_size=8),
)


@given(st.lists(texts, max_size=12), st.sampled_from(FIELDS), st.booleans(), st.booleans())
@example([" ", "Y"], FIELDS[5], False, False)
def test_checking_a_column_agrees_with_checking_its_cells(
    cells: list[str], of: Field, trim: bool, comma: bool
) -> None:
    options = SourceOptions(trim=trim, decimal_comma=comma, thousands="." if comma else ",")
    values, reasons = Column(of, options).values(cells)
    assert len(values) == len(cells)
    for i, cell in enumerate(cells):
        try:
            expected: object = Column(of, options).value(cell)
        except Refused as refused:
            expected = refused
        if isinstance(expected, Refused):
            assert reasons[i] == str(expected)
        else:
            assert i not in reasons
            assert (values[i], type(values[i])) == (expected, type(expected))


@given(st.lists(texts, min_size=1, max_size=6), st.lists(texts, min_size=1, max_size=6))
def test_of_several_faults_in_a_row_the_first_field_is_named(first: list[str], second: list[str]) -> None:
    rows = min(len(first), len(second))
    one, two = field("integer", name="One", length=4), field("date", name="Two", ordinal=2)
    _, refusals = Checker([one, two], SourceOptions()).check([first[:rows], second[:rows]])
    for i in range(rows):
        faults = []
        for of, cell in ((one, first[i]), (two, second[i])):
            try:
                Column(of, SourceOptions()).value(cell)
            except Refused as refused:
                faults.append((of.name, str(refused)))
        assert (i in refusals) is bool(faults)
        if faults:
            assert (refusals[i].field, refusals[i].reason) == faults[0]


@given(texts)
def test_a_decimal_is_the_number_sent_with_all_its_decimals(text: str) -> None:
    try:
        got = value("money", text, **MONEY)
    except Refused:
        return
    if text:
        assert Decimal(got) == Decimal(text)
        assert Decimal(got).as_tuple().exponent == -4
        assert got.lstrip("-")[0].isdigit()
        assert not got.startswith("-") or Decimal(got) < 0
        assert text.isascii()
    else:
        assert got is None


@given(
    st.decimals(
        allow_nan=False, allow_infinity=False, places=4, min_value=-(10**15) + 1, max_value=10**15 - 1
    )
)
def test_every_amount_of_money_that_fits_is_accepted(amount: Decimal) -> None:
    assert Decimal(value("money", f"{amount:f}", **MONEY)) == amount


@given(texts)
def test_an_integer_is_the_number_sent(text: str) -> None:
    try:
        got = value("integer", text, length=2)
    except Refused:
        try:
            number = Decimal(text)
        except InvalidOperation:
            return
        plain = text.isascii() and not set(text) - set("+-0123456789.") and not text.endswith(".")
        assert not (plain and number == number.to_integral_value() and -32768 <= number <= 32767)
    else:
        assert got is None if not text else got == Decimal(text)


@given(st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False))
def test_every_finite_float_is_accepted_as_it_is(number: float) -> None:
    got = value("float", repr(number))
    assert got == number
    assert math.copysign(1, got) == 1 or got != 0


@pytest.mark.parametrize(
    ("kind", "more", "text", "reason"),
    [
        ("integer", {"length": 4}, "12,5x", "`12,5x` is not a number"),
        ("integer", {"length": 4}, "1.5", "`1.5` is not a whole number"),
        ("integer", {"length": 2}, "32768", "`32768` is not between -32,768 and 32,767"),
        (
            "integer",
            {"length": 4},
            "9" * 5000,
            f"`{'9' * 60}…` is not between -2,147,483,648 and 2,147,483,647",
        ),
        ("integer", {"length": 4}, "٣", "`٣` is not a number"),
        ("integer", {"length": 4}, "1_000", "`1_000` is not a number"),
        ("integer", {"length": 4}, ".", "`.` is not a number"),
        ("money", MONEY, "1.23456", "`1.23456` has 5 decimals, 4 allowed"),
        ("money", MONEY, "1" * 16, f"`{'1' * 16}` has 16 digits before the decimal mark, 15 allowed"),
        ("money", MONEY, "1e3", "`1e3` is not a number"),
        ("money", MONEY, "inf", "`inf` is not a number"),
        ("float", {}, "1e999", "`1e999` is too large or too small for a number with floating point"),
        ("float", {}, "1e-999", "`1e-999` is too large or too small for a number with floating point"),
        ("float", {}, "nan", "`nan` is not a number"),
        ("string", {"length": 30}, "x" * 31, "31 characters, 30 allowed"),
        ("string", {"length": 1, "codes": {"O": "", "C": "", "X": ""}}, "Q", "`Q` is not one of O, C, X"),
        ("string", {"length": 30, "required": True}, "", "required, but empty"),
        ("string", {"length": 30, "required": True}, "  ", "required, but blank"),
        ("integer", {"length": 4, "required": True}, " ", "required, but blank"),
        ("integer", {"length": 4}, "1e3", "`1e3` is not a number"),
        ("integer", {"length": 4}, "１２", "`１２` is not a number"),
        ("money", MONEY, "1,234.50", "`1,234.50` is not a number"),
        (
            "date",
            {},
            "2023-02-29",
            "`2023-02-29` is not a date (YYYY-MM-DD, MM-DD-YYYY, MM/DD/YYYY, YYYYMMDD)",
        ),
        (
            "date",
            {},
            "31/01/2024",
            "`31/01/2024` is not a date (YYYY-MM-DD, MM-DD-YYYY, MM/DD/YYYY, YYYYMMDD)",
        ),
        (
            "date",
            {},
            "0000-01-01",
            "`0000-01-01` is not a date (YYYY-MM-DD, MM-DD-YYYY, MM/DD/YYYY, YYYYMMDD)",
        ),
        (
            "datetime",
            {},
            "2024-01-31 24:00:00",
            f"`2024-01-31 24:00:00` is not a date ({', '.join(DATE_FORMATS)}), alone or with HH:MM:SS",
        ),
    ],
)
def test_a_refusal_says_why(kind: str, more: dict[str, Any], text: str, reason: str) -> None:
    with pytest.raises(Refused) as refused:
        value(kind, text, **more)
    assert str(refused.value) == reason


@pytest.mark.parametrize(
    ("kind", "more", "text", "expected"),
    [
        ("string", {"length": 5}, " a ", " a "),
        ("string", {"length": 5}, "", None),
        ("string", {"length": 5, "key": True}, "", ""),
        ("integer", {"length": 4}, "-007.00", -7),
        ("integer", {"length": 4, "key": True}, "", 0),
        ("money", MONEY, "12.5", "12.5000"),
        ("money", MONEY, "-.50000", "-0.5000"),
        ("money", MONEY, "-0", "0.0000"),
        ("decimal", {"precision": 3, "scale": 0, "key": True}, "", "0"),
        ("money", MONEY, "12.", "12.0000"),
        ("money", MONEY, "00012.50000000", "12.5000"),
        ("integer", {"length": 8}, "9223372036854775807", 2**63 - 1),
        ("float", {}, "-0", 0.0),
        ("float", {}, "5.", 5.0),
        ("date", {}, "0001-01-01", "0001-01-01"),
        ("date", {}, "12-31-9999", "9999-12-31"),
        ("date", {}, "20000229", "2000-02-29"),
        ("datetime", {}, "2024-01-31 23:59:59.000", "2024-01-31 23:59:59"),
        ("date", {}, "01-01-3000", "3000-01-01"),
        ("date", {"key": True}, "", "0001-01-01"),
        ("datetime", {}, "20240131", "2024-01-31 00:00:00"),
        ("datetime", {}, "01/31/2024 23:59", "2024-01-31 23:59:00"),
        ("datetime", {}, "2024-01-31T23:59:58", "2024-01-31 23:59:58"),
        ("datetime", {"key": True}, "", "0001-01-01 00:00:00"),
    ],
)
def test_a_value_has_one_form(kind: str, more: dict[str, Any], text: str, expected: Any) -> None:
    assert value(kind, text, **more) == expected


def test_blanks_are_taken_off_only_for_a_source_that_is_set_to_trim() -> None:
    assert value("string", " a ", SourceOptions(trim=True), length=1) == "a"
    assert value("string", "  ", SourceOptions(trim=True), length=1) is None
    assert value("integer", " 7 ", SourceOptions(trim=True), length=4) == 7


def test_a_day_that_two_formats_read_differently_is_refused() -> None:
    both = SourceOptions(date_formats=("MM/DD/YYYY", "D/M/YYYY"))
    assert value("date", "31/1/2024", both) == "2024-01-31"
    assert value("date", "02/02/2024", both) == "2024-02-02"
    with pytest.raises(Refused, match="could be 2024-01-02 or 2024-02-01"):
        value("date", "01/02/2024", both)


def test_a_time_in_a_day_that_two_formats_read_differently_is_refused() -> None:
    both = SourceOptions(date_formats=("MM/DD/YYYY", "DD/MM/YYYY"))
    assert value("datetime", "31/01/2024 12:00", both) == "2024-01-31 12:00:00"
    with pytest.raises(Refused, match="`01/02/2024` could be 2024-01-02 or 2024-02-01"):
        value("datetime", "01/02/2024 12:00", both)


COMMA = SourceOptions(decimal_comma=True)
GROUPED = SourceOptions(thousands=",")
CONTINENTAL = SourceOptions(decimal_comma=True, thousands=".")
FRENCH = SourceOptions(decimal_comma=True, thousands="\u202f")


@pytest.mark.parametrize(
    ("options", "text", "expected"),
    [
        (COMMA, "1234,5", "1234.5000"),
        (COMMA, "-,5", "-0.5000"),
        (COMMA, "1,234", "1.2340"),
        (GROUPED, "1,234,567.50", "1234567.5000"),
        (GROUPED, "1,234", "1234.0000"),
        (GROUPED, "-12,345.6789", "-12345.6789"),
        (GROUPED, "1234567.5", "1234567.5000"),
        (GROUPED, "0.1", "0.1000"),
        (CONTINENTAL, "1.234,50", "1234.5000"),
        (CONTINENTAL, "1.234", "1234.0000"),
        (CONTINENTAL, "1234,50", "1234.5000"),
        (FRENCH, "1\u202f234,50", "1234.5000"),
    ],
)
def test_numbers_are_read_in_the_notation_of_their_source(
    options: SourceOptions, text: str, expected: str
) -> None:
    assert value("money", text, options, **MONEY) == expected
    assert value("float", text, options) == float(expected)
    if "." not in expected.rstrip("0."):
        assert value("integer", text, options) == int(Decimal(expected))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        *[(COMMA, text) for text in ("1.5", "1.234,5", "1,2,3", ",")],
        *[
            (GROUPED, text)
            for text in (
                "12,34",
                "1,2345",
                "1234,567",
                ",123",
                "0,123",
                "012,345",
                "1,,234",
                "1,234,",
                "1.234,567",
                "1 234",
            )
        ],
        *[(CONTINENTAL, text) for text in ("1.5", "12.34", "1,234.5", "1,234,567")],
        (FRENCH, "1 234,50"),
    ],
)
@pytest.mark.parametrize("kind", ["money", "float", "integer"])
def test_a_number_in_another_notation_is_refused_and_not_guessed(
    options: SourceOptions, text: str, kind: str
) -> None:
    with pytest.raises(Refused, match=r"is not a number such as 1.?234[.,]50"):
        value(kind, text, options, **(MONEY if kind == "money" else {}))


@pytest.mark.parametrize(
    ("comma", "thousands"),
    [(True, ","), (False, "."), (False, "ab"), (True, "1"), (False, "-"), (True, "\t")],
)
def test_a_notation_in_which_a_text_could_be_two_numbers_is_refused(comma: bool, thousands: str) -> None:
    with pytest.raises(NotationRefused, match="cannot separate thousands"):
        SourceOptions(decimal_comma=comma, thousands=thousands)


@pytest.mark.parametrize(
    "pattern",
    [
        "YYYY-MM",
        "DD.MM.YY",
        "",
        "YYYY-MM-DD-DD",
        "yyyy-mm-dd",
        "DD-MMM-YYYY",
        "YYYY-MM-DDTHH",
        "MDYYYY",
        "YYYYDM",
    ],
)
def test_a_format_that_is_none_is_refused(pattern: str) -> None:
    with pytest.raises(DateFormatRefused):
        value("date", "x", SourceOptions(date_formats=(pattern,)))
