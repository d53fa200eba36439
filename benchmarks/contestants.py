"""What takes part in a comparison: cases, contestants, their programs, and what was timed."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np


class BenchmarkError(Exception):
    """A contestant failed, or its results differ; the message says which and how."""


@dataclasses.dataclass(frozen=True)
class Program:
    """What a contestant does.

    Attributes:
      run: one call; it returns when all is computed.
      results: computes the named arrays that are compared; called once, before any `run`,
        for which it warms up.
      facts: figures for the table, of this contestant: "flop" (operations of a call), "temp_mib"
        (memory that the compiler plans for intermediate results).
    """

    run: Callable[[], Any]
    results: Callable[[], Mapping[str, np.ndarray]]
    facts: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Contestant:
    """A process that has programs.

    Attributes:
      name: for the table.
      factory: "module:function", called in the process as function(folder, **arguments); it returns
        {name: Program}. A program that only some contestants have is fine.
      devices: of JAX on the CPU; 0 = this contestant uses no JAX.
    """

    name: str
    factory: str
    arguments: Mapping[str, Any]
    devices: int = 0


@dataclasses.dataclass(frozen=True)
class Case:
    """Contestants whose programs of one name do the same; the last contestant is the reference.

    Attributes:
      tolerance: largest difference / largest entry of the reference's array.
      prepare: "module:function", called first as function(folder, **prepare_arguments) here, to
        write what the contestants share; "" = nothing.
    """

    name: str
    contestants: Sequence[Contestant]
    tolerance: float
    prepare: str = ""
    prepare_arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Timed:
    """One program of one contestant.

    Attributes:
      seconds: of a call, in each round.
      ratios: this contestant's seconds / the reference's in the same round.
      facts: the program's; "cpu_seconds" of a call, of all threads, which other work on the machine
        disturbs less; "peak_rss_mib" of its process while it was timed; and "difference" of its
        results from the reference's, as a share of the largest entry.
    """

    case: str
    program: str
    contestant: str
    seconds: np.ndarray
    ratios: np.ndarray
    facts: Mapping[str, float]
