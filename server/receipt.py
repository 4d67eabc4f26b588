"""What the spool keeps of each upload beside its bytes: who sent what, when, and how it was judged."""

from dataclasses import dataclass, field

# Whose the files of drop folders are; the folder is the address. No FTP user's name has a blank.
DROP_FOLDER = "drop folder"


@dataclass(frozen=True)
class Receipt:
    """What is known of one upload when it has been made durable.

    Attributes:
        id: sorts by time of acceptance within a spool.
        name: as the sender gave it.
        data: path below `data/` of the file that holds the bytes; refused copies of the same bytes share one.
            Empty when the bytes were not kept.
        sha256, sha256_lf: digests in hexadecimal, of the bytes and of the bytes with CRLF as LF.
        started_at, received_at: ISO 8601, UTC.
        transfer_type: `A` or `I` for FTP (bytes are stored as they came in both, contract A8).
        proofs: which proofs of completeness the upload passed, by name.
        refusal: why the sender was told 553, or None if the file was accepted.
        cause: the same as a code for rules, see `states.Cause`.
        source: of an accepted name that has neither source nor sequence, that of its sender (contract N7).
        cut: for the note of an upload that may be resumed, how it was cut (contract A5).
    """

    id: str
    name: str
    user: str
    address: str
    started_at: str
    received_at: str
    size_bytes: int
    sha256: str
    sha256_lf: str
    data: str
    transfer_type: str = "I"
    proofs: dict[str, str] = field(default_factory=dict)
    refusal: str | None = None
    cause: str | None = None
    source: str | None = None
    cut: str | None = None
