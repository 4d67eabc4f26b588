"""The lease: of all loaders that share a database, the one that may load (contract D3).

Every function works in the caller's transaction.
"""

from datetime import datetime, timedelta

from sqlalchemy import Connection, func, insert, select, update

from server import schema


class LeaseLost(Exception):
    """Another loader has taken over; whatever this one was doing must not be committed (contract D3)."""


def take(connection: Connection, owner: str, token: str, now: datetime, seconds: float) -> bool:
    """Become the one active loader, if nobody else is (contract D3).

    Args:
        connection: in a write transaction.
        owner: the node's name; a node's new loader takes over from its old one at once.
        token: of this loader's life.
        now: UTC, by the database's clock (`database_now`), which all nodes share.
        seconds: how long the lease is good without being renewed.
    """
    lease = schema.lease
    row = connection.execute(select(lease).where(lease.c.id == 1).with_for_update()).one_or_none()
    values = {"owner": owner, "token": token, "expires_at": now + timedelta(seconds=seconds)}
    if row is None:
        connection.execute(insert(lease).values(id=1, **values))
        return True
    if row.owner != owner and row.expires_at > now:
        # One that ends later than any could was taken before the clock was set back; it runs from now on.
        if row.expires_at > values["expires_at"]:
            connection.execute(update(lease).where(lease.c.id == 1).values(expires_at=values["expires_at"]))
        return False
    connection.execute(update(lease).where(lease.c.id == 1).values(values))
    return True


def is_led_by_another(connection: Connection, owner: str) -> bool:
    """Whether another node's loader has the lease at this moment."""
    lease = schema.lease
    others = select(lease.c.id).where(lease.c.owner != owner, lease.c.expires_at > database_now(connection))
    return connection.execute(others).first() is not None


def check(connection: Connection, token: str, now: datetime, seconds: float) -> None:
    """Lock and renew the lease; every transaction of the loader begins with it.

    Raises:
        LeaseLost: another loader has it.
    """
    lease = schema.lease
    renewed = connection.execute(
        update(lease)
        .where(lease.c.id == 1, lease.c.token == token)
        .values(expires_at=now + timedelta(seconds=seconds))
    )
    if not renewed.rowcount:
        raise LeaseLost


def exclude_loader(connection: Connection) -> None:
    """Let no loader work before the transaction ends (contract D3): each of its own begins with the lease."""
    connection.execute(select(schema.lease.c.id).with_for_update())


def database_now(connection: Connection) -> datetime:
    """The database's clock, UTC, in whole seconds or finer."""
    moment: datetime = connection.execute(select(func.current_timestamp())).scalar_one()
    return moment
