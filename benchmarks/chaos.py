"""Kills a run again and again, and compares what it leaves with a run that nothing disturbed.

    python -m benchmarks.chaos --workdir=DIR --kills=100 --signal=KILL [--seed=0] [-- --config....]

With --signal=KILL,TERM,INT the signals take turns.

A round is a workdir and data folder of its own: the run is started, killed at a random moment,
started again, until it comes through; rounds follow until all kills are made. Exit code 1 says that
a run differed, left with another code than it should, printed a traceback, or left something
behind.
"""

import argparse
import collections
import dataclasses
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from absl import logging

from anon_jax.interruption import EXIT_CODE
from benchmarks.machine import describe
from benchmarks.run_differences import differences

_ROOT = Path(__file__).parents[1]
_SECONDS_TO_VANISH = 10.0  # for the children of a run that was killed
_START = "start"  # before the dataset is looked for: Python imports the libraries
_LAST = "report"
_POLL_SECONDS = 0.02


@dataclasses.dataclass
class Start:
    """What became of one start of the run.

    Attributes:
      signal: that it got; 0 = none.
      phase: where it was when the signal came or, without one, when it ended.
      steps: updates that it made, by phase.
      code: exit code.
      seconds: from the end of its imports on.
      to_leave: seconds from the signal to the end; None without a signal.
      stderr: what it printed.
    """

    signal: int
    phase: str
    steps: dict[str, int]
    code: int
    seconds: float
    to_leave: float | None
    stderr: str


def start(folder: Path, arguments: Sequence[str], kill_after: float | None, number: int) -> Start:
    """Runs the small run in `folder` until it ends, or for so many seconds after its imports."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log"
    log.unlink(missing_ok=True)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "benchmarks.small_run", str(log)),
            *("--config=benchmarks/small_run.py", f"--workdir={folder / 'run'}"),
            *(f"--config.data.data_dir={folder / 'data'}", *arguments),
        ],
        cwd=_ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C of a terminal reaches a whole group, see below
        env={
            **os.environ,
            "JAX_COMPILATION_CACHE_DIR": str(folder.parent / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        },
    )
    while read_log(log)[0] == _START and process.poll() is None:
        time.sleep(_POLL_SECONDS)
    begun, sent = time.monotonic(), None
    try:
        _, stderr = process.communicate(timeout=kill_after)
    except subprocess.TimeoutExpired:
        sent = time.monotonic()
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        phase, _ = read_log(log)
        _, stderr = process.communicate()
    ended = time.monotonic()
    last, steps = read_log(log)
    return Start(
        number if sent else 0,
        phase if sent else last,
        steps,
        process.returncode,
        ended - begun,
        ended - sent if sent else None,
        stderr + _left_behind(process.pid),
    )


def read_log(log: Path) -> tuple[str, dict[str, int]]:
    """The phase that a start is in, and its steps by phase."""
    phase, steps = _START, collections.Counter[str]()
    for line in log.read_text().splitlines() if log.exists() else ():
        if line.startswith("phase "):
            phase = line.removeprefix("phase ")
        elif line == "step":
            steps[phase] += 1
    return phase, dict(steps)


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


def problem(found: Start) -> str:
    """What is wrong with how a start that got a signal has left; "" where nothing is."""
    codes = {0, EXIT_CODE}  # 0: it was through already
    if found.signal == signal.SIGKILL:
        codes = {0, -found.signal}
    elif found.phase == _LAST:  # all was written, and Python was shutting down
        codes |= {-found.signal}
    if found.code in codes and not re.search("Traceback|Left behind", found.stderr):
        return ""
    return f"signal {found.signal} in {found.phase}: exit code {found.code}: {found.stderr}"


def main() -> int:
    """Prints a line a kill, a table of the phases, and what was wrong; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workdir", type=Path, required=True, help="made; its rounds are removed")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--signal", default="KILL", help="KILL, TERM, INT, or a list of them")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("overrides", nargs="*", help="--config.FIELD=VALUE, after --")
    given = parser.parse_args()
    logging.set_verbosity(logging.ERROR)  # Orbax warns of every folder that it is to read a part of
    numbers = [signal.Signals[f"SIG{name}"] for name in given.signal.split(",")]
    draw = random.Random(given.seed)
    workdir = given.workdir.absolute()
    whole = workdir / "whole"
    # Twice: the second one finds everything compiled, as those that are killed do.
    for _ in range(2):
        shutil.rmtree(whole, ignore_errors=True)
        reference = start(whole, given.overrides, None, 0)
        if reference.code:
            sys.exit(f"the run that nothing disturbed failed: {reference.stderr}")
    print(f"{describe()}\nundisturbed: {reference.seconds:.1f} s", flush=True)
    killed: list[Start] = []
    made: collections.Counter[str] = collections.Counter()
    problems: list[str] = []
    rounds = 0
    while len(killed) < given.kills:
        folder, rounds = workdir / f"round{rounds}", rounds + 1
        shutil.rmtree(folder, ignore_errors=True)
        while True:
            left = given.kills - len(killed)
            moment = draw.uniform(0, reference.seconds / 2) if left else None
            found = start(folder, given.overrides, moment, numbers[len(killed) % len(numbers)])
            made.update(found.steps)
            if found.to_leave is None:
                problems += [f"round {rounds}: {found.stderr}"] if found.code else []
                break
            killed.append(found)
            problems += filter(None, [problem(found)])
            print(
                f"{len(killed):4} {signal.Signals(found.signal).name} after {moment:5.1f} s in "
                f"{found.phase}: code {found.code}, {found.to_leave:.2f} s to leave",
                flush=True,
            )
        problems += [
            f"round {rounds}: {text}" for text in differences(whole / "run", folder / "run")
        ]
        shutil.rmtree(folder)
    _print_table(reference, killed, made, rounds)
    print("\n".join(problems) or f"{rounds} rounds equal the undisturbed run bit for bit")
    return 1 if problems else 0


def _print_table(
    reference: Start, killed: Sequence[Start], made: collections.Counter[str], rounds: int
) -> None:
    names = [signal.Signals(number).name for number in sorted({k.signal for k in killed})]
    counts = "".join(f"{name:>9}" for name in names)
    print(f"{'phase':18}{counts}{'steps':>7}{'lost':>6}{'lost a kill':>13}{'s to leave':>12}")
    for phase in dict.fromkeys(["dataset", *reference.steps, *(k.phase for k in killed)]):
        here = [found for found in killed if found.phase == phase]
        by_name = collections.Counter(signal.Signals(found.signal).name for found in here)
        counts = "".join(f"{by_name[name]:9}" for name in names)
        steps = rounds * reference.steps.get(phase, 0)
        lost = made[phase] - steps
        slowest = max((found.to_leave or 0 for found in here), default=0)
        print(f"{phase:18}{counts}{steps:7}{lost:6}{lost / max(1, len(here)):13.1f}{slowest:12.2f}")


if __name__ == "__main__":
    sys.exit(main())
