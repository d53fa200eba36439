"""What all TFDS builders of video files share: decoding in parallel, shards, and a build report."""

import abc
import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.writer import ExampleWriter
from tensorflow_datasets.proto import tf_example_pb2

from input_pipeline.build_report import MAX_LISTED, BuildReport
from input_pipeline.encoding import EncodedVideo, encode_videos
from input_pipeline.errors import DataError
from input_pipeline.progress import progress
from input_pipeline.specs import spec_metadata, video_features

# A shard closes at either limit. TFDS holds one shard's JPEGs in memory while it writes it, and
# JPEGs are about ten times as large as the video that they come from.
SHARD_VIDEOS = 64
SHARD_SOURCE_BYTES = 32 * 2**20


class SameBytesWriter(ExampleWriter):
    """Writes records whose bytes are the same in every build.

    TFDS serialises the features of a record, a protocol buffer map, in an order that changes from
    process to process.
    """

    def write(self, path: Path, examples: Iterable[tuple[Any, bytes]]) -> None:
        """Writes the (key, serialised example) pairs of one shard."""
        parse = tf_example_pb2.Example.FromString
        super().write(
            path,
            ((key, parse(data).SerializeToString(deterministic=True)) for key, data in examples),
        )


@dataclasses.dataclass(eq=False, kw_only=True)
class VideoBuilderConfig(tfds.core.BuilderConfig):
    """How the videos are stored, and how they are read.

    Attributes:
      short_side: the shorter side of the stored frames in pixels; smaller videos keep their size.
      quality: JPEG quality, 1 to 100.
      max_bad_share: the share of the listed videos that may be unreadable, 0 to 1.
      workers: threads that decode; 0 takes one for each core.
    """

    short_side: int = 240
    quality: int = 95
    max_bad_share: float = 0.01
    workers: int = 0

    def __post_init__(self) -> None:
        if self.short_side < 1:
            raise DataError(f"short_side must be at least 1 pixel, not {self.short_side}")
        if not 1 <= self.quality <= 100:
            raise DataError(f"quality must lie between 1 and 100, not {self.quality}")
        if not 0 <= self.max_bad_share <= 1:
            raise DataError(f"max_bad_share must lie between 0 and 1, not {self.max_bad_share}")
        if self.workers < 0:
            raise DataError(f"workers must be 0 (one for each core) or more, not {self.workers}")

    def options(self) -> dict[str, Any]:
        """What decides the content, as JSON: stored with it and compared before another build."""
        return {"short_side": self.short_side, "quality": self.quality}


@dataclasses.dataclass(frozen=True)
class VideoEntry:
    """One video to store: where its file is, and the values of `specs.video_features`."""

    path: Path
    id: str
    action: str
    attributes: tuple[int, ...]
    group: str
    metadata: Mapping[str, Any]


class VideoBuilder(tfds.core.ShardBasedBuilder):
    """A TFDS builder that decodes listed video files and stores them as JPEG frames.

    Shards are written as the videos are decoded. TFDS' other base class, GeneratorBasedBuilder,
    collects a split first and needs TensorFlow to do so above 1 GB.
    """

    builder_config: VideoBuilderConfig

    @property
    @abc.abstractmethod
    def actions(self) -> Sequence[str]:
        """Class names in label order."""

    @property
    @abc.abstractmethod
    def attributes(self) -> Sequence[str]:
        """Names of the private attributes in column order."""

    @abc.abstractmethod
    def entries(self) -> Mapping[str, Sequence[VideoEntry]]:
        """The listed videos by split."""

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=video_features(self.actions, self.attributes),
            supervised_keys=None,
            metadata=spec_metadata(self.attributes),
        )

    def _shard_iterators_per_split(
        self, dl_manager: tfds.download.DownloadManager
    ) -> Mapping[str, Sequence[Callable[[], Iterator[tuple[str, dict[str, Any]]]]]]:
        del dl_manager  # the videos are on this machine already
        config = self.builder_config
        shards = {split: _shards(entries) for split, entries in self.entries().items()}
        listed = [
            (split, entry) for split, parts in shards.items() for part in parts for entry in part
        ]
        self.report = BuildReport(config.options(), listed=len(listed))
        results = encode_videos(
            [entry.path for _, entry in listed],
            short_side=config.short_side,
            quality=config.quality,
            workers=config.workers or os.cpu_count() or 1,
        )
        # TFDS asks for the shards in this order, so all of them draw from one stream of videos
        # and the threads never wait at the end of a shard.
        stream = progress(zip(listed, results, strict=True), len(listed), "videos")
        return {
            split: [functools.partial(self._examples, stream, len(part)) for part in parts]
            for split, parts in shards.items()
        }

    def _examples(
        self, stream: Iterator[tuple[tuple[str, VideoEntry], EncodedVideo | DataError]], count: int
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        for _ in range(count):
            (split, entry), result = next(stream)
            if isinstance(result, DataError):
                if entry.path.is_file():
                    self.report.unreadable[entry.id] = str(result)
                else:
                    self.report.missing.append(entry.id)
                continue
            self.report.read[split] = self.report.read.get(split, 0) + 1
            self.report.frames += result.info.num_frames
            if result.info.num_damaged:
                self.report.damaged_frames[entry.id] = result.info.num_damaged
            yield entry.id, _example(entry, result)

    def _example_writer(self) -> ExampleWriter:
        return SameBytesWriter(self.info.file_format)

    def _download_and_prepare(
        self,
        dl_manager: tfds.download.DownloadManager,
        download_config: tfds.download.DownloadConfig | None = None,
    ) -> None:
        super()._download_and_prepare(dl_manager, download_config)
        # Checked here, where a failure still makes TFDS remove all that it has written.
        self._check_readable()
        self.report.save(Path(self.data_path))

    def _check_readable(self) -> None:
        """Too many unreadable videos, or too few left of a split or class, fail the build."""
        report = self.report
        bad = [f"{name}: there is no such file" for name in report.missing]
        bad += report.unreadable.values()
        limit = self.builder_config.max_bad_share
        problems = []
        if len(bad) > limit * report.listed:
            problems.append(
                f"{len(bad)} of {report.listed} videos cannot be read, more than the share of "
                f"{limit:g} that --max_bad_share allows"
            )
        lost = set(report.missing) | set(report.unreadable)
        listed = self.entries()
        problems += [
            f"no video of the split '{split}' can be read"
            for split, entries in listed.items()
            if all(entry.id in lost for entry in entries)
        ]
        left = {entry.action for entry in listed["train"] if entry.id not in lost}
        problems += [
            f"no training video of the action '{action}' can be read"
            for action in self.actions
            if action not in left
        ]
        if problems:
            more = [f"... and {len(bad) - MAX_LISTED} more"] if len(bad) > MAX_LISTED else []
            named = [f"  {line}" for line in [*bad[:MAX_LISTED], *more]]
            raise DataError("\n".join(["; ".join(problems) + ":", *named]))


def _shards(entries: Sequence[VideoEntry]) -> list[list[VideoEntry]]:
    """Cuts a split into shards, in an order that mixes the classes and is always the same."""
    shards: list[list[VideoEntry]] = []
    source_bytes = 0
    for entry in sorted(entries, key=lambda entry: hashlib.sha256(entry.id.encode()).digest()):
        size = entry.path.stat().st_size if entry.path.is_file() else 0
        full = source_bytes + size > SHARD_SOURCE_BYTES
        if not shards or full or len(shards[-1]) == SHARD_VIDEOS:
            shards.append([])
            source_bytes = 0
        shards[-1].append(entry)
        source_bytes += size
    return shards


def _example(entry: VideoEntry, video: EncodedVideo) -> dict[str, Any]:
    metadata = {**entry.metadata, "damaged_frames": video.info.num_damaged}
    return {
        "frames": video.frames,
        "action": entry.action,
        "attributes": np.asarray(entry.attributes, np.int32),
        "id": entry.id,
        "group": entry.group,
        "fps": video.info.fps,
        "source_height": video.info.source_height,
        "source_width": video.info.source_width,
        "metadata": json.dumps(metadata, ensure_ascii=False, sort_keys=True),
    }
