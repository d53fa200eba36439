"""TFDS builder of VPUCF: UCF101 with the five private attributes of STPrivacy."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from input_pipeline.annotations.listed import ListedVideo
from input_pipeline.annotations.stprivacy import ATTRIBUTES, read_stprivacy
from input_pipeline.datasets.annotated import video_id
from input_pipeline.datasets.ucf101.ucf101_dataset_builder import Ucf101


class Vpucf(Ucf101):
    """The videos and splits of `ucf101`; a 1 says that an attribute can be told."""

    @property
    def attributes(self) -> Sequence[str]:
        """Names of the private attributes in column order."""
        return ATTRIBUTES

    @functools.cached_property
    def _labels(self) -> Mapping[str, tuple[int, ...]]:
        return read_stprivacy(self.builder_config.labels, "ucf101")

    def labels_of(self, video: ListedVideo) -> tuple[tuple[int, ...], Mapping[str, Any]]:
        """The attributes of a video; every listed one has them."""
        return self._labels[str(PurePosixPath(video_id(video)).with_suffix(""))], {}
