"""The embedded dataset with a mistake of the published code: the penalty has no gradient."""

from ml_collections import ConfigDict

from configs import moving_figures


def get_config() -> ConfigDict:
    """What differs from the comparison without the mistake."""
    config = moving_figures.get_config()
    config.compat.constant_penalty = True
    return config
