"""TFDS builder for any folder of videos with a table of labels: `video_folder/<name>`."""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from input_pipeline.errors import DataError
from input_pipeline.labels import Labels, read_labels
from input_pipeline.media_builder import MediaBuilder, MediaBuilderConfig
from input_pipeline.shards import Entry
from input_pipeline.specs import SPLITS


@dataclasses.dataclass(eq=False, kw_only=True)
class VideoFolderConfig(MediaBuilderConfig):
    """Where the videos and their labels are, and what the columns mean.

    Attributes:
      source: folder of the videos.
      labels: the table; None takes `labels.csv` in `source`.
      attributes: columns of private attributes.
      group: column of what may not stand in two splits; None where there is none.
      split: column that says which split a video belongs to.
      split_values: what its cells mean where they are no split's name.
    """

    source: Path
    labels: Path | None = None
    attributes: tuple[str, ...] = ()
    group: str | None = None
    split: str = "split"
    split_values: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.source = Path(self.source).expanduser()
        if not self.source.is_dir():
            raise DataError(f"{self.source}: the source folder is not there (or is no folder)")
        self.labels = Path(self.labels or self.source / "labels.csv").expanduser()
        if len(set(self.attributes)) < len(self.attributes):
            raise DataError(f"attributes names a column twice: {', '.join(self.attributes)}")
        unknown = sorted(set(self.split_values.values()) - set(SPLITS))
        if unknown:
            raise DataError(
                f"split_values: there is no split {', '.join(unknown)}; "
                f"the splits are: {', '.join(SPLITS)}"
            )

    def options(self) -> dict[str, Any]:
        """What decides the content; the table by its digest, so that an edited one is noticed."""
        labels = Path(self.labels or "")
        digest = hashlib.sha256(labels.read_bytes()).hexdigest() if labels.is_file() else ""
        return {
            **super().options(),
            "source": str(self.source.resolve()),
            "labels_sha256": digest,
            "attributes": list(self.attributes),
            "group": self.group,
            "split": self.split,
            "split_values": dict(self.split_values),
        }


class VideoFolder(MediaBuilder):
    """Videos of a folder with their actions, private attributes, groups and splits."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: Mapping[str, str] = {"1.0.0": "First version."}

    builder_config: VideoFolderConfig

    @functools.cached_property
    def labels(self) -> Labels:
        """The checked table of labels."""
        config = self.builder_config
        return read_labels(
            Path(config.labels or ""),
            config.source,
            attributes=config.attributes,
            group=config.group,
            split=config.split,
            split_values=config.split_values,
        )

    @property
    def actions(self) -> Sequence[str]:
        """Class names in label order."""
        return self.labels.actions

    @property
    def attributes(self) -> Sequence[str]:
        """Names of the private attributes in column order."""
        return self.labels.attributes

    def entries(self) -> Mapping[str, Sequence[Entry]]:
        """The listed videos by split; splits without videos are left out."""
        by_split: dict[str, list[Entry]] = {}
        for video in sorted(self.labels.videos, key=lambda video: SPLITS.index(video.split)):
            entry = Entry(
                path=self.builder_config.source / video.file,
                id=video.file,
                action=video.action,
                attributes=video.attributes,
                group=video.group,
                metadata=video.metadata,
            )
            by_split.setdefault(video.split, []).append(entry)
        return by_split
