"""Compares what goes out with what came in, and says where it passed nearly unchanged."""

from typing import Any

import cv2
import numpy as np
from jaxtyping import Float

from anon_jax.anonymize.frames import Anonymized, Frame

SHORT_SIDE = 240  # pixels at which frames are compared: what is lost beyond it hides nobody
BLOCK = 12  # side of a block in pixels of that size: an eye of a face of a quarter of the height
DETAIL = 6.0  # least standard deviation in grey levels: a flat block has nothing to hide
# Correlation of a block's grey values, raw and anonymized, from which on it is nearly unchanged.
# Changes of brightness and contrast leave it at 1.
ALIKE = 0.99
# Shares of the detailed blocks that may be alike, of all frames and of a single one, and of the
# frames that may have a patch of them: edges of large smooth things survive any downsampling. On
# real clips downsampling to 28 rows leaves up to 0.06, 0.08 and 0.2.
MOST_ALIKE, MOST_ALIKE_IN_FRAME, MOST_PATCHED = 0.1, 0.5, 0.3
PATCH = 5  # detailed blocks among three times three, all alike: a face, not an edge


class SelfCheck:
    """Counts blocks with detail, and those of them that passed nearly unchanged.

    Where a method hides boxes only, the blocks inside them count.
    """

    def __init__(self) -> None:
        self._detailed: Float[np.ndarray, "rows columns"] = np.zeros((0, 0))
        self._alike: Float[np.ndarray, "rows columns"] = np.zeros((0, 0))
        self._worst = (0.0, 0)  # share, number of the frame
        self._frames = self._patched = 0

    def add(self, raw: Frame, anonymized: Anonymized) -> None:
        """Compares a frame; all of them have one size."""
        detailed, alike = _compare(raw, anonymized)
        if not self._frames:
            self._size = raw.shape[:2]
            self._detailed, self._alike = np.zeros(detailed.shape), np.zeros(detailed.shape)
        self._detailed += detailed
        self._alike += alike
        self._patched += _has_patch(detailed, alike)
        share = float(alike.sum() / max(1, detailed.sum()))
        self._worst = max(self._worst, (share, self._frames), key=lambda pair: pair[0])
        self._frames += 1

    def facts(self) -> dict[str, Any]:
        """{"share": of detailed blocks nearly unchanged, "worst_frame": ..., "region": ...}."""
        facts: dict[str, Any] = {"share": round(self._share(), 4)}
        if self._alike.any():
            share, number = self._worst
            facts["frames_with_patch"] = round(self._patched / self._frames, 4)
            facts["worst_frame"] = {"number": number, "share": round(share, 4)}
            facts["region"] = self._region()
        return facts

    def warnings(self) -> list[str]:
        """A sentence where too much passed."""
        share, (worst, number) = self._share(), self._worst
        patched = self._patched / max(1, self._frames)
        if share <= MOST_ALIKE and worst <= MOST_ALIKE_IN_FRAME and patched <= MOST_PATCHED:
            return []
        top, left, height, width = self._region()
        return [
            f"{share:.0%} of the picture's details passed nearly unchanged, most of them at "
            f"x {left} to {left + width}, y {top} to {top + height}; frame {number} is the worst "
            f"({worst:.0%}): do not trust this result"
        ]

    def _share(self) -> float:
        return float(self._alike.sum() / max(1.0, self._detailed.sum()))

    def _region(self) -> list[int]:
        """The box (top, left, height, width) in pixels of the blocks that pass most often."""
        often = self._alike >= self._alike.max() / 2
        rows, columns = np.flatnonzero(often.any(axis=1)), np.flatnonzero(often.any(axis=0))
        scale = np.divide(self._size, often.shape)
        top, bottom = rows[0] * scale[0], (rows[-1] + 1) * scale[0]
        left, right = columns[0] * scale[1], (columns[-1] + 1) * scale[1]
        return [round(top), round(left), round(bottom - top), round(right - left)]


def _compare(raw: Frame, anonymized: Anonymized) -> tuple[np.ndarray, np.ndarray]:
    """bool [rows, columns] each: the blocks that count, and those that are alike."""
    height, width = raw.shape[:2]
    scale = min(1.0, SHORT_SIDE / min(height, width))
    rows, columns = (max(1, round(side * scale / BLOCK)) for side in (height, width))
    x, y = (_grey(frame, rows, columns) for frame in (raw, anonymized.frame))
    mean_x, mean_y = _block_means(x), _block_means(y)
    # Clipped, for rounding can leave a flat block's variance below zero.
    variance_x = np.maximum(_block_means(x * x) - mean_x**2, 0)
    variance_y = np.maximum(_block_means(y * y) - mean_y**2, 0)
    covariance = _block_means(x * y) - mean_x * mean_y
    detailed = variance_x >= DETAIL**2
    if anonymized.hidden is not None:
        detailed &= _inside(anonymized.hidden, (height, width), (rows, columns))
    alike = covariance**2 >= ALIKE**2 * variance_x * variance_y
    # A constant block correlates with nothing.
    return detailed, detailed & alike & (variance_y > 1)


def _has_patch(detailed: np.ndarray, alike: np.ndarray) -> bool:
    """Whether somewhere in the picture a neighbourhood of blocks is alike as a whole."""
    near, near_alike = (
        cv2.boxFilter(
            blocks.astype(np.float32), -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT
        )
        for blocks in (detailed, alike)
    )
    return bool(((near >= PATCH) & (near_alike > near - 0.5)).any())


def _grey(frame: Frame, rows: int, columns: int) -> Float[np.ndarray, "h w"]:
    """Grey values at whole blocks' size: [rows * BLOCK, columns * BLOCK]."""
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    size = (columns * BLOCK, rows * BLOCK)
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA).astype(np.float32)


def _block_means(image: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "rows columns"]:
    height, width = image.shape
    return cv2.resize(image, (width // BLOCK, height // BLOCK), interpolation=cv2.INTER_AREA)


def _inside(boxes: np.ndarray, size: tuple[int, int], grid: tuple[int, int]) -> np.ndarray:
    """bool [rows, columns]: the blocks that lie in one of the boxes."""
    inside = np.zeros(grid, bool)
    scale = np.divide(grid, size)  # blocks a pixel
    for top, left, height, width in boxes.tolist():
        first = np.ceil([top * scale[0], left * scale[1]]).astype(int)
        last = np.floor([(top + height) * scale[0], (left + width) * scale[1]]).astype(int)
        inside[first[0] : last[0], first[1] : last[1]] = True
    return inside
