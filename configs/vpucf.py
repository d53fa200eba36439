"""The published recipe at full size on VPUCF: as on VPHMDB."""

from ml_collections import ConfigDict

from configs import vphmdb


def get_config() -> ConfigDict:
    """What differs from the recipe on VPHMDB."""
    config = vphmdb.get_config()
    config.data.videos = "vpucf/split1"
    return config
