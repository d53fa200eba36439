"""Sweeps: the cells of a grid, skipping what is done, failures named, nothing left running."""

import os
import signal
import subprocess
import sys
import time

import pytest
from video_samples import ROOT

from anon_jax import interruption, settings
from anon_jax.errors import ConfigError
from anon_jax.sweep import run_cells, run_grid
from anon_jax.sweep_grid import Cell, plan
from configs import moving_figures


def test_the_cells_of_a_grid(tmp_path):
    shared, cells = plan(["raw", "spact", "penalty"], ["0.1", "0.30"], ["0", "7"], tmp_path)
    assert [cell.folder for cell in shared] == ["pretrained/seed0", "pretrained/seed7"]
    names = ["raw-seed", "spact-seed", "penalty-B0.1-seed", "penalty-B0.3-seed"]
    assert [cell.folder for cell in cells] == [
        f"cells/{name}{seed}" for seed in (0, 7) for name in names
    ]
    overrides = {cell.folder: cell.overrides for cell in cells}
    assert overrides["cells/penalty-B0.3-seed7"] == (
        "--config.seed=7",
        "--config.method=penalty",
        "--config.evaluate_raw=False",
        f"--config.pretrained={tmp_path / 'pretrained' / 'seed7'}",
        "--config.minimax.penalty.budget=0.3",
    )
    assert not any("pretrained" in field for field in overrides["cells/raw-seed0"])
    assert "--config.phases=('reconstruct', 'pretrain_privacy')" in shared[0].overrides


def test_a_grid_without_learned_methods_or_budgets(tmp_path):
    shared, cells = plan(["raw"], ["0.1"], ["0"], tmp_path)
    assert (shared, [cell.folder for cell in cells]) == ([], ["cells/raw-seed0"])
    _, cells = plan(["penalty", "penalty"], [], ["0"], tmp_path)
    assert [cell.folder for cell in cells] == ["cells/penalty-seed0"]


def test_fields_are_varied_where_a_method_uses_them(tmp_path):
    vary = ["minimax.weights.privacy=1,3", "minimax.penalty.space=pixel,action_feature"]
    _, cells = plan(["raw", "spact", "penalty"], ["0.1"], ["0"], tmp_path, vary)
    assert [cell.folder for cell in cells] == [
        "cells/raw-seed0",
        *(f"cells/spact-weights.privacy={w}-seed0" for w in (1, 3)),
        *(
            f"cells/penalty-B0.1-weights.privacy={w}-penalty.space={space}-seed0"
            for w in (1, 3)
            for space in ("pixel", "action_feature")
        ),
    ]
    assert cells[-1].overrides[-3:] == (
        "--config.minimax.penalty.budget=0.1",
        "--config.minimax.weights.privacy=3.0",
        "--config.minimax.penalty.space=action_feature",
    )
    # Each cell's fields are those of the config, so that the cells can be run.
    known = settings.defaults()
    fields = [override.partition("=")[0] for cell in cells for override in cell.overrides]
    assert {field.removeprefix("--config.") for field in fields} <= set(known)


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        (["minimax.weight=1"], r"'minimax.weight=1' is not FIELD=VALUE,VALUE.*minimax\.epochs"),
        (["minimax.epochs"], "'minimax.epochs' is not FIELD=VALUE"),
        (["seed=1"], "'seed=1' is not FIELD=VALUE"),
        (["minimax.penalty.budget=0.1"], "are those of --budgets"),
        (["minimax.epochs=1", "minimax.epochs=2"], "minimax.epochs is given twice"),
        (["minimax.epochs=1,,2"], "'' is no float, as minimax.epochs is"),
        (["minimax.privacy_steps=1.5"], "'1.5' is no int"),
        (
            ["minimax.penalty.space=pixl"],
            "--vary: with .*config.minimax.penalty.space has 'pixl'; known",
        ),
        (["minimax.supervised.ensemble=2"], "none of raw, spact uses config.minimax.supervised"),
    ],
)
def test_bad_fields_to_vary(tmp_path, vary, message):
    methods = ["raw", "spact"] if "supervised" in vary[0] else ["spact", "penalty"]
    with pytest.raises(ConfigError, match=message):
        plan(methods, [], ["0"], tmp_path, vary)


def test_what_is_varied_is_checked_with_the_rest_of_the_config(tmp_path):
    config = moving_figures.get_config()  # batches of 16 clips and 32 pairs
    given = (["spact"], [], ["0"], tmp_path)
    assert len(plan(*given, ["minimax.accumulate=8,16"], config)[1]) == 2
    config.minimax.accumulate = 8
    with pytest.raises(ConfigError, match=r"--vary: with minimax.batch_clips=12, .*12.*cannot be"):
        plan(*given, ["minimax.batch_clips=16,12"], config)


def test_equal_values_make_one_cell(tmp_path):
    _, cells = plan(["spact"], [], ["0"], tmp_path, ["minimax.weights.action=0.50, 0.5,1,1.0"])
    assert [cell.folder for cell in cells] == [
        "cells/spact-weights.action=0.5-seed0",
        "cells/spact-weights.action=1-seed0",
    ]


@pytest.mark.parametrize(
    ("methods", "budgets", "seeds", "message"),
    [
        (["rwa"], [], ["0"], "'rwa'; known methods: raw"),
        (["raw"], ["x"], ["0"], "--budgets: 'x' is no number"),
        (["raw"], ["-1"], ["0"], "--budgets: -1 is not a finite number from 0 on"),
        (["raw"], ["nan"], ["0"], "--budgets: nan is not a finite number"),
        (["raw"], ["inf"], ["0"], "--budgets: inf is not a finite number"),
        (["raw"], [], ["0.5"], "--seeds: '0.5' is no whole number"),
        ([], [], ["0"], "need at least one entry"),
    ],
)
def test_bad_grids(tmp_path, methods, budgets, seeds, message):
    with pytest.raises(ConfigError, match=message):
        plan(methods, budgets, seeds, tmp_path)


RUN = """
import os, sys, time
workdir = sys.argv[1].removeprefix("--workdir=")
os.makedirs(workdir, exist_ok=True)
with open(os.path.join(workdir, "starts"), "a") as starts:
    starts.write("x")
print("cell", *sys.argv[2:])
if "--wait" in sys.argv:
    time.sleep(60)
if "--fail" in sys.argv and not os.path.exists(os.path.join(workdir, "mended")):
    sys.exit("it broke")
"""


@pytest.fixture
def command(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(RUN)
    return [sys.executable, str(script)]


def starts(workdir, name):
    return len((workdir / name / "starts").read_text())


@pytest.mark.parametrize("jobs", [1, 3])
def test_done_cells_are_skipped_and_failed_ones_tried_again(tmp_path, command, capsys, jobs):
    cells = [Cell("a", ("--x",)), Cell("b", ("--fail",)), Cell("c", ())]
    assert run_cells(cells, command, tmp_path, jobs) == ["b"]
    assert "[3/3]" in capsys.readouterr().err
    assert (tmp_path / "logs" / "a.log").read_text() == "cell --x\n"
    assert "it broke" in (tmp_path / "logs" / "b.log").read_text()
    (tmp_path / "b" / "mended").touch()
    assert run_cells(cells, command, tmp_path, jobs) == []
    assert [starts(tmp_path, name) for name in "abc"] == [1, 2, 1]


def test_a_failed_pretraining_stops_only_the_cells_that_need_it(tmp_path, command):
    shared = [Cell("pre0", ("--fail",)), Cell("pre1", ())]
    cells = [Cell("raw0", ()), Cell("spact0", (), "pre0"), Cell("spact1", (), "pre1")]
    assert run_grid(shared, cells, command, tmp_path, 1) == (["pre0"], 1)
    assert [starts(tmp_path, name) for name in ("raw0", "spact1")] == [1, 1]
    assert not (tmp_path / "spact0").exists()
    (tmp_path / "pre0" / "mended").touch()
    assert run_grid(shared, cells, command, tmp_path, 1) == ([], 0)
    assert [starts(tmp_path, name) for name in ("raw0", "spact0", "spact1")] == [1, 1, 1]


def test_what_makes_a_cell_replaces_the_users_own_value(tmp_path):
    script = "import sys; print(*sys.argv[2:])"  # without the workdir
    own = ["--config.phases=('minimax',)", "--config.log_every=1"]
    cell = Cell("a", ("--config.phases=('reconstruct',)",))
    assert run_cells([cell], [sys.executable, "-c", script, "", *own], tmp_path, 1) == []
    given = (tmp_path / "logs" / "a.log").read_text().split()
    made = ["--config.log_every=1", f"--workdir={tmp_path}/a", "--config.phases=('reconstruct',)"]
    assert given == made


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="cores cannot be chosen here")
def test_jobs_share_the_cores_out(tmp_path):
    script = "import os, sys; print(*sorted(os.sched_getaffinity(0)))"
    cells = [Cell(name, ()) for name in "abcd"]
    cores = sorted(os.sched_getaffinity(0))
    assert run_cells(cells, [sys.executable, "-c", script], tmp_path, 2) == []
    found = {(tmp_path / "logs" / f"{cell.folder}.log").read_text() for cell in cells}
    shares = [cores[0::2], cores[1::2] or cores]
    assert found == {" ".join(map(str, share)) + "\n" for share in shares}


@pytest.mark.parametrize("own", [None, "elsewhere"])
def test_cells_share_what_they_compile_unless_the_user_says_where(tmp_path, monkeypatch, own):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    if own:
        monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", own)
    script = "import os; print(os.environ['JAX_COMPILATION_CACHE_DIR'])"
    assert run_cells([Cell("a", ())], [sys.executable, "-c", script], tmp_path, 1) == []
    found = (tmp_path / "logs" / "a.log").read_text().strip()
    assert found == (own or str(tmp_path / "compiled"))


HOLDER = """
import sys, time
from pathlib import Path
from anon_jax.workdir_lock import workdir_lock

with workdir_lock(Path(sys.argv[1].removeprefix("--workdir="))):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def test_a_cell_waits_for_one_that_is_still_leaving(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    hold = [sys.executable, "-c", HOLDER]
    leaving = subprocess.Popen([*hold, tmp_path / "a", "8"], stdout=subprocess.PIPE, text=True)
    assert leaving.stdout.readline() == "held\n"
    # The new cell takes the same lock, and fails where it is held.
    assert run_cells([Cell("a", ("0",))], hold, tmp_path, 1) == []
    assert leaving.wait(20) == 0
    # Who does not leave is not waited for without end.
    monkeypatch.setattr(interruption, "GRACE_SECONDS", 0.2)
    with subprocess.Popen([*hold, tmp_path / "b", "60"], stdout=subprocess.PIPE) as staying:
        staying.stdout.readline()
        assert run_cells([Cell("b", ("0",))], hold, tmp_path, 1) == ["b"]
        staying.kill()
    assert f"in use by process {staying.pid}" in (tmp_path / "logs" / "b.log").read_text()


PARENT = """
import sys
from pathlib import Path
from anon_jax.sweep import run_cells
from anon_jax.sweep_grid import Cell

run_cells([Cell("a", ("--wait",))], [sys.executable, sys.argv[1]], Path(sys.argv[2]), 1)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's death signal is Linux's")
def test_cells_end_with_a_killed_sweep(tmp_path, command):
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, command[1], tmp_path],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
    )
    log = tmp_path / "a" / "starts"
    assert _wait_for(log.exists, 60)
    children = subprocess.run(
        ["ps", "--ppid", str(parent.pid), "-o", "pid="], capture_output=True, text=True, check=True
    ).stdout.split()
    assert len(children) == 1
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert _wait_for(lambda: not os.path.exists(f"/proc/{children[0]}"), 10)
    assert not (tmp_path / "done" / "a").exists()


def _wait_for(condition, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end and not condition():
        time.sleep(0.1)
    return condition()
