"""One upload: its bytes, written and hashed as they come (contract A1, A8).

The bytes are stored as they come over the wire. Two digests are known at the end: of the bytes, and of the
bytes with CRLF as LF, by which two copies are the same (A6). Where no CR occurs both are equal and cost one.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from errno import EIO
from hashlib import sha256
from typing import BinaryIO

from server.errors import InboxError
from server.proofs import RESUMED
from server.receipt import Receipt
from server.spool import Spool, utc_now

_BLOCK_BYTES = 1 << 20
# Of a longer line nothing is asked; none that is loaded is longer.
_LONGEST_LINE_BYTES = 1 << 20


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


class UploadCut(InboxError):
    """The upload did not come to its end, or the sender has gone before it was safe (contract A5).

    Args:
        happened: as a part of a sentence.
        proof: the name of what shows it, see `proofs`.
    """

    def __init__(self, happened: str, proof: str) -> None:
        super().__init__(happened)
        self.proof = proof


class Upload:
    """The private file of one upload, from `STOR` to its receipt.

    Args:
        spool: where the file is made, opened exclusively.
        sender: as known at the beginning.
        limit_bytes: the most that is taken.
        earlier: what was kept of a cut upload of the same name; its fate is this one's.
        offset: how many bytes of it stay, to go on behind them; None begins anew.

    Attributes:
        received: bytes that have come by this upload itself.
        announced: how many bytes the sender wants to send at least, if he has said so.
        proofs: what is known so far of its completeness.

    Raises:
        OSError: the file cannot be made, or what was kept cannot be read.
    """

    def __init__(
        self,
        spool: Spool,
        sender: Sender,
        limit_bytes: int,
        *,
        earlier: Receipt | None = None,
        offset: int | None = None,
    ) -> None:
        self.sender = sender
        self.earlier = earlier
        self.size_bytes = 0
        self.received = 0
        self.announced: int | None = None
        self.proofs: dict[str, str] = {}
        self._spool = spool
        self._limit_bytes = limit_bytes
        self._digest = Digest()
        self._ends_line = True
        self._durable: Receipt | None = None
        if earlier is not None and offset is not None:
            self._started_at = earlier.started_at
            self.data = earlier.data
            self._file = spool.reopen_data(self.data)
            self._take_up(earlier, offset)
        else:
            self._started_at = utc_now().isoformat()
            self.data = spool.new_id()
            self._file = spool.open_data(self.data)

    @property
    def resumes(self) -> bool:
        """Whether it goes on with an earlier one."""
        return self.earlier is not None and self.earlier.data == self.data

    def _take_up(self, earlier: Receipt, offset: int) -> None:
        """Digest what stays, and cut off the rest."""
        with _closed_on_error(self._file):
            while self.size_bytes < offset:
                block = self._file.read(min(_BLOCK_BYTES, offset - self.size_bytes))
                if not block:
                    raise OSError(EIO, "what was kept of it is gone")
                self._digest_next(block)
            self._file.truncate(offset)
        self.proofs[RESUMED] = f"behind {offset:,} bytes, after it was cut: {earlier.cut}"

    def write(self, chunk: bytes) -> None:
        """Take the next bytes.

        Raises:
            TooLarge: they would go beyond the limit; nothing of them is taken.
            OSError: as the file system says.
        """
        if self.size_bytes + len(chunk) > self._limit_bytes:
            raise TooLarge(f"the file is larger than {self._limit_bytes:,} bytes (max_file_size)")
        rest = memoryview(chunk)
        while rest:
            rest = rest[os.write(self._file.fileno(), rest) :]
        self.received += len(chunk)
        self._digest_next(chunk)

    def _digest_next(self, chunk: bytes) -> None:
        self.size_bytes += len(chunk)
        self._ends_line = chunk.endswith(b"\n")
        self._digest.update(chunk)

    def make_durable(self) -> Receipt:
        """Flush the bytes to disk (contract A2); returns all that is known, without an id.

        Raises:
            OSError: the disk does not promise to keep them.
        """
        if self._durable is None:
            with self._file:
                os.fsync(self._file.fileno())
            self._spool.sync_data_folder()
            self._durable = Receipt(
                id="",
                name=self.sender.name,
                user=self.sender.user,
                address=self.sender.address,
                started_at=self._started_at,
                received_at=utc_now().isoformat(),
                size_bytes=self.size_bytes,
                sha256=self._digest.raw,
                sha256_lf=self._digest.lf,
                data=self.data,
                transfer_type=self.sender.transfer_type,
            )
        return self._durable

    def open_end(self) -> tuple[bytes, bytes] | None:
        """The first line and the last one, if the last one has no line end and neither is too long."""
        if self._ends_line:
            return None
        with self._spool.data_path(self.data).open("rb") as handle:
            first = handle.readline(_LONGEST_LINE_BYTES)
            handle.seek(max(0, self.size_bytes - _LONGEST_LINE_BYTES))
            tail = handle.read(_LONGEST_LINE_BYTES)
        whole = self.size_bytes <= _LONGEST_LINE_BYTES or b"\n" in tail
        return (first, tail.rpartition(b"\n")[2]) if whole and len(first) < _LONGEST_LINE_BYTES else None

    def close(self) -> None:
        """Take no more bytes; those that came stay."""
        self._file.close()

    def discard(self) -> None:
        """Forget the bytes."""
        self._file.close()
        self._spool.discard_data(self.data)


@contextmanager
def _closed_on_error(handle: BinaryIO) -> Iterator[None]:
    try:
        yield
    except BaseException:
        handle.close()
        raise
