"""The kinds of incidents: what can be wrong, by the name that lists, mails and settings use (contract E1)."""

from enum import StrEnum


class Kind(StrEnum):
    """What an incident is about; with its subject it tells one from another."""

    BAD_NAME = "bad name"
    NOT_ALLOWED = "not allowed"
    CONFLICT = "conflict"
    QUARANTINED = "quarantined"
    GAP = "gap"
    NEEDS_APPROVAL = "needs approval"
    REJECTED_ROWS = "rejected rows"
    PARKED_ROWS = "parked rows"
    WAITING_FIX = "waiting fix"
    CYCLE = "cycle"
    RETRIED = "retried"
    BACKLOG = "backlog"
    SILENCE = "silence"
    DROP_FOLDER = "drop folder"
    DATABASE_AWAY = "database away"
    DISK_LOW = "disk low"
    DAMAGED_RECEIPT = "damaged receipt"
    CERTIFICATE = "certificate"
    CRASH_LOOP = "crash loop"
    MAIL = "mail"
