"""File names: the grammar of contract N1 to N3 and N6."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.names import FileName, Mode, NameRefused, is_temporary, parse

PARTS = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-", min_size=1, max_size=30)
APIS = st.from_regex(r"[A-Z0-9][A-Z0-9_-]{0,39}", fullmatch=True)
NAMES = st.builds(FileName, PARTS, st.integers(1, 9_999_999), PARTS, APIS, st.sampled_from(Mode))


@given(NAMES)
def test_a_formatted_name_parses_back_to_itself(name: FileName) -> None:
    assert parse(str(name)) == name


@given(NAMES, st.data())
def test_case_does_not_matter(name: FileName, data: st.DataObject) -> None:
    text = "".join(data.draw(st.sampled_from([c.lower(), c.upper()])) for c in str(name))
    assert parse(text) == name


@given(NAMES.filter(lambda name: name.sequence < 1_000_000))
def test_six_digits_name_the_same_number_as_seven(name: FileName) -> None:
    assert parse(str(name).replace(f"_{name.sequence:07d}_", f"_{name.sequence:06d}_", 1)) == name


def test_the_published_example_is_read_and_shown_with_seven_digits() -> None:
    assert str(parse("DT_000001_KS_ORDERS.NET")) == "DT_0000001_KS_ORDERS.NET"


def test_an_api_may_hold_underscores() -> None:
    assert parse("DT_0000001_KS_CUST_PARTS.FULL").api == "CUST_PARTS"


@given(st.text(max_size=200))
def test_any_other_text_is_refused_with_a_reason(text: str) -> None:
    try:
        outcome = str(parse(text))
    except NameRefused as refusal:
        outcome = str(refusal)
    assert outcome


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("DT_0000000_KS_ORDERS.NET", "starts at 0000001"),
        ("DT_00001_KS_ORDERS.NET", "seven digits"),
        ("DT_00000017_KS_ORDERS.NET", "seven digits"),
        ("DT_0000017_KS_ORDERS.txt", ".NET or .FULL"),
        ("DT_0000017_ORDERS.NET", "SOURCE_SEQUENCE_INTEGRATION_API.MODE"),
        ("D/T_0000017_KS_ORDERS.NET", "letters, digits"),
        ("DT_0000017_KS_ORD\nERS.NET", "letters, digits"),
        ("DT_٠٠٠٠٠١٧_KS_ORDERS.NET", "seven digits"),
        ("ÄT_0000017_KS_ORDERS.NET", "letters, digits"),
        ("DT_0000017_KS_.NET", "letters, digits"),
        ("D" * 200 + "_0000017_KS_ORDERS.NET", "characters"),
        ("", ".NET or .FULL"),
    ],
)
def test_the_reason_says_what_is_wrong(text: str, reason: str) -> None:
    with pytest.raises(NameRefused, match=reason):
        parse(text)


def test_temporary_names_are_told_by_their_ending_in_any_case() -> None:
    suffixes = (".tmp", ".part")
    assert is_temporary("DT_0000017_KS_ORDERS.NET.TMP", suffixes)
    assert not is_temporary("DT_0000017_KS_ORDERS.NET", suffixes)
