"""Novel actions at full size: the anonymizer learns on UCF101 and VISPR1, attackers on HMDB51."""

from ml_collections import ConfigDict

from configs import ucf101


def get_config() -> ConfigDict:
    """What differs from the protocol of known actions."""
    config = ucf101.get_config()
    config.attack.videos = "hmdb51/split1"
    return config
