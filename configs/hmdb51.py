"""The published recipe at full size on HMDB51, with VISPR1 for the privacy branch."""

from ml_collections import ConfigDict

from configs import ucf101


def get_config() -> ConfigDict:
    """What differs from the recipe on UCF101."""
    config = ucf101.get_config()
    config.data.videos = "hmdb51/split1"
    return config
