"""What a phase leaves behind while it runs: metrics as JSON lines and TensorBoard, and pictures.

Of several processes, which all have the same to say, the first one writes.
"""

import itertools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from anon_jax import distributed
from anon_jax.results import write_whole

if TYPE_CHECKING:
    from anon_jax.event_file import EventFile


class MetricWriter:
    """Appends one line {"step", metric: value} at a time to DIR/NAME.jsonl, and to TensorBoard."""

    def __init__(self, directory: Path, name: str):
        self._path = directory / f"{name}.jsonl"
        self._tensorboard_prefix = directory / "tensorboard" / name / "events"
        self._tensorboard: EventFile | None = None
        self._last = ""

    def start(self, step: int) -> None:
        """Begins at `step`: lines of a stopped run that lie beyond it are removed.

        So is what comes after a line that a full disk has cut.
        """
        if not distributed.is_first():
            return
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        kept = list(itertools.takewhile(lambda line: _step(line) <= step, lines))
        write_whole(self._path, "".join(f"{line}\n" for line in kept).encode())
        self._last = kept[-1] if kept else ""
        self.close()
        from anon_jax.event_file import EventFile  # see there

        self._tensorboard = EventFile(self._tensorboard_prefix, step + 1)

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Writes the metrics of a step; not again where a stopped run has just done so.

        Raises:
          OSError: the disk is full.
        """
        if not distributed.is_first():
            return
        values = {name: float(value) for name, value in metrics.items()}
        line = json.dumps({"step": step, **values})
        if line == self._last:
            return
        self._last = line
        with self._path.open("a") as file:
            file.write(f"{line}\n")
        assert self._tensorboard is not None, "start() comes first"
        self._tensorboard.add(step, values)

    def close(self) -> None:
        """Closes TensorBoard's file."""
        if self._tensorboard is not None:
            self._tensorboard.close()
            self._tensorboard = None


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The lines of a metrics file; empty where there is none."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def save_comparison(path: Path, rows: list[np.ndarray], *, min_height: int = 96) -> None:
    """Writes rows of equally many frames as one PNG, e.g. raw above anonymized.

    Args:
      rows: arrays [N, H, W, 3], uint8 or float in [0, 1], RGB.
      min_height: frames smaller than this are enlarged by a whole factor, without smoothing.
    """
    if not distributed.is_first():
        return
    strips = [np.concatenate(list(_to_uint8(row)), axis=1) for row in rows]
    picture = np.concatenate(strips, axis=0)
    factor = max(1, math.ceil(min_height / rows[0].shape[1]))
    picture = picture.repeat(factor, axis=0).repeat(factor, axis=1)
    encoded, data = cv2.imencode(path.suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    if not encoded:
        raise OSError(f"{path} could not be encoded")
    write_whole(path, data.tobytes())


def _step(line: str) -> float:
    """Step of a line; infinite for one that was cut."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


def _to_uint8(frames: np.ndarray) -> np.ndarray:
    if frames.dtype == np.uint8:
        return frames
    return np.round(np.clip(frames, 0, 1) * 255).astype(np.uint8)
