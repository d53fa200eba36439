"""Scores and labels for the tests of metrics and of their reports."""

import numpy as np


def random_case(seed, samples=40, attributes=4, levels=6):
    """Scores of few distinct levels, so that ties are frequent, and labels of both classes."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, levels + 1, (samples, attributes)) / levels
    labels = (rng.uniform(size=(samples, attributes)) < rng.uniform(0.1, 0.9)).astype(np.int64)
    labels[:2] = [[0] * attributes, [1] * attributes]
    return scores, labels


def with_degenerate_columns():
    """Six samples: one ordinary attribute, one always present, one absent where it is known."""
    labels = np.array([[1, 1, 0], [0, 1, -1], [1, 1, 0], [0, 1, -1], [-1, 1, 0], [0, 1, 0]])
    scores = np.random.default_rng(0).uniform(size=labels.shape)
    return scores, labels
