"""What the builders of published datasets share: where files and labels are, and who is where."""

import abc
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from input_pipeline.annotations.files import VideoIndex
from input_pipeline.annotations.listed import ListedVideo, VideoList
from input_pipeline.errors import DataError
from input_pipeline.media_builder import MediaBuilder, MediaBuilderConfig
from input_pipeline.shards import Entry
from input_pipeline.specs import SPLITS


@dataclasses.dataclass(eq=False, kw_only=True)
class AnnotatedConfig(MediaBuilderConfig):
    """Where the downloads of a published dataset are.

    Attributes:
      source: folder of the videos or images, at any depth.
      annotations: folder of the split and label files, at any depth; None takes `source`.
    """

    source: Path
    annotations: Path | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.source = Path(self.source).expanduser()
        self.annotations = Path(self.annotations or self.source).expanduser()
        for name, folder in (("source", self.source), ("annotations", self.annotations)):
            if not folder.is_dir():
                raise DataError(f"{folder}: the {name} folder is not there (or is no folder)")

    @property
    def labels(self) -> Path:
        """The folder of the annotations."""
        return self.annotations or self.source

    def options(self) -> dict[str, Any]:
        """What decides the content; published annotations do not change."""
        return {**super().options(), "source": str(self.source.resolve())}


class AnnotatedBuilder(MediaBuilder):
    """A builder of a published dataset; CONFIGS are its configs, the first one the default."""

    CONFIGS: ClassVar[Sequence[str]]
    builder_config: AnnotatedConfig


@dataclasses.dataclass(frozen=True)
class Assignment:
    """Which videos of a list stand in which split, and why the others stand in none.

    Attributes:
      splits: videos by split, in the order of SPLITS; none is empty.
      excluded: name of the video to reason.
    """

    splits: Mapping[str, Sequence[ListedVideo]]
    excluded: Mapping[str, str]

    @classmethod
    def of(cls, videos: Sequence[ListedVideo], splits: Mapping[str, str]) -> "Assignment":
        """From `splits`: the name of each video (see `video_id`) to its split, or to a reason."""
        by_split: dict[str, list[ListedVideo]] = {split: [] for split in SPLITS}
        excluded = {}
        for video in videos:
            place = splits[video_id(video)]
            if place in by_split:
                by_split[place].append(video)
            else:
                excluded[video_id(video)] = place
        return cls({split: found for split, found in by_split.items() if found}, excluded)


def video_id(video: ListedVideo) -> str:
    """The name of a video in a dataset: its class and file as the official list writes them."""
    return f"{video.action}/{video.file}"


class ListedBuilder(AnnotatedBuilder):
    """Videos of an official list."""

    @property
    @abc.abstractmethod
    def listing(self) -> VideoList:
        """The classes, and the rows of the list."""

    @property
    @abc.abstractmethod
    def assignment(self) -> Assignment:
        """The videos of each split."""

    def labels_of(self, video: ListedVideo) -> tuple[tuple[int, ...], Mapping[str, Any]]:
        """The private attributes of a video, and what else is kept of it; neither by default."""
        del video
        return (), {}

    @property
    def actions(self) -> Sequence[str]:
        """Class names in label order."""
        return self.listing.actions

    @property
    def attributes(self) -> Sequence[str]:
        """None, for the official lists have no private attributes."""
        return ()

    @functools.cached_property
    def _entries(self) -> Mapping[str, Sequence[Entry]]:
        index = VideoIndex(self.builder_config.source)
        return {
            split: [self._entry(index, video) for video in videos]
            for split, videos in self.assignment.splits.items()
        }

    def entries(self) -> Mapping[str, Sequence[Entry]]:
        """The listed videos by split."""
        return self._entries

    def excluded(self) -> Mapping[str, str]:
        """The listed videos that belong to no split, with the reason."""
        return self.assignment.excluded

    def _entry(self, index: VideoIndex, video: ListedVideo) -> Entry:
        attributes, metadata = self.labels_of(video)
        return Entry(
            path=index.find(video.action, video.file),
            id=video_id(video),
            action=video.action,
            attributes=attributes,
            group=video.group,
            metadata=metadata,
        )
