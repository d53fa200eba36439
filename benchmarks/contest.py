"""Contestants take turns: the same programs in several libraries or forms, compared, then timed.

Each contestant has a process of its own, for thread pools and allocators of two libraries slow each
other down, and JAX fixes its number of CPU devices when it starts. Before anything is timed, what
the programs return is compared with the reference's: a faster wrong answer is worth nothing.
"""

import contextlib
import itertools
import multiprocessing
import pkgutil
import tempfile
from collections.abc import Iterator, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contestants import BenchmarkError, Case, Timed
from benchmarks.turns import serve


def compete(case: Case, rounds: int) -> list[Timed]:
    """Compares the results of a case's contestants, then times them in turn for `rounds` rounds.

    Raises:
      BenchmarkError: results differ by more than the tolerance, or a contestant failed.
    """
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        if case.prepare:
            pkgutil.resolve_name(case.prepare)(folder, **case.prepare_arguments)
        with _processes(case, folder) as (connections, programs):
            order = list(dict.fromkeys(itertools.chain.from_iterable(programs.values())))
            timed: list[Timed] = []
            for program in order:
                those = [name for name in connections if program in programs[name]]
                found = {name: connections[name] for name in those}
                errors = _check_results(case, program, found)
                timed += _time(case, program, found, rounds, errors)
    return timed


def difference(got: np.ndarray, wanted: np.ndarray) -> float:
    """Largest difference / largest entry of `wanted`; infinite where shapes differ or for NaN."""
    got, wanted = np.asarray(got, np.float64), np.asarray(wanted, np.float64)
    if got.shape != wanted.shape:
        return float("inf")
    found = np.max(np.abs(got - wanted)) / max(float(np.max(np.abs(wanted))), 1e-30)
    return float(found) if np.isfinite(found) else float("inf")


@contextlib.contextmanager
def _processes(
    case: Case, folder: Path
) -> Iterator[tuple[dict[str, Connection], dict[str, list[str]]]]:
    context = multiprocessing.get_context("spawn")
    connections: dict[str, Connection] = {}
    processes = []
    try:
        for contestant in case.contestants:
            here, there = context.Pipe()
            # Not a daemon: a contestant may have workers of its own. It ends with its connection.
            process = context.Process(target=serve, args=(there, contestant, folder))
            process.start()
            there.close()
            processes.append(process)
            connections[contestant.name] = here
        programs = {name: _answer(case, name, c) for name, c in connections.items()}
        yield connections, programs
    finally:
        for connection in connections.values():
            connection.close()  # which ends a process that waits for the next request
        for process in processes:
            process.join(timeout=20)
            if process.is_alive():
                process.kill()
                process.join()


def _answer(case: Case, contestant: str, connection: Connection) -> Any:
    try:
        fine, value = connection.recv()
    except EOFError:
        fine, value = False, "its process ended; it may have run out of memory"
    if not fine:
        raise BenchmarkError(f"{case.name}: '{contestant}' failed: {value}")
    return value


def _ask(case: Case, program: str, found: Mapping[str, Connection], request: str) -> dict[str, Any]:
    """One contestant after the other answers."""
    answers = {}
    for name, connection in found.items():
        connection.send((request, program))
        answers[name] = _answer(case, name, connection)
    return answers


def _check_results(
    case: Case, program: str, found: Mapping[str, Connection]
) -> dict[str, dict[str, float]]:
    """{contestant: {"difference": largest one from the last contestant's results}}.

    Raises:
      BenchmarkError: one is larger than the tolerance.
    """
    results = _ask(case, program, found, "results")
    *others, reference = results
    largest: dict[str, dict[str, float]] = {reference: {}}
    for name in others:
        largest[name] = {"difference": 0.0}
        for array, wanted in results[reference].items():
            error = difference(results[name][array], wanted)
            largest[name]["difference"] = max(error, largest[name]["difference"])
            if error > case.tolerance:
                raise BenchmarkError(
                    f"{case.name}, {program}: '{array}' of '{name}' differs from that of "
                    f"'{reference}' by {error:.2g} of its largest entry, more than the tolerance "
                    f"of {case.tolerance:g}; nothing was timed"
                )
    return largest


def _time(
    case: Case,
    program: str,
    found: Mapping[str, Connection],
    rounds: int,
    errors: Mapping[str, Mapping[str, float]],
) -> list[Timed]:
    turns = [_ask(case, program, found, "time") for _ in range(rounds)]
    facts = _ask(case, program, found, "facts")
    seconds = {name: np.array([turn[name][0] for turn in turns]) for name in found}
    reference = seconds[list(found)[-1]]
    return [
        Timed(
            case.name,
            program,
            name,
            seconds[name],
            seconds[name] / reference,
            {
                **facts[name],
                **errors[name],
                "cpu_seconds": float(np.median([turn[name][1] for turn in turns])),
                "peak_rss_mib": max(turn[name][2] for turn in turns),
            },
        )
        for name in found
    ]
