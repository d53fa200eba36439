"""The embedded dataset with a mistake of the published code: f_A sees no whole frames of clips.

Three successive frames of one colour plane stand in for an RGB image (docs/method.md).
"""

from ml_collections import ConfigDict

from configs import moving_figures


def get_config() -> ConfigDict:
    """What differs from the comparison without the mistake."""
    config = moving_figures.get_config()
    config.compat.scrambled_frames = True
    return config
