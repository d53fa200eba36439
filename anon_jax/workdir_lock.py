"""One run at a time in a workdir: a lock that the kernel takes back when its process ends."""

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from anon_jax import distributed
from anon_jax.errors import WorkdirError
from input_pipeline.progress import say

LOCK_FILE = ".lock"

_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextlib.contextmanager
def workdir_lock(workdir: Path) -> Iterator[None]:
    """Holds `workdir`, which is made where it is missing, for this process, or for this run.

    Of a run of several processes the first one holds it. The file stays; what is in it serves the
    message alone. On a file system without locks a sentence on stderr says so, and nothing is held.

    Raises:
      WorkdirError: another process holds it; names that process and its host.
    """
    with contextlib.ExitStack() as held:
        distributed.first(lambda: held.enter_context(_held(workdir)))
        yield


@contextlib.contextmanager
def _held(workdir: Path) -> Iterator[None]:
    workdir.mkdir(parents=True, exist_ok=True)
    with (workdir / LOCK_FILE).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip() or "another process"
            raise WorkdirError(
                f"{workdir} is in use by {owner}. Wait for it, stop it, or take another --workdir"
            ) from None
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            say(
                f"note: the file system of {workdir} has no locks ({error.strerror}); make sure "
                "that no second run uses it"
            )
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield
