"""Work in processes: in order, stopped together, and nobody left when the parent is killed."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from video_samples import ROOT

from input_pipeline.errors import DataError
from input_pipeline.processes import run_jobs
from input_pipeline.progress import Progress


def square(job, tick):
    for _ in range(3):
        tick()
    return job * job


def fail_or_wait(job, tick):
    """Job 0 fails at once; the others go on until they are stopped, for at most a minute."""
    if job == 0:
        raise DataError("job 0 failed")
    for _ in range(600):
        time.sleep(0.1)
        tick()


def die(job, tick):
    os.kill(os.getpid(), signal.SIGKILL)


class Counted(Progress):
    def __init__(self):
        super().__init__(12, "items")
        self.counts = []

    def advance_to(self, count):
        self.counts.append(count)
        super().advance_to(count)


@pytest.mark.parametrize("workers", [1, 2])
def test_results_are_in_order_and_counted(workers):
    bar = Counted()
    assert run_jobs(square, [3, 1, 4, 2], workers=workers, bar=bar) == [9, 1, 16, 4]
    assert bar.counts[-1] == 12
    assert bar.counts == sorted(bar.counts)


def test_the_first_error_stops_all():
    start = time.monotonic()
    with pytest.raises(DataError, match="job 0 failed"):
        run_jobs(fail_or_wait, [1, 0, 2, 3], workers=2, bar=Progress(4, "jobs"))
    assert time.monotonic() - start < 30  # else the others would run for a minute each
    assert multiprocessing.active_children() == []


def test_a_killed_worker_is_a_sentence():
    with pytest.raises(DataError, match="a worker process was killed"):
        run_jobs(die, [1, 2], workers=2, bar=Progress(2, "jobs"))


PARENT = """
import sys
from test_processes import fail_or_wait
from input_pipeline.processes import run_jobs
from input_pipeline.progress import Progress

if __name__ == "__main__":
    run_jobs(fail_or_wait, [1, 2], workers=2, bar=Progress(2, "jobs"))
"""


def test_workers_end_when_the_parent_is_killed(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    parent = subprocess.Popen([sys.executable, script], env={**os.environ, "PYTHONPATH": path})
    group = _wait_for(lambda: len(_spawned(parent.pid)) >= 2 and _spawned(parent.pid), 60)
    assert group, "the workers did not start"
    parent.kill()
    parent.wait()
    assert _wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in group), 10)


def _spawned(parent: int) -> list[int]:
    """Processes of multiprocessing whose parent this is, the workers among them."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            status = (entry / "stat").read_text().rpartition(")")[2].split()
            command = (entry / "cmdline").read_text()
        except OSError:  # it has ended meanwhile
            continue
        if int(status[1]) == parent and "spawn_main" in command:
            found.append(int(entry.name))
    return found


def _wait_for(condition, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.1)
    return condition()
