"""Opens a page on this machine to try the anonymizer: python -m anon_jax.app --checkpoint=DIR ...

Without a checkpoint it offers the methods that need none, and the small one that comes with the
package. It ends with Ctrl-C, and then nothing is left of what was dropped there.
"""

import argparse
import functools
import importlib.util
import math
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from types import FrameType

from anon_jax.anonymize import methods
from anon_jax.app import HOST, storage
from anon_jax.app.films import Limits
from anon_jax.shipped import SMALL, SMALL_RESOLUTION
from input_pipeline.errors import DataError
from input_pipeline.progress import say

_NO_GRADIO, _FAILED = 1, 2
_SIGNALS = (signal.SIGTERM, signal.SIGHUP)  # SIGHUP: the terminal was closed
_LOOK = 0.5  # seconds of a sleep: a signal that another thread was given does not end it
_TIDY = 30.0  # seconds between two searches for uploads that were broken off
_PATIENCE = 10.0  # seconds for the running job to end when the process shall
_LABELS = {  # the first one hides no less where a detector finds nothing
    "downsample": f"Reduce the picture to {methods.LEFT_OF_SHORT_SIDE} rows and enlarge it again",
    "blur": "Blur people and faces that a detector finds",
    "blacken": "Blacken people and faces that a detector finds",
}
_SMALL_LABEL = (
    f"The tiny trained anonymizer that comes with the package ({SMALL}). To try, not for use: it "
    f"learned from drawn figures, at {SMALL_RESOLUTION} rows, and nothing was measured on people"
)


def main(argv: Sequence[str] | None = None) -> int:
    """The console script; returns the exit code.

    0: ended by Ctrl-C. 1: Gradio is not installed. 2: it could not begin, and why. 128 + N: by
    signal N.
    """
    arguments = _parser().parse_args(argv)
    if importlib.util.find_spec("gradio") is None:
        say('error: the page needs Gradio; install the extra: pip install "anon_jax[app]"')
        return _NO_GRADIO
    before = {number: signal.getsignal(number) for number in (*_SIGNALS, signal.SIGINT)}
    for number in _SIGNALS:
        signal.signal(number, _end)
    try:
        _run(arguments)
    except DataError as error:
        say(f"error: {error}")
        return _FAILED
    except KeyboardInterrupt:
        return 0
    except _Ended as ended:
        return 128 + ended.number
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


def _run(arguments: argparse.Namespace) -> None:
    """Serves until a signal comes; the files are gone when it returns."""
    limits = _limits(arguments)
    _check_port(arguments.port)
    chosen, labels = _methods(arguments.checkpoint)
    with storage.own_folder() as root:
        # Before Gradio is imported, which asks for it then: uploads arrive in our folder.
        os.environ["GRADIO_TEMP_DIR"] = str(root)
        from anon_jax.app.desk import Desk
        from anon_jax.app.page import open_page

        desk = Desk(root, chosen, limits)
        page = None
        try:
            page, address = open_page(desk, labels, limits, arguments.port)
            say(f"The page is at {address} for this machine alone; Ctrl-C ends it.")
            while True:
                for _ in range(round(_TIDY / _LOOK)):
                    time.sleep(_LOOK)
                desk.tidy()
        finally:
            for number in (*_SIGNALS, signal.SIGINT):  # a second one must not stop the deleting
                signal.signal(number, signal.SIG_IGN)
            desk.close(_PATIENCE)
            if page:
                page.close(verbose=False)


def _check_port(port: int) -> None:
    """Raises DataError where the page could not be served there; before anything is loaded."""
    if not 0 < port < 2**16:
        raise DataError(f"--port is {port}; it has to be from 1 to 65535")
    try:
        socket.create_server((HOST, port)).close()
    except OSError as error:
        raise DataError(
            f"port {port} cannot be used ({error.strerror}); name another one with --port"
        ) from error


def _limits(arguments: argparse.Namespace) -> Limits:
    for name in ("max_mb", "max_seconds"):
        value = getattr(arguments, name)
        if not (value > 0 and math.isfinite(value)):
            raise DataError(f"--{name} is {value}; it has to be above 0")
    return Limits(megabytes=arguments.max_mb, seconds=arguments.max_seconds)


def _methods(checkpoints: Sequence[str]) -> tuple[dict[str, methods.Method], dict[str, str]]:
    """(name -> method, name -> what the page calls it).

    The user's checkpoints come first. The package's own, which is no tool, comes last, and only
    where there are no others.
    """
    chosen: dict[str, methods.Method] = {}
    labels: dict[str, str] = {}
    for folder in checkpoints:
        name = f"checkpoint {folder}"
        chosen[name] = methods.learned(folder, "auto", resolution=None, smoothing=0.0)
        labels[name] = _SMALL_LABEL if folder == SMALL else f"Trained anonymizer {folder}"
    for name, label in _LABELS.items():
        chosen[name] = methods.obfuscation(name, "opencv")
        labels[name] = label
    if not checkpoints:
        name = f"checkpoint {SMALL}"
        chosen[name], labels[name] = _small(), _SMALL_LABEL
    return chosen, labels


def _small() -> methods.Method:
    """The package's own anonymizer, read when it is first used: the page opens at once."""

    @functools.cache
    def loaded() -> methods.Method:
        return methods.learned(SMALL, "auto", resolution=None, smoothing=0.0)

    return methods.Method(
        "learned", {"checkpoint": SMALL}, lambda height, width: loaded().start(height, width)
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="anon-jax-app", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("--port", type=int, default=7860, help="where the page is served (7860)")
    add("--checkpoint", action="append", default=[], metavar="DIR",
        help="a trained anonymizer to offer, several times if wanted (small)")  # fmt: skip
    add("--max_mb", type=float, default=200.0, help="largest file in megabytes (200)")
    add("--max_seconds", type=float, default=120.0, help="longest video in seconds (120)")
    return parser


class _Ended(BaseException):
    """A signal: ends the process as Ctrl-C does."""

    def __init__(self, number: int):
        self.number = number


def _end(number: int, frame: FrameType | None) -> None:
    raise _Ended(number)


if __name__ == "__main__":
    sys.exit(main())
