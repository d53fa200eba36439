"""What a run found out, on disk: a JSON file per method and measurement, then results.json."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from anon_jax import distributed
from anon_jax.errors import WorkdirError

PARTIAL = ".partial"  # ending of a file that is not whole yet


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all, in a folder that is made where it is missing.

    Raises:
      OSError: the disk is full, or the place may not be written; what was there stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(PARTIAL)
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # or a crash of the machine may leave the new name, empty
        partial.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A hidden folder that gets its name when the block ends, and is removed after an error.

    Raises:
      WorkdirError: there is something at `folder` already, or it cannot be written.
    """
    if folder.exists():
        raise WorkdirError(f"{folder} is there already; name a new folder")
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        partial.rename(folder)
    except OSError as error:
        raise WorkdirError(f"{folder} could not be written: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file as `write_whole` does."""
    write_whole(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def write_result(workdir: Path, method: str, measurement: str, result: dict[str, Any]) -> None:
    """Keeps a phase's result ("action" or "privacy") until `read_results` collects it.

    What a result is made of ("attackers/NAME") is kept in the same way, and not collected.
    """
    distributed.first(lambda: write_json(_result_path(workdir, method, measurement), result))


def has_result(workdir: Path, method: str, measurement: str) -> bool:
    """Whether `write_result` has been there."""
    return distributed.first(_result_path(workdir, method, measurement).exists)


def read_result(workdir: Path, method: str, measurement: str) -> dict[str, Any]:
    """What `write_result` has kept."""
    path = _result_path(workdir, method, measurement)
    found: dict[str, Any] = json.loads(distributed.first(path.read_text))
    return found


def read_results(workdir: Path) -> dict[str, dict[str, Any]]:
    """{method: {measurement: result}} of all that was measured so far."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted((workdir / "results").glob("*/*.json")):
        found.setdefault(path.parent.name, {})[path.stem] = json.loads(path.read_text())
    return found


def add_seconds(workdir: Path, phase: str, seconds: float) -> None:
    """Adds the time of one start to the phase's seconds, over all resumptions."""
    spent = read_seconds(workdir)
    write_json(workdir / "seconds.json", {**spent, phase: spent.get(phase, 0.0) + seconds})


def read_seconds(workdir: Path) -> dict[str, float]:
    """{phase: seconds} spent so far."""
    path = workdir / "seconds.json"
    return json.loads(path.read_text()) if path.exists() else {}


def _result_path(workdir: Path, method: str, measurement: str) -> Path:
    return workdir / "results" / method / f"{measurement}.json"
