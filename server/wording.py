"""How counts, ages, numbers and reasons are said to people, so that it is one way everywhere. Pure text."""

from collections.abc import Mapping
from typing import Any

from server.receipt import DROP_FOLDER
from server.sequence import Range
from server.states import Cause

_AFTER_REFUSAL: Mapping[str, str] = {
    Cause.BAD_NAME: "Have it sent again under a name that follows the rules.",
    Cause.NOT_ALLOWED: "If the user shall send such files, give him the source with `kore-inbox user add`; "
    "then `kore-inbox replay {id}` lets this one in.",
    Cause.CONFLICT: "Have it sent again under a number of its own. `kore-inbox replay {id}` judges it anew, "
    "once the file that has its number is set aside.",
}
_AFTER_REFUSAL_IN_FOLDER: Mapping[str, str] = {
    **_AFTER_REFUSAL,
    Cause.NOT_ALLOWED: "If the drop folder, which `kore-inbox show {id}` names as its address, shall hold "
    "such files, add the source to it in `[drop_folder] folders` and restart; then `kore-inbox replay {id}` "
    "lets this one in.",
}
_NUMBERS = frozenset({"sequence", "first", "last", "next", "was_next"})


def counted(number: int, noun: str) -> str:
    """`1 file`, `1,204 files`; for nouns that take an s."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def sentence(reason: str | None) -> str:
    """A reason with one full stop, whether it came with one or not."""
    return f"{(reason or 'no reason was given').rstrip('.')}."


def size(size_bytes: int) -> str:
    """An amount of bytes as settings have it: `500 MB`, `1.5 GB`."""
    amount, unit = float(size_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.3g} {unit}"


def after_refusal(cause: str, file_id: int, sender: str) -> str:
    """What to do about a file that was refused, by the `Cause` of it and whose it is."""
    advice = _AFTER_REFUSAL_IN_FOLDER if sender == DROP_FOLDER else _AFTER_REFUSAL
    return f"{advice[cause].format(id=file_id)} `kore-inbox withdraw {file_id}` sets this one aside."


def skip_command(stream: str, missing: Range) -> str:
    """What an operator types to give up numbers (contract N2, S4)."""
    first, last = missing.first.sequence, missing.last.sequence
    numbers = f"{first:07d}" if first == last else f"{first:07d}-{last:07d}"
    return f"`kore-inbox skip {stream} {numbers}`"


def age(seconds: float) -> str:
    """A duration as people say it: `3 h 20 min`."""
    whole = int(seconds)
    days, rest = divmod(whole, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    said = [f"{number} {unit}" for number, unit in parts if number]
    return " ".join(said[:2]) or "0 s"


def for_people(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record with numbers of files in seven digits (contract N2), and an age in words."""
    said = {key: f"{value:07d}" if key in _NUMBERS and value else value for key, value in record.items()}
    return {**said, "age": age(record["age_seconds"])} if "age_seconds" in record else said
