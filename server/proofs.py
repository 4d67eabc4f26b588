"""What shows that an upload is whole, or that it was cut (contract A5). Pure.

A proof is a sentence that begins with `passed`, `failed`, or `none` where there was nothing to go by. They
are kept in the receipt by name; `show` shows them.
"""

CONNECTION = "data connection"
SENDER = "sender"
SIZE = "announced size"
LAST_LINE = "last line"
RESUMED = "resumed"

# How a data connection ends of a client that has sent all, and of one that is killed.
ORDERLY = "it was closed in order"

_FAILED = "failed: "


def passed(how: str) -> str:
    """A proof that speaks for the upload."""
    return f"passed: {how}"


def failed(why: str) -> str:
    """A proof that speaks against it."""
    return _FAILED + why


def failure(proofs: dict[str, str]) -> tuple[str, str] | None:
    """The first proof that failed: its name and why; None if none did."""
    for name, sentence in proofs.items():
        if sentence.startswith(_FAILED):
            return name, sentence.removeprefix(_FAILED)
    return None


def is_doubtful(proofs: dict[str, str]) -> bool:
    """Whether an orderly end is all that speaks for an upload."""
    shown = {sentence for name, sentence in proofs.items() if name in (CONNECTION, SIZE, LAST_LINE)}
    return not any(sentence.startswith("passed") for sentence in shown - {passed(ORDERLY)})


def of_size(size_bytes: int, announced: int | None) -> str:
    """What an announcement (`ALLO`) shows; more than announced is no cut, it was a minimum."""
    if announced is None:
        return "none: no size was announced"
    if size_bytes < announced:
        return failed(f"{size_bytes:,} of {announced:,} announced bytes came")
    return passed(f"{announced:,} bytes were announced")


def of_last_line(open_end: tuple[bytes, bytes] | None) -> str:
    """What the last line shows.

    Args:
        open_end: the first line and the last one, if the last one has no line end.
    """
    if open_end is None:
        return passed("it has its line end")
    first, last = (line.count(b"\t") + 1 for line in open_end)
    if last < first:
        return failed(f"the last line has no line end, and {last} of {first} cells")
    return "none: it has no line end, but all its cells"
