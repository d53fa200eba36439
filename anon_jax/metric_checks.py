"""What scores and labels have to be: a ValueError names the first bad place."""

import numpy as np


def check_not_empty(array: np.ndarray) -> None:
    """There has to be something to measure."""
    if array.size == 0:
        raise ValueError(f"There is nothing to measure: an array has the shape {array.shape}.")


def check_finite(scores: np.ndarray) -> None:
    """Scores are finite, and there are some."""
    check_not_empty(scores)
    _check_all(np.isfinite(scores), scores, "scores are not finite")


def check_probabilities(scores: np.ndarray) -> None:
    """Scores lie in [0, 1]."""
    check_finite(scores)
    inside = (scores >= 0.0) & (scores <= 1.0)
    _check_all(inside, scores, "probabilities are outside [0, 1] (logits need the sigmoid first)")


def check_labels(labels: np.ndarray, lowest: int, highest: int) -> None:
    """Labels lie in lowest .. highest, both included."""
    check_not_empty(labels)
    inside = (labels >= lowest) & (labels <= highest)
    _check_all(inside, labels, f"labels are outside {lowest} .. {highest}")


def check_attributes(scores: np.ndarray, labels: np.ndarray) -> None:
    """Scores are finite and as many as labels, and these are 1, 0 or -1."""
    if scores.shape != labels.shape:
        raise ValueError(f"Scores {scores.shape} and labels {labels.shape} differ in shape.")
    check_finite(scores)
    check_labels(labels, -1, 1)


def _check_all(good: np.ndarray, values: np.ndarray, complaint: str) -> None:
    bad = np.argwhere(~good)
    if len(bad):
        at = tuple(bad[0].tolist())
        raise ValueError(f"{len(bad)} {complaint}; the first is {values[at]} at index {at}.")
