"""A contestant's process: it makes the programs, computes their results, and takes its turns."""

import pkgutil
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.contestants import Contestant, Program
from benchmarks.machine import peak_rss_mib, reset_peak_rss

# A turn of short calls repeats them, so that the clock and one interruption count little.
_TURN_SECONDS = 0.05
_MAX_CALLS = 50
# Longer calls find their own data gone from the caches anyway; shorter ones get one untimed call.
_WARM_BELOW_SECONDS = 1.0


def serve(connection: Connection, contestant: Contestant, folder: Path) -> None:
    """In the contestant's process: makes its programs, then answers requests until the last."""
    try:
        if contestant.devices:
            import jax

            from anon_jax import allocator

            allocator.keep_memory()  # as a run does
            jax.config.update("jax_num_cpu_devices", contestant.devices)
        programs = pkgutil.resolve_name(contestant.factory)(folder, **contestant.arguments)
        connection.send((True, list(programs)))
        while True:
            request, program = connection.recv()
            connection.send((True, _REQUESTS[request](programs[program])))
            if contestant.devices and request == "results":
                allocator.give_back()
    except EOFError:
        return
    except Exception:
        connection.send((False, traceback.format_exc()))


def _time_turn(program: Program) -> tuple[float, float, float]:
    """(seconds of a call, CPU seconds of a call, peak RSS in MiB)."""
    reset_peak_rss()
    calls, (start, start_cpu) = 1, _clocks()
    program.run()
    first = time.perf_counter() - start
    if first <= _WARM_BELOW_SECONDS:
        calls = min(_MAX_CALLS, max(1, round(_TURN_SECONDS / first)))
        start, start_cpu = _clocks()
        for _ in range(calls):
            program.run()
    end, end_cpu = _clocks()
    return (end - start) / calls, (end_cpu - start_cpu) / calls, peak_rss_mib()


def _clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


_REQUESTS: dict[str, Callable[[Program], Any]] = {
    "results": lambda program: dict(program.results()),
    "facts": lambda program: dict(program.facts),
    "time": _time_turn,
}
