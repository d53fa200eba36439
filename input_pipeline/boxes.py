"""Boxes of detected people and faces in a dataset's stored frames: kept in one file beside it."""

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from input_pipeline.arrays_file import read_arrays
from input_pipeline.errors import DataError
from input_pipeline.index import read_index
from input_pipeline.records import Record
from input_pipeline.specs import DatasetSpec

_ARRAYS = ("ids", "sizes", "first_frames", "first_boxes", "boxes")


@dataclasses.dataclass(frozen=True)
class Boxes:
    """The boxes of all frames of a dataset, in pixels of the stored frames.

    Attributes:
      rows: record's id -> its row in the arrays below.
      sizes: int [records, 2], height and width of the record's frames.
      first_frames: int [records + 1]; frames first_frames[r] to first_frames[r + 1] are r's.
      first_boxes: int [frames + 1]; the same for the boxes of a frame.
      boxes: int [all boxes, 4] of (top, left, height, width), inside the frame.
      margin: a box grows by this share of its height and width on each side before it is used.
      hold: a frame without a box takes those of the nearest frame at most so many frames away.
    """

    rows: Mapping[str, int]
    sizes: Int[np.ndarray, "records 2"]
    first_frames: Int[np.ndarray, " records_and_one"]
    first_boxes: Int[np.ndarray, " frames_and_one"]
    boxes: Int[np.ndarray, "boxes 4"]
    margin: float = 0.0
    hold: int = 0

    def of_frame(
        self, record: Record, position: int, shape: tuple[int, ...]
    ) -> Int[np.ndarray, "boxes 4"]:
        """The boxes to hide in one frame of a record; `shape` is that of the decoded frame.

        Raises:
          DataError: the frame has another size than the one that the boxes were found in.
        """
        row = self.rows[record.id]
        found_in = tuple(self.sizes[row].tolist())
        if found_in != shape[:2]:
            raise DataError(
                f"The boxes of '{record.id}' were found in frames of {found_in[0]}x{found_in[1]} "
                f"pixels, but its frames have {shape[0]}x{shape[1]} now: the dataset was built "
                "anew; find the boxes anew with python -m input_pipeline.detect"
            )
        return grow_boxes(self._held(row, position), self.margin, *found_in)

    def share_of_frames(self) -> float:
        """The share of the frames in which something was detected, without `hold`."""
        return float(np.mean(np.diff(self.first_boxes) > 0))

    def _held(self, row: int, position: int) -> Int[np.ndarray, "boxes 4"]:
        first, end = self.first_frames[row], self.first_frames[row + 1]
        for distance in range(self.hold + 1):
            for frame in (first + position - distance, first + position + distance):
                if first <= frame < end:
                    found = self.boxes[self.first_boxes[frame] : self.first_boxes[frame + 1]]
                    if len(found):
                        return found
        return self.boxes[:0]


def clip_boxes(
    boxes: Float[np.ndarray, "boxes 4"] | Int[np.ndarray, "boxes 4"], height: int, width: int
) -> Int[np.ndarray, "kept 4"]:
    """The parts of boxes (top, left, height, width) inside a frame, as int32 whole pixels.

    A pixel that a box touches belongs to it; boxes outside the frame are left out.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)  # no boxes: [0] -> [0, 4]
    limits = (height, width)
    starts = np.clip(np.floor(boxes[:, :2]), 0, limits)
    ends = np.clip(np.ceil(boxes[:, :2] + boxes[:, 2:]), 0, limits)
    clipped = np.concatenate([starts, ends - starts], axis=1).astype(np.int32)
    return clipped[(clipped[:, 2:] > 0).all(axis=1)]


def grow_boxes(
    boxes: Int[np.ndarray, "boxes 4"], margin: float, height: int, width: int
) -> Int[np.ndarray, "boxes 4"]:
    """Each box larger by `margin` of its height and width on each side, inside the frame."""
    added = margin * boxes[:, 2:]
    grown = np.concatenate([boxes[:, :2] - added, boxes[:, 2:] + 2 * added], axis=1)
    return clip_boxes(grown, height, width)


def boxes_file(spec: DatasetSpec, detector: str) -> Path:
    """Where the boxes that a detector found in a dataset are kept."""
    return spec.path / f"boxes-{detector}.npz"


def save_boxes(
    path: Path,
    ids: Sequence[str],
    sizes: Sequence[tuple[int, int]],
    found: Sequence[Sequence[Int[np.ndarray, "boxes 4"]]],
) -> None:
    """Writes the boxes of `found`[record][frame] whole or not at all."""
    frames = [boxes for record in found for boxes in record]
    arrays = {
        "ids": np.array(ids, dtype=np.str_),
        "sizes": np.array(sizes, np.int32).reshape(-1, 2),  # no records: [0] -> [0, 2]
        "first_frames": np.cumsum([0, *map(len, found)]),
        "first_boxes": np.cumsum([0, *map(len, frames)]),
        "boxes": np.concatenate([np.zeros((0, 4), np.int32), *frames]),
    }
    partial = path.with_suffix(".partial")
    try:
        with partial.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def load_boxes(spec: DatasetSpec, *, detector: str, margin: float = 0.0, hold: int = 0) -> Boxes:
    """The boxes that a detector found in a dataset; `margin` and `hold` as in `Boxes`.

    Raises:
      DataError: there is no such file, it is damaged, or of other records than the dataset has
        now; the message names the command that makes it.
    """
    path = boxes_file(spec, detector)
    if not path.is_file():
        others = sorted(other.stem.partition("-")[2] for other in spec.path.glob("boxes-*.npz"))
        there = f"; there are those of: {', '.join(others)}" if others else ""
        raise DataError(
            f"There are no boxes of the detector '{detector}' for '{spec.name}' in {spec.path}"
            f"{there}. Find them with: {_command(spec, detector)}"
        )
    try:
        arrays = read_arrays(path, _ARRAYS)
        _check_arrays(arrays)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} is no file of boxes ({error}). Find them anew with: {_command(spec, detector)}"
        ) from error
    rows = {name: row for row, name in enumerate(arrays["ids"].tolist())}
    sizes, first_frames, first_boxes, found = (arrays[name] for name in _ARRAYS[1:])
    boxes = Boxes(rows, sizes, first_frames, first_boxes, found, margin, hold)
    _check_records(spec, detector, boxes)
    return boxes


def _check_arrays(arrays: Mapping[str, np.ndarray]) -> None:
    """Whether the arrays of a file belong together; ValueError where they do not."""
    ids, sizes, first_frames, first_boxes, boxes = (arrays[name] for name in _ARRAYS)
    shapes = (
        ids.ndim == 1 and sizes.shape == (len(ids), 2) and first_frames.shape == (len(ids) + 1,)
    )
    shapes = shapes and first_boxes.ndim == 1 and boxes.shape[1:] == (4,)
    kinds = ids.dtype.kind == "U" and all(arrays[name].dtype.kind == "i" for name in _ARRAYS[1:])
    if not shapes or not kinds:
        raise ValueError("its arrays are not those of boxes")
    for first, end in ((first_frames, len(first_boxes) - 1), (first_boxes, len(boxes))):
        if not len(first) or first[0] != 0 or first[-1] != end or (np.diff(first) < 0).any():
            raise ValueError("its arrays do not fit each other")


def _check_records(spec: DatasetSpec, detector: str, boxes: Boxes) -> None:
    """Whether the boxes are of the records that the dataset has now."""
    counts = np.diff(boxes.first_frames)
    then = {name: int(counts[row]) for name, row in boxes.rows.items()}
    now = {row.id: row.num_frames for split in spec.split_sizes for row in _index(spec, split)}
    differing = [name for name in {**now, **then} if now.get(name) != then.get(name)]
    if differing:
        name = differing[0]
        raise DataError(
            f"{boxes_file(spec, detector)} was made from another build of '{spec.name}': "
            f"{len(differing)} records differ, e.g. '{name}' has {now.get(name, 0)} frames in the "
            f"dataset and {then.get(name, 0)} there. Find the boxes anew with: "
            f"{_command(spec, detector)}"
        )


def _index(spec: DatasetSpec, split: str) -> list:
    return list(read_index(spec, split)) if spec.split_sizes[split] else []


def _command(spec: DatasetSpec, detector: str) -> str:
    name = spec.name.partition(":")[0]
    data_dir = spec.path.parents[len(name.split("/"))]
    needs = {"onnx": " --model=FILE", "file": " --boxes=FILE"}.get(detector, "")
    return (
        f"python -m input_pipeline.detect {spec.name} --data_dir={shlex.quote(str(data_dir))} "
        f"--detector={detector}{needs}"
    )
