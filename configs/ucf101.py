"""The published recipe at full size: UCF101 for the action, VISPR1 for the privacy branch.

Clips of 16 frames at 224 x 224, UNet++ with a ResNet-18 encoder, I3D-style ResNet-50, ResNet-50:
the base config, with its datasets named. See `docs/method.md` for the table of the recipe.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    """What differs from the base."""
    config = base.get_config()
    config.data.videos = "ucf101/split1"
    config.data.images = "vispr/vispr1"
    return config
