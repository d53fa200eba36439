"""What a phase leaves behind while it runs: metrics as JSON lines and TensorBoard, and pictures."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from tensorboardX import SummaryWriter


class MetricWriter:
    """Appends one line {"step", metric: value} at a time to DIR/NAME.jsonl, and to TensorBoard."""

    def __init__(self, directory: Path, name: str):
        self._path = directory / f"{name}.jsonl"
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._tensorboard_dir = directory / "tensorboard" / name
        self._tensorboard: SummaryWriter | None = None

    def start(self, step: int) -> None:
        """Begins at `step`: lines of a stopped run that lie beyond it are removed."""
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        kept = [line for line in lines if json.loads(line)["step"] <= step]
        partial = self._path.with_suffix(".partial")
        partial.write_text("".join(f"{line}\n" for line in kept))
        partial.replace(self._path)
        self._tensorboard = SummaryWriter(str(self._tensorboard_dir), purge_step=step + 1)

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Writes the metrics of a step."""
        values = {name: float(value) for name, value in metrics.items()}
        with self._path.open("a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        assert self._tensorboard is not None, "start() comes first"
        for name, value in values.items():
            self._tensorboard.add_scalar(name, value, step)

    def close(self) -> None:
        """Flushes TensorBoard's file."""
        if self._tensorboard is not None:
            self._tensorboard.close()


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The lines of a metrics file; empty where there is none."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def save_comparison(path: Path, rows: list[np.ndarray], *, min_height: int = 96) -> None:
    """Writes rows of equally many frames as one PNG, e.g. raw above anonymized.

    Args:
      rows: arrays [N, H, W, 3], uint8 or float in [0, 1], RGB.
      min_height: frames smaller than this are enlarged by a whole factor, without smoothing.
    """
    strips = [np.concatenate(list(_to_uint8(row)), axis=1) for row in rows]
    picture = np.concatenate(strips, axis=0)
    factor = max(1, math.ceil(min_height / rows[0].shape[1]))
    picture = picture.repeat(factor, axis=0).repeat(factor, axis=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
        raise OSError(f"{path} could not be written")


def _to_uint8(frames: np.ndarray) -> np.ndarray:
    if frames.dtype == np.uint8:
        return frames
    return np.round(np.clip(frames, 0, 1) * 255).astype(np.uint8)
