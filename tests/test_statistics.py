"""Intervals and fronts: values by hand, coverage by simulation."""

import numpy as np
import pytest

from anon_jax.statistics import hypervolume, over_clips, over_seeds, pareto_front


def test_interval_over_seeds_is_students():
    interval = over_seeds([0.5, 0.6, 0.7])
    # sem = 0.1 / sqrt(3); t(0.975, 2 degrees of freedom) = 4.30265
    assert interval.value == pytest.approx(0.6)
    assert interval.high - interval.value == pytest.approx(4.30265 * 0.1 / 3**0.5, rel=1e-5)
    assert interval.value - interval.low == pytest.approx(interval.high - interval.value)
    alone = over_seeds([0.4])
    assert alone.value == 0.4
    assert np.isnan([alone.low, alone.high]).all()
    with pytest.raises(ValueError, match="at least one value"):
        over_seeds([])


def test_interval_over_clips_covers_a_proportion():
    # 200 coins with p = 0.3: the bootstrap's limits are those of the binomial, +- 1.96 * 0.0324.
    hits = np.arange(200) < 60
    interval = over_clips(lambda indices: hits[indices].mean(), 200, seed=0)
    assert interval.value == pytest.approx(0.3)
    # 1000 resamples place a limit to about 0.004 (twice its standard error at the 2.5 % quantile).
    assert interval.low == pytest.approx(0.3 - 0.0635, abs=0.008)
    assert interval.high == pytest.approx(0.3 + 0.0635, abs=0.008)
    assert interval == over_clips(lambda indices: hits[indices].mean(), 200, seed=0)


def test_clips_of_a_group_are_drawn_together():
    # Twenty groups of ten equal clips are worth twenty clips: sqrt(10) times the width.
    hits = np.repeat(np.arange(20) < 6, 10)
    groups = [f"film {i // 10}" for i in range(200)]
    alone, together = (
        over_clips(lambda indices: hits[indices].mean(), 200, seed=0, groups=g)
        for g in (None, groups)
    )
    # Twenty draws are coarse: a limit falls on a multiple of 1/20.
    ratio = (together.high - together.low) / (alone.high - alone.low)
    assert ratio == pytest.approx(10**0.5, rel=0.2)
    with pytest.raises(ValueError, match="200 clips need as many groups, not 3"):
        over_clips(lambda indices: 0.0, 200, seed=0, groups=["a"] * 3)
    with pytest.raises(ValueError, match="at least one clip"):
        over_clips(lambda indices: 0.0, 0, seed=0)


def test_resamples_without_a_value_are_left_out():
    interval = over_clips(lambda i: 1.0 if 0 in i else float("nan"), 5, seed=0)
    assert (interval.low, interval.high) == (1.0, 1.0)


POINTS = [(0.2, 0.9), (0.5, 0.5), (0.4, 0.4), (0.8, 0.1), (0.5, 0.5)]


def test_pareto_front():
    assert pareto_front(POINTS) == [3, 1, 0]  # the dominated one and the copy are left out
    assert pareto_front([]) == []


def test_hypervolume_by_hand():
    # 0.8 x 0.1, then 0.5 wide from 0.1 to 0.5, then 0.2 wide from 0.5 to 0.9
    assert hypervolume(POINTS) == pytest.approx(0.08 + 0.5 * 0.4 + 0.2 * 0.4)
    assert hypervolume([(1.0, 1.0)]) == 1.0
    assert hypervolume([(-0.2, 0.9), (0.9, -0.2)]) == 0.0  # worse than raw, worse than chance
    assert hypervolume([(0.5, 1.3)]) == 0.5  # better than raw counts as raw
    assert hypervolume([]) == 0.0


def test_hypervolume_agrees_with_sampling():
    rng = np.random.default_rng(3)
    points = [tuple(point) for point in rng.random((12, 2))]
    samples = rng.random((200_000, 2))
    covered = np.zeros(len(samples), bool)
    for privacy, utility in points:
        covered |= (samples[:, 0] <= privacy) & (samples[:, 1] <= utility)
    # Standard error of a share of 200,000 samples: at most 0.0011.
    assert hypervolume(points) == pytest.approx(covered.mean(), abs=0.005)
