"""One upload: its bytes, written and hashed as they come (contract A1, A8).

The bytes are stored as they come over the wire. Two digests are known at the end: of the bytes, and of the
bytes with CRLF as LF, by which two copies are the same (A6). Where no CR occurs both are equal and cost one.
"""

import os
from dataclasses import dataclass
from hashlib import sha256

from server.errors import InboxError
from server.spool import Receipt, Spool, utc_now


class TooLarge(InboxError):
    """The file is over the size limit of the settings."""


class Digest:
    """SHA-256 of bytes as they are, and with CRLF as LF; where the bytes were cut makes no difference."""

    def __init__(self) -> None:
        self._raw = sha256()
        self._lf = self._raw
        self._ends_with_cr = False

    def update(self, chunk: bytes) -> None:
        """Take the next bytes."""
        if self._lf is self._raw and b"\r" in chunk:
            # So far there was nothing to replace, so one digest served for both.
            self._lf = self._raw.copy()
        self._raw.update(chunk)
        if self._lf is not self._raw:
            self._update_lf(chunk)

    def _update_lf(self, chunk: bytes) -> None:
        if self._ends_with_cr:
            chunk = b"\r" + chunk
        # A CR at the end may be half of a CRLF: what it is shows the next byte.
        self._ends_with_cr = chunk.endswith(b"\r")
        if self._ends_with_cr:
            chunk = chunk[:-1]
        self._lf.update(chunk.replace(b"\r\n", b"\n"))

    @property
    def raw(self) -> str:
        """Of the bytes so far, in hexadecimal."""
        return self._raw.hexdigest()

    @property
    def lf(self) -> str:
        """Of the bytes so far with CRLF as LF, in hexadecimal; a CR alone stays."""
        if not self._ends_with_cr:
            return self._lf.hexdigest()
        whole = self._lf.copy()
        whole.update(b"\r")
        return whole.hexdigest()


@dataclass(frozen=True)
class Sender:
    """Who sends what over which connection: what a receipt says of an upload from the beginning."""

    user: str
    address: str
    name: str
    transfer_type: str = "I"


class Upload:
    """The private file of one upload, from `STOR` to its receipt.

    Args:
        spool: where the file is made, opened exclusively.
        sender: as known at the beginning.
        limit_bytes: the most that is taken.

    Raises:
        OSError: the file cannot be made.
    """

    def __init__(self, spool: Spool, sender: Sender, limit_bytes: int) -> None:
        self.sender = sender
        self.size_bytes = 0
        self._spool = spool
        self._limit_bytes = limit_bytes
        self._digest = Digest()
        self._started_at = utc_now()
        self._data = spool.new_id()
        self._file = spool.open_data(self._data)

    def write(self, chunk: bytes) -> None:
        """Take the next bytes.

        Raises:
            TooLarge: they would go beyond the limit; nothing of them is taken.
            OSError: as the file system says.
        """
        if self.size_bytes + len(chunk) > self._limit_bytes:
            raise TooLarge(f"the file is larger than {self._limit_bytes:,} bytes (max_file_size)")
        self.size_bytes += len(chunk)
        rest = memoryview(chunk)
        while rest:
            rest = rest[os.write(self._file.fileno(), rest) :]
        self._digest.update(chunk)

    def make_durable(self) -> Receipt:
        """Flush the bytes to disk (contract A2); returns all that is known, without an id.

        Raises:
            OSError: the disk does not promise to keep them.
        """
        with self._file:
            os.fsync(self._file.fileno())
        self._spool.sync_data_folder()
        return Receipt(
            id="",
            name=self.sender.name,
            user=self.sender.user,
            address=self.sender.address,
            started_at=self._started_at.isoformat(),
            received_at=utc_now().isoformat(),
            size_bytes=self.size_bytes,
            sha256=self._digest.raw,
            sha256_lf=self._digest.lf,
            data=self._data,
            transfer_type=self.sender.transfer_type,
        )

    def discard(self) -> None:
        """Forget the bytes."""
        self._file.close()
        self._spool.discard_data(self._data)
