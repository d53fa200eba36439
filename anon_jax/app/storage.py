"""Where the page keeps its files: a folder that is gone when its session, or the process, ends."""

import fcntl
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX, _UNFINISHED = "anon_jax_app_", "anon_jax_new_"
_LOCK = "lock"
_SESSION = "session_"
# Seconds after which an upload that no session took is deleted: one that was broken off.
FORGOTTEN = 120.0


@contextmanager
def own_folder(parent: Path | None = None) -> Iterator[Path]:
    """A folder that only this user can read, deleted when the block ends.

    A process that is killed leaves its folder; those of dead processes are deleted here first.
    Whether one is alive is told by the lock that it holds, for its number may be another's by now.

    Args:
      parent: the system's folder for temporary files unless given.
    """
    parent = parent or Path(tempfile.gettempdir())
    remove_leftovers(parent)
    # Under its name only when it is locked, or another process could take it for a leftover.
    folder = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=parent))
    lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Resolved, for what is served from it is compared with resolved paths.
        folder = folder.rename(parent / f"{_PREFIX}{secrets.token_hex(8)}").resolve()
        yield folder
    finally:
        remove(folder)
        os.close(lock)


def remove_leftovers(parent: Path) -> list[Path]:
    """Deletes the folders of this user's dead processes; returns them."""
    found = []
    for folder in sorted(parent.glob(f"{_PREFIX}*")):
        try:
            status = folder.lstat()
            if status.st_uid != os.getuid() or folder.is_symlink():
                continue
            lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        except OSError:  # gone meanwhile, or no folder
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove(folder)
            found.append(folder)
        except BlockingIOError:  # its process is alive
            pass
        finally:
            os.close(lock)
    return found


def new_session(root: Path) -> Path:
    """An empty folder with a name that nobody can guess."""
    folder = root / f"{_SESSION}{secrets.token_hex(16)}"
    folder.mkdir(mode=0o700)
    return folder


def remove_forgotten(root: Path, seconds: float = FORGOTTEN) -> None:
    """Deletes what lies in `root`, belongs to no session, and has not changed for so long."""
    before = time.time() - seconds
    for path in root.iterdir():
        if path.name == _LOCK or path.name.startswith(_SESSION):
            continue
        try:
            inside = list(path.iterdir()) if path.is_dir() else []
            if all(each.lstat().st_mtime < before for each in (path, *inside)):
                remove(path)
        except OSError:  # taken by its session meanwhile
            continue


def remove(path: Path) -> None:
    """Deletes a file or a folder; what another thread adds meanwhile, too."""
    for _ in range(3):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        if not path.exists():
            return
        time.sleep(0.1)
