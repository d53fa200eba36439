"""The embedded dataset across domains: the anonymizer learns on one, attackers on the other.

The other domain has eight other actions, six other private attributes, other backgrounds and other
people.
"""

from ml_collections import ConfigDict

from configs import moving_figures


def get_config() -> ConfigDict:
    """What differs from the comparison within one domain."""
    config = moving_figures.get_config()
    config.attack.videos = "moving_figures/videos_b"
    config.attack.images = "moving_figures/images_b"
    return config
