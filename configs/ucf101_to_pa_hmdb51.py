"""Novel actions and attributes at full size: UCF101 and VISPR1 train f_A, PA-HMDB51 tests it."""

from ml_collections import ConfigDict

from configs import pa_hmdb51, ucf101


def get_config() -> ConfigDict:
    """What differs from the protocol of known actions."""
    config = ucf101.get_config()
    known = pa_hmdb51.get_config()
    config.attack.videos = known.data.videos
    config.attack.images = known.data.images
    config.attack.tested_attributes = known.attack.tested_attributes
    config.evaluate_reconstruction.inversion_frames = config.evaluate_privacy.test_frames
    return config
