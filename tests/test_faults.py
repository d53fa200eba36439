"""What breaks besides the process: files, disk, rights, clock, numbers, memory, a second run."""

import errno
import fcntl
import itertools
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from report_samples import config_of_penalty, make_workdir, results_of_penalty
from test_loop import POISON, initial, leaves, schedule, stream, train
from test_main import tiny_config
from video_samples import ROOT

from anon_jax import main
from anon_jax.errors import NonFiniteLossError, RunError, WorkdirError
from anon_jax.loop import MAX_SKIPPED
from anon_jax.manifest import MANIFEST
from anon_jax.report.__main__ import main as compare_runs
from anon_jax.results import write_json, write_whole
from anon_jax.sharding import make_mesh, replicate, shard_batch
from anon_jax.workdir_lock import workdir_lock
from anon_jax.writers import MetricWriter, read_metrics
from input_pipeline.errors import DataError
from input_pipeline.loader import train_stream
from input_pipeline.records import RecordSource
from input_pipeline.specs import load_spec
from input_pipeline.transforms import Augmentation, TrainImage


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """22 steps that nothing disturbs; each checkpoint's score is its step's distance from 10."""
    folder = tmp_path_factory.mktemp("whole")
    state, checkpointer = train(folder, 22, validate=score)
    return leaves(state), leaves(checkpointer.restore_best(state)), metrics(folder)


def score(state):
    return -abs(int(state.step) - 10.0)


def metrics(folder):
    return (folder / "metrics" / "toy.jsonl").read_bytes()


def assert_goes_on(folder, whole, **options):
    state, checkpointer = train(folder, 22, validate=score, **options)
    best = checkpointer.restore_best(state)
    assert int(best.step) == 10
    for ours, theirs in zip((leaves(state), leaves(best)), whole[:2], strict=True):
        assert all(map(np.array_equal, ours, theirs))
    assert metrics(folder) == whole[2]


def values_file(folder):
    """The largest file of a checkpoint: values of parameters."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return max(files, key=lambda path: path.stat().st_size)


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


DAMAGES = {
    "a flipped bit": lambda folder: flip(values_file(folder)),
    "a cut file": lambda folder: cut(values_file(folder)),
    "a missing file": lambda folder: values_file(folder).unlink(),
    "the iterator's position": lambda folder: cut(next((folder / "data").glob("process*"))),
    "what the loop carries": lambda folder: flip(folder / "loop.json"),
    "the manifest": lambda folder: cut(folder / MANIFEST),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_goes_on(tmp_path, whole, capfd, damage):
    train(tmp_path, 15, validate=score)[1].close()
    DAMAGES[damage](tmp_path / "checkpoints" / "15")
    assert_goes_on(tmp_path, whole)
    assert re.search(
        r"checkpoints/15 is damaged: \S+ .*; going on from step 10", capfd.readouterr()[1]
    )


def test_the_best_checkpoint_comes_back_when_it_is_damaged(tmp_path, whole, capfd):
    train(tmp_path / "run", 20, validate=score)[1].close()  # kept: 10, the best, 15 and 20
    folder = tmp_path / "run" / "checkpoints"
    flip(values_file(folder / "10"))
    with pytest.raises(WorkdirError, match=r"No undamaged checkpoint .* \(step 10: state/"):
        train(tmp_path / "run", 22, validate=score)
    train(tmp_path / "other", 5, validate=score)[1].close()
    (tmp_path / "other" / "checkpoints" / "5").rename(folder / "5")
    assert_goes_on(tmp_path / "run", whole)
    assert "10 is damaged" in capfd.readouterr().err


def test_a_checkpoint_of_an_older_version_goes_on(tmp_path, whole):
    """It has no manifest and nothing of the loop: both are younger."""
    train(tmp_path, 10, validate=score)[1].close()
    for name in ("manifest.json", "loop.json"):
        (tmp_path / "checkpoints" / "5" / name).unlink()
        (tmp_path / "checkpoints" / "10" / name).unlink()
    shutil.copytree(tmp_path, tmp_path / "damaged")
    assert_goes_on(tmp_path, whole)
    cut(next((tmp_path / "damaged" / "checkpoints" / "10" / "data").glob("process*")))
    with pytest.raises(
        WorkdirError, match=r"checkpoints/10 cannot be restored: .*remove this fold"
    ):
        train(tmp_path / "damaged", 22, validate=score)


def test_orbax_itself_does_not_notice_a_flipped_bit(tmp_path):
    """Why there is a manifest; when this fails, Orbax has learned it."""
    values = np.random.default_rng(0).normal(size=4000).astype(np.float32)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "state", {"x": jnp.asarray(values)})
        checkpointer.wait_until_finished()
        flip(values_file(tmp_path / "state"))
        restored = checkpointer.restore(tmp_path / "state")["x"]
    assert np.sum(np.asarray(restored) != values) > 0


def test_where_all_checkpoints_are_damaged_a_sentence_says_so(tmp_path):
    train(tmp_path, 10)[1].close()
    for step in ("5", "10"):
        cut(values_file(tmp_path / "checkpoints" / step))
    with pytest.raises(WorkdirError, match=r"\(step 5: state/.*; step 10: state/.*\).*copy"):
        train(tmp_path, 22)


@pytest.fixture
def disk():
    """A disk that is full for files beyond so many bytes, as long as the limit is set."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


UNLIMITED = resource.RLIM_INFINITY


@pytest.mark.parametrize("limit", [0, 100, 600])
def test_a_disk_that_is_full_at_a_checkpoint(tmp_path, whole, disk, limit):
    train(tmp_path, 10, validate=score)[1].close()
    # In the step before the checkpoint, and after the metrics' lines, which are small.
    full = {"sample_every": 15, "sample": lambda state: disk(limit)}
    with pytest.raises(
        WorkdirError, match=r"step 15 could not be written.*Kept is that of step 10"
    ):
        train(tmp_path, 22, validate=score, **full)
    disk(UNLIMITED)
    assert not list((tmp_path / "checkpoints").glob("*.partial*"))
    assert_goes_on(tmp_path, whole)


def test_a_disk_that_is_full_at_the_metrics(tmp_path, whole, disk):
    train(tmp_path, 10, validate=score)[1].close()
    disk((tmp_path / "metrics" / "toy.jsonl").stat().st_size + 20)  # a line is cut
    with pytest.raises(OSError, match="File too large"):
        train(tmp_path, 22, validate=score)
    disk(UNLIMITED)
    assert_goes_on(tmp_path, whole)


def test_a_file_is_written_whole_or_stays_as_it_was(tmp_path, disk):
    path = tmp_path / "results.json"
    write_json(path, {"a": 1})
    disk(100)
    with pytest.raises(OSError, match="File too large"):
        write_json(path, {"b": "x" * 200})
    assert os.listdir(tmp_path) == ["results.json"]
    disk(UNLIMITED)
    assert path.read_text() == '{\n  "a": 1\n}\n'


def test_a_cut_line_of_metrics_is_removed(tmp_path):
    path = tmp_path / "toy.jsonl"
    path.write_text('{"step": 3, "loss": 1.0}\n{"step": 6, "lo')
    MetricWriter(tmp_path, "toy").start(9)
    assert read_metrics(path) == [{"step": 3, "loss": 1.0}]


def flip_in_a_jpeg(path):
    data = bytearray(path.read_bytes())
    data[data.index(b"\xff\xd8\xff") + 100] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [cut, Path.unlink, flip_in_a_jpeg])
def test_a_damaged_shard_is_named(tiny_data_dir, tmp_path, damage):
    """After the dataset was opened: files are read when their first record is asked for."""
    name = "moving_figures/tiny_images"
    shutil.copytree(tiny_data_dir / name, tmp_path / name)
    spec = load_spec(name, tmp_path)
    transform = TrainImage(16, Augmentation(), 1)
    options = {"batch_size": 4, "seed": 0, "num_threads": 2, "prefetch": 2}
    batches = iter(train_stream(RecordSource(spec, "train"), transform, **options))
    damage(next(spec.path.glob("*train*")))
    with pytest.raises(
        DataError, match=r"split 'train' of .*tiny_images' cannot be read: .*--over"
    ):
        list(itertools.islice(batches, 12))  # one pass: a single record may be what is damaged


@pytest.fixture
def unprivileged():
    """A folder of a user whom rights can be taken from; root has them all."""
    folder = Path(tempfile.mkdtemp(prefix="anon_jax_rights_"))
    if os.geteuid() == 0:
        os.chown(folder, 65534, -1)
        os.seteuid(65534)
        yield folder
        os.seteuid(0)
    else:
        yield folder
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            path.chmod(0o700)
    shutil.rmtree(folder)


def test_rights_that_are_lost(unprivileged, whole):
    run = unprivileged / "run"
    train(run, 10, validate=score)[1].close()
    lost = {"sample_every": 15, "sample": lambda state: (run / "checkpoints").chmod(0o500)}
    with pytest.raises(WorkdirError, match=r"could not be written.*Permission denied.*step 10"):
        train(run, 22, validate=score, **lost)
    (run / "checkpoints").chmod(0o700)
    assert_goes_on(run, whole)


def test_a_clock_that_jumps_changes_nothing(tmp_path, whole, monkeypatch):
    """A month forward and two back, in turn, after each step."""
    real, month, jumps = time.time, 30 * 86400, itertools.cycle([1, -2])
    offset = 0

    def jump(state):
        nonlocal offset
        offset += month * next(jumps)

    monkeypatch.setattr(time, "time", lambda: real() + offset)
    train(tmp_path, 10, validate=score, sample_every=1, sample=jump)[1].close()
    assert_goes_on(tmp_path, whole, sample_every=1, sample=jump)
    assert offset


@pytest.mark.parametrize("years", [-30, 30])
def test_files_of_another_time_are_as_good(tmp_path, whole, years):
    """As after a clock that was wrong, or a copy that keeps no times."""
    train(tmp_path, 10, validate=score)[1].close()
    moment = time.time() + years * 365 * 86400
    for path in [tmp_path, *tmp_path.rglob("*")]:
        os.utime(path, (moment, moment))
    assert_goes_on(tmp_path, whole)


def skipping(folder, num_steps, **options):
    options = {"poisoned": True, "on_nonfinite": "roll_back", **options}
    return train(folder, num_steps, **options)


def test_rolling_back_leaves_the_bad_batches_out(tmp_path, capfd):
    """The same as a stream that never had them, to the random numbers of each step."""
    state, _ = skipping(tmp_path / "rolled", 22)
    drawn = list(itertools.islice(stream(poisoned=True), 30))
    bad = [number for number, batch in enumerate(drawn, 1) if POISON in batch["index"]]
    good = [batch for batch in drawn if POISON not in batch["index"]]
    expected = replicate(initial(), make_mesh(1))
    for index in range(22):
        expected, _ = schedule()(index)(expected, shard_batch(good[index], make_mesh(1)))
    assert all(map(np.array_equal, leaves(state), leaves(expected)))
    named = [
        int(number) for number in re.findall(r"Left out: batch (\d+);", capfd.readouterr().err)
    ]
    assert named == bad[: len(named)]
    last = read_metrics(tmp_path / "rolled" / "metrics" / "toy.jsonl")[-1]
    assert last["skipped_batches"] == len(named) > 1
    for target in (4, 13, 14, 22):  # 4 and 14 are no checkpoint steps of the schedule
        stopped, checkpointer = skipping(tmp_path / "stopped", target)
        checkpointer.close()
    assert all(map(np.array_equal, leaves(state), leaves(stopped)))


def test_rolling_back_gives_up(tmp_path):
    message = rf"{MAX_SKIPPED} batches were left out of this phase before"
    with pytest.raises(NonFiniteLossError, match=message):
        skipping(tmp_path, 500)


def test_want_of_memory_names_the_fields_to_lower(tiny_data_dir, tmp_path, monkeypatch):
    def allocate(run):
        jax.block_until_ready(jax.jit(lambda: jnp.zeros(2**50))())

    monkeypatch.setitem(main._PHASES, "reconstruct", allocate)
    config = tiny_config(tiny_data_dir, phases=("reconstruct",))
    with pytest.raises(
        RunError, match=r"reconstruct needs more memory.*reconstruct\.batch_size \(16"
    ):
        main.execute(config, tmp_path / "run")


HOLDER = """
import sys, time
from pathlib import Path
from anon_jax.sharding import make_mesh, replicate, shard_batch
from anon_jax.workdir_lock import workdir_lock
with workdir_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_workdir_has_one_run_at_a_time(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "held\n"
        with (
            pytest.raises(WorkdirError, match=rf"in use by process {process.pid} on \S+\. Wait"),
            workdir_lock(tmp_path),
        ):
            pass
    finally:
        process.kill()
        process.communicate()
    with workdir_lock(tmp_path):  # the kernel has taken it back; no file is in the way
        assert f"process {os.getpid()} on" in (tmp_path / ".lock").read_text()


def test_a_second_run_or_sweep_is_refused_and_a_report_is_not(tiny_data_dir, tmp_path):
    run = make_workdir(tmp_path / "run", results_of_penalty(), config_of_penalty())
    before = sorted(path.name for path in run.iterdir())
    sweep = [sys.executable, "-m", "anon_jax.sweep", "--config=configs/demo.py", "--methods=raw"]
    with workdir_lock(run):
        with pytest.raises(WorkdirError, match=f"in use by process {os.getpid()} on"):
            main.execute(tiny_config(tiny_data_dir, phases=("reconstruct",)), run)
        done = subprocess.run(
            [*sweep, f"--workdir={run}"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert re.fullmatch(rf"error: \S+ is in use by process {os.getpid()} on .*\n", done.stderr)
        compare_runs([str(run), f"--output={tmp_path / 'report'}"])
    assert (tmp_path / "report" / "report.html").is_file()
    assert sorted(path.name for path in run.iterdir()) == sorted([*before, ".lock"])


def test_a_file_system_without_locks_is_a_note(tmp_path, monkeypatch, capfd):
    def unsupported(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with workdir_lock(tmp_path):
        assert "has no locks (No locks available)" in capfd.readouterr().err


def test_an_error_of_the_system_is_a_sentence(tiny_data_dir, tmp_path):
    """The whole command: a workdir that cannot be made."""
    write_whole(tmp_path / "file", b"")
    command = [sys.executable, "-m", "anon_jax.main", "--config=configs/demo.py"]
    command += [f"--workdir={tmp_path}/file/run", f"--config.data.data_dir={tiny_data_dir}"]
    command += [f"--config.data.{kind}=moving_figures/tiny_{kind}" for kind in ("videos", "images")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: [Errno 20] Not a directory: ")
    assert "the same command goes on" in done.stderr
    assert "Traceback" not in done.stderr
