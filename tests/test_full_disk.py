"""A run on a file system that is really full: what is said, what is kept, and that it goes on."""

import os
import subprocess

import pytest
from test_main import one_stage_networks, tiny_config  # noqa: F401  (an autouse fixture)

from anon_jax import loop, main
from anon_jax.errors import WorkdirError
from benchmarks.run_differences import differences


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 20 MB of its own, which only root may mount."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if mounted.returncode:
        pytest.skip(f"a file system cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder):
    """Takes all the room that is left."""
    file = os.open(folder / "filler", os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(file, bytes(4096))
    except OSError:
        os.close(file)


def full_at(monkeypatch, disk, batch):
    """The disk is full from the given batch of this start on; 0 = never."""
    batches, shard_batch = [], loop.shard_batch

    def filling(*arguments):
        batches.append(1)
        if len(batches) == batch:
            fill(disk)
        return shard_batch(*arguments)

    monkeypatch.setattr(loop, "shard_batch", filling)


def test_a_run_on_a_full_disk_goes_on_once_there_is_room(
    tiny_data_dir, tmp_path, small_disk, monkeypatch
):
    """Lines of metrics are due at steps 2, 3, 4, 6, ..., checkpoints at 3, 6, ...."""
    config = tiny_config(tiny_data_dir, phases=("reconstruct", "report"))
    main.execute(config, tmp_path / "whole")
    run = small_disk / "run"
    checkpoints = run / "checkpoints" / "reconstruct"

    def stops(error, sentence, batch):
        with monkeypatch.context() as patch:
            full_at(patch, small_disk, batch)
            with pytest.raises(error, match=sentence):
                main.execute(config, run)
        (small_disk / "filler").unlink()

    stops(OSError, "No space left on device", 1)
    stops(WorkdirError, r"step 3 could not be written.*No space left.*Kept is none; make room", 3)
    stops(WorkdirError, r"step 6 could not be written.*Kept is that of step 3", 6)
    assert [path.name for path in checkpoints.iterdir()] == ["3"]
    with monkeypatch.context() as patch:
        report = main._PHASES["report"]
        patch.setitem(main._PHASES, "report", lambda run: (fill(small_disk), report(run)))
        with pytest.raises(OSError, match="No space left on device"):
            main.execute(config, run)
    assert not (run / "results.json").exists()
    (small_disk / "filler").unlink()
    main.execute(config, run)
    assert differences(tmp_path / "whole", run) == []
