"""Starts a command that keeps to its CPU cores and ends with its parent.

    python -m anon_jax.child_process PARENT CORES COMMAND ...

PARENT is the parent's process number, CORES as in "0,2", or "" for all. The command takes this
process over: nothing of it remains. Set here and not between fork and exec, where code must not run
in a parent that has threads.
"""

import ctypes
import os
import signal
import sys

_SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG


def main(arguments: list[str]) -> None:
    """Does not return."""
    parent, cores, *command = arguments
    if cores:
        os.sched_setaffinity(0, map(int, cores.split(",")))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)
        if os.getppid() != int(parent):  # it ended before the signal was asked for
            sys.exit("the parent process has ended")
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
