"""Kills a small run again and again, and compares what comes out with an undisturbed one.

    python -m benchmarks.chaos --workdir=DIR --kills=100 --signal=KILL [--seed=0] [-- --config....]

With --signal=KILL,TERM,INT the signals take turns. --at=dataset kills within the build of the
datasets alone, --at=save within the writing of checkpoints and their scores.

A round is a workdir and data folder of its own: the run is started, killed at a random moment,
started again, until it comes through; rounds follow until all kills are made. Each start is forked
from a process that has imported the libraries. Exit code 1 says that
a run differed, left with another code than it should, printed a traceback, or left something
behind.
"""

import argparse
import collections
import random
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import logging

from benchmarks.chaos_start import PLACES, Moment, Server, Start, problem
from benchmarks.machine import describe
from benchmarks.run_differences import data_differences, differences

# Kills come within these parts of the longest build and the longest save of the undisturbed run.
_WITHIN = {"dataset": 0.7, "save": 1.2}  # just after a save is of interest too


def main() -> int:
    """Prints a line a kill, a table of the phases, and what was wrong; returns the exit code."""
    given = _arguments()
    logging.set_verbosity(logging.ERROR)  # Orbax warns of every folder that it is to read a part of
    numbers = [signal.Signals[f"SIG{name}"] for name in given.signal.split(",")]
    draw = random.Random(given.seed)
    workdir = given.workdir.absolute()
    whole, server = workdir / "whole", Server(workdir / "compiled")
    # Twice: the second one finds everything compiled, as those that are killed do.
    for _ in range(2):
        shutil.rmtree(whole, ignore_errors=True)
        reference = server.start(whole, given.overrides, None)
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
            number = numbers[len(killed) % len(numbers)]
            left = len(killed) < given.kills
            moment = _draw(draw, given.at, number, reference) if left else None
            found = server.start(folder, given.overrides, moment)
            made.update(found.log.steps())
            if found.to_leave is None:
                problems += [f"round {rounds}: {found.stderr}"] if found.code else []
                break
            killed.append(found)
            problems += filter(None, [problem(found)])
            _print_kill(len(killed), found)
        different = differences(whole / "run", folder / "run")
        different += data_differences(whole / "data", folder / "data")
        problems += [f"round {rounds}: {text}" for text in different]
        verdict = "; ".join(different) or "equal to the undisturbed run bit for bit"
        print(f"round {rounds}, after {len(killed)} kills: {verdict}", flush=True)
        shutil.rmtree(folder)
    server.close()
    _print_table(reference, killed, made, rounds)
    print("\n".join(problems) or f"{rounds} rounds equal the undisturbed run bit for bit")
    return 1 if problems else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workdir", type=Path, required=True, help="made; its rounds are removed")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--signal", default="KILL", help="KILL, TERM, INT, or a list of them")
    parser.add_argument("--at", choices=PLACES, default="anywhere", help="where to kill")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("overrides", nargs="*", help="--config.FIELD=VALUE, after --")
    return parser.parse_args()


def _draw(draw: random.Random, place: str, number: int, reference: Start) -> Moment:
    """A random moment in the first half of the run, in its build, or in one of its saves."""
    if place == "anywhere":
        return Moment(number, place, 1, draw.uniform(0, reference.seconds / 2))
    begin, end = PLACES[place], {"dataset": "built", "save": "saved"}[place]
    times = draw.randint(1, max(1, len(reference.log.times(begin)) // 2))
    longest = _WITHIN[place] * reference.log.lasted(begin, end)
    return Moment(number, place, times, draw.uniform(0, longest))


def _print_kill(count: int, found: Start) -> None:
    name = signal.Signals(found.signal).name
    where = f"{found.phase or 'start'}{', saving' if found.saving else ''}"
    print(
        f"{count:4} {name} after {found.seconds - (found.to_leave or 0):5.1f} s in {where}: "
        f"code {found.code}, {found.to_leave:.2f} s to leave",
        flush=True,
    )


def _print_table(
    reference: Start, killed: Sequence[Start], made: collections.Counter[str], rounds: int
) -> None:
    """By phase: kills of each signal, kills in a save, steps made and made twice, seconds."""
    names = [signal.Signals(number).name for number in sorted({k.signal for k in killed})]
    counts = "".join(f"{name:>9}" for name in names)
    print(f"{'phase':18}{counts}{'saving':>8}{'steps':>7}{'twice':>7}{'s to leave':>12}")
    own = reference.log.steps()
    for phase in dict.fromkeys(["dataset", *own, *(k.phase for k in killed)]):
        here = [found for found in killed if found.phase == phase]
        by_name = collections.Counter(signal.Signals(found.signal).name for found in here)
        counts = "".join(f"{by_name[name]:9}" for name in names)
        steps = rounds * own.get(phase, 0)
        saving = sum(found.saving for found in here)
        slowest = max((found.to_leave or 0 for found in here), default=0)
        twice = made[phase] - steps
        print(f"{phase or 'start':18}{counts}{saving:8}{steps:7}{twice:7}{slowest:12.2f}")


if __name__ == "__main__":
    sys.exit(main())
