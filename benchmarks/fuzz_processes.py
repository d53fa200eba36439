"""Runs a function in a forked process that may crash, hang, or take too much memory."""

import dataclasses
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

_MEMORY = 8 * 2**30  # bytes of address space; a machine with less would be brought down
_POLL = 0.005  # seconds


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
      code: its exit code, minus the signal that ended it; None where it had to be killed.
      said: what it printed.
      seconds: how long it took.
    """

    code: int | None
    said: str
    seconds: float


def forked(work: Callable[[], int], temporary: Path, limit: float) -> Ended:
    """Calls `work`, whose result is the exit code, in a process of its own.

    The process ends when `work` returns: what Python does as it shuts down is left out.

    Args:
      temporary: its folder for temporary files.
      limit: seconds after which it is killed.
    """
    with tempfile.TemporaryFile() as said:
        begin = time.monotonic()
        child = os.fork()
        if not child:
            _work(work, temporary, said.fileno())
        code = _wait(child, begin + limit)
        seconds = time.monotonic() - begin
        said.seek(0)
        return Ended(code, said.read().decode(errors="replace"), seconds)


def _work(work: Callable[[], int], temporary: Path, said: int) -> None:
    """Never returns."""
    code = 1
    try:
        os.setsid()
        for number in (1, 2):
            os.dup2(said, number)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        os.environ["TMPDIR"], tempfile.tempdir = str(temporary), None
        code = work()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _wait(child: int, end: float) -> int | None:
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return None
        time.sleep(_POLL)
