"""All comparisons, or one suite of them: `python -m benchmarks.run [--suite=NAME] [--output=DIR]`.

Each suite prints its tables and writes SUITE.md and SUITE.json. Where the results of two libraries
differ by more than the stated tolerance, the suite stops before it times anything (exit code 1).
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks import inference, input_suite, suites, tables
from benchmarks.contest import compete
from benchmarks.contestants import BenchmarkError
from benchmarks.machine import commit, describe

_OTHERS: dict[str, Callable[[bool, int], list[tables.Table]]] = {
    "input": input_suite.measure,
    "inference": inference.measure,
}
SUITES = ("layers", "networks", "minimax", "input", "inference", "scaling")


def main(argv: Sequence[str] | None = None) -> int:
    """Prints and saves the tables; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run", description=(__doc__ or "").partition("\n")[0]
    )
    add = parser.add_argument
    add("--suite", choices=[*SUITES, "all"], default="all")
    add("--only", default="", metavar="TEXT", help="cases whose name has this text")
    add("--output", type=Path, default=Path("runs/benchmarks"), metavar="DIR")
    add("--rounds", type=int, default=5, help="turns of each contestant (default: 5)")
    add("--devices", help="of JAX on the CPU, e.g. 1,2 (default: 1, the cores and 4)")
    add("--quick", action="store_true", help="small shapes and two rounds, to see that it works")
    arguments = parser.parse_args(argv)
    rounds = 2 if arguments.quick else arguments.rounds
    devices = suites.default_devices()
    if arguments.devices:
        devices = tuple(int(n) for n in arguments.devices.split(","))
    failed = False
    for name in SUITES if arguments.suite == "all" else [arguments.suite]:
        header: dict[str, str | float] = {"machine": describe(), "commit": commit()}
        header |= {"load average at the start": os.getloadavg()[0], "rounds": rounds}
        try:
            if name in _OTHERS:
                found = _OTHERS[name](arguments.quick, rounds)
            else:
                found = _compare(name, arguments.quick, rounds, devices, arguments.only, header)
        except BenchmarkError as error:
            print(f"The suite '{name}' stopped: {error}", file=sys.stderr)
            failed = True
            continue
        print(tables.save(arguments.output, name, header, found), flush=True)
    return 1 if failed else 0


def _compare(
    name: str,
    quick: bool,
    rounds: int,
    devices: Sequence[int],
    only: str,
    header: dict[str, str | float],
) -> list[tables.Table]:
    """The tables of a suite that compares JAX with torch; adds the machine's peak to `header`."""
    cases = [case for case in suites.SUITES[name](quick, devices) if only in case.name]
    if not cases:
        known = ", ".join(f"'{case.name}'" for case in suites.SUITES[name](quick, devices))
        raise BenchmarkError(f"no case has '{only}' in its name; known: {known}")
    (case,) = suites.peak(quick)
    products = compete(case, rounds)
    peak = max(float(np.median(one.facts["flop"] / one.seconds)) for one in products)
    header["peak of matmul, GFLOP/s"] = peak / 1e9
    found = []
    for case in cases:
        timed = compete(case, rounds)
        note = f"Results agree within {case.tolerance:g} of the largest entry."
        found.append(tables.of_timed(case.name, timed, peak, note))
        print(found[-1].markdown(), file=sys.stderr, flush=True)
    if name == "scaling" and not only:
        found += input_suite.measure_sizes(quick, rounds)
    return found


if __name__ == "__main__":
    sys.exit(main())
