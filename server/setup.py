"""Making a settings folder that runs as it stands (contract section 8, `init`)."""

from importlib.resources import files
from pathlib import Path

_ENV = """\
# Secrets and settings of this machine, e.g. KORE_INBOX_DATABASE__URL=mysql+pymysql://user:password@host/schema
# The environment beats this file, and this file beats inbox.toml.
"""


def make_conf(folder: Path) -> list[Path]:
    """Make what is missing of a settings folder, overwriting nothing; returns what was made.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wanted = (
        ("inbox.toml", _template(), 0o644),
        ("users.toml", "# FTP users; `kore-inbox user add` writes this file.\n", 0o600),
        (".env", _ENV, 0o600),
    )
    made = []
    for name, text, mode in wanted:
        path = folder / name
        if not path.exists():
            path.touch(mode)
            path.write_text(text, encoding="utf-8")
            made.append(path)
    return made


def _template() -> str:
    """The commented settings: in a wheel beside this module, in a checkout the project's own."""
    packaged = files("server") / "conf" / "inbox.toml"
    if packaged.is_file():
        return packaged.read_text(encoding="utf-8")
    return (Path(__file__).parent.parent / "conf" / "inbox.toml").read_text(encoding="utf-8")
