"""How near anonymized or reconstructed frames are to the raw ones, and how much they flicker.

Functions of NumPy arrays; frames are floats in [0, 1], channels last.
"""

import numpy as np
from jaxtyping import Float

Frames = Float[np.ndarray, "frames height width channels"]

WINDOW = 11  # of SSIM, as published: pixels of a frame's side that it needs
_SIGMA = 1.5
_K1, _K2 = 0.01, 0.03
STILL = 4 / 255  # a smaller change between two raw frames is noise of the camera or the codec


def psnr(frames: Frames, reference: Frames) -> Float[np.ndarray, " frames"]:
    """Peak signal-to-noise ratio of each frame in dB; infinite where it equals the reference."""
    _check_same(frames, reference)
    errors = np.mean(np.subtract(frames, reference, dtype=np.float64) ** 2, axis=(1, 2, 3))
    with np.errstate(divide="ignore"):
        return -10 * np.log10(errors)


def ssim(frames: Frames, reference: Frames) -> Float[np.ndarray, " frames"]:
    """Structural similarity of each frame, at most 1 (Wang et al., IEEE TIP 13(4), 2004).

    Gaussian windows of 11 x 11 (sigma 1.5) that lie inside the frame; the mean over their places
    and over the channels.

    Raises:
      ValueError: frames of different shapes, or smaller than a window.
    """
    _check_same(frames, reference)
    if min(frames.shape[1:3]) < WINDOW:
        raise ValueError(f"SSIM needs frames of {WINDOW} x {WINDOW} or more: {frames.shape}")
    x, y = frames.astype(np.float64), reference.astype(np.float64)
    mean_x, mean_y = _local_mean(x), _local_mean(y)
    variance_x = _local_mean(x * x) - mean_x**2
    variance_y = _local_mean(y * y) - mean_y**2
    covariance = _local_mean(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _K1**2) / (mean_x**2 + mean_y**2 + _K1**2)
    structure = (2 * covariance + _K2**2) / (variance_x + variance_y + _K2**2)
    return np.mean(luminance * structure, axis=(1, 2, 3))


def flicker(clip: Frames, raw: Frames, still: float = STILL) -> float:
    """Mean change between successive frames of a clip, where the raw clip stands still.

    Args:
      clip: the anonymized frames in order.
      raw: the raw frames.
      still: a pixel stands still between two frames when no channel of it changes by more.

    Returns:
      Mean absolute difference in [0, 1] over those pixels; NaN where nothing stands still. That of
      the raw clip itself is `flicker(raw, raw)`.

    Raises:
      ValueError: clips of different shapes, or of a single frame.
    """
    _check_same(clip, raw)
    if len(clip) < 2:
        raise ValueError("flicker needs two frames or more")
    stands = (np.abs(np.diff(raw, axis=0)) <= still).all(axis=-1)  # [T - 1, H, W]
    if not stands.any():
        return float("nan")
    changes = np.abs(np.diff(clip, axis=0)).mean(axis=-1)  # [T - 1, H, W, C] -> [T - 1, H, W]
    return float(changes[stands].mean(dtype=np.float64))


def _local_mean(frames: np.ndarray) -> np.ndarray:
    """Weighted means [N, H - 10, W - 10, C] of the windows inside the frames."""
    from scipy.ndimage import correlate1d  # 0.3 s, which those who need PSNR alone do not wait

    places = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-(places**2) / (2 * _SIGMA**2))
    weights /= weights.sum()
    margin = slice(WINDOW // 2, -(WINDOW // 2))
    for axis in (1, 2):
        frames = correlate1d(frames, weights, axis=axis)
    return frames[:, margin, margin]


def _check_same(frames: np.ndarray, reference: np.ndarray) -> None:
    if frames.shape != reference.shape or frames.ndim != 4:
        raise ValueError(f"frames of one shape [N, H, W, C]: {frames.shape}, {reference.shape}")
