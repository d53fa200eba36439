"""Novel actions and people at full size: VPHMDB trains the anonymizer, VPUCF attacks it."""

from ml_collections import ConfigDict

from configs import vphmdb


def get_config() -> ConfigDict:
    """What differs from the protocol of known actions."""
    config = vphmdb.get_config()
    config.attack.videos = "vpucf/split1"
    return config
