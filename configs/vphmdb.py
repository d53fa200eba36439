"""The published recipe at full size on VPHMDB, whose videos have private attributes themselves.

Following STPrivacy (Li et al., ICCV 2023), the privacy branch takes frames of the videos, and tests
average over 5 clips x 3 crops. Beyond it, a second attacker of the attributes sees whole clips; the
stronger one counts.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    """What differs from the base."""
    config = base.get_config()
    config.data.videos = "vphmdb/split1"
    config.data.test_crops = 3
    config.evaluate_privacy.source = "videos"
    config.evaluate_privacy.networks = ("resnet50", "i3d_resnet50")
    config.evaluate_reconstruction.inversion_frames = config.evaluate_privacy.test_frames
    return config
