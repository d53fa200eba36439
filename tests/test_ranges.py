"""Numbers that no run can use end in a sentence that names the field, before anything is made."""

import math

import pytest

from anon_jax import settings
from anon_jax.errors import ConfigError
from configs import demo


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("minimax.temperature", math.nan, "nan; it has to be a finite number"),
        ("minimax.epochs", math.inf, "inf; it has to be a finite number"),
        ("data.image_augmentation.grey", 1.5, r"within \[0, 1\]"),
        ("data.test_crop_scale", 1.01, r"within \(0, 1\]"),
        ("networks.dropout", 1.0, r"within \[0, 1\)"),
        ("data.clip_augmentation.crop_scale", (0.9, 0.6), "0 < a <= b <= 1"),
        ("data.clip_augmentation.crop_scale", (0.5,), "0 < a <= b <= 1"),
        ("networks.action_mean", (0.5, "0.5", 0.5), "three finite numbers"),
        ("networks.privacy_std", (0.2, 0.0, 0.2), "three numbers > 0"),
        ("seed", 2**31, "at most 2147483647"),
        ("data.resolution", 10**6, "at most 8192"),
        ("data.num_threads", 10**6, "at most 1024"),
    ],
)
def test_what_is_out_of_range_is_named(field, value, sentence):
    config = demo.get_config()
    with config.unlocked():
        *sections, name = field.split(".")
        section = config
        for part in sections:
            section = section[part]
        section[name] = value
    with pytest.raises(ConfigError, match=rf"config\.{field} is .*{sentence}"):
        settings.check_config(config)


def test_a_batch_that_fits_no_machine_is_refused():
    config = demo.get_config()
    config.data.resolution = 2**12
    config.data.num_frames = 2**8
    config.evaluate_action.batch_size = 1
    config.minimax.batch_clips = 5  # a clip of 256 frames of 4096x4096 takes 12 GiB: 60 in all
    settings.check_config(config)
    config.minimax.batch_clips = 6
    with pytest.raises(ConfigError, match=r"batch_clips=6, of 256 frames of 4096x4096 .* 64 GiB"):
        settings.check_config(config)
