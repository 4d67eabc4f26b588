"""The database goes away, is busy, or is full, at any moment (contract A4, L1, L9)."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pymysql
import pytest
from sqlalchemy import Connection, create_engine, event, make_url, select, update
from sqlalchemy.exc import DBAPIError, OperationalError

from loaders.dialects import mariadb
from server import dispatcher, loading, notices, roles, schema
from server.database import Database, in_words, passes_by_itself, trouble
from server.migrate import is_prepared, prepare
from server.states import Event
from tests.support.faults import Steps, cut, live, living, without_waiting
from tests.support.inboxes import Bench
from tests.support.mariadb import PrivateMariaDB
from tests.support.prepared import CATALOG
from tests.support.running import until


def day(number: int) -> dict[str, bytes]:
    """Two files: a parent, a row that is refused, an order that waits for a parent and one that has it."""
    order = b"SO%03d\t\t%b\t01-05-2026\t\t\tO\t1\tP1\tPart\t1.5\t01-09-2026\t2\n"
    orders = order % (number, b"NOBODY") + order % (900 - number, b"C%03d" % number)
    return {
        f"DT_{number * 2 + 1:07d}_KS_ORDERS.NET": orders,
        f"DT_{number * 2 + 2:07d}_KS_CUSTOMERS.NET": b"C%03d\t\tC\tAda\n\t\tC\tno key\n" % number,
    }


def commits(bench: Bench) -> Counter[str]:
    """How often each file was loaded."""
    query = (
        select(schema.file.c.name)
        .join(schema.event, schema.event.c.file_id == schema.file.c.id)
        .where(schema.event.c.event == Event.COMMITTED)
    )
    with bench.database.read() as connection:
        return Counter(connection.execute(query).scalars())


def counts(bench: Bench) -> list[tuple[object, ...]]:
    file = schema.file
    query = select(
        file.c.name, file.c.rows_read, file.c.rows_loaded, file.c.rows_rejected, file.c.rows_parked
    )
    with bench.database.read() as connection:
        return [tuple(row) for row in connection.execute(query.order_by(file.c.name))]


@pytest.mark.parametrize("every", ["kind", "kind of streaming", pytest.param("one", marks=pytest.mark.long)])
def test_a_connection_that_is_cut_at_any_statement_costs_nothing(
    bench: Bench, tmp_path: Path, new_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch, every: str
) -> None:
    """Each statement is cut, or in the shorter run each that differs from those cut before.

    Rows are sent to MariaDB as text where they are few, and as a stream where they are many: there, each
    statement of that way is cut, and the one behind it.
    """
    if every == "kind of streaming" and bench.database.is_sqlite:
        pytest.skip("nothing is streamed to SQLite")
    if every == "kind of streaming":
        monkeypatch.setattr(mariadb, "STREAMED_ROWS", 1)
    without_waiting(monkeypatch)
    # One of the two files is large enough to be marked before it is loaded.
    monkeypatch.setattr(dispatcher, "SMALL_BYTES", 60)
    monkeypatch.setattr(dispatcher, "prepare", lambda *_: None)
    steps = Steps(bench.database, cut)
    sent: dict[str, bytes] = {}

    def round_of(number: int, step: int) -> bool:
        for name, data in day(number).items():
            bench.arrive(name, data)
            sent[name] = data
        steps.at(step)
        live(bench, monkeypatch)
        was_cut = steps.heal()
        assert commits(bench) == dict.fromkeys(sent, 1), steps.asked[step - 1]
        assert bench.spool.pending_ids() == []
        return was_cut

    # In the first round nothing is cut, to see what there is to be cut.
    round_of(0, step=0)
    asked = list(enumerate(steps.asked, 1))
    planned = [step for step, _ in asked]
    if every != "one":
        planned = list({what: step for step, what in asked}.values())
    if every == "kind of streaming":
        streaming = {step for step in planned if "kore_inbox_staging" in asked[step - 1][1]}
        planned = sorted(streaming | {step + 1 for step in streaming})
    were_cut = [round_of(number, step) for number, step in enumerate(planned, 1)]
    # A round may be a little shorter than the first one.
    assert sum(were_cut) > len(planned) - 10 > (0 if every == "kind of streaming" else 50)
    whole = Bench.make(tmp_path / "whole", new_database())
    for name, data in sent.items():
        whole.arrive(name, data)
    whole.work()
    assert bench.tables() == whole.tables()
    assert counts(bench) == counts(whole)
    whole.database.close()


def test_a_connection_that_is_cut_while_tables_are_made_is_waited_for(database_url: str) -> None:
    """What is raised when the lock cannot be given back must not hide what happened."""
    database = Database(make_url(database_url))
    steps = Steps(database, cut)
    for step in (1, 3, 5, 8, 20):
        steps.at(step)
        with pytest.raises(DBAPIError) as failed:
            prepare(database, CATALOG)
        assert passes_by_itself(failed.value), step
    steps.heal()
    prepare(database, CATALOG)
    assert is_prepared(database)
    database.close()


# --- the server is stopped, or killed ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def mortals() -> Iterator[PrivateMariaDB]:
    server = PrivateMariaDB()
    yield server
    server.remove()


@pytest.fixture
def mortal(mortals: PrivateMariaDB) -> Iterator[PrivateMariaDB]:
    """A server that a test may stop and kill."""
    mortals.start()
    yield mortals
    mortals.stop()


@pytest.fixture
def on_mortal(mortal: PrivateMariaDB, tmp_path: Path) -> Iterator[Bench]:
    mortal.drop_schema("mortal")
    made = Bench.make(tmp_path / "data", mortal.create_schema("mortal"))
    yield made
    made.database.close()


MOMENTS = {
    "before a load": "SELECT CURRENT_TIMESTAMP",
    "during": "INSERT INTO customers",
    "after": "after COMMIT",
}


@pytest.mark.parametrize(
    ("moment", "end"),
    [
        ("before a load", PrivateMariaDB.stop),
        ("during", PrivateMariaDB.kill),
        ("after", PrivateMariaDB.kill),
        pytest.param("before a load", PrivateMariaDB.kill, marks=pytest.mark.long),
        pytest.param("during", PrivateMariaDB.stop, marks=pytest.mark.long),
        pytest.param("after", PrivateMariaDB.stop, marks=pytest.mark.long),
    ],
)
def test_a_database_that_ends_at_any_moment_is_waited_for(
    on_mortal: Bench,
    mortal: PrivateMariaDB,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
    end: Callable[[PrivateMariaDB], None],
) -> None:
    """Before a load, in its midst, and when it is committed but the loader has not heard of it."""
    monkeypatch.setattr(dispatcher, "AWAY_FIRST_SECONDS", 0.01)
    monkeypatch.setattr(dispatcher, "AWAY_LAST_SECONDS", 0.05)
    bench = on_mortal
    for name, data in day(0).items():
        bench.arrive(name, data)
    seen: list[str] = []

    def happens(statement: str) -> bool:
        seen.append(statement)
        began = any("customers" in earlier for earlier in seen)
        return statement.startswith(MOMENTS[moment]) and (began or moment != "after")

    steps = Steps(bench.database, lambda _: end(mortal))
    steps.when(happens)
    with living(bench), roles.take(bench.spool.root, "loader"):
        until(lambda: notices.read(bench.spool, "loader") is not None, "it is noted")
        steps.heal()
        found = bench.inbox.status()
        assert (found["database"], found["exceptions"]) == ("away", 1)
        [wait] = [wait for wait in found["waits"] if wait["kind"] == "database away"]
        assert wait["since"] is not None
        assert "accepted" in wait["kept"]
        bench.arrive("DT_0000003_KS_CATEGORY.NET", b"A\tone\n")
        mortal.start()
        until(lambda: len(bench.states_or_none()) == 3, "all are registered")
        until(lambda: set(bench.states_or_none().values()) == {"loaded"}, "all are loaded")
        until(lambda: notices.read(bench.spool, "loader") is None, "nothing is waited for")
    assert set(commits(bench).values()) == {1}
    assert bench.inbox.status()["database"] == "answers"


def test_a_connection_whose_server_has_died_is_given_back_without_a_traceback(
    on_mortal: Bench, mortal: PrivateMariaDB, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.clear()
    with on_mortal.database.engine.connect() as connection:
        connection.exec_driver_sql("SELECT * FROM inbox_lease")
        connection.commit()
        mortal.kill()
    assert caplog.records == []


# --- SQLite's file is gone --------------------------------------------------------------------------------


def _hide(file: Path) -> Callable[[], object]:
    aside = file.with_name("aside")
    file.rename(aside)
    return lambda: aside.rename(file)


def _replace(file: Path) -> Callable[[], object]:
    back = _hide(file)
    file.touch()
    return back


def _hide_folder(file: Path) -> Callable[[], object]:
    aside = file.parent.with_name("aside")
    file.parent.rename(aside)
    return lambda: aside.rename(file.parent)


@pytest.mark.parametrize(
    ("lose", "moment"),
    [
        (_hide, "INSERT INTO category"),
        (_replace, "BEGIN IMMEDIATE"),
        (_hide_folder, "INSERT INTO category"),
    ],
)
def test_nothing_goes_on_without_the_file_that_was_opened_and_all_does_when_it_is_back(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lose: Callable[[Path], Callable[[], object]],
    moment: str,
) -> None:
    """SQLite would go on, into a file that nobody will ever read."""
    monkeypatch.setattr(dispatcher, "AWAY_FIRST_SECONDS", 0.01)
    monkeypatch.setattr(dispatcher, "AWAY_LAST_SECONDS", 0.05)
    file = tmp_path / "database" / "inbox.sqlite"
    bench = Bench.make(tmp_path / "data", f"sqlite:///{file}")
    bench.arrive("DT_0000001_KS_CATEGORY.NET", b"A\tone\n")
    found: list[Callable[[], object]] = []

    def happen(_: Any) -> None:
        steps.at(0)
        found.append(lose(file))

    steps = Steps(bench.database, happen)
    steps.when(lambda statement: statement.startswith(moment) and not found)
    with living(bench), roles.take(bench.spool.root, "loader"):
        until(lambda: notices.read(bench.spool, "loader") is not None, "it is noted")
        notice = notices.read(bench.spool, "loader")
        assert notice is not None
        assert notice.kind == "database away"
        assert "`kore-inbox rebuild`" in notice.happened
        assert "database away" in _kinds(bench)
        assert "after COMMIT" not in steps.asked, "nothing was promised of it"
        assert list((bench.spool.root / "acks").rglob("*.ack")) == []
        found[0]()
        until(lambda: bench.states_or_none() == {"DT_0000001_KS_CATEGORY.NET": "loaded"}, "it is loaded")
        until(lambda: notices.read(bench.spool, "loader") is None, "nothing is waited for")
    assert set(commits(bench).values()) == {1}
    bench.database.close()


def test_a_folder_that_cannot_be_made_or_read_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    database = Database(make_url(f"sqlite:///{tmp_path}/file/inbox.sqlite"))
    for ask in (database.read(), database.write("a test")):
        with pytest.raises(DBAPIError) as failed, ask as connection:
            connection.exec_driver_sql("SELECT 1")
        assert passes_by_itself(failed.value)
        assert "can be read and written" in in_words(failed.value)


# --- locks ------------------------------------------------------------------------------------------------


@contextmanager
def foreign(bench: Bench) -> Iterator[Connection]:
    """A connection of somebody who knows nothing of the inbox's manners, in a transaction that writes."""
    if bench.database.is_sqlite:
        engine = create_engine(bench.database.url, isolation_level=None)
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
            connection.exec_driver_sql("ROLLBACK")
    else:
        engine = create_engine(bench.database.url)
        with engine.connect() as connection:
            yield connection
            connection.rollback()
    engine.dispose()


def test_a_row_that_somebody_locks_puts_its_file_off_and_nobody_is_asked(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite has but one lock, so there it is the loader as a whole that waits."""
    monkeypatch.setattr(dispatcher, "AWAY_FIRST_SECONDS", 0.01)
    monkeypatch.setattr(loading, "RETRY_FIRST_SECONDS", 1000)
    bench.arrive("DT_0000001_KS_CUSTOMERS.NET", b"C1\t\tC\tAda\n")
    bench.work()
    bench.database = Database(bench.database.url, timeout_seconds=0.1)
    if not bench.database.is_sqlite:
        event.listen(bench.database.engine, "connect", _hardly_waits)
    bench.arrive("DT_0000002_KS_CUSTOMERS.NET", b"C1\t\tC\tEve\n")
    with foreign(bench) as connection:
        if not bench.database.is_sqlite:
            connection.exec_driver_sql("SELECT * FROM customers FOR UPDATE")
        with living(bench), roles.take(bench.spool.root, "loader"):
            until(lambda: _kinds(bench) in ({"database busy"}, {"next try"}), "it is put off")
            if bench.database.is_sqlite:
                connection.exec_driver_sql("ROLLBACK")
                connection.exec_driver_sql("BEGIN")
            else:
                [wait] = [wait for wait in bench.inbox.status()["waits"] if wait["kind"] == "next try"]
                assert "Lock wait timeout exceeded" in wait["happened"]
                assert "INSERT" not in wait["happened"], "what it is, not where"
                connection.rollback()
                _try_again_now(bench)
            until(lambda: [*bench.states().values()] == ["loaded"] * 2, "all are loaded")
            until(lambda: not _kinds(bench), "nothing is waited for")
    assert set(commits(bench).values()) == {1}
    assert [row["customer_name"] for row in bench.rows("customers")] == ["Eve"]


def test_of_a_deadlock_the_loader_is_the_victim_and_tries_again(
    tmp_path: Path, mariadb: PrivateMariaDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "RETRY_FIRST_SECONDS", 0)
    bench = Bench.make(tmp_path / "data", mariadb.create_schema("deadlock"))
    bench.arrive("DT_0000001_KS_CUSTOMERS.NET", b"".join(b"C%d\t\tC\tAda\n" % n for n in range(500)))
    bench.work()
    bench.arrive("DT_0000002_KS_CUSTOMERS.NET", b"C1\t\tC\tEve\n")
    with foreign(bench) as connection, mariadb.cursor() as observer:
        # Whoever has changed more is spared.
        connection.exec_driver_sql("UPDATE customers SET website = '1'")
        with living(bench):
            waiting = "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"

            def loader_waits() -> bool:
                observer.execute(waiting)
                return observer.fetchone() == (1,)

            # The server makes this table anew only when nobody has asked for a tenth of a second.
            until(loader_waits, "the loader waits", pause_seconds=0.25)
            # It comes back when the loader has been made the victim; else it is our error.
            connection.exec_driver_sql("UPDATE inbox_lease SET owner = owner")
            connection.rollback()
            until(lambda: set(bench.states().values()) == {"loaded"}, "it is loaded")
    assert "Deadlock found" in _reasons(mariadb, "deadlock")[0]
    assert set(commits(bench).values()) == {1}
    bench.database.close()
    mariadb.drop_schema("deadlock")


def _hardly_waits(connection: Any, _record: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION innodb_lock_wait_timeout = 1")


def _kinds(bench: Bench) -> set[str]:
    return {wait["kind"] for wait in bench.inbox.status()["waits"]} - {"not running", "loading"}


def _reasons(mariadb: PrivateMariaDB, name: str) -> list[str]:
    """Why files were put off."""
    with mariadb.cursor() as cursor:
        cursor.execute(f"SELECT reason FROM {name}.inbox_event WHERE event = %s", (str(Event.POSTPONED),))
        return [reason for (reason,) in cursor.fetchall()]


def _try_again_now(bench: Bench) -> None:
    with bench.database.write("a test") as connection:
        connection.execute(update(schema.file).values(retry_at=None))


# --- no room ----------------------------------------------------------------------------------------------


def test_a_full_database_is_waited_for_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's own limit of pages gives the error that a full disk gives, on any machine."""
    monkeypatch.setattr(dispatcher, "AWAY_FIRST_SECONDS", 0.01)
    monkeypatch.setattr(loading, "RETRY_FIRST_SECONDS", 0)
    url = f"sqlite:///{tmp_path / 'inbox.sqlite'}"
    bench = Bench.make(tmp_path / "data", url)
    with bench.database.read() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    bench.database.close()
    limit = [pages + 10]
    event.listen(bench.database.engine, "begin", lambda connection: _limit(connection, limit[0]), insert=True)
    big = b"".join(b"K%06d\tname\n" % number for number in range(5000))
    bench.arrive("DT_0000001_KS_CATEGORY.NET", big)
    with living(bench), roles.take(bench.spool.root, "loader"):
        until(lambda: "database full" in _kinds(bench) | _causes(bench), "it is full")
        limit[0] = pages * 1000
        until(lambda: set(bench.states().values()) == {"loaded"}, "it is loaded")
        until(lambda: not _kinds(bench), "nothing is waited for")
    assert set(commits(bench).values()) == {1}
    assert len(bench.rows("category")) == 5000
    bench.database.close()


def _limit(connection: Connection, pages: int) -> None:
    connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")


def _causes(bench: Bench) -> set[str]:
    with bench.database.read() as connection:
        reasons = connection.execute(select(schema.event.c.reason)).scalars().all()
    return {"database full" for reason in reasons if reason and "database or disk is full" in reason}


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (1021, "database full"),
        (1114, "database full"),
        (1041, "database fault"),
        (1205, "database busy"),
        (1213, "database busy"),
        (1290, "database read-only"),
        (1040, "database away"),
        (2003, "database away"),
        (2013, "database away"),
        (1317, "database fault"),
    ],
)
def test_faults_of_a_server_are_told_apart_by_their_codes(code: int, kind: str) -> None:
    fault = OperationalError("INSERT secret", {"value": "secret"}, pymysql.err.OperationalError(code, "said"))
    assert passes_by_itself(fault)
    assert trouble(fault) == kind
    assert in_words(fault) == f"said ({code})"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (3, "Error writing file './#sql' (Errcode: 28 \"No space left on device\")"),
        (1026, "Error writing file 'item' (errno: 28 \"No space left on device\")"),
        (1030, 'Got error 28 "No space left on device" from storage engine InnoDB'),
        (1, "Can't create/write to file '/tmp/MAD' (Errcode: 28 \"No space left on device\")"),
        (1005, 'Can\'t create table `s`.`t` (errno: 28 "No space left on device")'),
    ],
)
def test_a_full_disk_is_told_as_such_by_whichever_layer_of_a_server_meets_it(code: int, said: str) -> None:
    full = OperationalError("INSERT", None, pymysql.err.InternalError(code, said))
    assert passes_by_itself(full)
    assert trouble(full) == "database full"
    other = OperationalError("INSERT", None, pymysql.err.InternalError(code, said.replace("28", "5")))
    assert trouble(other) == "database fault"
    assert passes_by_itself(other) == (code not in {1, 1005}), "what cannot be made may be a mistake"
