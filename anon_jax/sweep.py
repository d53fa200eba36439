"""Runs a grid of methods, budgets and seeds, one run a cell, and goes on where it was stopped.

    python -m anon_jax.sweep --config=configs/demo.py --workdir=DIR --methods=raw,spact,penalty \
        --budgets=0.1,0.3 --seeds=0,1,2 [--vary=minimax.weights.privacy=1,3] [--jobs=2] \
        [--config.FIELD=VALUE ...]

The cells are DIR/cells/NAME, workdirs like those of `anon_jax.main`; pre-training, which does not
depend on the method, is done once for each seed, in DIR/pretrained/seedN.

At SIGTERM or SIGINT the cells save and leave, then the sweep does, with the exit code of a run.
"""

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from absl import app, flags

from anon_jax import interruption, settings
from anon_jax.config_files import define_config
from anon_jax.errors import RunError, WorkdirError
from anon_jax.methods import METHODS
from anon_jax.sweep_grid import Cell, plan
from anon_jax.workdir_lock import workdir_lock
from input_pipeline.progress import say

Cores = frozenset[int]

_POLL_SECONDS = 0.5
_LINES = 3  # of a failed cell's log that the summary shows


def run_grid(
    shared: Sequence[Cell], cells: Sequence[Cell], command: Sequence[str], workdir: Path, jobs: int
) -> tuple[list[str], int]:
    """Runs the pre-trainings, then the cells, but for those whose pre-training failed.

    Returns the folders of what failed, and how many cells were not begun for it.
    """
    failed = run_cells(shared, command, workdir, jobs)
    possible = [cell for cell in cells if cell.pretrained not in failed]
    failed += run_cells(possible, command, workdir, jobs)
    return failed, len(cells) - len(possible)


def run_cells(cells: Iterable[Cell], command: Sequence[str], workdir: Path, jobs: int) -> list[str]:
    """Runs what is not done yet, `jobs` at a time; returns the folders of those that failed.

    Each job has its share of the CPU cores: cells that all used all of them would wait for each
    other. What a cell prints is in workdir/logs/FOLDER.log.
    """
    todo = [cell for cell in cells if not _done_mark(workdir, cell).exists()]
    _wait_until_left([workdir / cell.folder for cell in todo])
    started = iter(todo)
    failed: list[str] = []
    running: dict[subprocess.Popen, tuple[Cell, Cores]] = {}
    free = _shares(jobs)
    begun, done = time.monotonic(), 0
    try:
        while True:
            for cell in itertools.islice(started, len(free)):
                cores = free.pop()
                running[_start(cell, command, workdir, cores)] = cell, cores
            if not running:
                return failed
            time.sleep(_POLL_SECONDS)
            for process in [process for process in running if process.poll() is not None]:
                cell, cores = running.pop(process)
                free.append(cores)
                done += 1
                if process.returncode:
                    failed.append(cell.folder)
                else:
                    mark = _done_mark(workdir, cell)
                    mark.parent.mkdir(parents=True, exist_ok=True)
                    mark.touch()
                left = (time.monotonic() - begun) / done * (len(todo) - done) / 60
                word = "failed" if process.returncode else "done"
                say(f"[{done}/{len(todo)}] {cell.folder} {word}; about {left:.0f} min left")
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()


def _wait_until_left(folders: Sequence[Path]) -> None:
    """Of a sweep that was just killed: its cells save before they leave.

    After this a cell is started all the same, and says itself who holds its workdir.
    """
    end = time.monotonic() + interruption.GRACE_SECONDS
    for folder in folders:
        while folder.exists() and time.monotonic() < end:
            try:
                with workdir_lock(folder):
                    break
            except WorkdirError:
                time.sleep(_POLL_SECONDS)


def _done_mark(workdir: Path, cell: Cell) -> Path:
    return workdir / "done" / cell.folder


def _shares(jobs: int) -> list[Cores]:
    """The CPU cores of each job; all of them where they cannot be shared out, or not be chosen."""
    if not hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return [frozenset()] * jobs
    cores = sorted(os.sched_getaffinity(0))
    return [frozenset(cores[job::jobs] or cores) for job in range(jobs)]


def _start(
    cell: Cell, command: Sequence[str], workdir: Path, cores: Cores = frozenset()
) -> subprocess.Popen:
    log = _log(workdir, cell.folder)
    log.parent.mkdir(parents=True, exist_ok=True)
    bounds = [str(os.getpid()), ",".join(map(str, sorted(cores)))]
    # Of a tuple that is given twice, like the phases, config flags would make one of all entries.
    fields = {override.partition("=")[0] for override in cell.overrides}
    command = [argument for argument in command if argument.partition("=")[0] not in fields]
    with log.open("ab") as output:
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "anon_jax.child_process", *bounds),
                *(*command, f"--workdir={workdir / cell.folder}", *cell.overrides),
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=_environment(workdir),
            # Ctrl-C reaches the sweep alone, which passes it on: a second signal would keep a cell
            # from saving.
            start_new_session=True,
        )


def _environment(workdir: Path) -> dict[str, str]:
    """Of a cell: what is set for the sweep goes before what is only faster.

    Cells find the steps that others have compiled; large pages spare glibc page faults at every
    large array.
    """
    faster = {
        "JAX_COMPILATION_CACHE_DIR": str(workdir / "compiled"),
        "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    }
    return {**faster, **os.environ}


def _overrides(argv: Sequence[str]) -> list[str]:
    """The config file and the user's own changes to it, as they were given."""
    return [argument for argument in argv if argument.startswith(("--config=", "--config."))]


def _log(workdir: Path, folder: str) -> Path:
    return workdir / "logs" / f"{folder}.log"


def _last_lines(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return "\n".join(f"    {line}" for line in lines[-_LINES:])


def _main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"Unknown arguments: {' '.join(argv[1:])}")
    values = flags.FLAGS
    workdir = Path(values.workdir).absolute()
    command = [sys.executable, "-m", "anon_jax.main", *_overrides(sys.argv)]
    # Without a time limit: the cells have one.
    with interruption.handled(grace=None):
        try:
            settings.check_config(values.config)
            shared, cells = plan(
                values.methods, values.budgets, values.seeds, workdir, values.vary, values.config
            )
            with workdir_lock(workdir):
                settings.claim_workdir(workdir, values.config)
                say(f"{len(cells)} cells and {len(shared)} pre-trainings in {workdir}")
                failed, waiting = run_grid(shared, cells, command, workdir, values.jobs)
        except RunError as error:
            sys.exit(f"error: {error}")
        except OSError as error:
            sys.exit(f"error: {error}. The same command goes on")
        except interruption.Interrupted:
            say("interrupted: the cells have saved and left; the same command goes on")
            sys.exit(interruption.EXIT_CODE)
    _summarise(failed, waiting, workdir)


def _summarise(failed: Sequence[str], waiting: int, workdir: Path) -> None:
    """Names the runs that failed, or the command that reports on all.

    Args:
      waiting: how many cells were not begun, for a pre-training that they need failed.
    """
    for folder in failed:
        log = _log(workdir, folder)
        say(f"failed: {folder}, see {log}\n{_last_lines(log)}")
    if failed:
        behind = f", and {waiting} more that need one of them" if waiting else ""
        sys.exit(f"error: {len(failed)} failed{behind}; the same command tries them again")
    print(f"python -m anon_jax.report {workdir / 'cells'}/* --output={workdir / 'report'}")


def main() -> None:
    """The console script."""
    # Not at import: `anon_jax.main` has flags of the same names.
    define_config("Config file of every cell, or the name of one that comes with the package.")
    flags.declare_key_flag("config")  # so that --help has it too
    flags.DEFINE_string("workdir", None, "Folder of the sweep; made, or gone on with.")
    flags.DEFINE_list("methods", None, f"Of: {', '.join(METHODS)}.")
    flags.DEFINE_list("budgets", [], "B of the methods with a penalty; empty: the config's.")
    flags.DEFINE_list("seeds", ["0"], "Seeds; each has its own pre-training.")
    flags.DEFINE_multi_string(
        "vary", [], "FIELD=VALUE,VALUE of config.minimax; given again, all combinations."
    )
    flags.DEFINE_integer("jobs", 1, "Cells that run at a time.", lower_bound=1)
    flags.mark_flags_as_required(["config", "workdir", "methods"])
    app.run(_main)


if __name__ == "__main__":
    main()
