"""The spool: received bytes and their receipts on disk, durable before anyone is told (contract A1, A2).

    ROLE.lock   see `roles`
    ROLE.notice what a process waits for, see `notices`
    node        a name for this spool, by which a ledger knows it for its own
    nudge       see `nudges`
    data/ID     the bytes of one upload, opened exclusively, never moved, never changed once it has a receipt
    data/refused/SHA256   the bytes of refused uploads, one copy per digest
    aside/      receipts and staging notes being written
    staged/ID   notes of uploads under a temporary name, until they are renamed, and of those that were cut
    new/ID      receipts that the ledger does not know yet; the rename into this folder is the acceptance
    done/ID     receipts that the ledger knows
    journal     what only the ledger knows, see `journal`
    acks/       answers to senders, see `acks`
    drop_folder.json   what is wrong with the drop folders, see `drop_troubles`
    boot        the start of the machine during which the loader last recovered

There is no policy here: who may send what, what is due and what is a duplicate is decided elsewhere.
"""

import contextlib
import errno
import hashlib
import json
import logging
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from server import durable, nudges
from server.durable import sync_folder
from server.errors import InboxError, TemporaryFault
from server.receipt import Receipt

log = logging.getLogger("server.spool")


class SpoolGone(TemporaryFault, OSError):
    """The spool, or a folder of it, is not there any more: somebody has removed it, or its disk is away."""

    kind = "spool gone"

    def __init__(self, happened: str, *, todo: str) -> None:
        super().__init__(happened, todo=todo)
        # For senders, who need not know where it is.
        self.strerror = "the inbox's spool is not there"


class Undone(OSError):
    """The receipt was in place for a moment, its folder could not be made durable, and it was taken back.

    Whoever saw it meanwhile may rely on the data, so the data must not be discarded; it is among the
    `leftovers` then.
    """


def _nothing() -> None:
    pass


_BOOT = Path("/proc/sys/kernel/random/boot_id")

# The random end of an id. A receipt's id ends like its data's, see `Spool.without_receipt`.
_TAIL = 8
_ID = re.compile(rf"[0-9a-f]{{{16 + _TAIL}}}")

_UNREADABLE = (
    "{path} cannot be read: something outside has damaged it. It is passed over and kept, and so are the "
    "bytes in {data} whose name ends alike. Have the sender send that file again, and look at the disk."
)


class Spool:
    """The folders of one inbox; `create` it or `enter` it before anything else.

    Methods that write raise OSError as the file system does; nothing is half done then: a receipt is in
    `new/` or it is not.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data = root / "data"
        self.refused = root / "data" / "refused"
        self.aside = root / "aside"
        self.staged = root / "staged"
        self.new = root / "new"
        self.done = root / "done"
        self.acks = root / "acks"
        self._node_path = root / "node"
        self._node: str | None = None
        self._last_id = 0
        self._id_lock = threading.Lock()
        self._unreadable: set[Path] = set()
        # Bytes of uploads that go on; set forward by a day, the clock would call them old.
        self._in_use: set[str] = set()

    def create(self) -> None:
        """Make what is missing, and `enter`.

        Raises:
            SpoolGone: it was in use, and a folder that files or receipts were in is missing.
            InboxError: the place does not allow it.
        """
        try:
            if self.is_made:
                # Nothing lasting is in these.
                for folder in (self.aside, self.acks):
                    folder.mkdir(exist_ok=True, mode=0o750)
                self.must_be_there()
            for folder in (self.data, self.refused, self.aside, self.staged, self.new, self.done, self.acks):
                folder.mkdir(parents=True, exist_ok=True, mode=0o750)
            nudges.prepare(self.root)
            # Last, so that whatever has a name has all the rest.
            if not self.is_made:
                self._name_it()
        except SpoolGone:
            raise
        except OSError as error:
            raise InboxError(
                f"The spool {self.root} cannot be made: {error.strerror}.",
                todo="Name a place that may be written to ([inbox] spool).",
            ) from error
        self.enter()

    def enter(self) -> None:
        """Begin to use a spool that is there; from then on no other in its place is taken for it.

        Raises:
            SpoolGone: it is not there.
        """
        self.must_be_there()
        self._node = self.node()
        # What is registered next must sort after what waits, even when the clock was set back meanwhile.
        self._last_id = max((int(name[:16], 16) for name in ids_in(self.new)), default=0)

    @property
    def is_made(self) -> bool:
        """Whether it was ever made, for all that is seen in its place."""
        return self._node_path.exists()

    def must_be_there(self) -> None:
        """Raise SpoolGone unless this is the spool that was entered, and its folders are there."""
        gone = self.gone()
        if gone is not None:
            raise gone

    def is_in_its_place(self) -> bool:
        """Whether this spool, and no other, is where it was entered; folders of it may be missing."""
        try:
            return self._node in (None, self.node())
        except FileNotFoundError:
            return False

    def gone(self) -> SpoolGone | None:
        """What is missing of the spool; None if all is well."""
        if not self.is_in_its_place():
            return SpoolGone(
                f"The spool {self.root} is not there"
                + (", another one is in its place." if self.is_made else "."),
                todo="If it was moved, or its disk is away, bring it back: the inbox goes on by itself. If "
                "it is lost, stop the inbox, run `kore-inbox adopt`, start it again, and have the senders "
                "send again what is missing.",
            )
        needed = (self.data, self.staged, self.new, self.done, self.aside)
        missing = next((folder for folder in needed if not folder.is_dir()), None)
        if missing is None:
            return None
        return SpoolGone(
            f"The folder {missing} of the spool is not there.",
            todo="Bring it back. If it is lost, make an empty one in its place, and have the senders send "
            "again what is quarantined then.",
        )

    def node(self) -> str:
        """The spool's name among all that could use a database.

        Raises:
            FileNotFoundError: there is no spool.
        """
        return self._node_path.read_text()

    def _name_it(self) -> None:
        """Make its name at random, durable, and whole: others could have a part of it."""
        aside = self.aside / f"node-{secrets.token_hex(4)}"
        durable.write_new(aside, secrets.token_hex(16).encode())
        with contextlib.suppress(FileExistsError):
            self._node_path.hardlink_to(aside)
        aside.unlink()
        sync_folder(self.root)

    def has_rebooted(self) -> bool:
        """Whether the machine was started anew since `note_boot`: what was not flushed then is lost."""
        path = self.root / "boot"
        return not path.exists() or path.read_text() != _BOOT.read_text()

    def note_boot(self) -> None:
        """What a restart of the machine asks for is done."""
        (self.root / "boot").write_text(_BOOT.read_text())

    def begins_with(self, data_id: str, size_bytes: int, sha256: str) -> bool:
        """Whether the first `size_bytes` of an upload have that digest, in hexadecimal.

        Raises:
            SpoolGone: more than its bytes is gone.
        """
        if not self.has_data(data_id):
            return False
        digest = hashlib.sha256()
        with (self.data / data_id).open("rb") as handle:
            while size_bytes > 0 and (block := handle.read(min(size_bytes, 1 << 20))):
                digest.update(block)
                size_bytes -= len(block)
        return size_bytes == 0 and digest.hexdigest() == sha256

    def new_id(self, data_id: str = "") -> str:
        """An id that no other upload has; ids of one process ascend, even when the clock is set back.

        Args:
            data_id: for a receipt's id, the data that it speaks of; both end alike.
        """
        with self._id_lock:
            self._last_id = max(self._last_id + 1, time.time_ns())
            return f"{self._last_id:016x}{data_id[-_TAIL:] or secrets.token_hex(_TAIL // 2)}"

    def open_data(self, data_id: str) -> BinaryIO:
        """A new, empty file for bytes; it fails if one is there, whatever its name might point to."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.fdopen(self._opened(data_id, flags), "w+b", buffering=0)

    def reopen_data(self, data_id: str) -> BinaryIO:
        """The bytes of an upload that was cut, to go on with; no receipt speaks of them."""
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.fdopen(self._opened(data_id, flags), "r+b", buffering=0)

    def _opened(self, data_id: str, flags: int) -> int:
        # Before it is there, so that no sweep finds it unused.
        self._in_use.add(data_id)
        try:
            return os.open(self.data / data_id, flags, 0o640)
        except OSError:
            self._in_use.discard(data_id)
            raise

    def data_path(self, data_id: str) -> Path:
        """Where the bytes of an upload are."""
        return self.data / data_id

    def read_data(self, data_id: str) -> BinaryIO:
        """The bytes of a received file, to be read.

        Raises:
            FileNotFoundError: they are gone, or were never kept: then a refused file names none.
            SpoolGone: so is more than they.
        """
        path = self.data_path(data_id)
        if not self.has_data(data_id):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return path.open("rb")

    def has_data(self, data_id: str) -> bool:
        """Whether the bytes of a received file are there.

        Raises:
            SpoolGone: that cannot be told.
        """
        path = self.data_path(data_id)
        if path.is_file():
            return True
        self.must_be_there()
        # It may have been away, and be back since.
        return path.is_file()

    @property
    def in_use(self) -> frozenset[str]:
        """The data of uploads that go on in this process."""
        return frozenset(self._in_use)

    def discard_data(self, data_id: str) -> None:
        """Remove bytes that no receipt speaks of."""
        (self.data / data_id).unlink(missing_ok=True)
        self._in_use.discard(data_id)

    def sync_data_folder(self) -> None:
        """Make the names of all data files so far durable."""
        sync_folder(self.data)

    def keep_refused(self, data_id: str, sha256: str, limit_bytes: int) -> str:
        """Keep durable bytes as a refused upload's, once per digest; the upload's own file stays as well.

        Args:
            data_id: the upload's bytes.
            sha256: their digest, in hexadecimal.
            limit_bytes: how much refused uploads may take together with this one.

        Returns:
            What `Receipt.data` is then: empty if they would take more and are not kept.
        """
        kept = self.refused / sha256
        if not kept.exists():
            if self.refused_bytes() + self.data_path(data_id).stat().st_size > limit_bytes:
                return ""
            kept.hardlink_to(self.data / data_id)
            sync_folder(self.refused)
        return str(kept.relative_to(self.data))

    def refused_bytes(self) -> int:
        """How much the refused uploads take, in bytes."""
        with os.scandir(self.refused) as entries:
            return sum(entry.stat().st_size for entry in entries)

    def accept(self, receipt: Receipt, last_look: Callable[[], None] = _nothing) -> None:
        """Make a receipt durable in `new/`: the instant of acceptance. The data must be durable already.

        Args:
            last_look: called when the receipt is on disk, just before the rename; what it raises prevents it.

        Raises:
            Undone: the rename was done and had to be taken back; for any other OSError it was not done.
        """
        self._write(receipt, self.new, last_look)

    def stage(self, receipt: Receipt, last_look: Callable[[], None] = _nothing) -> None:
        """Note durably an upload that is complete under a temporary name, or cut; `unstage` ends it."""
        self._write(receipt, self.staged, last_look)

    def unstage(self, receipt_id: str) -> None:
        """Forget a staging note."""
        (self.staged / receipt_id).unlink(missing_ok=True)

    def staged_receipts(self) -> Iterator[Receipt]:
        """The staging notes, oldest first."""
        for note_id in sorted(ids_in(self.staged)):
            # The receiver may just be done with it.
            note = None
            with contextlib.suppress(FileNotFoundError):
                note = self._read(self.staged / note_id)
            if note is not None:
                yield note

    def read_pending(self, receipt_id: str) -> Receipt | None:
        """A receipt that the ledger has yet to register; None if it has, or if it cannot be read."""
        with contextlib.suppress(FileNotFoundError):
            return self._read(self.new / receipt_id)
        return None

    def pending_ids(self) -> list[str]:
        """Ids of the receipts that are not registered, oldest first."""
        return sorted(ids_in(self.new))

    def damaged(self, at_most: int) -> Iterator[Path]:
        """Those of the oldest `at_most` pending receipts that cannot be read; all others soon move on."""
        for receipt_id in self.pending_ids()[:at_most]:
            path = self.new / receipt_id
            try:
                is_readable = _parsed(path.read_bytes()) is not None
            except OSError as error:
                is_readable = isinstance(error, FileNotFoundError)
            if not is_readable:
                yield path

    def recent(self, seconds: float, at_most: int | None = None) -> Iterator[Receipt]:
        """Receipts of the last `seconds`, oldest first, registered or not; of many, the newest `at_most`."""
        since = self._receipt_ids(f"{max(0, time.time_ns() - int(seconds * 1e9)):016x}")
        # A set, because one that moves meanwhile is seen twice.
        ids = sorted(set(since))
        return self._read_all(ids if at_most is None else ids[-at_most:])

    def without_receipt(self, data_ids: Iterable[str]) -> set[str]:
        """Those of some data files that no receipt, registered or not, speaks of.

        Ids that end alike are told apart by reading, so a receipt is never overlooked; those that do not are
        passed by their name alone, because a million receipts cannot be read for every sweep.
        """
        tails = {data_id[-_TAIL:]: data_id for data_id in data_ids}
        for receipt_id in self._receipt_ids():
            tails.pop(receipt_id[-_TAIL:], None)
        unspoken = set(tails.values())
        if unspoken:
            # A receipt made elsewhere may end differently. None is older than the data that it speaks of; the
            # names of refused data tell no time.
            oldest = min("" if "/" in data_id else data_id for data_id in unspoken)
            since = self._receipt_ids(oldest[:-_TAIL])
            unspoken -= {receipt.data for receipt in self._read_all(sorted(since))}
        return unspoken

    def read(self, receipt_id: str) -> Receipt | None:
        """A receipt, wherever it is; None if there is none that can be read."""
        for folder in (self.new, self.done):
            with contextlib.suppress(FileNotFoundError):
                return self._read(folder / receipt_id)
        return None

    def registered(self, receipt_ids: list[str]) -> None:
        """Move receipts that the ledger has committed out of `new/`."""
        for receipt_id in receipt_ids:
            try:
                (self.new / receipt_id).rename(self.done / receipt_id)
            except FileNotFoundError:
                continue

    def registered_ids(self) -> list[str]:
        """Ids of the receipts that a ledger has registered, in no order."""
        return ids_in(self.done)

    def has_registered(self) -> bool:
        """Whether a ledger has ever registered anything."""
        with contextlib.suppress(FileNotFoundError), os.scandir(self.done) as entries:
            return next(entries, None) is not None
        return False

    def free_bytes(self) -> int:
        """How much more the spool's disk can take, in bytes."""
        facts = os.statvfs(self.data)
        return facts.f_bavail * facts.f_frsize

    def _receipt_ids(self, since: str = "") -> Iterator[str]:
        # `new/` before `done/`: a receipt that moves meanwhile is seen at least once.
        for folder in (self.new, self.done):
            yield from (name for name in ids_in(folder) if name >= since)

    def _read_all(self, receipt_ids: Iterable[str]) -> Iterator[Receipt]:
        for receipt_id in receipt_ids:
            receipt = self.read(receipt_id)
            if receipt is not None:
                yield receipt

    def _read(self, path: Path) -> Receipt | None:
        """A receipt or note, unless the disk has spoilt it; then it stays there, and so does its data."""
        receipt = _parsed(path.read_bytes())
        if receipt is None and path not in self._unreadable:
            self._unreadable.add(path)
            log.error("%s", _UNREADABLE.format(path=path, data=self.data), extra={"action": "read"})
        return receipt

    def _must_have_data(self, receipt: Receipt) -> None:
        """OSError unless the bytes are where they will be looked for: others may have cleared the folder."""
        if not receipt.data:
            return
        try:
            size = self.data_path(receipt.data).stat().st_size
        except FileNotFoundError:
            size = -1
        if size < receipt.size_bytes:
            raise OSError(errno.EIO, "its bytes were removed from the inbox's disk")

    def _write(self, receipt: Receipt, folder: Path, last_look: Callable[[], None]) -> None:
        aside = self.aside / receipt.id
        try:
            durable.write_new(aside, json.dumps(vars(receipt), ensure_ascii=False).encode())
            # Its data would be in the other one.
            self.must_be_there()
            last_look()
            self._must_have_data(receipt)
            aside.rename(folder / receipt.id)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        self._in_use.discard(receipt.data)
        try:
            sync_folder(folder)
        except OSError as error:
            (folder / receipt.id).unlink(missing_ok=True)
            raise Undone(*error.args) from error


def _parsed(text: bytes) -> Receipt | None:
    try:
        return Receipt(**json.loads(text))
    except (ValueError, TypeError):
        return None


def utc_now() -> datetime:
    """The time, with its zone."""
    return datetime.now(UTC)


def names_in(folder: Path) -> list[str]:
    """All names in a folder of the spool, which may be a million."""
    return os.listdir(folder)  # noqa: PTH208 - names are wanted, and no paths


def ids_in(folder: Path) -> list[str]:
    """The names in a folder that are ids: network shares and people leave other things there."""
    return [name for name in names_in(folder) if _ID.fullmatch(name)]
