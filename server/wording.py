"""How counts, numbers and reasons are said to people, so that it is one way everywhere. Pure text."""

from server.sequence import Range


def counted(number: int, noun: str) -> str:
    """`1 file`, `1,204 files`; for nouns that take an s."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def sentence(reason: str | None) -> str:
    """A reason with one full stop, whether it came with one or not."""
    return f"{(reason or 'no reason was given').rstrip('.')}."


def skip_command(stream: str, missing: Range) -> str:
    """What an operator types to give up numbers (contract N2, S4)."""
    first, last = missing.first.sequence, missing.last.sequence
    numbers = f"{first:07d}" if first == last else f"{first:07d}-{last:07d}"
    return f"`kore-inbox skip {stream} {numbers}`"
