"""Files that appear under their name whole, or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from input_pipeline.errors import DataError

# What an unfinished output is called: hidden, and of no type that a player would open.
UNFINISHED = ".anonymizing-{}.partial"


@contextmanager
def whole_or_nothing(path: Path, *, overwrite: bool) -> Iterator[BinaryIO]:
    """A file in the folder of `path` to write to, which takes its name when the block ends well.

    The folder is made where it is missing. After an error, Ctrl-C included, the file is removed,
    and so are the folders that were made for it.

    Raises:
      DataError: there is something at `path` already and `overwrite` is not set, or the file
        cannot be written; names it, and says why.
    """
    check_free(path, overwrite=overwrite)
    partial = path.with_name(UNFINISHED.format(os.getpid()))
    made = [folder for folder in path.parents if not folder.exists()]  # the innermost first
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)  # of a killed process that had this one's number
        with partial.open("x+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # a full disk may show only now
        check_free(path, overwrite=overwrite)
        partial.replace(path)
    except OSError as error:
        raise DataError(f"{path} could not be written: {why(error)}") from error
    finally:
        _remove(partial, made)


def why(error: OSError) -> str:
    """What the system says; a file in the place of a folder is named."""
    if isinstance(error, FileExistsError | NotADirectoryError):
        return f"{error.filename} is no folder"
    return error.strerror or str(error)


def check_free(path: Path, *, overwrite: bool) -> None:
    """Raises DataError where an output would replace something that it may not replace."""
    if path.is_dir():
        raise DataError(f"{path} is a folder; name a file")
    if path.exists() and not overwrite:
        raise DataError(f"{path} is there already; add --overwrite to replace it")


def _remove(partial: Path, made: list[Path]) -> None:
    """Removes what is not whole, and the folders unless there is something in them."""
    with suppress(OSError):  # in a folder that cannot be written, nothing was
        partial.unlink(missing_ok=True)
    for folder in made:
        with suppress(OSError):  # not empty, or never made
            folder.rmdir()
