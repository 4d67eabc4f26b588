"""What administrators schedule: the programs in `scripts/`, and the report (contract section 8)."""

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from server import ledger, report
from server.config import Load
from tests.support.commands import Run, json_of
from tests.support.inboxes import Bench
from tests.support.smtp import MailServer

SCRIPTS = Path("scripts").resolve()
WAITS = "DT_0000003_KS_CATEGORY.NET"
BAD = "DT_0000001_KS_CATEGORY.NET"


def _call(program: str, *words: str) -> subprocess.CompletedProcess[str]:
    """As cron calls it: from elsewhere, with a Python that knows nothing of this checkout."""
    python = Path(sys.base_prefix) / "bin" / "python3"
    command = [str(python), str(SCRIPTS / program), *words]
    return subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def conf(bench: Bench, run: Run, tmp_path: Path) -> str:
    """An inbox with a file that is quarantined, and one that is held."""
    bench.arrive(BAD, b"A\tone\n" + b"x" * 99 + b"\ttwo\n")
    bench.arrive(WAITS, b"A\tone\n")
    bench.work(load=Load(max_rejected=0))
    return str(tmp_path / "conf")


def test_replays_and_the_report_are_programs_for_cron(conf: str) -> None:
    held = _call("replay_held.py", "--conf", conf, "--source", "DT", "--dry-run", "--json")
    assert held.returncode == 1, held.stderr
    assert [file["name"] for file in json.loads(held.stdout)] == [WAITS]
    tried = _call("replay_quarantined.py", "--conf", conf, "--json")
    assert tried.returncode == 0, tried.stderr
    assert [(file["name"], file["becomes"]) for file in json.loads(tried.stdout)] == [(BAD, "ready")]
    told = _call("report.py", "--conf", conf, "--hours", "1")
    assert told.returncode == 0, told.stderr
    assert "came: 2 files" in told.stdout
    mailed = _call("report.py", "--conf", conf, "--mail")
    assert (mailed.returncode, "Mail is off" in mailed.stderr) == (2, True)
    swept = _call("sweep.py", "--conf", conf, "--dry-run", "--json")
    assert (swept.returncode, json.loads(swept.stdout)) == (0, []), swept.stderr
    missing = _call("replay_held.py", "--conf", f"{conf}/nosuch")
    assert (missing.returncode, "Traceback" in missing.stderr) == (2, False)


def test_old_originals_are_swept_also_while_the_database_is_away(tmp_path: Path) -> None:
    conf, folder = tmp_path / "conf", tmp_path / "in"
    old = folder / "taken" / BAD
    for made in (conf, old.parent):
        made.mkdir(parents=True)
    old.write_text("A\tone\n")
    (conf / "inbox.toml").write_text(
        '[database]\nurl = "mysql+pymysql://nobody@127.0.0.1:1/nowhere"\n[inbox]\nretention = 0\n'
        f'[drop_folder]\nfolders = {{"{folder}" = ["DT"]}}\n'
    )
    swept = _call("sweep.py", "--conf", str(conf), "--json")
    assert swept.returncode == 0, swept.stderr
    assert [one["name"] for one in json.loads(swept.stdout)] == [BAD]
    assert not old.exists()
    assert not (tmp_path / "data").exists(), "nothing but the folder is opened"


def test_the_report_tells_what_came_what_waits_and_what_is_wrong(bench: Bench, run: Run, conf: str) -> None:
    bench.arrive("DT_0000004_KS_CATEGORY.NET", b"A\tone\n")
    bench.work()
    code, told, _ = run("report")
    assert code == 0
    assert [line.partition(" (")[0] for line in told.splitlines()[1:7]] == [
        "came: 3 files, 122 B",
        "loaded: 0 files; rows in: 0, rejected: 0, parked: 0",
        "waiting now: 2 files",
        "not in, and kept: 1 file",
        "missing: 1 number",
        "exceptions: 1 opened, 0 closed, 1 open",
    ]
    assert f"quarantined: {BAD}, since " in told
    assert conf
    [found] = json_of(run, "report", "--since", "2999-01-01")
    assert (found["came"], found["exceptions_opened"], found["waiting"]) == ({}, 0, {"held": 2})


def test_rows_of_the_report_are_those_that_were_loaded_since_and_mail_says_the_same(
    bench: Bench, run: Run, tmp_path: Path
) -> None:
    bench.arrive(BAD, b"A\tone\n" + b"x" * 99 + b"\ttwo\n")
    bench.work()
    with bench.database.read() as connection:
        now = ledger.now_utc()
        later, earlier = (report.report(connection, now + timedelta(hours=hours), now) for hours in (1, -1))
    assert (later["rows_loaded"], later["files_loaded"]) == (0, 0)
    assert (earlier["rows_loaded"], earlier["rows_rejected"], earlier["files_loaded"]) == (1, 1, 1)
    with MailServer() as server:
        with (tmp_path / "conf" / "inbox.toml").open("a") as settings:
            settings.write(
                f'[mail]\nhost = "127.0.0.1"\nport = {server.port}\nsecurity = "none"\n'
                'sender = "inbox@example.com"\nrecipients = ["ops@example.com"]\n'
            )
        assert run("report", "--mail")[:2] == (0, "sent to ops@example.com\n")
        [got] = server.got
    assert got.message["Subject"] == "[kore-inbox] Report"
    text, html = (got.message.get_body((kind,)) for kind in ("plain", "html"))
    assert text is not None
    assert html is not None
    for part in (text, html):
        assert "loaded: 1 file; rows in: 1, rejected: 1, parked: 0" in part.get_content()
