"""The errors of a run: their message is meant for whoever started the command."""


class RunError(Exception):
    """A run that cannot start or go on; the message says what is wrong, where, and what to do."""


class ConfigError(RunError):
    """A config field that is unknown, of a wrong type or out of range."""


class WorkdirError(RunError):
    """A workdir that belongs to another config, or lacks what a phase needs."""


class NonFiniteLossError(RunError):
    """A loss became NaN or infinite; the last good checkpoint is kept.

    Attributes:
      batch: that made it, numbered from 1 in the order of the phase's stream.
    """

    def __init__(self, message: str, batch: int):
        super().__init__(message)
        self.batch = batch


def first_line(error: BaseException) -> str:
    """Of a library's error, at most 300 letters; its class where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]
