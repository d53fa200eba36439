"""Trains in small steps for a long time, and says whether what it holds stays the same.

    python -m benchmarks.long_run --workdir=DIR --minutes=60 [--workers=1] [--every=10]

The minimax phase of the small run goes on until the time is over, with a checkpoint every 25 steps
and a picture every 100. DIR/series.csv has what the process and its children held at each
moment. A quantity is flat where the median of its last fifth is no more than its tolerance above
the median of its second fifth: the first one has the compilation and the caches that fill up. Exit
code 1 says that one of them is not.
"""

import argparse
import csv
import os
import resource
import signal
import statistics
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import jax
from ml_collections import ConfigDict

from anon_jax import interruption, loop
from anon_jax import main as run
from benchmarks import small_run
from benchmarks.machine import describe

# How much the later median may lie above the earlier one: memory that an allocator does not give
# back at once, a batch that happens to be on its way, a file that is being written.
_TOLERANCE = {"rss_mib": 0.02, "array_mib": 0.05, "files": 0.02, "threads": 0.02, "shm_mib": 0.05}
_COLUMNS = ("seconds", "steps", *_TOLERANCE, "device_mib")
_MIB = 2**20


class _Sampler(threading.Thread):
    """Writes a row each `every` seconds, and asks the process to leave after `seconds`."""

    def __init__(self, path: Path, every: float, seconds: float):
        super().__init__(name="sampler", daemon=True)
        self._path, self._every, self._seconds = path, every, seconds
        self.steps = 0
        self.rows: list[dict[str, float]] = []

    def count(self, batch: object, mesh: jax.sharding.Mesh) -> object:
        """What the loop calls once a step."""
        self.steps += 1
        return _shard_batch(batch, mesh)

    def run(self) -> None:
        """The thread."""
        begun = time.monotonic()
        with self._path.open("w", newline="") as file:
            table = csv.DictWriter(file, _COLUMNS)
            table.writeheader()
            while (passed := time.monotonic() - begun) < self._seconds:
                try:
                    held = _held()
                except OSError:  # a thread or child has ended while it was looked at
                    continue
                self.rows.append({"seconds": round(passed, 1), "steps": self.steps, **held})
                table.writerow(self.rows[-1])
                file.flush()
                time.sleep(self._every)
        os.kill(os.getpid(), signal.SIGTERM)


_shard_batch = loop.shard_batch


def get_config(data_dir: Path, workers: int) -> ConfigDict:
    """The small run's minimax phase, without an end, from networks that are not trained before."""
    config = small_run.get_config()
    config.phases = ("reconstruct", "pretrain_privacy", "minimax")
    config.reconstruct.epochs = 0.0
    config.pretrain_privacy.epochs = 0.0
    config.minimax.epochs = 1e7
    config.checkpoint_every = 25
    config.sample_every = 100
    config.on_nonfinite = "roll_back"
    config.data.num_workers = workers
    config.data.data_dir = str(data_dir)
    return config


def verdicts(rows: Sequence[dict[str, float]]) -> dict[str, tuple[float, float, bool]]:
    """{quantity: (median of the second fifth, of the last fifth, whether that is flat)}.

    Raises:
      ValueError: there are fewer than ten rows.
    """
    fifth = len(rows) // 5
    if fifth < 2:
        raise ValueError(f"{len(rows)} moments are too few; take more --minutes or a lower --every")
    found = {}
    for name, tolerance in _TOLERANCE.items():
        early = statistics.median(row[name] for row in rows[fifth : 2 * fifth])
        late = statistics.median(row[name] for row in rows[-fifth:])
        found[name] = (early, late, late <= early * (1 + tolerance))
    return found


def _held() -> dict[str, float]:
    """What this process and its children hold now."""
    processes = _family(os.getpid())
    arrays = [array for array in jax.live_arrays() if not array.is_deleted()]
    memory = [device.memory_stats() or {} for device in jax.local_devices()]
    shared = [path.stat().st_size for path in Path("/dev/shm").glob("a????????*") if path.exists()]
    return {
        "rss_mib": round(sum(map(_rss, processes)) / _MIB, 1),
        "array_mib": round(sum(array.nbytes for array in arrays) / _MIB, 2),
        "files": sum(len(list(Path(f"/proc/{process}/fd").iterdir())) for process in processes),
        "threads": sum(len(list(Path(f"/proc/{process}/task").iterdir())) for process in processes),
        "shm_mib": round(sum(shared) / _MIB, 2),
        "device_mib": round(sum(of.get("bytes_in_use", 0) for of in memory) / _MIB, 2),
    }


def _rss(process: int) -> int:
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def _family(process: int) -> list[int]:
    children = [
        int(child)
        for task in Path(f"/proc/{process}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]
    return [process, *(member for child in children for member in _family(child))]


def main() -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workdir", type=Path, required=True, help="made; data, run and series")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--every", type=float, default=10.0, help="seconds between two moments")
    parser.add_argument("--workers", type=int, default=1, help="processes that make batches")
    given = parser.parse_args()
    workdir = given.workdir.absolute()
    workdir.mkdir(parents=True, exist_ok=True)
    small_run.shrink()
    config = get_config(workdir / "data", given.workers)
    sampler = _Sampler(workdir / "series.csv", given.every, given.minutes * 60)
    loop.shard_batch = sampler.count
    with interruption.handled(grace=None):
        sampler.start()
        try:
            run.execute(config, workdir / "run")
        except interruption.Interrupted as error:
            print(f"{describe()}\n{error}")
    print(f"{sampler.steps} steps in {given.minutes:g} minutes, {len(sampler.rows)} moments")
    print(f"{'quantity':12}{'2nd fifth':>12}{'last fifth':>12}")
    found = verdicts(sampler.rows)
    for name, (early, late, flat) in found.items():
        print(f"{name:12}{early:12.2f}{late:12.2f}  {'flat' if flat else 'NOT FLAT'}")
    return 0 if all(flat for _, _, flat in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
