"""One start of the small run that gets a signal at a chosen moment, and what became of it."""

import collections
import concurrent.futures
import dataclasses
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from anon_jax.interruption import EXIT_CODE

PLACES = {"anywhere": "start", "dataset": "phase dataset", "save": "save"}  # and its line of LOG
LEAVING = "leaving"  # all is written, and Python shuts down
_ROOT = Path(__file__).parents[1]
_SECONDS_TO_VANISH = 10.0  # for the children of a run that was killed
_POLL_SECONDS = 0.005


@dataclasses.dataclass(frozen=True)
class Log:
    """What the small run says of itself: (seconds of the monotonic clock, line)."""

    lines: tuple[tuple[float, str], ...]

    @classmethod
    def read(cls, path: Path) -> "Log":
        """The lines that are whole."""
        text = path.read_text() if path.exists() else ""
        cells = [line.partition(" ") for line in text.splitlines(keepends=True)]
        return cls(tuple((float(at), line[:-1]) for at, _, line in cells if line.endswith("\n")))

    def times(self, line: str) -> list[float]:
        """When it said so."""
        return [at for at, said in self.lines if said == line]

    def lasted(self, begin: str, end: str) -> float:
        """Seconds of the longest block between these two lines."""
        return max((b - a for a, b in zip(self.times(begin), self.times(end), strict=False)))

    def phase(self, moment: float = math.inf) -> str:
        """The phase that the run was in; "" while it imported the libraries."""
        said = [line for at, line in self.lines if at <= moment and line.startswith("phase ")]
        return said[-1].removeprefix("phase ") if said else ""

    def saving(self, moment: float) -> bool:
        """Whether a checkpoint or its score was being written."""
        said = [line for at, line in self.lines if at <= moment and line in ("save", "saved")]
        return said[-1:] == ["save"]

    def steps(self) -> dict[str, int]:
        """Updates by phase."""
        counts, phase = collections.Counter[str](), ""
        for _, line in self.lines:
            if line == "step":
                counts[phase] += 1
            phase = line.removeprefix("phase ") if line.startswith("phase ") else phase
        return dict(counts)


@dataclasses.dataclass(frozen=True)
class Moment:
    """A signal, sent `seconds` after the run has come to a place for the `number`th time."""

    signal: int
    place: str
    number: int
    seconds: float


@dataclasses.dataclass(frozen=True)
class Start:
    """What became of one start of the run.

    Attributes:
      signal: that it got; 0 = none.
      phase: where it was when the signal came or, without one, when it ended.
      saving: whether it was writing a checkpoint then.
      log: what it said.
      code: exit code.
      seconds: from the end of its imports on.
      to_leave: seconds from the signal to the end; None without a signal.
      stderr: what it printed.
    """

    signal: int
    phase: str
    saving: bool
    log: Log
    code: int
    seconds: float
    to_leave: float | None
    stderr: str


class Server:
    """Starts the small run as often as it is asked to, from libraries that are imported once.

    Args:
      compiled: folder of compiled programs that all starts share.
    """

    def __init__(self, compiled: Path):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.small_run", "--serve"],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "OPENBLAS_NUM_THREADS": "1",
                "JAX_COMPILATION_CACHE_DIR": str(compiled),
                "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            },
        )

    def close(self) -> None:
        """Ends the server, which has no run left."""
        self._process.communicate()

    def start(self, folder: Path, arguments: Sequence[str], moment: Moment | None) -> Start:
        """Runs the small run in `folder` until it ends, or until the moment has come."""
        folder.mkdir(parents=True, exist_ok=True)
        log, stderr = folder / "log", folder / "stderr"
        log.unlink(missing_ok=True)
        command = ["--config=benchmarks/small_run.py", f"--workdir={folder / 'run'}"]
        command += [f"--config.data.data_dir={folder / 'data'}", *arguments]
        sent = None
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            process = int(self._ask(json.dumps([str(stderr), str(log), *command])))
            ending = pool.submit(self._answer)
            if moment and _comes(log, moment, ending):
                sent = time.monotonic()
                send = os.killpg if moment.signal == signal.SIGINT else os.kill
                send(process, moment.signal)
            code = int(ending.result())
        ended, said = time.monotonic(), Log.read(log)
        return Start(
            signal=moment.signal if moment and sent else 0,
            phase=said.phase(sent or ended),
            saving=said.saving(sent or ended),
            log=said,
            code=code,
            seconds=ended - next(iter(said.times("start")), ended),
            to_leave=ended - sent if sent else None,
            stderr=stderr.read_text() + _left_behind(process),
        )

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


def _comes(log: Path, moment: Moment, ending: concurrent.futures.Future[str]) -> bool:
    """Waits for the moment; False where the run has ended before it."""
    while not ending.done():
        times = Log.read(log).times(PLACES[moment.place])
        if len(times) >= moment.number:
            left = times[moment.number - 1] + moment.seconds - time.monotonic()
            return not concurrent.futures.wait([ending], timeout=max(0.0, left)).done
        time.sleep(_POLL_SECONDS)
    return False


def problem(found: Start) -> str:
    """What is wrong with how a start that got a signal has left; "" where nothing is."""
    codes, wrong = {0, EXIT_CODE}, "Traceback|Left behind"  # 0: it was through already
    if found.signal == signal.SIGKILL:
        codes = {0, -found.signal}
    elif found.phase in ("", LEAVING):  # Python's own handlers are still, or again, in force
        codes, wrong = codes | {-found.signal}, "Left behind"
    if found.code in codes and not re.search(wrong, found.stderr):
        return ""
    name = signal.Signals(found.signal).name
    return f"{name} in {found.phase}: exit code {found.code}: {found.stderr}"


def _left_behind(session: int) -> str:
    """Names what a run's session still has after some seconds; normally nothing."""
    end = time.monotonic() + _SECONDS_TO_VANISH
    while (alive := _processes(session)) and time.monotonic() < end:
        time.sleep(0.1)
    return f"Left behind: processes {alive}\n" if alive else ""


def _processes(session: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, of_session = entry.read_text().rpartition(")")[2].split()[:4]
        except (OSError, ValueError):  # it has ended meanwhile
            continue
        if int(of_session) == session and state != "Z":
            found.append(int(entry.parent.name))
    return found
