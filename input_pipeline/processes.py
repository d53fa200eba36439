"""Work spread over processes: results in order, progress item by item, nobody left behind."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from input_pipeline.errors import WorkerKilledError
from input_pipeline.progress import Progress

POLL_SECONDS = 0.2  # between two looks at what the processes have done

Job = TypeVar("Job")
Result = TypeVar("Result")
Tick = Callable[[], None]


class StoppedError(Exception):
    """The caller has given up; a worker leaves its job unfinished."""


def run_jobs(
    function: Callable[[Job, Tick], Result], jobs: Sequence[Job], *, workers: int, bar: Progress
) -> list[Result]:
    """`function(job, tick)` of each job, on `workers` processes; the results in the jobs' order.

    `function` calls `tick()` after each of a job's items. With one worker it runs in this process.
    The first error of a job ends all of them, after the item that each is at.

    Raises:
      WorkerKilledError: a process was killed from outside.
    """
    if workers == 1:
        return [function(job, bar.advance) for job in jobs]
    # Spawned, for a forked process inherits the locks of threads that it does not have.
    context = multiprocessing.get_context("spawn")
    counter, stop = context.Value("q", 0), context.Event()
    pool = ProcessPoolExecutor(workers, context, _start_worker, (counter, stop))
    try:
        futures = [pool.submit(_call, function, job) for job in jobs]
        waiting = set(futures)
        while waiting:
            done, waiting = wait(waiting, POLL_SECONDS, FIRST_EXCEPTION)
            for future in done:
                future.result()
            bar.advance_to(counter.value)
        return [future.result() for future in futures]
    except BrokenProcessPool as error:
        raise WorkerKilledError(
            "a worker process was killed, by the system for want of memory or by somebody; the "
            "same command continues, and --workers=N takes fewer processes"
        ) from error
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def exit_with_parent() -> None:
    """Makes this process end when the one that started it does, however that one ends.

    A process that waits for work does not notice that nobody is left to send any.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        raise RuntimeError("exit_with_parent() is for processes started by multiprocessing")

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="exit_with_parent", daemon=True).start()


_worker: tuple[Any, Any]  # the counter and the stop event of this worker process


def _start_worker(counter: Any, stop: Any) -> None:
    global _worker
    _worker = (counter, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent sets `stop`
    exit_with_parent()


def _call(function: Callable[[Job, Tick], Result], job: Job) -> Result:
    return function(job, _tick)


def _tick() -> None:
    counter, stop = _worker
    with counter.get_lock():
        counter.value += 1
    if stop.is_set():
        raise StoppedError
