"""Novel attributes at full size: VISPR1 trains the anonymizer (with UCF101), VISPR2 attacks it."""

from ml_collections import ConfigDict

from configs import ucf101


def get_config() -> ConfigDict:
    """What differs from the protocol of known attributes."""
    config = ucf101.get_config()
    config.attack.images = "vispr/vispr2"
    return config
