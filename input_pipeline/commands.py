"""What the command lines that write data share: how they end, and what they say then."""

from collections.abc import Callable

from input_pipeline.errors import DataError
from input_pipeline.progress import say


def run_command(action: Callable[[], object], what: str) -> int:
    """Runs it and returns the exit code: 0, 2 for what a message explains, 130 for Ctrl-C.

    `what` is what could not be written, e.g. "the dataset", where the disk or the rights end it.
    """
    try:
        action()
    except DataError as error:
        say(str(error))
        return 2
    except OSError as error:
        say(f"{what} could not be written: {error}; the same command continues")
        return 2
    except KeyboardInterrupt:
        say("interrupted; the same command continues")
        return 130
    return 0
