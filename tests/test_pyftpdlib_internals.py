"""pyftpdlib's private parts that the receiver relies on; a version that changes one is told by its name.

That none is forgotten here is checked as well: all private names in `server/ftp` are looked for in pyftpdlib.
"""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyftpdlib.handlers.ftp.control import FTPHandler
from pyftpdlib.handlers.ftp.data import DTPHandler
from pyftpdlib.handlers.ftp.dispatchers import PassiveDTP
from pyftpdlib.ioloop import AsyncChat
from pyftpdlib.servers import FTPServer

from server.ftp.data import PassivePort
from server.ftp.server import Server
from server.ftp.tls import SecureDataChannel, SecureSession

OURS = Path(inspect.getfile(Server)).parent

METHODS = [
    (FTPHandler, "_shutdown_connecting_dtp"),
    (FTPHandler, "pre_process_command"),
    (FTPHandler, "collect_incoming_data"),
    (FTPHandler, "flush_account"),
    (FTPHandler, "push_dtp_data"),
    (FTPServer, "_accept_new_cons"),
    (FTPHandler, "_on_dtp_close"),
    (DTPHandler, "enable_receiving"),
    (DTPHandler, "transfer_in_progress"),
    (PassiveDTP, "handle_accepted"),
    (AsyncChat, "add_channel"),
    (AsyncChat, "del_channel"),
]

ATTRIBUTES = [
    (FTPHandler, "_current_type"),
    (FTPHandler, "_current_facts"),
    (FTPHandler, "_available_facts"),
    (FTPHandler, "_dtp_acceptor"),
    (FTPHandler, "_idler"),
    (FTPHandler, "_in_buffer_len"),
    (FTPHandler, "_in_dtp_queue"),
    (FTPHandler, "_out_dtp_queue"),
    (FTPHandler, "_restart_position"),
    (FTPHandler, "_rnfr"),
    (FTPHandler, "_extra_feats"),
    (DTPHandler, "_lastdata"),
    (DTPHandler, "_resp"),
    (AsyncChat, "_closed"),
    (AsyncChat, "_fileno"),
    (AsyncChat, "_wanted_io_events"),
    (AsyncChat, "_current_io_events"),
]


@pytest.mark.parametrize(("owner", "name"), METHODS)
def test_a_method_that_we_call_or_override_is_there(owner: type, name: str) -> None:
    assert callable(getattr(owner, name, None)), f"{owner.__name__}.{name} is gone"


@pytest.mark.parametrize(("owner", "name"), ATTRIBUTES)
def test_an_attribute_that_we_read_or_set_is_made_by_the_constructor(owner: type, name: str) -> None:
    source = inspect.getsource(owner.__init__)  # type: ignore[misc] # of this very class
    assert f"self.{name} =" in source, f"{owner.__name__}.{name} is gone"


def private_names(tree: ast.AST) -> Iterator[str]:
    """Attributes of anything, methods, and names in classes, that begin with one underscore."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            name = node.attr
        elif isinstance(node, ast.FunctionDef):
            name = node.name
        elif isinstance(node, ast.AnnAssign | ast.Assign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            name = next((target.id for target in targets if isinstance(target, ast.Name)), "")
        else:
            continue
        if name.startswith("_") and not name.endswith("__"):
            yield name


def test_every_private_part_of_pyftpdlib_that_we_use_is_named_here() -> None:
    lineage = {c for own in (SecureSession, SecureDataChannel, PassivePort, Server) for c in own.__mro__}
    theirs = [c for c in lineage if c.__module__.startswith(("pyftpdlib.", "asyn"))]
    known = {name for c in theirs for name in private_names(ast.parse(inspect.getsource(c)))}
    used = {name for path in OURS.glob("*.py") for name in private_names(ast.parse(path.read_text("utf-8")))}
    named = {name for _, name in (*METHODS, *ATTRIBUTES) if name.startswith("_")}
    assert used & known == named
