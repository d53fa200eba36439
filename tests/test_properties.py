"""Odd configs and odd shapes: each of them works, or ends in one of the project's own errors."""

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from property_samples import cases, names, near, odd_values, record

from anon_jax import optimizers, settings
from anon_jax.errors import ConfigError, RunError
from anon_jax.phases import modules
from configs import demo
from input_pipeline.annotations import splits
from input_pipeline.annotations.listed import ListedVideo
from input_pipeline.errors import DataError
from input_pipeline.transforms import (
    Augmentation,
    EvaluationClip,
    EvaluationImage,
    TrainClip,
    TrainImage,
)

OWN = (RunError, DataError)
FIELDS = settings.flatten(demo.get_config().to_dict())
_MOST_PIXELS = 2**22  # of a clip that a case really makes


def set_field(config, field, value):
    """As a config file in Python may do, past ml_collections' own checks of types."""
    *sections, name = field.split(".")
    for section in sections:
        config = config[section]
    with config.ignore_type():
        config[name] = value


changes = st.sampled_from(sorted(FIELDS)).flatmap(
    lambda field: st.tuples(st.just(field), st.one_of(near(FIELDS[field]), odd_values))
)


@cases
@given(st.lists(changes, min_size=1, max_size=3).map(dict))
def test_any_config(fields):
    config = demo.get_config()
    with config.unlocked():
        for field, value in fields.items():
            set_field(config, field, value)
    with contextlib.suppress(ConfigError):
        settings.check_config(config)
        use(config)


def use(config):
    """What takes fields of a checked config, on a record of its own."""
    data = config.data
    rng = np.random.default_rng(0)
    if data.num_frames * data.resolution**2 <= _MOST_PIXELS:
        video = record(40, 52, max(1, data.num_frames))
        shape = (data.num_frames, data.resolution, data.resolution, 3)
        augmentation = Augmentation(**data.clip_augmentation)
        train = TrainClip(data.num_frames, data.frame_stride, data.resolution, augmentation, True)
        assert train.random_map(video, rng)["frames"].shape == shape
        test = EvaluationClip(
            data.num_frames, data.frame_stride, data.resolution, data.test_crop_scale, True
        )
        assert test.map((video, 1.0, 0.0))["frames"].shape == shape
        image = TrainImage(data.resolution, Augmentation(**data.image_augmentation))
        assert image.random_map(video, rng)["image"].shape == shape[1:]
    modules.anonymizer(config)
    modules.action(config, 3)
    modules.privacy(config)
    for phase in ("reconstruct", "evaluate_action"):
        optimizers.make_optimizer(**config[phase].optimizer, num_steps=10, steps_per_epoch=5)


sides = st.integers(1, 48)
shares = st.floats(0, 1)
scales = st.floats(0.01, 1)


@cases
@given(
    st.tuples(sides, sides),
    st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 4), st.integers(1, 24)),
    st.tuples(scales, scales).map(sorted).map(tuple),
    st.tuples(shares, shares, shares, shares, shares),
    st.tuples(scales, shares, shares),
    st.integers(0, 2**32),
)
def test_any_frame_shape(size, counts, crop_scale, changes, test_view, seed):
    """Frames down to one pixel, clips longer than the video, all views: uint8, the right shape."""
    available, num_frames, stride, resolution = counts
    scale, place, crop = test_view
    video, shape = record(*size, available), (resolution, resolution, 3)
    augmentation = Augmentation(crop_scale, *changes)
    rng = np.random.default_rng(seed)
    train = TrainClip(num_frames, stride, resolution, augmentation, True)
    test = EvaluationClip(num_frames, stride, resolution, scale, True)
    made = [
        *train.random_map(video, rng)["frames"],
        *test.map((video, place, crop))["frames"],
        *(TrainImage(resolution, augmentation, 2).random_map(video, rng)[k] for k in ("view_b",)),
        EvaluationImage(resolution, scale).map((video, place, crop))["image"],
    ]
    assert {(frame.shape, frame.dtype.name) for frame in made} == {(shape, "uint8")}
    # A grey frame stays near its grey: nothing from outside of it comes in.
    assert np.ptp(made[num_frames].astype(int)) <= 2
    if available < num_frames:
        strict = TrainClip(num_frames, stride, resolution, augmentation, False)
        with pytest.raises(DataError, match=f"has {available} frames, a clip {num_frames}"):
            strict.random_map(video, rng)


groups = st.lists(st.tuples(st.sampled_from("abc"), names), min_size=1, max_size=30)


@cases
@given(groups, st.floats(0.01, 0.99), st.integers(1, 4), names)
def test_any_split_by_groups(pairs, share, count, newcomer):
    """No group on two sides, the same choice again, and whatever other groups there are."""
    videos = [ListedVideo(action, f"{i}.avi", g, "train") for i, (action, g) in enumerate(pairs)]
    every = {video.group for video in videos}
    held = splits.hold_out(every, share)
    assert held == splits.hold_out(sorted(every, reverse=True), share) <= every
    assert splits.hold_out({*every, newcomer}, share) - {newcomer} == held - {newcomer}
    balanced = splits.hold_out_balanced(videos, share)
    assert balanced == splits.hold_out_balanced(videos[::-1], share) <= every
    for chosen in (held, balanced):
        kept, dropped = splits.drop_leaking(videos, chosen)
        assert sorted([*kept, *dropped], key=lambda video: video.file) == sorted(
            videos, key=lambda video: video.file
        )
        assert splits.leaks({"train": [video.group for video in kept], "test": chosen}) == []
    members = {action: {g for a, g in pairs if a == action} for action, _ in pairs}
    try:
        chosen = splits.hold_out_per_class(members, count)
    except DataError:
        assert min(map(len, members.values())) <= count
    else:
        assert all(len(found & chosen) >= count for found in members.values())
