"""Finds annotation files, and the videos that they speak of, below the folders a user gives."""

import filecmp
import os
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from input_pipeline.errors import DataError
from input_pipeline.tables import MAX_PROBLEMS

VIDEO_SUFFIXES = (
    ".avi",
    ".m4v",
    ".mkv",
    ".mov",
    ".mp4",
    ".mpeg",
    ".mpg",
    ".webm",
    ".wmv",
)


def find_file(folder: Path, name: str, hint: str) -> Path:
    """The file called `name` anywhere below `folder`; see `find_files`."""
    return find_files(folder, [name], hint)[name]


def find_files(folder: Path, names: Iterable[str], hint: str) -> dict[str, Path]:
    """The files of these names, at any depth below `folder`; copies of one file count as one.

    Links to folders are not followed.

    Args:
      folder: what the user gave as the folder of annotations.
      names: exact file names, without folder.
      hint: a sentence on what these files are and where they are published, for the error message.

    Raises:
      DataError: a name is missing, or stands for files of different content.
    """
    found: dict[str, list[Path]] = {name: [] for name in names}
    for path in _walk(folder, "annotations"):
        if path.name in found:
            found[path.name].append(path)
    missing = [name for name, paths in found.items() if not paths]
    if missing:
        raise DataError(f"{folder}: there is no {_some(missing)} below this folder. {hint}")
    for name, paths in found.items():
        for other in paths[1:]:
            if not filecmp.cmp(paths[0], other, shallow=False):
                raise DataError(
                    f"{folder}: two different files are called {name}: {paths[0]} and {other}; "
                    "leave only the right one below this folder"
                )
    return {name: paths[0] for name, paths in found.items()}


def numbered_lines(path: Path) -> list[tuple[int, str]]:
    """The lines of a text file that are not blank, stripped, with their numbers from 1.

    Raises:
      DataError: the file is no UTF-8 text.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text ({error}); download it again") from error
    return [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]


class VideoIndex:
    """The video files at any depth below a folder, looked up as annotations write their names.

    Annotations and disks disagree on the suffix, on upper and lower case, and on "#", which some
    copies of a dataset replace by "@": a name is found whichever of these it is written with.
    """

    def __init__(self, source: Path) -> None:
        """Lists the folder.

        Raises:
          DataError: there is no such folder, or no video in it.
        """
        self._source = source
        self._by_stem: dict[str, list[Path]] = {}
        for path in _walk(source, "videos"):
            if path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith("."):
                self._by_stem.setdefault(_stem_key(path.name), []).append(path)
        if not self._by_stem:
            raise DataError(
                f"{source}: there is no video below this folder; unpack the archives first "
                f"(looked for files ending in {', '.join(VIDEO_SUFFIXES)})"
            )

    def find(self, action: str, name: str) -> Path | None:
        """The video of that name, or None where it is not there.

        The folder of the class may be missing on disk, or not be the innermost one; it only
        decides between several videos of the same name.

        Args:
          action: class name, as its folder is called.
          name: file name with or without the suffix of a video.

        Raises:
          DataError: several files fit equally well.
        """
        paths = self._by_stem.get(_stem_key(name), [])
        if len(paths) > 1:
            in_class = [path for path in paths if _key(path.parent.name) == _key(action)]
            paths = in_class or paths
        if len(paths) > 1:
            raise DataError(
                f"{self._source}: several files could be the video '{name}' of the class "
                f"'{action}': {_some([str(path) for path in sorted(paths)])}; leave only one"
            )
        return paths[0] if paths else None


def _walk(folder: Path, what: str) -> Iterator[Path]:
    """All files below `folder`, in the order of their paths, so that every run sees the same."""
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder of {what}")
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            yield Path(parent, name)


def _stem_key(name: str) -> str:
    path = PurePosixPath(name)
    return _key(path.stem if path.suffix.lower() in VIDEO_SUFFIXES else path.name)


def _key(text: str) -> str:
    # NFC, because file systems differ in how they write accents.
    return unicodedata.normalize("NFC", text).casefold().replace("@", "#")


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:MAX_PROBLEMS])
    return shown + (f" and {len(names) - MAX_PROBLEMS} more" if len(names) > MAX_PROBLEMS else "")
