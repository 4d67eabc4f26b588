"""FTP users: who may log in, and which sources he may push (contract A9, X1).

They live in `users.toml` of the settings folder, written by `kore-inbox user` and read by the receiver, which
notices a change at the next login:

    [users.erp]
    password = "$argon2id$v=19$m=19456,t=2,p=1$…"
    sources = ["DT"]
    unsequenced = true      # only if names without source and sequence are taken from him (contract N7)

Nothing here knows FTP. Checking a password takes some 20 ms of CPU on purpose: the receiver does it on a
worker thread, never in its loop.
"""

import contextlib
import fcntl
import logging
import os
import re
import threading
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w
from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from server import durable
from server.errors import SettingsError, UsageError

log = logging.getLogger("server.users")

FILE_NAME = "users.toml"

_HEADER = "# FTP users; `kore-inbox user add` and `user remove` write this file.\n"
_SOURCE = re.compile(r"[A-Za-z0-9-]{1,30}")
_NAME = re.compile(r"[^\s\x00-\x1f\x7f]{1,64}")

# The least that OWASP advises: 19 MiB and two passes. The library's default of 64 MiB would be most of the
# receiver's memory while two users log in.
CHECK_KIB = 19 * 1024
_hasher = PasswordHasher(time_cost=2, memory_cost=CHECK_KIB, parallelism=1)


@dataclass(frozen=True)
class User:
    """Who may push; `sources` in upper case, ascending.

    From an `unsequenced` one names without source and sequence are taken too; he has one source (N7).
    """

    name: str
    sources: tuple[str, ...]
    unsequenced: bool = False


@dataclass(frozen=True)
class _Account:
    user: User
    password: str


class Users:
    """The users as the receiver sees them; safe in any thread.

    Raises:
        SettingsError: `users.toml` cannot be used. Later changes with mistakes are logged and not taken over,
            so that a slip of an editor does not lock everyone out.
    """

    def __init__(self, conf: Path) -> None:
        self._path = conf / FILE_NAME
        self._lock = threading.Lock()
        self._seen = _fingerprint(self._path)
        self._accounts = _read(self._path)
        # Checked for unknown users, so that they take as long as known ones (X1).
        self._nobody = _hasher.hash(os.urandom(16))

    def verify(self, name: str, password: str) -> User | None:
        """The user, or None if he is unknown or the password is wrong; it takes the same time for both."""
        account = self._current().get(name)
        try:
            _hasher.verify(self._nobody if account is None else account.password, password)
        except (Argon2Error, InvalidHashError):
            return None
        return None if account is None else account.user

    def _current(self) -> Mapping[str, _Account]:
        with self._lock:
            seen = _fingerprint(self._path)
            if seen != self._seen:
                self._seen = seen
                try:
                    self._accounts = _read(self._path)
                except SettingsError as error:
                    log.error("%s The users known before stay.", error, extra={"action": "users"})
                else:
                    log.info("users read anew: %d", len(self._accounts), extra={"action": "users"})
            return self._accounts


def list_users(conf: Path) -> list[User]:
    """The users by name; a missing file means none.

    Raises:
        SettingsError: with every mistake that was found.
    """
    accounts = _read(conf / FILE_NAME)
    return [accounts[name].user for name in sorted(accounts)]


def add_user(conf: Path, name: str, password: str, sources: list[str], *, unsequenced: bool = False) -> User:
    """Add a user, or give an existing one a new password and new sources.

    Args:
        conf: the settings folder.
        name: of the user.
        password: in clear.
        sources: that he may push.
        unsequenced: whether he may send names without source and sequence (contract N7).

    Raises:
        UsageError: name, password or a source cannot be used.
        SettingsError: the file that is there cannot be read.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"`{name}` cannot be a user's name: 1 to 64 characters, no blanks.")
    if not password:
        raise UsageError("The password is empty.")
    if not sources:
        raise UsageError(f"{name} needs at least one source.", todo="Give --source, e.g. --source DT.")
    for source in sources:
        if not _SOURCE.fullmatch(source):
            raise UsageError(f"`{source}` cannot be a source: ASCII letters, digits and - only, e.g. DT.")
    user = User(name, _canonical(sources), unsequenced)
    if unsequenced and len(user.sources) > 1:
        raise UsageError(
            f"{name} has {len(user.sources)} sources; whoever sends names without a source has one.",
            todo="Add a user for each of the sources.",
        )
    with _changing(conf) as accounts:
        accounts[name] = _Account(user, _hasher.hash(password))
    return user


def remove_user(conf: Path, name: str) -> None:
    """Remove a user; sessions that he has open go on until they end.

    Raises:
        UsageError: there is no such user.
        SettingsError: the file that is there cannot be read.
    """
    with _changing(conf) as accounts:
        if accounts.pop(name, None) is None:
            raise UsageError(f"There is no user `{name}`.")


@contextlib.contextmanager
def _changing(conf: Path) -> Iterator[dict[str, _Account]]:
    """Read, let the caller change, write: whole or not at all, and one at a time."""
    path = conf / FILE_NAME
    folder = os.open(conf, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        accounts = dict(_read(path))
        yield accounts
        table = {
            name: {
                "password": account.password,
                "sources": list(account.user.sources),
                **({"unsequenced": True} if account.user.unsequenced else {}),
            }
            for name, account in sorted(accounts.items())
        }
        durable.replace(path, _HEADER.encode() + tomli_w.dumps({"users": table}).encode(), mode=0o600)
        os.fsync(folder)
    finally:
        os.close(folder)


def _canonical(sources: list[str]) -> tuple[str, ...]:
    return tuple(sorted({source.upper() for source in sources}))


def _fingerprint(path: Path) -> tuple[int, int, int] | None:
    """What changes when the file does; None if there is none."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_mtime_ns, facts.st_size, facts.st_ino


def _read(path: Path) -> dict[str, _Account]:
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError([f"{path.name}: {error}"]) from None
    except OSError as error:
        raise SettingsError([f"{path.name}: {error.strerror}"]) from None
    mistakes = [f"{path.name}: {key}: there is no such setting" for key in content if key != "users"]
    table = content.get("users", {})
    accounts = {}
    if isinstance(table, dict):
        for name, entry in table.items():
            wrong = list(_mistakes(name, entry))
            mistakes += [f"{path.name}: users.{name}{mistake}" for mistake in wrong]
            if not wrong:
                user = User(name, _canonical(entry["sources"]), entry.get("unsequenced", False))
                accounts[name] = _Account(user, entry["password"])
    else:
        mistakes.append(f"{path.name}: users: write a table per user, e.g. [users.erp]")
    if mistakes:
        raise SettingsError(mistakes)
    return accounts


def _mistakes(name: str, entry: Any) -> Iterator[str]:
    """What is wrong with one user, each with its key."""
    if not isinstance(entry, dict):
        yield ": write a table per user, e.g. [users.erp]"
        return
    if not _NAME.fullmatch(name):
        yield ": a name has 1 to 64 characters and no blanks"
    for key in entry:
        if key not in ("password", "sources", "unsequenced"):
            yield f".{key}: there is no such setting"
    password = entry.get("password")
    if not isinstance(password, str) or not password.startswith("$argon2id$"):
        yield ".password: it must be an argon2id hash, made by `kore-inbox user add`"
    unsequenced = entry.get("unsequenced", False)
    if not isinstance(unsequenced, bool):
        yield ".unsequenced: it must be true or false"
    sources = entry.get("sources")
    if not isinstance(sources, list) or not sources:
        yield '.sources: at least one is needed, e.g. sources = ["DT"]'
        return
    for source in sources:
        if not isinstance(source, str) or not _SOURCE.fullmatch(source):
            yield f".sources: `{source}` has other characters than ASCII letters, digits and -"
    if unsequenced is True and len({str(source).upper() for source in sources}) > 1:
        yield ".sources: whoever sends names without a source (unsequenced = true) has exactly one"
