"""TFDS builder of PA-HMDB51: 515 videos with attributes to test on, the rest of HMDB51 to train."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow_datasets as tfds

from input_pipeline.annotations.hmdb51 import read_hmdb51
from input_pipeline.annotations.listed import ListedVideo, VideoList
from input_pipeline.annotations.pa_hmdb51 import (
    PrivacySegments,
    Segment,
    read_pa_hmdb51,
    video_attributes,
)
from input_pipeline.annotations.splits import hold_out_balanced
from input_pipeline.annotations.stprivacy import ATTRIBUTES
from input_pipeline.datasets.annotated import Assignment, ListedBuilder, video_id
from input_pipeline.datasets.hmdb51.hmdb51_dataset_builder import SAME_FILM, VALIDATION_SHARE
from input_pipeline.specs import UNKNOWN

NO_LABELS = "has no private attributes"


def assign(listing: VideoList, annotated: Mapping[str, Any], *, test_only: bool) -> Assignment:
    """The annotated videos test; of the others, those cut from other films train and validate."""
    films = {video.group for video in listing.videos if video.file in annotated}
    rest = [video for video in listing.videos if video.group not in films]
    validation = hold_out_balanced(rest, VALIDATION_SHARE)

    def place(video: ListedVideo) -> str:
        if video.file in annotated:
            return "test"
        if test_only:
            return NO_LABELS
        if video.group in films:
            return SAME_FILM
        return "validation" if video.group in validation else "train"

    return Assignment.of(listing.videos, {video_id(v): place(v) for v in listing.videos})


class PaHmdb51(ListedBuilder):
    """`hmdb51_rest` has training videos, without attributes; `test_only` the 515 videos alone."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: Mapping[str, str] = {"1.0.0": "First version."}
    CONFIGS = ("hmdb51_rest", "test_only")

    @functools.cached_property
    def listing(self) -> VideoList:
        """All videos of HMDB51; the annotated ones are spread over its official splits."""
        return read_hmdb51(self.builder_config.labels, 1)

    @functools.cached_property
    def annotated(self) -> Mapping[str, PrivacySegments]:
        """The annotations by file name."""
        return read_pa_hmdb51(self.builder_config.labels)

    @functools.cached_property
    def assignment(self) -> Assignment:
        """The videos of each split."""
        test_only = self.builder_config.name == "test_only"
        return assign(self.listing, self.annotated, test_only=test_only)

    @property
    def attributes(self) -> Sequence[str]:
        """Names of the private attributes in column order."""
        return ATTRIBUTES

    def labels_of(self, video: ListedVideo) -> tuple[tuple[int, ...], Mapping[str, Any]]:
        """What is seen in at least one frame; the frames' own labels are kept as published."""
        labels = self.annotated.get(video.file)
        if labels is None:
            return (UNKNOWN,) * len(ATTRIBUTES), {}
        segments = {
            name: [_published(segment) for segment in parts]
            for name, parts in labels.segments.items()
        }
        metadata = {"segments": segments, "review": labels.review, "note": labels.note}
        return video_attributes(labels), metadata


def _published(segment: Segment) -> list[Any]:
    values = segment.values
    return [segment.start, segment.end, values[0] if len(values) == 1 else list(values)]
