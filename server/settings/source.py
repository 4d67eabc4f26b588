"""The sections `[sources.X]`: what differs by source."""

from typing import Annotated

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from loaders.numbers import Notation
from loaders.options import DATE_FORMATS
from server.settings.sections import Section
from server.settings.spelling import once
from server.settings.values import DateFormat, Encoding, Hours, Seconds, UpperCase

# What the ledger can hold.
MOST_RANK = 2_147_483_647


class Source(Section):
    """What differs by source. The source with the higher `rank` wins where two write the same row.

    Without one its rank is its place in the order in which the streams first appeared, from 1 (L7.1).
    """

    encoding: Encoding = "utf-8"
    date_formats: Annotated[tuple[DateFormat, ...], Field(min_length=1)] = DATE_FORMATS
    decimal_comma: bool = False
    thousands: str = ""
    trim: bool = False
    ragged: bool = False
    full_window: Hours | None = None
    rank: Annotated[int, Field(ge=-MOST_RANK, le=MOST_RANK)] | None = None
    silence_alert_after: Seconds | None = None
    silence_alert_after_by_api: Annotated[dict[UpperCase, Seconds], BeforeValidator(once(str.upper))] = Field(
        default_factory=dict
    )

    def silence_limits(self) -> dict[str | None, float]:
        """How many seconds it may be silent, by API; None stands for all of it."""
        limits: dict[str | None, float] = dict(self.silence_alert_after_by_api.items())
        if self.silence_alert_after is not None:
            limits[None] = self.silence_alert_after
        return limits

    @field_validator("thousands")
    @classmethod
    def _separates_thousands(cls, thousands: str, info: ValidationInfo) -> str:
        Notation(decimal_comma=info.data.get("decimal_comma", False), thousands=thousands)
        return thousands
