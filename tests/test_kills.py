"""Signals and kills: whatever a run was doing, the same command ends with the same result."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import grain
import numpy as np
import orbax.checkpoint as ocp
import pytest
from test_loop import leaves, train
from video_samples import ROOT

from anon_jax import checkpoint_folders, interruption
from anon_jax.checkpoint import Checkpointer
from anon_jax.checkpoint_folders import CheckpointFolders
from anon_jax.interruption import EXIT_CODE, Interrupted
from input_pipeline import loader
from input_pipeline.datasets.moving_figures.config import MovingFiguresConfig
from input_pipeline.datasets.moving_figures.moving_figures_dataset_builder import MovingFigures
from input_pipeline.records import RecordSource
from input_pipeline.specs import load_spec

STEPS = 12  # checkpoints at 5, 10 and 12, lines of metrics at 3, 5, 6, 9, 10 and 12


def score(state):
    return -abs(int(state.step) - 10.0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return left_by(folder, train(folder, STEPS, validate=score))


def left_by(folder, found):
    """All that a run leaves: its last and best state and its metrics."""
    state, checkpointer = found
    best = checkpointer.restore_best(state)
    metrics = (folder / "metrics" / "toy.jsonl").read_bytes()
    return [*leaves(state), *leaves(best), np.frombuffer(metrics, np.uint8)]


def assert_goes_on(folder, whole):
    found = left_by(folder, train(folder, STEPS, validate=score))
    assert all(map(np.array_equal, found, whole))
    names = {path.name for path in (folder / "checkpoints").iterdir()}
    assert names == {"10", "12"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_the_step_and_leaves(tmp_path, whole, number):
    """At a step of neither kind, one of a line, one of a checkpoint, and the last one."""
    for step in (4, 6, 10, STEPS):

        def send(state, step=step):
            if int(state.step) == step:
                os.kill(os.getpid(), number)

        with interruption.handled(), pytest.raises(Interrupted):
            train(tmp_path, STEPS, validate=score, sample_every=1, sample=send)
        assert Checkpointer(tmp_path / "checkpoints").latest_step() == step
    assert_goes_on(tmp_path, whole)


def test_the_sentence_of_a_signal_names_the_step(tmp_path):
    def send(state):
        os.kill(os.getpid(), signal.SIGTERM)

    with (
        interruption.handled(),
        pytest.raises(Interrupted, match="step 1 of phase toy is saved"),
    ):
        train(tmp_path, STEPS, sample_every=1, sample=send)


@pytest.mark.parametrize("step", [5, STEPS])
def test_a_signal_ends_a_validation_at_once_and_it_is_made_up_for(tmp_path, whole, step):
    def interrupted(state):
        if int(state.step) == step:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)  # the rest of a long validation
        return score(state)

    start = time.monotonic()
    with interruption.handled(), pytest.raises(Interrupted):
        train(tmp_path, STEPS, validate=interrupted)
    assert time.monotonic() - start < 30
    kept = Checkpointer(tmp_path / "checkpoints")
    assert (kept.latest_step(), kept.score(step)) == (step, None)
    assert_goes_on(tmp_path, whole)


def test_a_signal_does_not_come_in_the_midst_of_reading_a_checkpoint(tmp_path, monkeypatch):
    """Outside of the training too: Orbax's threads would fill stderr with tracebacks."""
    state, checkpointer = train(tmp_path, 5, validate=score)
    read, restore = [], ocp.Checkpointer.restore

    def interrupted(self, *arguments, **named):
        os.kill(os.getpid(), signal.SIGTERM)
        read.append(restore(self, *arguments, **named))
        return read[-1]

    monkeypatch.setattr(ocp.Checkpointer, "restore", interrupted)
    with interruption.handled(), pytest.raises(Interrupted):
        checkpointer.restore_best(state)
    assert int(read[0]["state"].step) == 5


def test_what_python_does_at_its_end_is_left_out():
    """XLA may still compile in a thread, and crashes where Python closes its client."""
    program = "import atexit; from anon_jax import interruption; atexit.register(print, 'at exit')"
    said = "print('said'); interruption.leave()"
    ended = subprocess.run(
        [sys.executable, "-c", f"{program}; {said}"], cwd=ROOT, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (EXIT_CODE, "said\n", "")


class Killed(BaseException):
    """Nothing may clean up after it, as after SIGKILL."""


def half_a_save(self, path, **_):
    partial = Path(f"{path}.orbax-checkpoint-tmp")
    (partial / "state").mkdir(parents=True)
    (partial / "state" / "half").write_bytes(b"x")
    raise Killed


def half_a_removal(path, **_):
    next(file for file in Path(path).rglob("*") if file.is_file()).unlink()
    raise Killed


def killed(*_, **__):
    raise Killed


MOMENTS = {
    "while Orbax writes": (ocp.Checkpointer, "save", half_a_save),
    "before the manifest": (checkpoint_folders, "write_manifest", killed),
    "before the name": (Path, "rename", killed),
    "before the score": (Checkpointer, "record_score", killed),
    "while the score is recorded": (CheckpointFolders, "prune", killed),
    "while an old one is removed": (checkpoint_folders.shutil, "rmtree", half_a_removal),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_at_a_checkpoint(tmp_path, whole, monkeypatch, moment):
    train(tmp_path, 10, validate=score)[1].close()
    owner, name, dying = MOMENTS[moment]
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, dying)
        with pytest.raises(Killed):
            train(tmp_path, STEPS, validate=score)
    assert_goes_on(tmp_path, whole)


STUCK = """
import hashlib, sys
from anon_jax import interruption

with interruption.handled(float(sys.argv[1])), interruption.deferred():
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # C code that runs for many minutes
"""


@pytest.fixture
def stuck():
    """Starts a process that is in C code, where no signal handler of Python runs."""
    processes = []

    def start(grace):
        command = [sys.executable, "-c", STUCK, str(grace)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen(command, cwd=ROOT, **pipes)
        processes.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_the_grace_ends_what_comes_to_no_end(stuck):
    process = stuck(2.0)
    process.terminate()
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == EXIT_CODE
    assert stderr.startswith("interrupted: no end of a step within 2 s, left without saving it")
    assert stderr.count("\n") == 1


def test_a_second_signal_leaves_at_once_but_not_the_same_one_twice(stuck):
    process = stuck(600.0)
    process.send_signal(signal.SIGINT)
    process.terminate()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(interruption.SAME_REQUEST_SECONDS + 1)
    process.terminate()
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == EXIT_CODE
    assert stderr.startswith("interrupted twice: left without saving")


UNRAISABLE = """
import gc, os, signal
from anon_jax import interruption

with interruption.handled():
    gc.callbacks.append(lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    gc.collect()
"""


def test_a_signal_in_a_callback_that_lets_no_exception_out():
    command = [sys.executable, "-c", UNRAISABLE]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == EXIT_CODE
    assert done.stderr == "interrupted; the same command goes on\n"


def test_signals_are_handled_within_the_block_alone():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with interruption.handled():
        assert signal.getsignal(signal.SIGTERM) not in before
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
    assert not interruption.requested()


SWEEP = """
import sys
from pathlib import Path
from anon_jax import interruption
from anon_jax.sweep import run_cells
from anon_jax.sweep_grid import Cell

with interruption.handled(grace=None):
    try:
        run_cells([Cell("a", ())], [sys.executable, sys.argv[1]], Path(sys.argv[2]), 1)
    except interruption.Interrupted:
        sys.exit(interruption.EXIT_CODE)
"""
CELL = """
import signal, sys, time
from pathlib import Path

workdir = Path(sys.argv[1].removeprefix("--workdir="))
workdir.mkdir()
signals = []
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda number, frame: signals.append(number))
(workdir / "ready").touch()
while not signals:
    time.sleep(0.05)
time.sleep(2)  # it saves; a second signal would keep a run from it
(workdir / "signals").write_text(" ".join(map(str, map(int, signals))))
sys.exit(75)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_sweep_passes_the_signal_on_once_and_waits(tmp_path, number):
    (tmp_path / "cell.py").write_text(CELL)
    sweep = subprocess.Popen(
        [sys.executable, "-c", SWEEP, tmp_path / "cell.py", tmp_path],
        cwd=ROOT,
        start_new_session=True,
    )
    assert wait_for((tmp_path / "a" / "ready").exists)
    os.killpg(sweep.pid, number)  # as a terminal sends Ctrl-C
    assert sweep.wait(60) == EXIT_CODE
    assert (tmp_path / "a" / "signals").read_text() == str(int(signal.SIGTERM))
    assert not (tmp_path / "done" / "a").exists()


BUILD = """
import sys
from anon_jax import interruption
from benchmarks.small_run import shrink
from input_pipeline.build import ensure_dataset

shrink()
with interruption.handled():
    try:
        print("ready", flush=True)
        ensure_dataset("moving_figures/small_videos", sys.argv[1])
    except interruption.Interrupted:
        sys.exit(interruption.EXIT_CODE)
"""


def test_a_killed_build_begins_anew(tmp_path):
    """By SIGTERM, by SIGKILL, and then not at all."""
    codes, after = [], []
    for number in (signal.SIGTERM, signal.SIGKILL, None):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
        command = [sys.executable, "-c", BUILD, tmp_path / "killed"]
        process = subprocess.Popen(command, cwd=ROOT, **pipes)
        assert process.stdout.readline() == "ready\n"
        folder = tmp_path / "killed" / "moving_figures" / "small_videos"
        if number:
            assert wait_for(lambda folder=folder: list(folder.glob("incomplete.build/*")))
            process.send_signal(number)
        process.communicate(timeout=300)
        codes.append(process.returncode)
        after.append({path.name for path in folder.iterdir()})
    assert codes == [EXIT_CODE, -signal.SIGKILL, 0]
    # A signal that comes within a callback of the collector leaves at once, as SIGKILL does.
    assert after[0] in ({".lock"}, {".lock", "incomplete.build"})
    assert after[1:] == [{".lock", "incomplete.build"}, {".lock", "1.0.0"}]
    config = small_run_config("small_videos")
    builder = MovingFigures(config=config, data_dir=tmp_path, file_format="array_record")
    builder.download_and_prepare()
    for split in ("train", "validation", "test"):
        assert records(tmp_path / "killed", split) == records(tmp_path, split)


def records(data_dir, split):
    """Not the files' bytes: the order of an example's fields changes from process to process."""
    source = RecordSource(load_spec("moving_figures/small_videos", data_dir), split)
    return [(r.id, r.group, list(r.frames), r.action, r.attributes.tolist()) for r in source]


def small_run_config(name):
    """As benchmarks/small_run.py has it."""
    clips, people = ({"train": 4 * n, "validation": 2 * n, "test": 2 * n} for n in (12, 6))
    return MovingFiguresConfig(
        name=name, description="A few people.", frames=10, clips=clips, subjects=people
    )


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end and not condition():
        time.sleep(0.02)
    return condition()


MEMORY = Path("/dev/shm")


def heavy(index):
    return {"x": np.full(2**16, index, np.uint8)}


@pytest.mark.skipif(not MEMORY.is_dir(), reason="shared memory has no names here")
def test_shared_memory_is_called_by_its_owner_and_removed_by_its_name(tmp_path):
    mine, other = str(tmp_path), str(tmp_path / "other")
    before = set(MEMORY.iterdir())
    stream = grain.MapDataset.range(8).map(heavy).batch(2).to_iter_dataset()
    with contextlib.closing(iter(loader.with_workers(stream, 1, owner=mine))) as batches:
        next(batches)
        made = {path.name[:9] for path in set(MEMORY.iterdir()) - before}
    prefix = loader._memory_name(mine)
    assert prefix in made
    left = [MEMORY / f"{loader._memory_name(owner)}dead" for owner in (mine, other)]
    for path in left:
        path.touch()
    try:
        loader.remove_shared_memory(mine)
        assert [path.exists() for path in left] == [False, True]
    finally:
        left[1].unlink()


def test_a_run_that_is_killed_ends_as_one_that_is_not(tmp_path):
    """The short form of benchmarks/chaos.py, which fails where the runs differ."""
    command = [sys.executable, "-m", "benchmarks.chaos", f"--workdir={tmp_path}", "--kills=3"]
    command += ["--signal=KILL,TERM,INT", "--", "--config.phases=('reconstruct', 'report')"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "equal the undisturbed run bit for bit" in done.stdout
