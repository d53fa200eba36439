"""One job at a time in a thread: the others wait, each can be cancelled, all know how far it is."""

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from input_pipeline.errors import DataError

WAITING, RUNNING = "waiting", "running"
DONE, FAILED, CANCELLED = "done", "failed", "cancelled"


class Cancelled(BaseException):
    """Ends a job from within; no Exception, so that a batch does not take it for a bad file."""


class Task:
    """Work that waits its turn.

    Attributes:
      state: WAITING, RUNNING, then DONE, FAILED or CANCELLED.
      frames: how many are done.
      total: how many are expected.
      result: what the work returned, once it is DONE.
      error: a sentence, once it is FAILED.

    Args:
      work: called with `advance`, which it calls with the number of frames done, after each one.
    """

    def __init__(self, work: Callable[[Callable[[int], None]], Any], total: int):
        self._work, self.total = work, total
        self._lock = threading.Lock()
        self._stop, self._ended = threading.Event(), threading.Event()
        self._start = 0.0
        self.state, self.frames = WAITING, 0
        self.result: Any = None
        self.error = ""

    @property
    def active(self) -> bool:
        """Whether it waits or runs."""
        return not self._ended.is_set()

    @property
    def stopping(self) -> bool:
        """Whether it was told to end."""
        return self._stop.is_set()

    @property
    def rate(self) -> float:
        """Frames a second since it began to run."""
        return self.frames / max(1e-3, time.monotonic() - self._start) if self._start else 0.0

    def cancel(self) -> None:
        """Ends it: at once while it waits, after the current frame while it runs."""
        with self._lock:
            self._stop.set()
            if self.state == WAITING:
                self.state = CANCELLED
                self._ended.set()

    def wait(self, seconds: float) -> bool:
        """Waits for its end; returns whether it has come."""
        return self._ended.wait(seconds)

    def run(self) -> None:
        """Does the work, unless it was cancelled meanwhile."""
        with self._lock:
            if self.state != WAITING:
                return
            self.state, self._start = RUNNING, time.monotonic()
        state = FAILED
        try:
            self.result = self._work(self._advance)
            state = DONE
        except Cancelled:
            state = CANCELLED
        except DataError as error:
            self.error = str(error)
        # Whatever it is, the person waits for a sentence, and the next job for its turn.
        except Exception as error:
            self.error = f"{type(error).__name__}: {error}"
        finally:
            self.state = state
            self._ended.set()

    def _advance(self, frames: int) -> None:
        if self._stop.is_set():
            raise Cancelled
        self.frames = frames


class Worker:
    """Runs tasks one after another, in the order in which they came."""

    def __init__(self) -> None:
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._known: list[Task] = []  # in order; those that have ended are dropped now and then
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._loop, name="anonymizer", daemon=True)
        self._thread.start()

    def submit(self, task: Task) -> None:
        """Lets a task wait its turn; after `close`, it is cancelled."""
        with self._lock:
            if self._closed:
                task.cancel()
                return
            self._known = [known for known in self._known if known.active]
            self._known.append(task)
            self._tasks.put(task)

    def ahead(self, task: Task) -> int:
        """How many tasks come before this one."""
        with self._lock:
            before = self._known[: self._known.index(task)] if task in self._known else []
        return sum(other.active for other in before)

    def close(self, seconds: float) -> bool:
        """Cancels all tasks and waits for the running one; returns whether it has ended."""
        with self._lock:
            self._closed = True
            tasks = list(self._known)
            self._tasks.put(None)
        for task in tasks:
            task.cancel()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _loop(self) -> None:
        while (task := self._tasks.get()) is not None:
            task.run()
