"""pyftpdlib's private parts that the receiver relies on; a version that changes one is told by its name."""

import inspect

import pytest
from pyftpdlib.handlers.ftp.control import FTPHandler
from pyftpdlib.handlers.ftp.data import DTPHandler
from pyftpdlib.handlers.ftp.dispatchers import PassiveDTP
from pyftpdlib.ioloop import AsyncChat
from pyftpdlib.servers import FTPServer


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (FTPHandler, "_shutdown_connecting_dtp"),
        (FTPHandler, "_on_dtp_connection"),
        (FTPHandler, "pre_process_command"),
        (FTPHandler, "flush_account"),
        (FTPHandler, "push_dtp_data"),
        (FTPServer, "_accept_new_cons"),
        (DTPHandler, "enable_receiving"),
        (DTPHandler, "transfer_in_progress"),
        (PassiveDTP, "handle_accepted"),
        (AsyncChat, "add_channel"),
        (AsyncChat, "del_channel"),
    ],
)
def test_a_method_that_we_call_or_override_is_there(owner: type, name: str) -> None:
    assert callable(getattr(owner, name, None)), f"{owner.__name__}.{name} is gone"


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (FTPHandler, "_current_type"),
        (FTPHandler, "_current_facts"),
        (FTPHandler, "_available_facts"),
        (FTPHandler, "_dtp_acceptor"),
        (FTPHandler, "_idler"),
        (FTPHandler, "_in_dtp_queue"),
        (FTPHandler, "_out_dtp_queue"),
        (FTPHandler, "_rnfr"),
        (FTPHandler, "_extra_feats"),
        (DTPHandler, "_resp"),
        (AsyncChat, "_closed"),
        (AsyncChat, "_wanted_io_events"),
        (AsyncChat, "_current_io_events"),
    ],
)
def test_an_attribute_that_we_read_or_set_is_made_by_the_constructor(owner: type, name: str) -> None:
    source = inspect.getsource(owner.__init__)  # type: ignore[misc] # of this very class
    assert f"self.{name} =" in source, f"{owner.__name__}.{name} is gone"
