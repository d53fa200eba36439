"""Reading of .npz files that others may have written: sizes are checked before memory is taken."""

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

MAX_BYTES = 2**31  # of all arrays of a file together; boxes of a million videos take less

# What zipfile, zlib and NumPy's parser of headers raise for damage, besides ValueError and OSError.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    IndexError,
    KeyError,
    MemoryError,
    NotImplementedError,
    OverflowError,
    RecursionError,
    RuntimeError,
    SyntaxError,
    TypeError,
)


def read_arrays(path: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """The arrays `names` of a file that `numpy.savez_compressed` wrote; they cannot be written to.

    An array's size is what the archive states, and no more is ever unpacked; a header that promises
    another one is refused before the array is made. Objects are refused.

    Raises:
      ValueError: the file is no such archive, is damaged, lacks an array, or is too large; the
        message does not name the file.
      OSError: it cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.getinfo(f"{name}.npy") for name in names}
            size = sum(member.file_size for member in members.values())
            if size > MAX_BYTES:
                raise ValueError(f"its arrays have {size} bytes; at most {MAX_BYTES} are read")
            return {name: _parse(archive.read(member)) for name, member in members.items()}
    except _DAMAGE as error:
        raise ValueError(f"it is damaged or no archive of arrays: {error!s:.200}") from error


def _parse(data: bytes) -> np.ndarray:
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read_header is None:
        raise ValueError(f"an array has the unknown format {version}")
    shape, in_columns, dtype = read_header(file)
    there = len(data) - file.tell()
    if dtype.hasobject or any(side < 0 for side in shape):
        raise ValueError(f"an array of {dtype} and shape {shape} is not read")
    if math.prod(shape) * dtype.itemsize != there:
        raise ValueError(f"an array of shape {shape} and {dtype} cannot have {there} bytes")
    return np.ndarray(shape, dtype, data, file.tell(), order="F" if in_columns else "C")
