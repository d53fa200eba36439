"""The published recipe at full size, with the action tested on PA-HMDB51.

The action is learned on the rest of HMDB51, none of whose films is tested on. The attributes are
learned and tested on VISPR's photographs, under the names that PA-HMDB51 gives them.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    """What differs from the base."""
    config = base.get_config()
    config.data.videos = "pa_hmdb51/hmdb51_rest"
    config.data.images = "vispr/pa"
    return config
