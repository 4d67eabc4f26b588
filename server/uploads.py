"""Uploads until their last byte: begun, cut, kept, taken up again (contract A5, A10).

    STOR ────────► begin ──┬──► all bytes are there ─► acceptance
    REST, APPE ─► resume ──┤
        ▲                  └──► cut ─► bytes and note durable ─► swept after a day
        └─────────────────────────────────────┘

Whoever goes on with a cut upload takes its note away first, so nobody else does at the same time. Safe in any
thread.
"""

import logging
from dataclasses import replace

from server import proofs
from server.answers import Answer, failure, shown
from server.config import Inbox
from server.receipt import Receipt
from server.sent import Sent, key_of, resumes_at
from server.spool import Spool
from server.upload import Sender, Upload, UploadCut

log = logging.getLogger("server.acceptance")

_LONGEST_NAME = 255


class Uploads:
    """The uploads of one spool that are not accepted.

    Args:
        spool: exists already.
        inbox: limits.
        sent: where senders see what is kept.
    """

    def __init__(self, spool: Spool, inbox: Inbox, sent: Sent) -> None:
        self._spool = spool
        self._inbox = inbox
        self._sent = sent
        self._going_on: set[tuple[str, str]] = set()

    # --- the beginning

    def begin(self, sender: Sender, announced: int | None = None) -> Upload | Answer:
        """Open the private file of an upload; what is kept of the name ends with it.

        Args:
            sender: who, and what.
            announced: how many bytes are to come at least (`ALLO`).
        """
        refusal = self._no_room(sender.name, announced)
        if refusal is not None:
            return refusal
        earlier = self._sent.take_cut(sender.user, sender.name)
        return self._open(sender, announced, earlier, None)

    def resume(self, sender: Sender, offset: int | None, announced: int | None = None) -> Upload | Answer:
        """Go on with an upload that was cut. Reads what was kept of it.

        Args:
            sender: the same user, the same name, type I.
            offset: behind how many bytes (`REST`); None: where `SIZE` says (`APPE`).
            announced: as for `begin`.
        """
        name = shown(sender.name)
        if sender.transfer_type != "I":
            return Answer(504, f"{name} can go on in TYPE I only; in ASCII nobody can count its bytes.")
        refusal = self._no_room(sender.name, announced)
        if refusal is not None:
            return refusal
        earlier = self._take_cut(sender, 550 if offset is None else 554)
        if isinstance(earlier, Answer):
            return earlier
        if offset is None:
            offset = resumes_at(earlier)
        if offset > earlier.size_bytes:
            self._sent.put_back(earlier)
            return Answer(
                554, f"Of {name} only {earlier.size_bytes} bytes are kept; ask SIZE where to go on."
            )
        return self._open(sender, announced, earlier, offset)

    def _take_cut(self, sender: Sender, code: int) -> Receipt | Answer:
        """What is kept of a cut upload, taken away from all others; or why there is nothing, with `code`."""
        name = shown(sender.name)
        noted = self._sent.take_cut(sender.user, sender.name)
        try:
            earlier = None if noted is None else self.still_there(noted)
        except OSError as error:
            return failure(sender.name, error)
        if earlier is not None:
            return earlier
        if _key(sender) in self._going_on:
            return Answer(450, f"Another session is going on with {name}; wait for it.")
        return Answer(code, f"Nothing of {name} is kept to go on with; send it whole, with STOR.")

    def _open(
        self, sender: Sender, announced: int | None, earlier: Receipt | None, offset: int | None
    ) -> Upload | Answer:
        try:
            upload = Upload(self._spool, sender, self._inbox.max_file_size, earlier=earlier, offset=offset)
        except OSError as error:
            if earlier is not None:
                self._sent.put_back(earlier)
            return failure(sender.name, error)
        upload.announced = announced
        if upload.resumes:
            self._going_on.add(_key(sender))
        return upload

    def _no_room(self, name: str, announced: int | None) -> Answer | None:
        """Why an upload cannot begin (contract A10)."""
        wanted = announced or 0
        if wanted > self._inbox.max_file_size:
            limit = f"{self._inbox.max_file_size:,} bytes (max_file_size)"
            return Answer(552, f"{shown(name)} is announced to be larger than {limit}.")
        try:
            self._spool.must_be_there()
            free = self._spool.free_bytes()
        except OSError as error:
            return failure(name, error)
        if free < self._inbox.min_free_disk + wanted:
            return Answer(452, "The inbox's disk is nearly full. Send the file again later.")
        return None

    # --- the end, other than acceptance

    def abandon(self, upload: Upload) -> None:
        """Forget an upload to which nothing has come; what was kept of the name stays."""
        earlier = upload.earlier
        if upload.resumes:
            upload.close()
            self._going_on.discard(_key(upload.sender))
        else:
            upload.discard()
        if earlier is not None:
            left = min(earlier.size_bytes, upload.size_bytes) if upload.resumes else earlier.size_bytes
            if not self._sent.put_back(replace(earlier, size_bytes=left)):
                self.forget(earlier)

    def drop(self, upload: Upload) -> None:
        """Forget an upload and what was kept of the name."""
        upload.discard()
        self.settle(upload)

    def settle(self, upload: Upload) -> None:
        """The upload is accepted, refused, or kept anew: what was kept of the name before is over."""
        self._going_on.discard(_key(upload.sender))
        if upload.earlier is not None:
            self._spool.unstage(upload.earlier.id)
            if not upload.resumes:
                self._spool.discard_data(upload.earlier.data)

    def cut(self, upload: Upload, why: str) -> Answer:
        """Keep what came of an upload that was cut. Waits for the disk.

        Args:
            upload: takes no more bytes.
            why: what was seen, as a part of a sentence.

        Returns:
            426, with what was kept and how to go on.
        """
        return self.keep(upload, UploadCut(why, proofs.CONNECTION))

    def keep(self, upload: Upload, cut: UploadCut) -> Answer:
        """As `cut`, for whatever shows that the upload is not whole, or that its sender has gone."""
        sender, why = upload.sender, cut.happened
        log.warning(
            "%s not accepted: %s",
            shown(sender.name),
            why,
            extra={
                "action": "cut",
                "user": sender.user,
                "address": sender.address,
                "size_bytes": upload.size_bytes,
            },
        )
        if not upload.received and not upload.resumes:
            self.abandon(upload)
            return Answer(
                426, f"{shown(sender.name)} not accepted: {why}. Nothing of it came; send it again."
            )
        # In type A nobody can say where to go on: the sender's file has other line ends than what came.
        if sender.transfer_type != "I" or len(sender.name) > _LONGEST_NAME or not sender.name.isprintable():
            self.drop(upload)
            return Answer(426, f"{shown(sender.name)} not accepted: {why}. Nothing was kept; send it again.")
        try:
            note = self._note(upload, cut)
        except OSError as error:
            self.drop(upload)
            return failure(sender.name, error)
        # The acceptance shows its file first and forgets afterwards: one of the two sees the other.
        if self._sent.was_accepted(note):
            self.forget_cut(sender.user, sender.name)
            return Answer(
                426,
                f"{shown(sender.name)} not accepted: {why}. Nothing of it is kept, as "
                "a file of that name was accepted meanwhile.",
            )
        return Answer(
            426,
            f"{shown(sender.name)} not accepted: {why}. {upload.size_bytes} bytes are kept: "
            "go on with REST or APPE from where SIZE says, or send it again.",
        )

    def _note(self, upload: Upload, cut: UploadCut) -> Receipt:
        proto = upload.make_durable()
        proved = {**upload.proofs, cut.proof: proofs.failed(cut.happened)}
        note = replace(proto, id=self._spool.new_id(proto.data), cut=cut.happened, proofs=proved)
        self._spool.stage(note)
        # The old note goes before the new one is seen, and may be taken.
        self.settle(upload)
        self.show(note)
        return note

    # --- notes

    def show(self, note: Receipt) -> None:
        """Let the sender see a staged or cut file, in place of what had its name."""
        replaced = self._sent.staged(note)
        if replaced is not None:
            self.forget(replaced, but=note.data)

    def take_up(self, note: Receipt) -> None:
        """As `show`, after a restart."""
        found = self.as_on_disk(note)
        if found is None:
            return
        self.show(found)
        if self._sent.was_accepted(found):
            self.forget_cut(found.user, found.name)

    def still_there(self, note: Receipt) -> Receipt | None:
        """As `as_on_disk`, of a note that was taken away; it is put back if it cannot be looked at."""
        try:
            return self.as_on_disk(note)
        except OSError:
            self._sent.put_back(note)
            raise

    def as_on_disk(self, note: Receipt) -> Receipt | None:
        """What is left of a staged or cut file: bytes may have been cut off since it was noted, or be gone.

        Returns:
            None if nothing is left to go on with, or to accept; the note is dropped then.

        Raises:
            OSError: it cannot be looked at, or the spool is away, and what is left of it too.
        """
        found = self._spool.has_data(note.data)
        size = self._spool.data_path(note.data).stat().st_size if found else None
        if size is None or (size < note.size_bytes and not note.cut):
            log.error("what was kept of %s is gone", shown(note.name), extra={"action": "fault"})
            self._spool.unstage(note.id)
            return None
        return replace(note, size_bytes=min(size, note.size_bytes))

    def forget_cut(self, user: str, name: str) -> None:
        """The file has been accepted in another way: what was kept of it is good for nothing."""
        note = self._sent.take_cut(user, name)
        if note is not None:
            self.forget(note)

    def forget(self, note: Receipt, but: str = "") -> None:
        """Drop a note and its bytes. It was taken away before, so nobody accepts them meanwhile.

        Args:
            note: of a staged or cut file.
            but: bytes that stay, because another note speaks of them.
        """
        self._spool.unstage(note.id)
        if note.data != but:
            for data in self._spool.without_receipt([note.data]):
                self._spool.discard_data(data)


def _key(sender: Sender) -> tuple[str, str]:
    return sender.user, key_of(sender.name)
