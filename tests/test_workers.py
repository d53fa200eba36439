"""Worker processes: the batches of threads, exact resumption, and nobody left behind."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import grain
import jax
import numpy as np
import pytest
import read_batches
from jax._src import xla_bridge

from input_pipeline.errors import DataError
from input_pipeline.loader import train_stream, with_workers
from input_pipeline.records import RecordSource
from input_pipeline.specs import load_spec
from input_pipeline.transforms import Augmentation, TrainClip

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def expected(tiny_data_dir):
    """Digests of the first batches, made by threads without a stop."""
    iterator = iter(read_batches.stream(tiny_data_dir, 0))
    return [read_batches.digest(batch) for batch in itertools.islice(iterator, 17)]


def start(data_dir, file, *, workers, count, end):
    command = [sys.executable, read_batches.__file__, data_dir, workers, count, file, end]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def finish(process):
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "leaked" not in err  # what the resource tracker says of shared memory left behind
    return json.loads(out)


def is_alive(pid):
    """Whether it runs; a zombie, which nobody has waited for, does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until_dead(pids, seconds):
    deadline = time.monotonic() + seconds
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in pids if is_alive(pid)]


def test_processes_make_the_batches_of_threads(tiny_data_dir, expected):
    iterator = iter(read_batches.stream(tiny_data_dir, 2))
    try:
        batches = list(itertools.islice(iterator, 12))
    finally:
        iterator.close()
    assert [read_batches.digest(batch) for batch in batches] == expected[:12]


@pytest.mark.parametrize(("workers", "end"), [(0, "exit"), (1, "close"), (2, "exit")])
def test_a_new_process_goes_on_in_mid_epoch(tiny_data_dir, tmp_path, expected, workers, end):
    """11 batches are one epoch and a bit of the clips, nearly two of the images."""
    seen, pids = [], []
    for count in (11, 6):
        options = {"workers": workers, "count": count, "end": end}
        found = finish(start(tiny_data_dir, tmp_path / "state.json", **options))
        seen += found["digests"]
        assert len(found["pids"]) == workers
        pids += found["pids"]
    assert seen == expected
    wait_until_dead(pids, 5)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes in /proc")
def test_workers_do_not_outlive_a_killed_parent(tiny_data_dir, tmp_path):
    options = {"workers": 2, "count": 1, "end": "hang"}
    parent = start(tiny_data_dir, tmp_path / "state.json", **options)
    pids = []
    try:
        pids = json.loads(parent.stdout.readline())["pids"]
        assert len(pids) == 2
        assert all(map(is_alive, pids))
        parent.kill()
        parent.wait()
        wait_until_dead(pids, 5)
    finally:
        for pid in [parent.pid, *pids]:
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)
        parent.communicate()


def test_another_number_of_workers_is_refused(tiny_data_dir):
    state = iter(read_batches.stream(tiny_data_dir, 0)).get_state()
    other = iter(read_batches.stream(tiny_data_dir, 2))
    with pytest.raises(DataError, match=r"saved with 0 .*config\.data\.num_workers is 2 now"):
        other.set_state(state)


class Platform(grain.transforms.RandomMap):
    """What JAX is in the process that makes the batch."""

    def random_map(self, record, rng):
        return {
            "pid": np.int64(os.getpid()),
            "initialised": np.bool_(xla_bridge.backends_are_initialized()),
            "cpu_only": np.bool_(jax.config.jax_platforms == "cpu"),
        }


def test_workers_leave_the_accelerator_to_the_parent(tiny_data_dir):
    records = RecordSource(load_spec("moving_figures/tiny_videos", tiny_data_dir), "train")
    options = {"batch_size": 2, "seed": 0, "num_threads": 1, "prefetch": 1}
    iterator = iter(with_workers(train_stream(records, Platform(), **options), 1))
    try:
        batch = next(iterator)
    finally:
        iterator.close()
    assert (batch["pid"] != os.getpid()).all()
    assert not batch["initialised"].any()
    assert batch["cpu_only"].all()


def test_an_error_in_a_worker_names_the_record(tiny_data_dir):
    records = RecordSource(load_spec("moving_figures/tiny_videos", tiny_data_dir), "train")
    transform = TrainClip(11, 1, 16, Augmentation())
    options = {"batch_size": 2, "seed": 0, "num_threads": 1, "prefetch": 1}
    iterator = iter(with_workers(train_stream(records, transform, **options), 1))
    try:
        with pytest.raises(DataError, match=r"has 10 frames, a clip 11"):
            next(iterator)
    finally:
        iterator.close()
