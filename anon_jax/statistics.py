"""How far a figure can be trusted: intervals over seeds and over clips, fronts and their volume.

The trade-off of a method is a point (privacy, utility), both in [0, 1] and the more the better:
utility = (Top-1 - chance) / (Top-1 raw - chance), privacy = 1 - normalised leakage.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Integer
from scipy.special import stdtrit  # scipy.stats has it too, and takes 0.6 s to be imported

LEVEL = 0.95
RESAMPLES = 1000  # the limits of an interval then vary by a few percent of its width

Point = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Interval:
    """A figure and the limits between which it lies with the confidence `LEVEL`."""

    value: float
    low: float
    high: float


def over_seeds(values: Sequence[float]) -> Interval:
    """Mean over the seeds, with the limits of Student's t; one seed alone has no limits (NaN).

    Raises:
      ValueError: there is no value.
    """
    if not len(values):
        raise ValueError("over_seeds needs at least one value")
    mean = float(np.mean(values))
    if len(values) == 1:
        return Interval(mean, float("nan"), float("nan"))
    standard_error = np.std(values, ddof=1) / np.sqrt(len(values))
    half = stdtrit(len(values) - 1, (1 + LEVEL) / 2) * standard_error
    return Interval(mean, float(mean - half), float(mean + half))


def over_clips(
    statistic: Callable[[Integer[np.ndarray, " items"]], float],
    num_items: int,
    *,
    seed: int,
    groups: Sequence[str] | None = None,
) -> Interval:
    """A statistic of test clips, with the percentile limits of the bootstrap.

    Args:
      statistic: of the items with these indices, some of them repeated; NaN where it is not
        defined on a resample (an attribute of one class only), which is then left out.
      num_items: clips of the test split.
      seed: of the resamples.
      groups: the film or person of each clip: whole groups are drawn, since clips of one group are
        not independent. None draws clips.

    Raises:
      ValueError: there are no clips, or `groups` does not fit them.
    """
    if num_items < 1:
        raise ValueError("over_clips needs at least one clip")
    if groups is not None and len(groups) != num_items:
        raise ValueError(f"{num_items} clips need as many groups, not {len(groups)}")
    parts = _members(groups) if groups is not None else [np.array([i]) for i in range(num_items)]
    rng = np.random.default_rng(seed)
    resampled = np.array(
        [
            statistic(np.concatenate([parts[i] for i in rng.integers(len(parts), size=len(parts))]))
            for _ in range(RESAMPLES)
        ]
    )
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.nanpercentile(resampled, [tail, 100 - tail])
    return Interval(float(statistic(np.arange(num_items))), float(low), float(high))


def pareto_front(points: Sequence[Point]) -> list[int]:
    """Indices of the points that no other one reaches in both figures, by falling privacy."""
    front: list[int] = []
    best = -np.inf
    for index in sorted(range(len(points)), key=lambda i: (-points[i][0], -points[i][1])):
        if points[index][1] > best:
            front.append(index)
            best = points[index][1]
    return front


def hypervolume(points: Sequence[Point]) -> float:
    """Area of the unit square that lies below and left of some point, in [0, 1].

    The reference point (0, 0) is a leakage and an action as bad as they get: everything leaks, and
    the action is at chance. What exceeds 1 or falls below 0 (better than raw, worse than chance)
    is cut.
    """
    inside = [(min(1.0, max(0.0, x)), min(1.0, max(0.0, y))) for x, y in points]
    area = height = 0.0
    for index in pareto_front(inside):
        privacy, utility = inside[index]
        area += privacy * (utility - height)
        height = utility
    return area


def _members(groups: Sequence[str]) -> list[np.ndarray]:
    _, inverse = np.unique(np.asarray(groups), return_inverse=True)
    return [np.flatnonzero(inverse == group) for group in range(inverse.max() + 1)]
