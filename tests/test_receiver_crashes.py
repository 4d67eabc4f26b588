"""A receiver that is killed before any of its steps keeps what it has promised (contract A2, A5, N4, N6).

Every step by which it touches the world is numbered by itself (`tests/support/steps.py`), while real
clients send to it: for each of them it is killed there with SIGKILL, started anew, and everything is sent
again, as an ERP does that has heard nothing.
"""

import ftplib
import hashlib
import os
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from itertools import count
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from pydantic import ByteSize

from loaders.shapes import Catalog
from server import acceptance, users
from server.acceptance import Acceptance
from server.config import Inbox as InboxSettings
from server.config import Settings
from server.outlook import LedgerOutlook
from server.receiver import Receiver
from server.settings.ftp import Ftp
from server.spool import Spool
from tests.support.facts import Facts, compare, facts, files_of, settled
from tests.support.prepared import CATALOG
from tests.support.receiving import Told
from tests.support.steps import Death, Forked
from tests.support.worlds import World, copy_spool, some_or_all_steps

ONE, TWO, THREE = b"A\tone\n", b"B\ttwo\n" * 3, b"C\tthree\nD\tfour\nE\tfive\n"
WHOLE = {
    "DT_0000001_KS_CATEGORY.NET": ONE,
    "DT_0000002_KS_CATEGORY.NET": TWO,
    "DT_0000003_KS_CATEGORY.NET": THREE,
    "CATEGORY.net": b"U\tunnumbered\n",
}
ONLY_CATEGORY = Catalog({"CATEGORY": CATALOG["CATEGORY"]}, {})


class Client:
    """What senders send, one thing after the other, until the receiver is gone; and what they heard."""

    def __init__(self, port: int) -> None:
        self.promised: set[str] = set()
        self.refused: set[str] = set()
        self.finished = False
        address = ("127.0.0.1", port)
        with suppress(OSError, EOFError):
            with self._session(address, "erp") as erp:
                self._numbered(erp)
            with self._session(address, "shop") as shop:
                self._store(shop, "CATEGORY.net", WHOLE["CATEGORY.net"])
            self.finished = True

    def _session(self, address: tuple[str, int], user: str) -> ftplib.FTP:
        session = ftplib.FTP(timeout=60)
        session.connect(*address)
        session.login(user, "secret")
        session.voidcmd("TYPE I")
        return session

    def _numbered(self, erp: ftplib.FTP) -> None:
        one, two, three = list(WHOLE)[:3]
        self._store(erp, one, ONE)
        # Staged and renamed.
        self._store(erp, f"{two}.tmp", TWO)
        erp.sendcmd(f"RNFR {two}.tmp")
        assert erp.sendcmd(f"RNTO {two}").startswith("250")
        self.promised.add(two)
        # Cut and resumed.
        erp.sendcmd(f"ALLO {len(THREE)}")
        self._store(erp, three, THREE[:-8], code="426")
        at = erp.size(three)
        assert at is not None
        self._store(erp, three, THREE[at:], rest=at)
        # Sent again, a conflict, a name that is none, and what is never renamed.
        self._store(erp, one, ONE.replace(b"\n", b"\r\n"))
        self._store(erp, two, b"other\n", code="553")
        self._store(erp, "nonsense.txt", b"what?\n", code="553")
        self._store(erp, "forgotten.tmp", b"what?\n")
        erp.quit()

    def _store(
        self, session: ftplib.FTP, name: str, data: bytes, *, rest: int | None = None, code: str = "226"
    ) -> None:
        try:
            reply = session.storbinary(f"STOR {name}", BytesIO(data), rest=rest)
        except (ftplib.error_perm, ftplib.error_temp) as error:
            reply = str(error)
        assert reply.startswith(code), reply
        if code == "226" and not name.endswith(".tmp"):
            self.promised.add(name)
        if code == "553":
            self.refused.add(name)


class Reception(World):
    """An inbox into which senders push."""

    @property
    def settings(self) -> Settings:
        """Of the receiver."""
        return self.origin.settings.model_copy(
            update={
                "ftp": Ftp(port=0),
                "inbox": InboxSettings(spool=self.spool.root, min_free_disk=ByteSize(0)),
            }
        )

    def life(self, step: int | None = None) -> tuple[Client, Death | None]:
        """A receiver's life, and what its clients heard."""
        address, tell = os.pipe()
        ends, end = os.pipe()

        def receive() -> None:
            os.close(end)
            outlook = LedgerOutlook(self.settings)
            receiver = Receiver(self.settings, self.folder, outlook, lambda: frozenset(self.catalog))
            receiver.start()
            os.write(tell, b"%d" % receiver.address[1])
            os.close(tell)
            threading.Thread(target=_when_closed, args=(ends, receiver.stop), daemon=True).start()
            receiver.serve_forever()

        child = Forked(receive, step)
        os.close(tell)
        os.close(ends)
        port = os.read(address, 100)
        client = Client(int(port or "0"))
        os.close(end)
        os.close(address)
        return client, child.wait()

    def left_after_a_day(self) -> list[str]:
        """What nobody accounts for when nothing more is sent, and the next receiver has swept; in a copy."""
        spool = Spool(self.folder / "swept")
        copy_spool(self.spool.root, spool.root)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(acceptance, "KEPT_SECONDS", 0)
            later = Acceptance(spool, self.settings, Told(), lambda: frozenset(self.catalog))
            later.load()
            later.tidy()
        known = {spool.refused, *(spool.data / receipt.data for receipt in spool.recent(1e6))}
        left = [
            f"{path} is left"
            for path in files_of(spool)
            if path not in known and path.parent not in (spool.new, spool.done)
        ]
        shutil.rmtree(spool.root)
        return left

    def broken_promises(self, client: Client) -> list[str]:
        """What does not hold of what senders have heard, or is in though it is not whole."""
        spool, said = self.spool, []
        receipts = list(spool.recent(1e6))
        for receipt in receipts:
            data = spool.data_path(receipt.data).read_bytes()
            if receipt.refusal is None and data.replace(b"\r", b"") != WHOLE[receipt.name]:
                said.append(f"{receipt.name} is in, though it is not whole")
            if hashlib.sha256(data).hexdigest() != receipt.sha256:
                said.append(f"{receipt.name}: another digest")
        taken = {receipt.name for receipt in receipts if receipt.refusal is None}
        kept = {receipt.name for receipt in receipts if receipt.refusal is not None}
        said += [f"{name} was promised and is lost" for name in client.promised - taken]
        said += [f"{name} was said to be kept and is not" for name in client.refused - kept]
        return said


@some_or_all_steps
@pytest.mark.timeout(7200)
def test_a_receiver_killed_at_any_step_keeps_what_it_promised_and_takes_the_rest_anew(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch, thorough: bool
) -> None:
    monkeypatch.setattr(users, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    users.add_user(tmp_path, "erp", "secret", ["DT"])
    users.add_user(tmp_path, "shop", "secret", ["XX"], unsequenced=True)
    world = Reception.make(tmp_path, database_url, ONLY_CATEGORY)
    world.anew()
    client, _ = world.life()
    assert client.finished
    wanted = _what_is_there(world)
    for step in count(1, world.stride(thorough)):
        world.anew()
        client, death = world.life(step)
        if death is None:
            break
        assert world.broken_promises(client) == [], str(death)
        assert world.left_after_a_day() == [], f"{death}, and nothing is sent any more"
        again, _ = world.life()
        assert again.finished
        assert world.broken_promises(client) + world.broken_promises(again) == [], str(death)
        assert world.left_after_a_day() == [], str(death)
        assert compare(_what_is_there(world), wanted) == [], str(death)


def _what_is_there(world: World) -> Facts:
    """All that is known when it is loaded, however often it was sent."""
    world.load()
    bench = world.bench
    found = settled(facts(bench))
    bench.database.close()
    return found


def _when_closed(pipe: int, call: Callable[[], None]) -> None:
    os.read(pipe, 1)
    call()
