"""Puts a dataset in place all at once: written aside, moved when complete, one build at a time."""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from input_pipeline.errors import WorkerKilledError

# Names that `specs.dataset_path` takes for no version, so nothing half-built is ever loaded.
_STAGING = "incomplete.build"
_REPLACED = "incomplete.replaced"


@contextmanager
def build_lock(folder: Path) -> Iterator[None]:
    """Holds `folder` for one build; a second process waits here until the first is done."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def staging(folder: Path, version: str, keep: str = "") -> Iterator[Path]:
    """A folder to build in, inside `folder`, empty but for what may be continued.

    A dataset that was about to be replaced when its build was killed is put back first. On the way
    out the folder is removed, but for its entry `keep` when the build was stopped, by the user or
    by the system (a full disk, a killed worker): the next one continues there. After other errors
    nothing stays. Call it with the `build_lock` of `folder` held.
    """
    final, replaced = folder / version, folder / _REPLACED
    if replaced.exists() and not final.exists():
        replaced.rename(final)
    path = folder / _STAGING
    path.mkdir(exist_ok=True)
    for left in [*folder.glob("incomplete.*"), *path.iterdir()]:
        if left != path and not (left.parent == path and left.name == keep):
            _remove(left)
    stopped = False
    try:
        yield path
    except (OSError, KeyboardInterrupt, WorkerKilledError):
        stopped = (path / keep).is_dir()
        raise
    finally:
        for left in path.iterdir() if stopped else [path]:
            if left.name != keep:
                _remove(left)


def publish(built: Path, final: Path) -> None:
    """Moves a complete dataset to its place; one that is there already is replaced."""
    replaced = final.parent / _REPLACED
    if final.exists():
        final.rename(replaced)
    built.rename(final)
    _remove(replaced)


def _remove(path: Path) -> None:
    """Removes a file or a folder as far as it can be; what stays is no dataset by its name."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
