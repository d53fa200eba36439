"""The checksums of a folder's files: a flipped bit, a cut or a missing file is found by name.

Orbax checks the checksums of its index, not those of the values: it restores a flipped bit in a
parameter without a word.
"""

import hashlib
from pathlib import Path

from anon_jax.errors import WorkdirError
from anon_jax.read_json import read_json
from anon_jax.results import write_json
from input_pipeline.progress import say

MANIFEST = "manifest.json"


def write_manifest(folder: Path) -> None:
    """Writes MANIFEST: the SHA-256 of each file below `folder`. To be written last."""
    files = {
        path.relative_to(folder).as_posix(): sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    write_json(folder / MANIFEST, {"sha256": files})


def check_manifest(folder: Path, *, advice: str, required: bool = False) -> None:
    """Refuses a folder whose files are not those of its manifest, before a network is read from it.

    Args:
      advice: what to do, the end of the message.
      required: a folder without a manifest is refused; else a note on stderr says that it is used
        unchecked, for older versions wrote none.

    Raises:
      WorkdirError: a file has other bytes than were written, or is missing; names it.
    """
    if damage := find_damage(folder):
        raise WorkdirError(f"{folder} is damaged: {damage}. No network was read from it; {advice}")
    if (folder / MANIFEST).is_file():
        return
    if required:
        raise WorkdirError(f"{folder} has no {MANIFEST}, so its files cannot be checked; {advice}")
    say(f"note: {folder} has no {MANIFEST}, as older versions wrote it; its files are not checked")


def read_manifest(folder: Path) -> dict[str, str] | None:
    """{file: SHA-256} as the manifest of `folder` has it; None where there is no manifest.

    Raises:
      ValueError: it is damaged.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("sha256"), dict):
        raise ValueError(f"{path} is no manifest")
    return dict(content["sha256"])


def find_damage(folder: Path) -> str | None:
    """What is wrong with the files below `folder`, in words; None where nothing is.

    A folder without a manifest, which is what older versions wrote, passes unchecked.
    """
    try:
        expected = read_manifest(folder) or {}
    except ValueError:
        return f"{MANIFEST} is damaged"
    for name, digest in expected.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if sha256(path) != digest:
            return f"{name} is not what was written ({path.stat().st_size} bytes are there)"
    return None


def sha256(path: Path) -> str:
    """A file's hash, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
