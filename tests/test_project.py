"""The project's own promises: what a newcomer finds at the top, and a manual that leaves nothing out."""

import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
from packaging.requirements import Requirement
from pydantic import BaseModel

from loaders.catalog import read_catalog
from loaders.shapes import FullAbsent, ReferenceKind
from server.config import Settings
from server.settings.source import Source

TOP = Path(__file__).parent.parent
README = (TOP / "README.md").read_text(encoding="utf-8")
CONTRACT = (TOP / "CONTRACT.md").read_text(encoding="utf-8")
PROGRAMS = ("scripts/start", "scripts/test", ".ci/run")

FOLDERS = {"conf", "loaders", "scripts", "server", "tests"}
FILES = {
    "CHANGELOG.md",
    "CONTRACT.md",
    "LICENSE",
    "README.md",
    "pyproject.toml",
    "requirements.lock",
}


def tracked() -> set[str]:
    """What git knows or would take up: neither what is ignored nor what a test run leaves behind."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=TOP,
        capture_output=True,
        text=True,
        check=True,
    )
    return {path for path in listed.stdout.splitlines() if (TOP / path).exists()}


def test_the_top_level_has_what_was_agreed_and_nothing_else() -> None:
    tops = {path.split("/")[0] for path in tracked()}
    assert {top for top in tops if not top.startswith(".")} == FOLDERS | FILES
    assert {top for top in tops if top.startswith(".")} == {".ci", ".gitignore"}


@pytest.mark.parametrize(
    "secret",
    ["conf/users.toml", "conf/.env", "conf/trial-password", "conf/key.pem", "data/inbox.sqlite"],
)
def test_what_a_run_makes_is_ignored(secret: str) -> None:
    ignored = subprocess.run(["git", "check-ignore", "--quiet", secret], cwd=TOP, check=False)
    assert ignored.returncode == 0


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_can_be_run(program: str) -> None:
    assert os.access(TOP / program, os.X_OK)
    assert subprocess.run(["bash", "-n", TOP / program], check=False).returncode == 0
    text = (TOP / program).read_text(encoding="utf-8")
    assert text.startswith("#!/usr/bin/env bash\n")
    assert "\nset -euo pipefail\n" in text


def test_python_programs_in_scripts_can_be_run() -> None:
    beside = {TOP / "scripts" / name for name in ("environment.py", "scheduled.py")}
    for program in {*(TOP / "scripts").glob("*.py")} - beside:
        assert os.access(program, os.X_OK), program.name
        assert program.read_text(encoding="utf-8").startswith("#!/usr/bin/env python3\n"), program.name


# --- the lock ---


def locked() -> dict[str, Requirement]:
    lines = (TOP / "requirements.lock").read_text(encoding="utf-8").splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.lstrip().startswith("#")]
    return {_plain(requirement.name): requirement for requirement in requirements}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_nothing_names_the_place_that_packages_come_from() -> None:
    for path in ("requirements.lock", "pyproject.toml", "scripts/environment.sh", *PROGRAMS):
        text = (TOP / path).read_text(encoding="utf-8")
        assert not re.search(r"https?://|file:|--(extra-)?index|find-links|trusted-host", text), path


def test_the_lock_fixes_one_version_of_every_dependency() -> None:
    project = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lock = locked()
    for requirement in lock.values():
        assert requirement.url is None
        assert re.fullmatch(r"==[^,*]+", str(requirement.specifier)), requirement
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    for requirement in map(Requirement, wanted):
        found = lock[_plain(requirement.name)]
        version = str(found.specifier).removeprefix("==")
        assert requirement.specifier.contains(version), f"{requirement} is locked to {version}"


@pytest.mark.parametrize("name", ["pyasyncore", "pyasynchat"])
def test_the_lock_has_what_newer_pythons_no_longer_bring(name: str) -> None:
    marker = locked()[name].marker
    assert marker is not None
    assert marker.evaluate({"python_full_version": "3.12.0", "python_version": "3.12"})
    assert not marker.evaluate({"python_full_version": "3.11.9", "python_version": "3.11"})


# --- the manual ---


def commands() -> list[str]:
    """Every command of `kore-inbox`, as typed."""
    from server.cli import app  # noqa: PLC0415 - the other tests of this module do not need it

    def walk(command: Any, typed: str) -> list[str]:
        if not hasattr(command, "commands"):
            return [typed]
        return [
            below for name, sub in command.commands.items() for below in walk(sub, f"{typed} {name}".lstrip())
        ]

    return walk(typer.main.get_command(app), "")


def test_every_command_is_in_the_manual_and_in_the_contract() -> None:
    found = commands()
    assert len(found) > 10
    for command in found:
        for name, text in (("README", README), ("CONTRACT", CONTRACT)):
            assert re.search(rf"`{re.escape(command)}[` ]", text), f"{command} is not in {name}"


def test_the_manual_has_no_command_that_does_not_exist() -> None:
    found = commands()
    table = README.partition("## Commands")[2].partition("## Settings")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    for typed in re.findall(r"`([a-z][^`]*)`", " ".join(rows)):
        assert any(typed == command or typed.startswith(f"{command} ") for command in found), typed


def test_the_manual_has_every_api_with_its_level_purpose_and_parents() -> None:
    catalog = read_catalog()
    table = README.partition("## APIs")[2].partition("## Commands")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if "| `" in line]
    wanted = []
    for api in sorted(catalog.values(), key=lambda api: (api.level, api.name)):
        parents = {catalog.api_of_table[r.parent].name for r in api.referring(ReferenceKind.PARK)}
        full = {FullAbsent.DEACTIVATE: "deactivates", FullAbsent.KEEP: "keeps"}[api.full_absent]
        wanted.append([str(api.level), f"`{api.name}`", api.purpose, parents, full])
    assert [[*row[:3], set(re.findall(r"`(\w+)`", row[3])), *row[4:]] for row in rows] == wanted


def sections() -> list[tuple[str, type[BaseModel]]]:
    found: list[tuple[str, type[BaseModel]]] = []
    for name, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found.append((name, field.annotation))
        else:
            assert name == "sources"
            found.append(("sources.DT", Source))
    return found


def settings_in_the_manual() -> dict[str, set[str]]:
    """Settings by section, as the manual's table has them; a blank cell repeats the section above it."""
    table = README.partition("## Settings")[2].partition("## Architecture")[0]
    found: dict[str, set[str]] = {}
    section = ""
    for line in table.splitlines():
        if re.match(r"\| (`\[| *\|)", line):
            first, names = line.split("|")[1:3]
            section = first.strip(" `[]") or section
            found.setdefault(section, set()).update(re.findall(r"`(\w+)`", names))
    return found


def test_the_manual_has_every_setting_and_no_other() -> None:
    assert settings_in_the_manual() == {section: set(model.model_fields) for section, model in sections()}


def test_every_setting_is_explained_in_the_settings_file() -> None:
    text = (TOP / "conf" / "inbox.toml").read_text(encoding="utf-8")
    for section, model in sections():
        header = re.search(
            rf"^(# )?\[{re.escape(section)}\]$(.*?)(?=^(# )?\[|\Z)", text, re.MULTILINE | re.DOTALL
        )
        assert header, section
        named = set(re.findall(r"^(?:# )?(\w+) = ", header[2], re.MULTILINE))
        assert named == set(model.model_fields), section


CLAUSES = [
    *(f"N{n}" for n in range(1, 8)),
    *(f"A{n}" for n in range(1, 13)),
    *(f"S{n}" for n in range(1, 6)),
    *(f"D{n}" for n in range(1, 7)),
    *(f"L{n}" for n in range(1, 10)),
    *(f"E{n}" for n in range(1, 4)),
    *(f"X{n}" for n in range(1, 6)),
]


def test_the_contract_has_every_clause_once_and_in_order() -> None:
    assert re.findall(r"^- \*\*([A-Z][0-9]+)\.", CONTRACT, re.MULTILINE) == CLAUSES


def test_code_and_tests_cite_only_clauses_that_exist() -> None:
    cited = re.compile(r"\(contract ([^)]*)\)")
    for path in tracked():
        if path.endswith(".py"):
            for citation in cited.findall((TOP / path).read_text(encoding="utf-8")):
                for clause in re.findall(r"\b[NASDLEX][0-9]+\b", citation):
                    assert clause in CLAUSES, f"{path}: {clause}"


def test_modules_of_the_architecture_exist_and_are_all_there() -> None:
    text = README.partition("## Architecture")[2].partition("## Tests")[0]
    rooms = dict(zip(("server", "loaders"), re.split(r"^`loaders/`", text, flags=re.MULTILINE), strict=True))
    for room, described in rooms.items():
        rows = " ".join(line.split("|")[1] for line in described.splitlines() if line.startswith("| `"))
        named = {re.sub(r"/.*", "", name) for name in re.findall(r"`([^`]+)`", rows)}
        there = {
            path.stem
            for path in (TOP / room).iterdir()
            if path.suffix == ".py" or (path.is_dir() and not path.name.startswith("_"))
        }
        assert named == there - {"__init__"}
