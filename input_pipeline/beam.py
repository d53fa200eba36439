"""Jobs of a build on Apache Beam: any of its runners, results gathered through a shared folder.

Only `--beam` imports this module: Apache Beam is an extra that no other command needs.
"""

import contextlib
import dataclasses
import io
import pickle
import shlex
import shutil
import socket
import threading
import traceback
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.runner import PipelineState

from input_pipeline.errors import DataError
from input_pipeline.processes import Tick
from input_pipeline.progress import Progress

# Where no runner is named: this machine, a thread for each core; decoding frees Python's lock. The
# runner that Beam would choose looks for a program in the network first.
DEFAULT_OPTIONS = (
    "--runner=FnApiRunner",
    "--direct_running_mode=multi_threading",
    "--direct_num_workers=0",
)

POLL_SECONDS = 1.0  # between two looks at how many jobs are done

_DONE, _FAILED = ".done", ".failed"


class NamedItems(Protocol):
    """A job that knows what its items are called."""

    def item_name(self, index: int) -> str:
        """The name of the item `index` for a message, such as a video's path."""


JobT = TypeVar("JobT", bound=NamedItems)
Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class _Failure:
    """An error of a job: the sentence, whether it was an OSError, and the worker's traceback."""

    message: str
    of_system: bool
    trace: str


def parse_options(text: str) -> PipelineOptions:
    """The pipeline options of a text such as "--runner=FlinkRunner --flink_master=host:8081".

    Without `--runner` the jobs run in threads of this process, one for each core.

    Raises:
      DataError: an option or a value that Beam does not know, or a runner that cannot be used.
        Runners of clusters have options that only their job server knows: it checks those.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise DataError(f"--beam_options: '{text}' cannot be split: {error}") from error
    if words and not words[0].startswith("--"):
        raise DataError(f"--beam_options: '{words[0]}' must begin with --, as in --runner=NAME")
    if not any(word.partition("=")[0] == "--runner" for word in words):
        words = [*DEFAULT_OPTIONS, *words]
    options, unknown = _parse(words)
    runner = str(options.view_as(StandardOptions).runner)
    local = runner.rpartition(".")[2] in StandardOptions.LOCAL_RUNNERS
    if local and unknown:
        raise DataError(f"--beam_options: {runner} has no option {' '.join(unknown)}")
    try:
        beam.Pipeline(options=options)
    except (ValueError, ImportError, AttributeError) as error:
        raise DataError(f"--beam_options: {error}") from error
    return options


def _parse(words: Sequence[str]) -> tuple[PipelineOptions, list[str]]:
    """The options, and the words that no Python class of Beam's options knows."""
    said, parsers = io.StringIO(), list[Any]()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            options = PipelineOptions(words)
            options.get_all_options(add_extra_args_fn=parsers.append)
            return options, parsers[0].parse_known_args(words)[1]
    except SystemExit as error:
        reason = _last_line(said.getvalue()).partition("error: ")[2] or " ".join(words)
        raise DataError(f"--beam_options: {reason}") from error


def run_jobs(
    function: Callable[[JobT, Tick], Result],
    jobs: Sequence[JobT],
    *,
    options: PipelineOptions,
    folder: Path,
    unit: str,
) -> list[Result]:
    """`function(job, tick)` of each job on Apache Beam; the results in the jobs' order.

    Each result reaches this process as a file, for not every runner can return one.

    Args:
      function: of a module that the workers can import; calls `tick()` after each of a job's items.
      jobs: what a worker does at a time; they and the results are pickled.
      options: of `parse_options`.
      folder: is on a file system that all workers share with this machine.
      unit: what the jobs are called in the progress, such as "shards".

    Raises:
      DataError: the first error of a job, with the name of the item; no job is begun after it.
      OSError: a worker could not read or write, or the pipeline failed; the build can be continued.
    """
    outcomes = folder.absolute() / f"beam-{uuid.uuid4().hex}"
    outcomes.mkdir()
    try:
        with Progress(len(jobs), unit) as bar, _counted(outcomes, bar):
            _run_pipeline(function, jobs, outcomes, options)
        for path in sorted(outcomes.glob(f"*{_FAILED}")):
            _raise(pickle.loads(path.read_bytes()))
        return [_result(outcomes / f"{index}{_DONE}") for index in range(len(jobs))]
    finally:
        shutil.rmtree(outcomes, ignore_errors=True)


def _run_pipeline(
    function: Callable[[JobT, Tick], Result],
    jobs: Sequence[JobT],
    outcomes: Path,
    options: PipelineOptions,
) -> None:
    pipeline = beam.Pipeline(options=options)
    _ = (
        pipeline
        | "Jobs" >> beam.Create(list(enumerate(jobs)), reshuffle=False)
        | "Spread" >> beam.Reshuffle()  # else a runner may give all to the worker that lists them
        | "Work" >> beam.Map(_work, function, outcomes)
    )
    running = None
    try:
        running = pipeline.run()
        state = running.wait_until_finish()
    except KeyboardInterrupt:
        if running is not None:
            running.cancel()
        raise
    except Exception as error:  # each runner has its own kinds
        raise OSError(f"Apache Beam's pipeline failed: {_last_line(str(error))}") from error
    if state != PipelineState.DONE:
        raise OSError(f"Apache Beam's pipeline ended as {state}")


def _work(
    numbered: tuple[int, JobT], function: Callable[[JobT, Tick], Result], outcomes: Path
) -> None:
    """What a worker does: a job, of which it leaves the result or the failure in `outcomes`."""
    index, job = numbered
    if not outcomes.is_dir():
        raise FileNotFoundError(
            f"{outcomes} is not there on the worker {socket.gethostname()}; --data_dir and the "
            "source must be on a file system that all workers share, under the same paths"
        )
    if any(outcomes.glob(f"*{_FAILED}")):
        return
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1

    try:
        result = function(job, tick)
    except Exception as error:
        failure = _failure(error, job.item_name(done))
        _leave(outcomes / f"{index}{_FAILED}", failure)
    else:
        _leave(outcomes / f"{index}{_DONE}", result)


def _failure(error: Exception, name: str) -> _Failure:
    known = isinstance(error, DataError | OSError)
    message = str(error) if known else f"{type(error).__name__}: {error}"
    if name not in message:
        message = f"{name}: {message}"
    return _Failure(message, isinstance(error, OSError), traceback.format_exc())


def _leave(path: Path, value: object) -> None:
    """Writes a file that is there only when it is complete, whoever else writes it at the time."""
    aside = path.with_name(f"{uuid.uuid4().hex}.incomplete")
    aside.write_bytes(pickle.dumps(value))
    aside.replace(path)


def _result(path: Path) -> Any:
    if not path.is_file():
        raise DataError(
            f"Apache Beam has ended, but {path} is not there; --data_dir must be on a file system "
            "that all workers share with this machine"
        )
    return pickle.loads(path.read_bytes())


def _raise(failure: _Failure) -> None:
    error = (OSError if failure.of_system else DataError)(failure.message)
    error.add_note(f"on a worker of Apache Beam:\n{failure.trace}")
    raise error


@contextlib.contextmanager
def _counted(outcomes: Path, bar: Progress) -> Iterator[None]:
    """Shows how many jobs are done while the pipeline runs, which not every runner tells."""
    ended = threading.Event()

    def count() -> None:
        while not ended.wait(POLL_SECONDS):
            bar.advance_to(sum(1 for _ in outcomes.glob(f"*{_DONE}")))

    thread = threading.Thread(target=count, name="count_jobs", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
