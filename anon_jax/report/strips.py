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

    A row shows the last picture of its first seed that has one. Pictures are those of
    `writers.save_comparison`: a strip of raw frames above one of anonymized frames.

    Args:
      number: of the protocol, for the names of files.
    """
    groups: dict[tuple[bytes, tuple[int, ...]], list[Strip]] = {}
    problems = []
    for place, row in enumerate(rows, start=1):
        for cell in sorted(_own(row, cells), key=lambda cell: cell.seed):
            path = _last_picture(cell.run.folder / "samples")
            if path is None:
                continue
            picture = cv2.imread(str(path))
            if picture is None or len(picture) < 2:
                problems.append(f"{path} is no picture.")
                continue
            raw, own = np.split(picture[: len(picture) // 2 * 2], 2)  # [2 H, W, 3] -> [H, W, 3]
            strips = groups.setdefault((raw.tobytes(), raw.shape), [])
            if not strips:
                file = f"strip_{number}_{len(groups)}_raw.png"
                strips.append(Strip(f"raw, seed {cell.seed}", file, _encode(raw)))
            caption = f"{row['name']}, step {int(path.stem)}"
            strips.append(Strip(caption, f"strip_{number}_{place:02d}.png", _encode(own)))
            break
    return list(groups.values()), problems


def _own(row: Row, cells: Sequence[Cell]) -> list[Cell]:
    """The cells of a row whose run trained the row's method, and so drew its pictures."""
    return [
        cell
        for cell in cells
        if cell.method == row["method"] == cell.run.method
        and str(cell.run.folder) in row["folders"]
    ]


def _last_picture(folder: Path) -> Path | None:
    paths = [path for path in folder.glob("*.png") if path.stem.isdecimal()]
    return max(paths, key=lambda path: int(path.stem), default=None)


def _encode(picture: np.ndarray) -> bytes:
    return cv2.imencode(".png", picture)[1].tobytes()
