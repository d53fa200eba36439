"""Puts a dataset in place all at once: written aside, moved when complete, one build at a time."""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
def staging(folder: Path, version: str) -> Iterator[Path]:
    """An empty folder to build in, inside `folder`; removed on the way out, also after an error.

    What earlier builds left behind is removed first, and a dataset that was about to be replaced
    when its build was killed is put back. Call it with the `build_lock` of `folder` held.
    """
    final, replaced = folder / version, folder / _REPLACED
    if replaced.exists() and not final.exists():
        replaced.rename(final)
    for path in folder.glob("incomplete.*"):
        shutil.rmtree(path)
    path = folder / _STAGING
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def publish(built: Path, final: Path) -> None:
    """Moves a complete dataset to its place; one that is there already is replaced."""
    replaced = final.parent / _REPLACED
    if final.exists():
        final.rename(replaced)
    built.rename(final)
    shutil.rmtree(replaced, ignore_errors=True)
