"""That the database is away: an incident that is kept in the spool, and written down when it is back (E1).

The loader notes what it waits for in the spool (`notices`). The mailer reads that and tells people past the
queue, which is in the database too; the loader, back at work, adds it to the incidents of the past.
"""

from datetime import datetime, timedelta

from sqlalchemy import Connection

from server import incidents, notices
from server.conditions import Condition
from server.config import Settings
from server.kinds import Kind
from server.notices import Notice
from server.spool import Spool

# The loader notes it anew at each of its tries, which are at most a quarter of a minute and a time-out apart.
_FRESH = timedelta(minutes=2)


def now_away(spool: Spool, settings: Settings, now: datetime) -> Notice | None:
    """What the loader says, if the database is away now, and for long enough to be an incident.

    Args:
        spool: where the loader notes it.
        settings: how long that is.
        now: UTC.
    """
    notice = _noted(spool)
    if notice is None or now - notice.last_seen > _FRESH:
        return None
    return notice if now - notice.first_seen >= _long(settings) else None


def record(connection: Connection, spool: Spool, settings: Settings, now: datetime) -> None:
    """Add to the incidents that the database was away, if it was so for long; in the loader's transaction."""
    notice = _noted(spool)
    if notice is None or now - notice.first_seen < _long(settings):
        return
    past = Condition(Kind.DATABASE_AWAY, notice.subject, notice.happened, notice.kept, notice.todo)
    incidents.record_past(connection, past, notice.first_seen, now, is_told=settings.mail.is_on)


def _noted(spool: Spool) -> Notice | None:
    notice = notices.read(spool, "loader")
    return notice if notice is not None and notice.kind == Kind.DATABASE_AWAY else None


def _long(settings: Settings) -> timedelta:
    return timedelta(seconds=settings.database.away_alert_after)
