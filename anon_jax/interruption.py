"""SIGTERM and SIGINT: what is being trained is saved, then the process leaves with EXIT_CODE."""

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: nothing is wrong, the same command goes on
GRACE_SECONDS = 25.0  # schedulers commonly kill 30 s after SIGTERM
# Ctrl-C, a scheduler and a parent may all send the same request within a moment.
SAME_REQUEST_SECONDS = 1.0

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_POLL_SECONDS = 0.2


class Interrupted(KeyboardInterrupt):
    """A signal asked the process to leave; the message says what was saved.

    A KeyboardInterrupt, so that whatever cleans up after Ctrl-C does so after SIGTERM too.
    """


class _Request:
    """Whether the process was asked to leave. One a process, as signal handlers are."""

    def __init__(self) -> None:
        self.made = False
        self.deferrals = 0  # of nested `deferred` blocks
        self.saving = False


_request = _Request()


def requested() -> bool:
    """Whether a signal has asked this process to leave."""
    return _request.made


@contextlib.contextmanager
def handled(grace: float | None = GRACE_SECONDS) -> Iterator[None]:
    """Within the block a first SIGTERM or SIGINT raises Interrupted, a second one ends the process.

    Only the main thread may enter it. A second signal counts from SAME_REQUEST_SECONDS after the
    first on.

    Args:
      grace: seconds after which the process ends although it has not come to the end of a step,
        unless it is saving; None = it may take its time.
    """
    global _request
    _request = _Request()
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    former = [signal.signal(number, _handle) for number in _SIGNALS]
    former_hook, sys.unraisablehook = sys.unraisablehook, _leave_unraisable(sys.unraisablehook)
    # The compiler and the steps are C++ code that lets no Python handler run until it returns; the
    # number of the signal reaches this pipe at once, and another thread.
    former_fd = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reading, grace), name="signals", daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(former_fd)
        sys.unraisablehook = former_hook
        for number, handler in zip(_SIGNALS, former, strict=True):
            signal.signal(number, handler)
        os.close(writing)  # ends the thread
        _request = _Request()


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Within the block signals are noted alone, for `requested`; at its end they are acted on.

    Raises:
      Interrupted: at the end, where the block did not raise it itself.
    """
    request = _request
    request.deferrals += 1
    try:
        yield
    finally:
        request.deferrals -= 1
    _act(request)


@contextlib.contextmanager
def at_once() -> Iterator[None]:
    """A part of a `deferred` block that nothing is lost by leaving."""
    request, deferrals = _request, _request.deferrals
    request.deferrals = 0
    try:
        _act(request)
        yield
    finally:
        request.deferrals = deferrals


@contextlib.contextmanager
def saving() -> Iterator[None]:
    """Within the block the grace does not end: what is being written may be much."""
    request = _request
    request.saving = True
    try:
        yield
    finally:
        request.saving = False


def leave(code: int = EXIT_CODE) -> NoReturn:
    """Ends the process as `sys.exit` does, but for what Python would do at its end.

    A step may still be compiled in a thread of XLA, which crashes where its client is closed.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def _act(request: _Request) -> None:
    if request.made and not request.deferrals:
        raise Interrupted


def _handle(number: int, frame: object) -> None:
    del number, frame
    first, _request.made = not _request.made, True
    # Later ones are left to `_watch`: they would interrupt the cleaning up after the first.
    if first and not _request.deferrals:
        raise Interrupted


def _leave_unraisable(report: Callable[[Any], Any]) -> Callable[[Any], None]:
    """A handler may run within a callback that lets no exception out, such as the collector's.

    Nothing is lost then by leaving without one: what must not be left defers it.
    """

    def hook(unraisable: Any) -> None:
        if issubclass(unraisable.exc_type, Interrupted):
            _leave("interrupted")
        report(unraisable)

    return hook


def _watch(reading: int, grace: float | None) -> None:
    """Ends the process at the second request, or when the grace is over."""
    request = _request
    with open(reading, "rb", buffering=0) as signals:
        if not signals.read(1):  # the block has ended without a signal
            return
        start = time.monotonic()
        while True:
            arrived, _, _ = select.select([signals], [], [], _POLL_SECONDS)
            passed = time.monotonic() - start
            if arrived:
                if not signals.read(1):
                    return
                if passed > SAME_REQUEST_SECONDS:
                    _leave("interrupted twice: left without saving")
            elif grace is not None and passed > grace and not request.saving:
                _leave(f"interrupted: no end of a step within {grace:g} s, left without saving it")


def _leave(sentence: str) -> None:
    # Past Python's own streams: the main thread may hold their locks.
    os.write(2, f"{sentence}; the same command goes on\n".encode())
    os._exit(EXIT_CODE)
