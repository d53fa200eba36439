"""TFDS builder of HMDB51: `hmdb51/split1` to `split3`, each also as `_official`."""

import functools
from collections.abc import Mapping

import tensorflow_datasets as tfds

from input_pipeline.annotations.hmdb51 import read_hmdb51
from input_pipeline.annotations.listed import VideoList
from input_pipeline.annotations.splits import drop_leaking, hold_out_balanced
from input_pipeline.datasets.annotated import Assignment, ListedBuilder, video_id

VALIDATION_SHARE = 0.1  # of each class's training videos
UNUSED = "in neither the training nor the test list of this split"
SAME_FILM = "listed for training, but cut from a film that is also tested on"


def assign(listing: VideoList, *, disjoint: bool) -> Assignment:
    """The official test videos; about a tenth of each class validates, cut by film.

    Args:
      disjoint: leave out the training videos whose film also gives test videos, of other classes.
        The official lists have 805 to 869 of them: the same people in the same clothes.
    """
    test = {video.group for video in listing.videos if video.split == "test"}
    train = [video for video in listing.videos if video.split == "train"]
    kept, dropped = drop_leaking(train, test if disjoint else ())
    validation = hold_out_balanced(kept, VALIDATION_SHARE)
    places = {
        video_id(video): {"unused": UNUSED}.get(video.split, video.split)
        for video in listing.videos
    }
    places |= {video_id(video): "validation" for video in kept if video.group in validation}
    places |= {video_id(video): SAME_FILM for video in dropped}
    return Assignment.of(listing.videos, places)


class Hmdb51(ListedBuilder):
    """6,766 videos of 51 actions, cut from films and from the web; 5,100 of them in each split."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: Mapping[str, str] = {"1.0.0": "First version."}
    CONFIGS = (
        "split1",
        "split2",
        "split3",
        "split1_official",
        "split2_official",
        "split3_official",
    )

    @functools.cached_property
    def listing(self) -> VideoList:
        """The official split that the config names."""
        number = int(self.builder_config.name[len("split") :].removesuffix("_official"))
        return read_hmdb51(self.builder_config.labels, number)

    @functools.cached_property
    def assignment(self) -> Assignment:
        """The videos of each split."""
        return assign(self.listing, disjoint=not self.builder_config.name.endswith("_official"))
