"""What all sections of the settings have in common."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Some settings that belong together; unknown ones are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True)
