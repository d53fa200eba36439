"""All that is to be measured on an accelerator, in one go of under ten minutes.

    python -m benchmarks.accelerator [--output=FILE] [--minutes=9.5] [--tiny]

Each case is a process of its own, so that one which fails or runs out of memory takes nothing with
it: it is named, and the next one begins. The JSON file is written after each row. --tiny tries
everything with small networks, on whatever device there is.
"""

import argparse
import functools
import json
import multiprocessing
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks import accelerator_cases as cases
from benchmarks.accelerator_cases import FULL, TINY, Plan
from benchmarks.machine import commit, describe
from benchmarks.tables import Row, Table

Case = Callable[[Path, Plan], Iterator[Row]]

# name -> (the case, its most seconds); the most important first.
CASES: dict[str, tuple[Case, float]] = {
    "prepare": (cases.prepare, 60),
    "device": (cases.device, 60),
    "cycle": (cases.cycle, 200),
    "torch cycle": (cases.torch_cycle, 100),
    "bf16 and float32": (cases.equality, 120),
    "batches": (functools.partial(cases.batches, remat="none"), 200),
    "batches, remat blocks": (functools.partial(cases.batches, remat="blocks"), 200),
    "frames": (cases.frames, 100),
}
# Largest difference of a loss in torch's bf16 and ours, whose roundings differ.
_TOLERANCE = 0.05


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a table a case; returns 1 where a case failed, and 0 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accelerator")
    add = parser.add_argument
    add("--output", type=Path, default=Path("accelerator.json"), metavar="FILE")
    add("--minutes", type=float, default=9.5, help="for everything (default: 9.5)")
    add("--case", choices=list(CASES), action="append", help="these alone; may be repeated")
    add("--tiny", action="store_true", help="small networks")
    arguments = parser.parse_args(argv)
    plan = TINY if arguments.tiny else FULL
    end = time.monotonic() + 60 * arguments.minutes
    chosen = {"prepare", *(arguments.case or CASES)}
    content: dict = {"machine": describe(), "commit": commit(), "rows": {}, "problems": {}}
    with tempfile.TemporaryDirectory() as folder:
        for name in [name for name in CASES if name in chosen]:
            rows = content["rows"].setdefault(name, [])
            left = end - time.monotonic()
            problem = _run(name, Path(folder), plan, rows, left, lambda: _save(arguments, content))
            if problem:
                content["problems"][name] = problem
            print(Table(name, rows).markdown() if rows else f"### {name}", flush=True)
            print(f"{problem}\n" if problem else "", flush=True)
            _save(arguments, content)
    problem = torch_differs(content["rows"])
    if problem:
        content["problems"]["torch and JAX"] = problem
        print(problem)
        _save(arguments, content)
    return 1 if content["problems"] else 0


def torch_differs(rows: dict[str, list[Row]]) -> str:
    """Which first losses of torch's cycle are not those of JAX's; "" where there is no such."""
    ours = next(iter(rows.get("cycle", [])), {})
    theirs = next(iter(rows.get("torch cycle", [])), {})
    bad = [
        f"{name} is {ours[name]:.4g} in JAX, {theirs[name]:.4g} in torch"
        for name in ours
        if "/" in name and name in theirs and not _close(float(ours[name]), float(theirs[name]))
    ]
    return f"Not the same computation: {'; '.join(bad)}" if bad else ""


def _close(one: float, other: float) -> bool:
    return abs(one - other) <= _TOLERANCE * max(abs(one), abs(other), 1e-6)


def _save(arguments: argparse.Namespace, content: dict) -> None:
    arguments.output.write_text(json.dumps(content, indent=2) + "\n")


def _run(
    name: str, folder: Path, plan: Plan, rows: list[Row], left: float, save: Callable[[], None]
) -> str:
    """Runs a case in a process; adds its rows as they come. Returns what went wrong, or ""."""
    limit = min(CASES[name][1], left)
    if limit <= 0:
        return f"'{name}' was left out: no time is left; give more --minutes, or --case='{name}'"
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(there, name, folder, plan))
    process.start()
    there.close()
    end = time.monotonic() + limit
    try:
        while here.poll(max(0.0, end - time.monotonic())):
            row = here.recv()
            if isinstance(row, str):
                return f"'{name}' failed: {row}" if row else ""
            rows.append(row)
            save()
        return f"'{name}' was stopped after its {limit:.0f} s; the rows above it are whole"
    except EOFError:
        process.join()
        return f"'{name}': its process ended with code {process.exitcode}"
    finally:
        here.close()
        if process.is_alive():
            process.join(timeout=10)
            process.kill()
        process.join()


def _serve(connection: Connection, name: str, folder: Path, plan: Plan) -> None:
    """In the case's process: sends its rows, then "" or what went wrong."""
    # Nearly all memory, for JAX takes 75 % otherwise; the last case's process has ended.
    os.environ["XLA_PYTHON_CLIENT_MEM_FRACTION"] = "0.95"
    if name == "prepare":
        os.environ["JAX_PLATFORMS"] = "cpu"
    try:
        for row in CASES[name][0](folder, plan):
            connection.send(row)
        connection.send("")
    except BrokenPipeError:
        return  # its time was over
    except Exception:
        connection.send(traceback.format_exc())


if __name__ == "__main__":
    sys.exit(main())
