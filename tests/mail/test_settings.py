"""The section `[mail]`: off unless set, and every mistake told at once (contract section 9)."""

from pathlib import Path

import pytest

from server.config import load_settings
from server.errors import SettingsError


def _mistakes(conf: Path, toml: str) -> list[str]:
    (conf / "inbox.toml").write_text(toml)
    with pytest.raises(SettingsError) as refused:
        load_settings(conf)
    return refused.value.mistakes


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    found = _mistakes(
        tmp_path,
        """
        [mail]
        host = "mail.example.com"
        username = "inbox"
        name = "a\\nBcc: b"
        digest_intervall = "1h"
        [[mail.route]]
        kinds = ["gaps"]
        to = ["a@example.com, b@example.com", "ü@example.com"]
        [sources.DT]
        silence_alert_after_by_api = { ORDERS = "soon" }
        """,
    )
    wanted = {
        "mail.password": "KORE_INBOX_MAIL__PASSWORD",
        "mail.name": "control characters",
        "mail.digest_intervall": "no such setting",
        "mail.route.0.kinds.0": "'gap'",
        "mail.route.0.to.0": "not a mail address",
        "mail.route.0.to.1": "ASCII",
        "mail.sender": "needs a sender",
        "mail.recipients": "needs recipients",
        "sources.DT.silence_alert_after_by_api.ORDERS": "not a duration",
    }
    for setting, why in wanted.items():
        assert any(said.startswith(f"{setting}: ") and why in said for said in found), (setting, found)


def test_a_password_never_crosses_a_network_in_clear_or_reaches_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toml = (
        '[mail]\nhost = "{}"\nusername = "u"\nsender = "a@b.c"\nrecipients = ["a@b.c"]\nsecurity = "none"\n'
    )
    (tmp_path / ".env").write_text("KORE_INBOX_MAIL__PASSWORD=hunter2\n")
    [said] = _mistakes(tmp_path, toml.format("mail.example.com"))
    assert "in clear" in said
    assert "hunter2" not in said
    (tmp_path / "inbox.toml").write_text(toml.format("localhost"))
    assert "hunter2" not in repr(load_settings(tmp_path))


def test_without_a_host_there_is_no_mail(tmp_path: Path) -> None:
    assert not load_settings(tmp_path).mail.is_on
