"""Transforms: frames chosen, views drawn, colours changed; with values worked out by hand."""

import colorsys

import cv2
import numpy as np
import pytest

from input_pipeline.errors import DataError
from input_pipeline.records import Record
from input_pipeline.transforms import (
    Augmentation,
    EvaluationClip,
    TrainClip,
    TrainImage,
    View,
    apply_view,
    clip_positions,
    colour_matrix,
    evaluation_view,
    sample_view,
)

STRONG = Augmentation((0.6, 1.0), jitter=0.1, hue=0.1, grey=0.1, flip=0.5, erase=0.4)


def record(frames: list[np.ndarray]) -> Record:
    jpegs = [
        cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
        for frame in frames
    ]
    return Record(3, "a clip", "film", jpegs, 2, np.array([1, -1], np.int32), 25.0, {})


def flat(*rgb: int, height: int = 24, width: int = 32) -> np.ndarray:
    return np.broadcast_to(np.array(rgb, np.uint8), (height, width, 3)).copy()


@pytest.mark.parametrize(
    ("available", "stride", "place", "expected"),
    [
        (10, 2, 0.0, [0, 2, 4, 6]),
        (10, 2, 1.0, [3, 5, 7, 9]),
        (10, 2, 0.5, [2, 4, 6, 8]),
        (6, 2, 0.0, [0, 1, 2, 3]),  # too short for the stride
        (6, 2, 1.0, [2, 3, 4, 5]),
        (3, 1, 0.5, [0, 1, 2, 2]),  # too short at all: the last frame stands still
        (1, 2, 1.0, [0, 0, 0, 0]),
    ],
)
def test_clip_positions(available, stride, place, expected):
    assert clip_positions(available, 4, stride, place).tolist() == expected


def test_crops_lie_inside_and_the_views_of_a_pair_differ():
    rng = np.random.default_rng(0)
    crops = []
    for _ in range(200):
        top, left, height, width = sample_view(STRONG, 24, 32, rng).crop
        assert 0 <= top <= 24 - height
        assert 0 <= left <= 32 - width
        assert round(24 * 0.6) <= height == width <= 24
        crops.append((top, left, height))
    assert len(set(crops)) > 50
    gradient = np.arange(24 * 32 * 3).reshape(24, 32, 3).astype(np.uint8)
    pair = TrainImage(8, STRONG, views=2).random_map(record([gradient]), rng)
    assert not np.array_equal(pair["image"], pair["view_b"])


@pytest.mark.parametrize(
    ("height", "width", "crop", "expected"),
    [  # the side is 0.8 * 240 = 192: 48 pixels are left across, 128 along the longer side
        (240, 320, 0.0, (24, 0, 192, 192)),
        (240, 320, 0.5, (24, 64, 192, 192)),
        (240, 320, 1.0, (24, 128, 192, 192)),
        (320, 240, 0.0, (0, 24, 192, 192)),
        (320, 240, 1.0, (128, 24, 192, 192)),
        (240, 240, 0.0, (24, 0, 192, 192)),
    ],
)
def test_test_crops_move_along_the_longer_side(height, width, crop, expected):
    assert evaluation_view(height, width, 0.8, crop).crop == expected


def test_a_test_crop_shows_its_own_part_of_the_frame():
    frame = np.zeros((24, 72, 3), np.uint8)
    frame[:, :24], frame[:, 24:48], frame[:, 48:] = 40, 120, 200
    clip = EvaluationClip(1, 1, 8, 1.0)
    means = [clip.map((record([frame]), 0.5, crop))["frames"].mean() for crop in (0.0, 0.5, 1.0)]
    np.testing.assert_allclose(means, [40, 120, 200], atol=3)  # JPEG


def test_a_test_view_is_centred_and_keeps_the_aspect():
    assert evaluation_view(240, 320, 0.8).crop == (24, 64, 192, 192)
    frame = np.zeros((240, 320, 3), np.uint8)
    cv2.circle(frame, (160, 120), 60, (255, 255, 255), -1)
    small = apply_view(frame, evaluation_view(240, 320), 64)
    rows, columns = np.nonzero(small[..., 0] > 127)
    assert abs(np.ptp(rows) - np.ptp(columns)) <= 1  # a circle stays a circle


def test_colour_matrix_by_hand():
    red = np.array([200.0, 40.0, 40.0])

    def changed(*factors: float) -> np.ndarray:
        matrix = colour_matrix(*factors)
        return matrix[:, :3] @ red + matrix[:, 3]

    np.testing.assert_allclose(changed(1, 1, 1, 0), red, atol=1e-3)
    np.testing.assert_allclose(changed(0.5, 1, 1, 0), red / 2, atol=1e-3)
    np.testing.assert_allclose(changed(1, 0.5, 1, 0), 127.5 + (red - 127.5) / 2, atol=1e-3)
    luma = 0.299 * 200 + 0.587 * 40 + 0.114 * 40
    np.testing.assert_allclose(changed(1, 1, 0, 0), [luma] * 3, atol=1e-3)
    third = changed(1, 1, 1, 1 / 3)  # a third of a turn carries red to another primary
    np.testing.assert_allclose(third, np.roll(red, 1), atol=1e-3)
    small = changed(1, 1, 1, 0.05)
    hues = [colorsys.rgb_to_hsv(*(np.clip(c, 0, 255) / 255))[0] for c in (red, small)]
    assert hues[1] - hues[0] == pytest.approx(0.05, abs=0.02)  # RGB and HSV circles differ a little


def test_one_view_for_all_frames_of_a_clip():
    same_frames = record([np.random.default_rng(1).integers(0, 256, (24, 32, 3), np.uint8)] * 9)
    for seed in range(20):
        clip = TrainClip(4, 2, 16, STRONG).random_map(same_frames, np.random.default_rng(seed))
        assert clip["frames"].shape == (4, 16, 16, 3)
        assert (clip["frames"] == clip["frames"][:1]).all()
    assert clip["action"] == 2
    assert clip["attributes"].tolist() == [1, -1]
    assert clip["index"] == 3


def test_red_stays_red_and_frames_keep_their_order():
    frames = [flat(250, 10 * i, 5) for i in range(8)]
    clip = EvaluationClip(4, 2, 8, 1.0).map((record(frames), 0.0, 0.5))["frames"]
    assert (clip[..., 0] > 200).all()  # RGB: the first channel is red
    means = clip[..., 1].mean(axis=(1, 2))
    np.testing.assert_allclose(means, [0, 20, 40, 60], atol=3)  # JPEG


def test_flip_and_erasures():
    frame = np.zeros((10, 10, 3), np.uint8)
    frame[:, :5] = 255
    flipped = apply_view(frame, View((0, 0, 10, 10), flip=True), 10)
    assert flipped[:, 5:].min() == 255
    assert flipped[:, :5].max() == 0
    erased = apply_view(frame + 9, View((0, 0, 10, 10), erased=((0.2, 0.0, 0.3, 0.5),)), 10)
    assert (erased[2:5, :5] == 0).all()
    assert np.count_nonzero(erased[..., 0] == 0) == 15


def test_damaged_jpeg_is_named():
    broken = Record(7, "film.avi", "", [b"no jpeg"], 0, np.zeros(0, np.int32), 25.0, {})
    with pytest.raises(DataError, match=r"film\.avi.*record 7"):
        EvaluationClip(2, 1, 8, 1.0).map((broken, 0.0, 0.5))


def test_a_short_video_is_refused_by_name_or_repeated_where_that_is_wanted():
    short = record([flat(10, 60 * i, 5) for i in range(3)])
    rng = np.random.default_rng(0)
    message = r"'a clip' \(record 3\) has 3 frames, a clip 4\. .*num_frames.*repeat_short_videos"
    with pytest.raises(DataError, match=message):
        TrainClip(4, 1, 8, Augmentation()).random_map(short, rng)
    with pytest.raises(DataError, match=message):
        EvaluationClip(4, 1, 8, 1.0).map((short, 0.0, 0.5))
    trained = TrainClip(4, 1, 8, Augmentation(), repeat_short=True).random_map(short, rng)
    tested = EvaluationClip(4, 1, 8, 1.0, repeat_short=True).map((short, 0.0, 0.5))
    for clip in (trained["frames"], tested["frames"]):
        np.testing.assert_allclose(
            clip[..., 1].mean(axis=(1, 2)), [0, 60, 120, 120], atol=3
        )  # JPEG
    # The privacy branch takes single frames.
    assert TrainImage(8, Augmentation()).random_map(short, rng)["image"].shape == (8, 8, 3)
