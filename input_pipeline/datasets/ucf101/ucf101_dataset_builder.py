"""TFDS builder of UCF101: `ucf101/split1` to `split3`, the official splits."""

import collections
import functools
from collections.abc import Mapping

import tensorflow_datasets as tfds

from input_pipeline.annotations.listed import VideoList
from input_pipeline.annotations.splits import hold_out_per_class
from input_pipeline.annotations.ucf101 import read_ucf101
from input_pipeline.datasets.annotated import Assignment, ListedBuilder, video_id

# Of the 18 groups that a class has for training: a ninth of the videos.
VALIDATION_GROUPS = 2


def assign(listing: VideoList) -> Assignment:
    """The official test videos; two groups of each class validate, the others train.

    A group is one recording of one class, and none has both training and test videos.
    """
    groups: dict[str, set[str]] = collections.defaultdict(set)
    for video in listing.videos:
        if video.split == "train":
            groups[video.action].add(video.group)
    validation = hold_out_per_class(groups, VALIDATION_GROUPS)
    places = {
        video_id(video): "validation" if video.group in validation else video.split
        for video in listing.videos
    }
    return Assignment.of(listing.videos, places)


class Ucf101(ListedBuilder):
    """13,320 videos of 101 actions."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: Mapping[str, str] = {"1.0.0": "First version."}
    CONFIGS = ("split1", "split2", "split3")

    @functools.cached_property
    def listing(self) -> VideoList:
        """The official split that the config names."""
        return read_ucf101(self.builder_config.labels, int(self.builder_config.name[-1]))

    @functools.cached_property
    def assignment(self) -> Assignment:
        """The videos of each split."""
        return assign(self.listing)
