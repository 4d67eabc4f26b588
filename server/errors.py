"""Errors that tell what happened, what was kept, and what to do.

Everything foreseeable is one of these, so that the command line can print it without a traceback and a log
line can carry it whole. Temporary and permanent faults are told apart by type, never by text (contract L9).
"""


class InboxError(Exception):
    """A foreseeable failure, in words for the person who has to act on it.

    Args:
        happened: a sentence that says what went wrong.
        kept: what was kept or left unchanged, if that is in question.
        todo: what to do about it, if anything can be done.
    """

    def __init__(self, happened: str, *, kept: str = "", todo: str = "") -> None:
        super().__init__(" ".join(part for part in (happened, kept, todo) if part))
        self.happened = happened
        self.kept = kept
        self.todo = todo


class SettingsError(InboxError):
    """The settings cannot be used; `mistakes` holds all of them, one sentence each (contract section 9)."""

    def __init__(self, mistakes: list[str]) -> None:
        many = "a mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        listed = "\n".join(f"  - {mistake}" for mistake in mistakes)
        super().__init__(f"The settings have {many}:\n{listed}")
        self.mistakes = mistakes


class UsageError(InboxError):
    """A command names something that does not exist or cannot be done to it."""


class TemporaryFault(InboxError):
    """Something that passes by itself and is tried again; `kind` says what, in a word or two."""

    kind = "fault"
