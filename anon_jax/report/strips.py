"""Pictures of a comparison: the same frames raw and through each method, one strip a method."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from anon_jax.report.cells import Cell
from anon_jax.report.rows import Row


@dataclasses.dataclass(frozen=True)
class Strip:
    """One row of frames as a PNG, its file name beside report.md, and what it shows."""

    caption: str
    file: str
    png: bytes


def make_strips(
    rows: Sequence[Row], cells: Sequence[Cell], number: int
) -> tuple[list[list[Strip]], list[str]]:
    """Groups of strips of the same frames, raw first, and a sentence for each unreadable picture.

    A row shows the picture of its first seed that has one. Pictures are those of
    `writers.save_comparison`: a strip of raw frames above one of anonymized frames and, after a
    reconstruction attack, one of what its decoder drew.

    Args:
      number: of the protocol, for the names of files.
    """
    groups: dict[tuple[bytes, tuple[int, ...]], list[Strip]] = {}
    problems = []
    for place, row in enumerate(rows, start=1):
        if row["method"] == "raw":
            continue
        for cell in sorted(_own(row, cells), key=lambda cell: cell.seed):
            found = _picture(cell.run.folder / "samples", row["method"])
            if found is None:
                continue
            path, count, when = found
            picture = cv2.imread(str(path))
            if picture is None or len(picture) < count:
                problems.append(f"{path} is no picture.")
                continue
            # [count H, W, 3] -> count times [H, W, 3]
            raw, *others = np.split(picture[: len(picture) // count * count], count)
            strips = groups.setdefault((raw.tobytes(), raw.shape), [])
            if not strips:
                file = f"strip_{number}_{len(groups)}_raw.png"
                strips.append(Strip(f"raw{when and f', seed {cell.seed}'}", file, _encode(raw)))
            file = f"strip_{number}_{place:02d}.png"
            strips.append(Strip(f"{row['name']}{when}", file, _encode(others[0])))
            for drawn in others[1:]:
                file = f"strip_{number}_{place:02d}_drawn.png"
                caption = f"{row['name']}, drawn back by a decoder"
                strips.append(Strip(caption, file, _encode(drawn)))
            break
    return list(groups.values()), problems


def _picture(folder: Path, method: str) -> tuple[Path, int, str] | None:
    """The best picture of a run's method, the strips that it has, and words for when it was drawn.

    Those of the evaluations show test frames, the same ones in all runs; those drawn in training
    are all that a run without these evaluations has.
    """
    for name, count in ((f"reconstruction-{method}.png", 3), (f"frames-{method}.png", 2)):
        if (folder / name).exists():
            return folder / name, count, ""
    paths = [path for path in folder.glob("*.png") if path.stem.isdecimal()]
    last = max(paths, key=lambda path: int(path.stem), default=None)
    return None if last is None else (last, 2, f", step {int(last.stem)}")


def _own(row: Row, cells: Sequence[Cell]) -> list[Cell]:
    """The cells of a row whose run trained the row's method, and so drew its pictures."""
    return [
        cell
        for cell in cells
        if cell.method == row["method"] == cell.run.method
        and str(cell.run.folder) in row["folders"]
    ]


def _encode(picture: np.ndarray) -> bytes:
    return cv2.imencode(".png", picture)[1].tobytes()
