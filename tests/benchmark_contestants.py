"""Contestants that only wait, for tests of how the benchmarks compare and time; quick to import."""

import time

import numpy as np

from benchmarks.contestants import Case, Contestant, Program


def sleepers(folder, *, seconds, value=1.0, fails=False):
    """A factory: a program that waits, and leaves a file when it is timed."""
    if fails:
        raise ValueError("no such thing")

    def wait():
        (folder / "timed").touch()
        time.sleep(seconds)

    return {"wait": Program(wait, lambda: {"sum": np.array([2.0, value])}, {"flop": 1e6})}


def note_folder(folder):
    """A `prepare` that remembers where the contestants write."""
    note_folder.seen = folder


def sleeping_case(*arguments, prepare=""):
    """Contestants "number 0", "number 1", ... with these arguments of `sleepers`."""
    contestants = [
        Contestant(f"number {index}", "benchmark_contestants:sleepers", given)
        for index, given in enumerate(arguments)
    ]
    return Case("sleeping", contestants, 0.01, prepare)
