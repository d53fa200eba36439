"""How large a dataset will be and how long its build will take, from a few of its files."""

import dataclasses
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from input_pipeline.encoding import EncodedMedia
from input_pipeline.errors import DataError

MAX_FILES = 12
MAX_SECONDS = 2.0


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Totals of a build.

    Attributes:
      files, source_bytes: of the source, counted.
      stored_bytes: of the dataset, extrapolated from the bytes of the source.
      seconds: of one process, extrapolated likewise.
      sampled: number of files that the extrapolation stands on.
    """

    files: int
    source_bytes: int
    stored_bytes: float
    seconds: float
    sampled: int

    def summary(self, workers: int, folder: Path) -> str:
        """One or two lines, with the space that is free below `folder`."""
        free = shutil.disk_usage(folder).free
        processes = "1 process" if workers == 1 else f"{workers} processes"
        lines = [
            f"{self.files} files of {_size(self.source_bytes)}: about {_size(self.stored_bytes)} "
            f"and {_duration(self.seconds / workers)} with {processes} "
            f"(estimated from {self.sampled} files); {_size(free)} are free"
        ]
        if self.stored_bytes > free:
            lines.append("warning: the disk will probably be full before the end")
        return "\n".join(lines)


def estimate(paths: Sequence[Path], encode: Callable[[Path], EncodedMedia]) -> Estimate:
    """Encodes at most MAX_FILES evenly spaced files, for at most about MAX_SECONDS."""
    sizes = {path: path.stat().st_size for path in paths if path.is_file()}
    found = list(sizes)
    step = max(1, len(found) // MAX_FILES)
    source = stored = sampled = 0
    start = time.perf_counter()
    for path in found[step // 2 :: step][:MAX_FILES]:
        try:
            stored += sum(map(len, encode(path).frames))
        except DataError:
            continue  # the build will name it
        source += sizes[path]
        sampled += 1
        if time.perf_counter() - start > MAX_SECONDS:
            break
    factor = sum(sizes.values()) / source if source else 0.0
    seconds = time.perf_counter() - start
    return Estimate(len(found), sum(sizes.values()), stored * factor, seconds * factor, sampled)


def _size(num_bytes: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if num_bytes < 1024:
            return f"{num_bytes:.0f} {unit}"
        num_bytes /= 1024
    return f"{num_bytes:.1f} GiB"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
