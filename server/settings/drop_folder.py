"""The section `[drop_folder]`: folders in place of FTP."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from server.settings.sections import Section
from server.settings.spelling import once
from server.settings.values import FilePath, Marker, NamePart, Seconds

_LONGEST_ADDRESS = 100


def address_of(folder: Path) -> str:
    """Where the files of a folder come from, as receipts have it: of a deep path the end."""
    return str(folder)[-_LONGEST_ADDRESS:]


class DropFolders(Section):
    """Folders in which senders leave files, by folder the sources that may; often on a network share."""

    folders: Annotated[
        dict[FilePath, Annotated[tuple[NamePart, ...], Field(min_length=1)]],
        BeforeValidator(once(lambda folder: str(Path(folder)))),
    ] = Field(default_factory=dict)
    scan_interval: Annotated[Seconds, Field(gt=0)] = 5
    stable_for: Seconds = 10
    marker: Marker = ""
    originals: Literal["move", "delete"] = "move"
    alert_after: Seconds = 900

    def may_hold(self, address: str, source: str) -> bool:
        """Whether files of a source may lie in the folder of an address."""
        return any(address_of(folder) == address and source in of for folder, of in self.folders.items())
