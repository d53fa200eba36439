"""The published recipe at full size, tested on PA-HMDB51.

The action is learned on the rest of HMDB51, none of whose films is tested on. The attributes are
learned on VISPR's photographs, under the names that PA-HMDB51 gives them, and tested on frames of
PA-HMDB51's videos.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    """What differs from the base."""
    config = base.get_config()
    config.data.videos = "pa_hmdb51/hmdb51_rest"
    config.data.images = "vispr/pa"
    config.attack.tested_attributes = "pa_hmdb51/hmdb51_rest"
    config.evaluate_reconstruction.inversion_frames = config.evaluate_privacy.test_frames
    return config
