"""PSNR, SSIM and flicker: values by hand, and SSIM against an independent sum over windows."""

import numpy as np
import pytest

from anon_jax.image_metrics import STILL, flicker, psnr, ssim


def frames(seed, count=2, size=16):
    return np.random.default_rng(seed).random((count, size, size, 3)).astype(np.float32)


def test_psnr_by_hand():
    raw = np.full((2, 4, 4, 3), 0.5)
    other = raw + np.array([0.1, 0.0]).reshape(2, 1, 1, 1)
    assert psnr(other, raw) == pytest.approx([20.0, np.inf])  # 10 log10(1 / 0.01)


def test_ssim_against_a_sum_over_windows():
    first, second = frames(0), 0.7 * frames(0) + 0.3 * frames(1)
    axis = np.arange(11) - 5
    window = np.exp(-(axis[:, None] ** 2 + axis**2) / (2 * 1.5**2))
    window /= window.sum()
    values = []
    for top in range(6):
        for left in range(6):
            x, y = (f[1, top : top + 11, left : left + 11, 2] for f in (first, second))
            mx, my = (window * x).sum(), (window * y).sum()
            vx, vy = (window * (x - mx) ** 2).sum(), (window * (y - my) ** 2).sum()
            cov = (window * (x - mx) * (y - my)).sum()
            values.append((2 * mx * my + 1e-4) * (2 * cov + 9e-4)
                          / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4)))  # fmt: skip
    assert ssim(first[1:, ..., 2:], second[1:, ..., 2:]) == pytest.approx(np.mean(values), rel=1e-6)
    assert ssim(first, first) == pytest.approx([1, 1])
    assert ssim(first, 1 - first).max() < 0  # an inverted texture


def test_flicker_counts_where_the_raw_clip_stands_still():
    raw = np.zeros((3, 2, 2, 3))
    raw[1:, 0, 0] = 0.5  # moves between the first two frames
    raw[2, 1, 1] = STILL / 2  # noise
    anonymized = np.zeros((3, 2, 2, 3))
    anonymized[1, 0, 0] = 1.0  # where the raw clip moves, then where it stands still: 1
    anonymized[1, 1, 1, 0] = 0.6  # one channel of three, up and down: 0.2 twice
    # 3 + 4 places stand still.
    assert flicker(anonymized, raw) == pytest.approx((1.0 + 0.2 + 0.2) / 7)
    assert flicker(raw, raw) == pytest.approx(STILL / 2 / 7)
    assert np.isnan(flicker(anonymized, np.indices((3, 2, 2, 3))[0] * 0.5))


@pytest.mark.parametrize("measure", [psnr, ssim, flicker])
def test_shapes_are_checked(measure):
    with pytest.raises(ValueError, match=r"frames of one shape .*\(2, 16, 16, 3\), \(3, 16"):
        measure(frames(0), frames(0, count=3))


def test_what_is_too_small_is_refused():
    with pytest.raises(ValueError, match="11 x 11 or more"):
        ssim(frames(0, size=10), frames(0, size=10))
    with pytest.raises(ValueError, match="two frames or more"):
        flicker(frames(0, count=1), frames(0, count=1))
