"""A site adds APIs, and changes known ones (contract section 9, `[catalog] folder`)."""

from pathlib import Path

import pytest

from loaders.catalog import CatalogError, read_catalog
from loaders.shapes import FullAbsent, Origin, ReferenceKind
from tests.loaders.store import CATALOG

NEW_API = """
api = "LOYALTY"
purpose = "points of customers"
level = 3
full_absent = "deactivate"
[[table]]
name = "loyalty"
key = ["Customer"]
[[reference]]
kind = "park"
fields = ["Customer"]
table = "customers"
[[field]]
ordinal = 1
name = "Customer"
type = "string"
length = 30
required = true
[[field]]
ordinal = 2
name = "Points"
type = "integer"
"""


def read(folder: Path, *texts: str) -> list[str] | None:
    for number, text in enumerate(texts, 1):
        (folder / f"{number}.toml").write_text(text, encoding="utf-8")
    try:
        read_catalog(site=folder)
    except CatalogError as error:
        return list(error.mistakes)
    return None


def test_an_empty_folder_changes_nothing(tmp_path: Path) -> None:
    assert dict(read_catalog(site=tmp_path)) == dict(CATALOG)


def test_a_new_api_is_there_beside_the_others(tmp_path: Path) -> None:
    assert read(tmp_path, NEW_API) is None
    catalog = read_catalog(site=tmp_path)
    assert set(catalog) == {*CATALOG, "LOYALTY"}
    assert catalog["LOYALTY"].origin is Origin.SITE
    assert {field.origin for field in catalog["LOYALTY"].fields} == {Origin.SITE}
    assert catalog["LOYALTY"].file == str(tmp_path / "1.toml")


def test_a_new_field_follows_the_known_ones(tmp_path: Path) -> None:
    text = 'api = "CATEGORY"\n[[field]]\nname = "Colour"\ntype = "string"\nlength = 10\n'
    assert read(tmp_path, text) is None
    category = read_catalog(site=tmp_path)["CATEGORY"]
    assert category.fields[:-1] == CATALOG["CATEGORY"].fields
    assert (category.fields[-1].ordinal, category.fields[-1].origin) == (8, Origin.SITE)
    assert "colour" in category.most_specific.columns


@pytest.mark.parametrize(
    ("choice", "places"),
    [("", ("order_lines",)), ('table = "orders"', ("orders",)), ('table = "order_lines"', ("order_lines",))],
)
def test_a_new_field_goes_into_the_table_that_it_names(
    tmp_path: Path, choice: str, places: tuple[str, ...]
) -> None:
    text = f'api = "ORDERS"\n[[field]]\nname = "Colour"\n{choice}\ntype = "string"\nlength = 10\n'
    assert read(tmp_path, text) is None
    tables = read_catalog(site=tmp_path)["ORDERS"].tables
    assert tuple(table.name for table in tables if "colour" in table.columns) == places


def test_a_known_field_keeps_what_is_not_named(tmp_path: Path) -> None:
    text = 'api = "CATEGORY"\n[[field]]\nname = "Category Name"\nlength = 60\nrequired = true\n'
    assert read(tmp_path, text) is None
    before, after = (catalog["CATEGORY"].fields[1] for catalog in (CATALOG, read_catalog(site=tmp_path)))
    assert (after.length, after.required) == (60, True)
    assert (after.name, after.type, after.origin) == (before.name, before.type, before.origin)
    assert after.assumed == ("length", "required")


def test_what_an_api_does_can_be_changed(tmp_path: Path) -> None:
    assert read(tmp_path, 'api = "CATEGORY"\nmax_rejected = 5\nfull_absent = "keep"\n') is None
    category = read_catalog(site=tmp_path)["CATEGORY"]
    assert (category.max_rejected, category.full_absent) == (5, FullAbsent.KEEP)
    assert category.fields == CATALOG["CATEGORY"].fields


def test_a_reference_is_added_or_takes_the_place_of_the_one_to_the_same_table(tmp_path: Path) -> None:
    keep = '[[reference]]\nkind = "keep"\nfields = ["Item ID"]\ntable = "mfg_items"\n'
    more = '[[reference]]\nkind = "keep"\nfields = ["Price Sheet Code"]\ntable = "category"\n'
    assert read(tmp_path, f'api = "BASE_PRICES"\n{keep}{more}') is None
    references = read_catalog(site=tmp_path)["BASE_PRICES"].references
    assert [(r.kind, r.parent) for r in references] == [
        (ReferenceKind.KEEP, "mfg_items"),
        (ReferenceKind.KEEP, "category"),
    ]


CATEGORY = 'api = "CATEGORY"\n'


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (CATEGORY + '[[field]]\nname = "Category ID"\ntype = "integer"\n', "type: 'string' cannot become"),
        (CATEGORY + '[[field]]\nname = "Category ID"\nlength = 29\n', "length: 29 is narrower than 30"),
        (CATEGORY + '[[field]]\nname = "Category ID"\nordinal = 2\n', "ordinal: 1 cannot become 2"),
        (CATEGORY + '[[field]]\nname = "Category ID"\nlength = "x"\n', "length: 'x' is not a number"),
        (CATEGORY + '[[field]]\nname = "Colour"\ntype = "string"\n', "field 'Colour': length: a number"),
        (CATEGORY + '[[field]]\nname = "category id"\ntype = "date"\n', "gives the same column as"),
        (CATEGORY + '[[field]]\nname = "Day"\ntype = "date"\ntable = "x"\n', "'x' is no table of this API"),
        (CATEGORY + '[[field]]\nname = "D"\ntype = "date"\n' * 1 + '[[field]]\nname = "D"\n', "there twice"),
        (CATEGORY + "[[field]]\ntype = 'date'\n", "name: a text is needed"),
        (CATEGORY + 'field = "x"\n', "field: is not a list of tables"),
        (CATEGORY + "reference = [1]\n", "reference: is not a list of tables"),
        (CATEGORY + '[[table]]\nname = "category"\n', "table: the tables of an API that is known"),
        (CATEGORY + "colour = 1\n", "colour: unknown key"),
        (CATEGORY + "level = 'x'\n", "level: 'x' is not a number"),
        ('api = "NEW"\n', "purpose: a text is needed"),
        ("api = ['x']\n", "api: "),
        ("", "api: a text is needed"),
        ("[[", "TOML: "),
        (NEW_API.replace('"customers"', '"nobody"'), "reference 'nobody': table: 'nobody' is a table of no"),
        (NEW_API.replace('"loyalty"', '"orders"'), "table: 'orders' is a table of"),
    ],
)
def test_a_mistake_is_told_with_the_site_s_file_key_and_reason(
    tmp_path: Path, text: str, mistake: str
) -> None:
    found = read(tmp_path, text)
    assert found is not None
    assert any(line.startswith(f"{tmp_path / '1.toml'}: ") and mistake in line for line in found), found


def test_two_files_for_one_api_are_a_mistake(tmp_path: Path) -> None:
    for text in (NEW_API, CATEGORY + "max_rejected = 1\n"):
        found = read(tmp_path, text, text)
        assert found is not None
        assert any(line.startswith(f"{tmp_path / '2.toml'}: api: ") for line in found), found


def test_a_file_that_is_not_utf_8_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "1.toml").write_bytes(b'api = "\xff"')
    with pytest.raises(CatalogError, match="utf-8"):
        read_catalog(site=tmp_path)


@pytest.mark.parametrize(
    ("was", "becomes", "says"),
    [
        ('name = "loyalty"', 'name = "sqlite_x"', "'sqlite_x' begins as tables of the database"),
        ('name = "loyalty"', 'name = "inbox_file"', "'inbox_file' begins as tables of the database"),
        ('name = "loyalty"', 'name = "kore_inbox_staging"', "'kore_inbox_staging' begins as"),
        ('"Points"', '"Kore Inbox Position"', "cannot be a column"),
        ("level = 3", f"level = {'[' * 3000}{']' * 3000}", "nested too deeply"),
    ],
)
def test_what_no_database_could_have_is_a_mistake(tmp_path: Path, was: str, becomes: str, says: str) -> None:
    mistakes = read(tmp_path, NEW_API.replace(was, becomes))
    assert says in str(mistakes)
